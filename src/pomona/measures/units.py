"""Which units of a network are fed, say something, and are heard at its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from pomona.core.errors import InputError, unknown
from pomona.core.global_state import LOCK
from pomona.measures import reachability
from pomona.measures.reachability import BATCH_NORMS, WEIGHTED, Reach

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Reached:
    """What becomes of the outputs of one layer. Each mark is True for a unit, in the layer's order.

    Args:
        effective: The kept weights that can make a difference, as ``effective_masks`` has them.
        fed: A kept weight of the unit meets a value that may be other than zero.
        emits: The unit itself, or the batch normalization right behind it, gives what may be other than zero.
        heard: What is added to the unit reaches an output of the network.
        used: Whether the network takes the weight at all.
    """

    effective: Mask
    fed: Mask | None = None
    emits: Mask | None = None
    heard: Mask | None = None
    used: bool = True


def reached_units(
    module: nn.Module, masks: Mapping[str, Mask], input_shape: tuple[int, ...]
) -> dict[str, Reached]:
    """Follow what may be nonzero to every unit of the masked layers, and from there to the outputs.

    As ``effective_masks`` it is exact for the wiring: a kept weight counts as nonzero, and no path cancels
    another. The units of a convolution are its channels: one place of many is enough.

    Args:
        module: The network; its biases are read. Not changed.
        masks: True where kept, by parameter name.
        input_shape: Shape of one example.

    Returns:
        By parameter name. Marks are None where the weight is not that of a layer in use.

    Raises:
        InputError: As ``effective_masks``.
    """
    check_fit(module, masks)
    named = dict(module.named_parameters())
    # Tracing replaces the calls of all modules of the process while it lasts.
    with LOCK:
        traced = reachability.trace(module)
        signs = reachability.signs_of(module, masks)
        leaves = {name: signs[id(named[name])] for name in masks}
        reach = _Units(traced, signs, {id(leaf): name for name, leaf in leaves.items()})
        result = reachability.run_through(reach, type(module).__name__, input_shape)
    total = sum(
        (output.sum() for output in reachability.tensors_in(result)), torch.zeros((), dtype=torch.float64)
    )
    taps = [tap for name in masks for tap in reach.taps.get(name, [])]
    given = [*leaves.values(), *taps]
    # Nothing asks for a gradient where no masked layer is on the way to an output.
    grads = (
        torch.autograd.grad(total, given, allow_unused=True) if total.requires_grad else [None] * len(given)
    )
    marks = {id(one): _marks(one, grad) for one, grad in zip(given, grads, strict=True)}
    return {name: _reached(name, masks[name], marks[id(leaf)], reach, marks) for name, leaf in leaves.items()}


def check_fit(module: nn.Module, masks: Mapping[str, Mask]) -> None:
    """Check that masks are of parameters of a module.

    Raises:
        InputError: One fits no parameter.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
    for name, mask in masks.items():
        if name not in shapes:
            raise InputError(unknown("masked parameter", name, shapes))
        if mask.shape != shapes[name]:
            raise InputError(f"mask of {name!r}: expected shape {shapes[name]}, got {mask.shape}")


def _marks(one: Tensor, grad: Tensor | None) -> Mask:
    return np.zeros(one.shape, dtype=np.bool_) if grad is None else (grad != 0).numpy()


def _reached(name: str, mask: Mask, reached: Mask, reach: _Units, marks: Mapping[int, Mask]) -> Reached:
    if name in reach.taps:
        heard = np.logical_or.reduce([marks[id(tap)] for tap in reach.taps[name]])
        return Reached(mask & reached, reach.fed[name], reach.emits[name], heard)
    # Something else than a layer may take it: then its weights are judged, and no units.
    return Reached(mask & reached, used=bool(reached.any()))


class _Units(Reach):
    """Notes at every masked layer what comes in and goes out, and adds a 0 that asks for a gradient."""

    def __init__(self, traced: fx.GraphModule, signs: dict[int, Tensor], names: Mapping[int, str]) -> None:
        super().__init__(traced, signs)
        self.names = names
        self.fed: dict[str, Mask] = {}
        self.emits: dict[str, Mask] = {}
        self.taps: dict[str, list[Tensor]] = {}
        self._node: fx.Node | None = None
        self._made_by: dict[fx.Node, str] = {}

    def run_node(self, n: fx.Node) -> Any:
        self._node = n
        value = super().run_node(n)
        if n.op == "call_module" and isinstance(self.fetch_attr(str(n.target)), BATCH_NORMS):
            name = self._made_by.get(n.args[0])  # type: ignore[arg-type]
            if name is not None:
                self.emits[name] = self.emits[name] | _somewhere(value, 1)
        return value

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().call_function(target, args, kwargs)
        if target not in WEIGHTED.values():
            return value
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        return self._noted(value, given["weight"], given.get("bias"))

    def _weighted(self, layer: Any, x: Tensor) -> Tensor:
        bias = None if layer.bias is None else self.signs[id(layer.bias)]
        return self._noted(super()._weighted(layer, x), self.signs[id(layer.weight)], bias)

    def _noted(self, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        name = self.names.get(id(weight))
        if name is None:
            return value
        # A linear layer has a weight of two axes and its units last, a convolution has them second.
        axis = value.dim() - 1 if weight.dim() == 2 else 1
        shape = [-1 if i == axis else 1 for i in range(value.dim())]
        unbiased = value if bias is None else value - bias.view(shape)
        nothing = np.zeros(value.shape[axis], dtype=np.bool_)
        self.fed[name] = self.fed.get(name, nothing) | _somewhere(unbiased, axis)
        self.emits[name] = self.emits.get(name, nothing) | _somewhere(value, axis)
        tap = torch.zeros(value.shape[axis], dtype=value.dtype, requires_grad=True)
        self.taps.setdefault(name, []).append(tap)
        assert self._node is not None
        self._made_by[self._node] = name
        return value + tap.view(shape)


def _somewhere(value: Tensor, axis: int) -> Mask:
    """For each unit whether it is other than zero at any place."""
    return (value.detach() != 0).movedim(axis, 0).flatten(1).any(dim=1).numpy()
