"""From the traced calls of a network to the ops of the engine, one by one, in the order of the calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils import parametrize

from pomona.core.errors import InputError
from pomona.training.lanes.capture import own_path, shown
from pomona.training.lanes.layers import FUNCTION_NAMES, FUNCTIONS, METHODS, layer_reader
from pomona.training.lanes.program import Op
from pomona.training.lanes.value import Fails, Maps, Refused, Result, Unread, Value, first_line

# What computes with sizes, not with tensors.
_PLAIN_MODULES = ("_operator", "math", "builtins")
_SIZE_METHODS = {"size", "dim", "numel", "nelement", "ndimension"}
_SIZE_ATTRIBUTES = {"shape", "ndim"}

_SOFTMAX: set[Any] = {F.softmax, F.log_softmax, torch.softmax, torch.log_softmax, "softmax", "log_softmax"}
_LOGITS = "cross-entropy expects logits; return what goes into it"
_MADE = "a tensor that forward makes"
_TWICE = (
    "it uses a result a second time; the lane engine runs sequential networks, "
    "without addition or concatenation"
)


@dataclass
class Lowered:
    """What was read.

    Args:
        ops: Nothing is fused yet: in order, each takes the value of the one before it.
        reasons: Why the engine cannot run the network, each with its path.
        used: Names of the parameters that ``forward`` reaches.
        outputs: Number of logits, 0 where that is not known.
    """

    ops: list[Op] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    outputs: int = 0


@dataclass(frozen=True)
class _Fixed:
    """A tensor that does not come from the image: a parameter, a buffer, a constant."""

    text: str


class _UnknownSize:
    """A size of a tensor whose shape is not known."""


def lower(module: nn.Module, graph: fx.Graph, input_shape: Maps, batch: int, training: bool) -> Lowered:
    """Read a trace.

    Args:
        module: The network.
        graph: As ``capture`` gives it.
        input_shape: Channels, height and width.
        batch: Images of a batch: sizes that ``forward`` asks for are those of such a batch.
        training: The mode in which it was traced. In the other one dropout makes no op.

    Raises:
        InputError: Torch itself cannot compute a layer on this shape (names the layer).
    """
    lowering = _Lowering(module, training)
    image = torch.empty(batch, *input_shape, dtype=torch.float32, device="meta")
    values: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        args: Any = fx.map_arg(node.args, values.__getitem__)
        kwargs: Any = fx.map_arg(node.kwargs, values.__getitem__)
        if node.op == "placeholder":
            values[node] = Value(image, input_shape)
        elif node.op == "output":
            lowering.output(args[0])
        elif node.op == "get_attr":
            values[node] = lowering.fixed(own_path(str(node.target)))
        else:
            values[node] = lowering.call(node, args, kwargs)
    return lowering.found


class _Lowering:
    def __init__(self, module: nn.Module, training: bool) -> None:
        self.module, self.training = module, training
        self.found = Lowered()
        self._called: set[str] = set()
        self._parameters = {name for name, _ in module.named_parameters()}
        self._buffers = {name for name, _ in module.named_buffers()}

    def fixed(self, name: str) -> _Fixed:
        """A tensor that ``forward`` reads by itself."""
        if name in self._parameters:
            self.found.used.add(name)
            return _Fixed(f"the parameter {name!r}")
        if name in self._buffers:
            return _Fixed(f"the buffer {name!r}")
        return _Fixed(f"the tensor {name!r}" if name else _MADE)

    def call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """What a call gives. Where the engine cannot run it the reason is kept and nothing is known of it."""
        is_layer = node.op == "call_module"
        path = own_path(str(node.target)) if is_layer else _owner(node)
        where = shown(self.module, path) if is_layer else f"{shown(self.module, path)}: {_name(node)}"
        try:
            if is_layer:
                return self._layer(node, path, args, kwargs)
            return self._function(node, path, args, kwargs)
        except Unread:
            return Value(None)
        except Refused as refused:
            self.found.reasons += [f"{where}: {reason}" for reason in refused.reasons]
            return _refused((args, kwargs))
        except Fails as error:
            given = next(part for part in _parts((args, kwargs)) if isinstance(part, Value))
            raise InputError(f"{where}: {error}; it is given {given.text} for each image") from error

    def output(self, result: Any) -> None:
        """Check what the network returns."""
        name = shown(self.module)
        if not isinstance(result, Value):
            self.found.reasons.append(f"{name}: forward returns {_text(result)}; expected one tensor (n, K)")
        elif result.meta is not None:
            if len(result.shape) != 1:
                shape = ", ".join(["n", *map(str, result.shape)])
                self.found.reasons.append(f"{name}: forward returns a tensor ({shape}); expected (n, K)")
            if result.taken:
                self.found.reasons.append(f"{name}: forward returns a result that another call takes too")
            self.found.outputs = result.shape[0]

    def _layer(self, node: fx.Node, path: str, args: Any, kwargs: Any) -> Value:
        layer = self.module.get_submodule(path)
        names = {f"{path}.{name}" if path else name for name, _ in layer.named_parameters()}
        self.found.used |= names
        if parametrize.is_parametrized(layer):
            raise Refused("its parameters are parametrized; the lane engine trains them as they are")
        if isinstance(layer, (nn.Softmax, nn.LogSoftmax)) and _ends(node):
            raise Refused(f"{type(layer).__name__}: {_LOGITS}")
        reader = layer_reader(layer)
        if names and path in self._called:
            raise Refused("it is called twice (shared weights); the lane engine has one call for each layer")
        self._called.add(path)
        given = [*args, *kwargs.values()]
        if len(given) != 1 or not isinstance(given[0], Value):
            raise Refused(f"it is called with {_text(tuple(given))}; expected one tensor")
        result = reader(given[0], layer)
        _check_place(node, given[0])
        if result.kind == "dropout" and not self.training:
            result = Result(None, result.meta, result.maps)
        return self._made(result, path)

    def _function(self, node: fx.Node, path: str, args: Any, kwargs: Any) -> Any:
        parts = _parts((args, kwargs))
        values = [part for part in parts if isinstance(part, Value)]
        for part in parts:
            if isinstance(part, _Fixed):
                raise Refused(f"it computes with {part.text}, which is outside of the layers")
        if not values:
            return self._plain(node, parts, args, kwargs)
        if _asks_for_size(node):
            return _size(node, args, kwargs)
        readers: Any = METHODS if node.op == "call_method" else FUNCTIONS
        reader = readers.get(node.target)
        if reader is None:
            raise Refused(_unknown_function(node, len(values)))
        if any(isinstance(part, _UnknownSize) for part in parts):
            raise Unread
        result = _read(reader, args, kwargs)
        _check_place(node, values[0])
        if result.kind == "dropout" and not self.training:
            raise Refused("it drops in evaluation too; pass training=self.training or use nn.Dropout")
        return self._made(result, path)

    def _plain(self, node: fx.Node, parts: list[Any], args: Any, kwargs: Any) -> Any:
        """Arithmetic on sizes."""
        if any(isinstance(part, _UnknownSize) for part in parts):
            return _UnknownSize()
        if node.op != "call_method" and getattr(node.target, "__module__", None) not in _PLAIN_MODULES:
            raise Refused(_unknown_function(node, 0))
        try:
            if isinstance(node.target, str):
                return getattr(args[0], node.target)(*args[1:], **kwargs)
            return node.target(*args, **kwargs)
        except Exception as error:
            where = shown(self.module, _owner(node))
            raise InputError(f"{where}: {_name(node)}: {type(error).__name__}: {error}") from error

    def _made(self, result: Result, path: str) -> Value:
        if result.kind is not None:
            names = {key: f"{path}.{key}" if path else key for key in ("weight", "bias")}
            weighted = result.kind in ("conv", "linear")
            self.found.ops.append(
                Op(
                    kind=result.kind,
                    inputs=(len(self.found.ops),),
                    attributes=result.attributes,
                    module=shown(self.module, path),
                    weight=names["weight"] if weighted else None,
                    bias=names["bias"] if weighted and result.attributes["bias"] else None,
                )
            )
        return Value(result.meta, result.maps)


def _check_place(node: fx.Node, x: Value) -> None:
    """Refuse a call that is right by itself but not where it stands."""
    reasons = []
    if x.taken:
        reasons.append(_TWICE)
    if not node.meta["gradient"]:
        reasons.append("it runs under no_grad; the lane engine trains every layer")
    if node.meta["autocast"]:
        reasons.append("it runs under autocast; the lane engine computes in float32")
    x.taken = True
    if reasons:
        raise Refused(*reasons)


def _read(reader: Callable[..., Result], args: Any, kwargs: Any) -> Result:
    kwargs = dict(kwargs)
    # Torch calls the tensor `input`, and `self` where it is a method.
    args = args or (kwargs.pop("input", None),)
    try:
        inspect.signature(reader).bind(*args, **kwargs)
    except TypeError as error:
        raise Refused(f"its arguments are not among those of the lane engine: {error}") from error
    if not isinstance(args[0], Value) or any(isinstance(p, Value) for p in _parts((args[1:], kwargs))):
        raise Refused("it is called with other arguments than one tensor and numbers")
    return reader(*args, **kwargs)


def _refused(given: Any) -> Value | _Fixed:
    """What stands for the result of a refused call: nothing is known of it but where it comes from."""
    parts = _parts(given)
    if any(isinstance(part, Value) for part in parts):
        return Value(None)
    return next((part for part in parts if isinstance(part, _Fixed)), _Fixed(_MADE))


def _asks_for_size(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _SIZE_METHODS
    return node.target is getattr and node.args[1] in _SIZE_ATTRIBUTES


def _size(node: fx.Node, args: Any, kwargs: Any) -> Any:
    tensor = args[0].meta
    if tensor is None:
        return _UnknownSize()
    if node.op == "call_function":
        return getattr(tensor, args[1])
    try:
        return getattr(tensor, str(node.target))(*args[1:], **kwargs)
    except Exception as error:
        raise Fails(first_line(error)) from error


def _unknown_function(node: fx.Node, values: int) -> str:
    if node.target in _SOFTMAX and _ends(node):
        return _LOGITS
    if values > 1:
        return (
            f"it joins {values} results; the lane engine runs sequential networks, "
            "without addition or concatenation"
        )
    return f"it is not among the lane engine's functions ({FUNCTION_NAMES})"


def _ends(node: fx.Node) -> bool:
    return all(user.op == "output" for user in node.users)


def _owner(node: fx.Node) -> str:
    """The path of the module whose ``forward`` makes a call."""
    stack = node.meta.get("nn_module_stack")
    return own_path(next(reversed(stack.values()))[0]) if stack else ""


def _name(node: fx.Node) -> str:
    if node.target is getattr:
        return str(node.args[1])
    return str(getattr(node.target, "__name__", node.target))


def _parts(given: Any) -> list[Any]:
    """Everything in nested arguments."""
    if isinstance(given, dict):
        given = list(given.values())
    if isinstance(given, slice):
        given = [given.start, given.stop, given.step]
    return [p for part in given for p in _parts(part)] if isinstance(given, (tuple, list)) else [given]


def _text(given: Any) -> str:
    """What was given in place of one tensor."""
    if isinstance(given, _Fixed):
        return given.text
    for kind in (tuple, list, dict):
        if isinstance(given, kind):
            return f"a {kind.__name__} of {len(given)}"
    return "a tensor" if isinstance(given, Value) else f"{given!r}"
