"""The calls that a network's ``forward`` makes, as a graph of torch.fx, with the network left as it was."""

from __future__ import annotations

import contextlib
import random
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from pomona.core.global_state import LOCK
from pomona.training.lanes.layers import LAYERS
from pomona.training.lanes.value import first_line
from pomona.training.randomness import seeded

_TABLES = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def capture(module: nn.Module, training: bool) -> tuple[fx.Graph | None, list[str]]:
    """Trace a network in one of its modes.

    Args:
        module: Not changed: what ``forward`` writes is undone. Hooks are not called.
        training: The mode.

    Returns:
        The graph, or None where it cannot be traced; and the reasons why it is not to be trusted, each with
        its path. Paths in the graph are those of a container around the network: see ``own_path``.
    """
    tracer = _Tracer()
    graph = None
    reasons: list[str] = []
    with lent(module, training) as changed, _no_functions_of_autograd(), torch.enable_grad():
        before = _random_state()
        try:
            graph = tracer.trace(nn.Sequential(module))
        except Exception as error:
            where = shown(module, own_path(tracer.innermost()))
            reasons.append(f"{where}: forward cannot be traced: {first_line(error)}")
        drawn = _random_state() != before
    reasons += changed
    if drawn:
        reasons.append(f"{shown(module)}: forward draws random numbers outside of dropout")
    return graph, reasons


@contextlib.contextmanager
def lent(module: nn.Module, training: bool) -> Iterator[list[str]]:
    """Put a network in a mode without calling it, and take its hooks off; afterwards all is as it was.

    Other threads wait: tracing replaces methods of ``nn.Module`` for the whole process.

    Yields:
        A list that has, after the block, a reason for each module that ``forward`` changed in it.
    """
    with LOCK:
        kept = {path: (part, _attributes(part)) for path, part in module.named_modules()}
        changed: list[str] = []
        try:
            for part, _ in kept.values():
                vars(part).update({name: OrderedDict() for name in _HOOKS}, training=training)
            lent_out = {path: _attributes(part) for path, (part, _) in kept.items()}
            with seeded(0, torch.device("cpu")):
                yield changed
            for path, (part, _) in kept.items():
                names = ", ".join(repr(name) for name in _different(lent_out[path], part))
                if names:
                    changed.append(f"{shown(module, path)}: forward changes {names} of the module")
        finally:
            for part, attributes in kept.values():
                tables = {name: vars(part)[name] for name in _TABLES}
                vars(part).clear()
                vars(part).update(attributes)
                # The tables themselves stay: others may hold them.
                for name, table in tables.items():
                    table.clear()
                    table.update(attributes[name])
                    vars(part)[name] = table


def own_path(traced: str) -> str:
    """The path in the network of a path in its trace.

    >>> own_path("0.features.3")
    'features.3'
    """
    return traced.partition(".")[2]


def shown(module: nn.Module, path: str = "") -> str:
    """A path in messages: the network itself is named by its class."""
    return path or type(module).__name__


class _Tracer(fx.Tracer):
    """Stops at layers, and notes what fx itself passes over in silence."""

    def __init__(self) -> None:
        super().__init__(param_shapes_constant=True)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, tuple(LAYERS)) or super().is_leaf_module(m, module_qualified_name)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        # A buffer may change in training: reading it must be seen, as fx sees that of a parameter.
        for name, buffer in self.root.named_buffers() if isinstance(attr_val, Tensor) else ():
            if attr_val is buffer:
                return self.create_proxy("get_attr", name, (), {})
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["gradient"] = torch.is_grad_enabled()
        node.meta["autocast"] = torch.is_autocast_enabled("cpu")
        return node

    def innermost(self) -> str:
        """The path of the module whose ``forward`` is being traced."""
        return next(reversed(self.module_stack.values()))[0] if self.module_stack else ""


@contextlib.contextmanager
def _no_functions_of_autograd() -> Iterator[None]:
    """Let a function with a gradient of its own fail: fx would trace its forward and lose its backward."""

    def apply(cls: type, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{cls.__name__} is an autograd.Function, whose backward cannot be read")

    own = vars(torch.autograd.Function)["apply"]
    torch.autograd.Function.apply = classmethod(apply)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        torch.autograd.Function.apply = own  # type: ignore[method-assign]


def _attributes(part: nn.Module) -> dict[str, Any]:
    """What a module holds, with copies of the tables of its parameters, buffers and parts."""
    return {key: dict(value) if key in _TABLES else value for key, value in vars(part).items()}


def _different(before: dict[str, Any], part: nn.Module) -> list[str]:
    """Names of attributes, parameters, buffers and parts that are no longer the same objects."""
    return _changed(_flat(before), _flat(_attributes(part)))


def _flat(attributes: dict[str, Any]) -> dict[str, Any]:
    tables = {key: item for name in _TABLES for key, item in attributes[name].items()}
    return {**{key: value for key, value in attributes.items() if key not in _TABLES}, **tables}


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    absent = object()
    return [key for key in before | after if before.get(key, absent) is not after.get(key, absent)]


def _random_state() -> tuple[Any, ...]:
    # Of NumPy's the words, the position in them and the cached normal number; the first is a name.
    _, words, *rest = np.random.get_state(legacy=True)
    return random.getstate(), np.asarray(words).tobytes(), rest, torch.default_generator.get_state().tolist()
