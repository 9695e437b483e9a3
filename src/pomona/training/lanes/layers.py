"""How the lane engine reads each layer and function of torch: which op it is, and with which attributes.

Shapes come from torch itself, on the meta device. A reader refuses what the engine would compute otherwise.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomona.training.lanes.value import Fails, Maps, Refused, Result, Value, sizes

_CEIL = "ceil_mode=True; the lane engine's pools leave out windows that do not fit"
_INDICES = "return_indices=True; the lane engine's pools give values alone"


def _zeros(parameter: Tensor | None, like: Tensor) -> Tensor | None:
    return None if parameter is None else torch.zeros(parameter.shape, device=like.device)


def _pair(name: str, given: Any, least: int) -> tuple[int, int]:
    pair = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    pair = pair * 2 if len(pair) == 1 else pair
    if len(pair) != 2 or not all(isinstance(size, int) and size >= least for size in pair):
        raise Refused(f"{name}={given!r}; expected one or two whole numbers, {least} or more")
    return pair


def _refuse(*checks: tuple[bool, str]) -> None:
    reasons = [reason for wrong, reason in checks if wrong]
    if reasons:
        raise Refused(*reasons)


def _conv(x: Value, layer: nn.Conv2d) -> Result:
    mode = layer.padding_mode
    _refuse(
        (layer.groups != 1, f"groups={layer.groups}; the lane engine's convolutions have groups=1"),
        (mode != "zeros", f"padding_mode={mode!r}; the lane engine pads with zeros"),
    )
    stride, dilation = _pair("stride", layer.stride, 1), _pair("dilation", layer.dilation, 1)
    if not isinstance(layer.padding, str):
        _pair("padding", layer.padding, 0)
    weight, bias = layer.weight, layer.bias
    out = x.run(
        lambda t: F.conv2d(t, _zeros(weight, t), _zeros(bias, t), stride, layer.padding, dilation)  # type: ignore[arg-type]
    )
    x.need_maps()
    kh, kw = weight.shape[2:]
    (pt, pb), (pl, pr) = (_padding(layer.padding, i, (kh, kw)[i], dilation[i]) for i in (0, 1))
    attributes = {"out": weight.shape[0], "kh": kh, "kw": kw, "sh": stride[0], "sw": stride[1]}
    attributes |= {"pt": pt, "pl": pl, "pb": pb, "pr": pr, "dh": dilation[0], "dw": dilation[1]}
    return Result(
        "conv", out, _maps(out), {**attributes, "bias": int(bias is not None), "relu": 0, "pool": 0}
    )


def _padding(padding: Any, axis: int, kernel: int, dilation: int) -> tuple[int, int]:
    """Before and after; an odd total of ``same`` has the longer part after, as in torch."""
    if padding == "valid":
        return 0, 0
    if padding == "same":
        total = dilation * (kernel - 1)
        return total // 2, total - total // 2
    one = _pair("padding", padding, 0)[axis]
    return one, one


def _linear(x: Value, layer: nn.Linear) -> Result:
    weight, bias = layer.weight, layer.bias
    out = x.run(lambda t: F.linear(t, _zeros(weight, t), _zeros(bias, t)))  # type: ignore[arg-type]
    if len(x.shape) != 1:
        raise Refused(f"it takes {x.text} for each image; flatten that to one row before it")
    attributes = {"out": weight.shape[0], "bias": int(bias is not None), "relu": 0}
    return Result("linear", out, (weight.shape[0], 1, 1), attributes)


def _maps(out: Tensor) -> Maps:
    """The shape of one image's maps; the shape that torch gives a pool or convolution of a batch."""
    channels, height, width = out.shape[1:]
    return channels, height, width


def _windows(kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> dict[str, float]:
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
    return {"kh": kh, "kw": kw, "sh": sh, "sw": sw, "pt": ph, "pl": pw, "pb": ph, "pr": pw}


def _max_pool(
    x: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Result:  # fmt: skip
    kernel = _pair("kernel_size", kernel_size, 1)
    steps = _pair("stride", kernel if stride in (None, (), []) else stride, 1)
    pads = _pair("padding", padding, 0)
    spread = _pair("dilation", dilation, 1) != (1, 1)
    _refuse(
        (spread, f"dilation={dilation}; the lane engine's max-pools have none"),
        (ceil_mode, _CEIL),
        (return_indices, _INDICES),
    )
    out = x.run(lambda t: F.max_pool2d(t, kernel, steps, pads))
    x.need_maps()
    return Result("maxpool", out, _maps(out), _windows(kernel, steps, pads))


def _avg_pool(
    x: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Result:  # fmt: skip
    kernel = _pair("kernel_size", kernel_size, 1)
    steps = _pair("stride", kernel if stride in (None, (), []) else stride, 1)
    pads = _pair("padding", padding, 0)
    _refuse((ceil_mode, _CEIL))
    out = x.run(
        lambda t: F.avg_pool2d(t, kernel, steps, pads, False, bool(count_include_pad), divisor_override)
    )
    x.need_maps()
    attributes = {"include_pad": int(count_include_pad), "divisor": divisor_override or 0}
    return Result("avgpool", out, _maps(out), {**_windows(kernel, steps, pads), **attributes})


def _adaptive_avg_pool(x: Value, output_size: Any) -> Result:
    out = x.run(lambda t: F.adaptive_avg_pool2d(t, output_size))
    x.need_maps()
    return _averaged(x, out, _maps(out))


def _averaged(x: Value, out: Tensor, maps: Maps) -> Result:
    # The average of one value is that value.
    kind = None if maps == x.maps else "adaptive_avgpool"
    return Result(kind, out, maps, {"oh": maps[1], "ow": maps[2]})


def _adaptive_max_pool(x: Value, output_size: Any, return_indices: bool = False) -> Result:
    _refuse((return_indices, _INDICES))
    out = x.run(lambda t: F.adaptive_max_pool2d(t, output_size))
    x.need_maps()
    (height, width), (oh, ow) = x.maps[1:], out.shape[2:]
    if height % max(oh, 1) or width % max(ow, 1):
        raise Refused(
            f"windows of different sizes, since {height}x{width} is no multiple of {oh}x{ow}; "
            "the lane engine's max-pools have one size"
        )
    kernel = height // max(oh, 1), width // max(ow, 1)
    kind = None if kernel == (1, 1) else "maxpool"
    return Result(kind, out, _maps(out), _windows(kernel, kernel, (0, 0)))


def _mean(x: Value, dim: Any = None, keepdim: bool = False) -> Result:
    out = x.run(lambda t: t.mean(dim, keepdim))
    rank = len(x.shape) + 1
    given = range(rank) if dim is None else dim if isinstance(dim, (tuple, list)) else (dim,)
    if rank < 3 or {d % rank for d in given} != set(range(2, rank)) or x.shape[0] != x.maps[0]:
        raise Refused(
            f"dim={dim} of (n, {', '.join(map(str, x.shape))}); the lane engine averages whole maps, "
            "as mean((2, 3)) does"
        )
    return _averaged(x, out, (x.maps[0], 1, 1))


def _relu(x: Value, inplace: bool = False) -> Result:
    return Result("relu", x.run(torch.relu), x.maps)


def _clamp(x: Value, min: Any = None, max: Any = None) -> Result:
    # At exactly 0, which is what a wholly pruned unit gives, torch's clamp passes the gradient on.
    if (min, max) == (0, None):
        raise Refused("its gradient at 0 is 1, that of ReLU is 0; write relu")
    raise Refused(f"min={min}, max={max} is not among the lane engine's functions ({FUNCTION_NAMES})")


def _dropout(x: Value, p: Any = 0.5, training: bool = True, inplace: bool = False) -> Result:
    out = x.run(lambda t: F.dropout(t, p, training=bool(training)))
    if p == 1 and training:
        raise Refused("p=1 drops everything; the lane engine's dropout has p below 1")
    kind = "dropout" if training and p != 0 else None
    return Result(kind, out, x.maps, {"p": float(p)})


def _identity(x: Value) -> Result:
    return Result(None, x.run(lambda t: t), x.maps)


def _reshape(name: str) -> Callable[..., Result]:
    def read(x: Value, *args: Any, **kwargs: Any) -> Result:
        batch = x.run(lambda t: t).shape[0]
        try:
            out = x.run(lambda t: getattr(t, name)(*args, **kwargs))
        except Fails as error:
            # It may be right for the one batch size that is written into it.
            raise Refused(f"a batch of {batch} of {x.text}: {error}; write flatten(1)") from error
        if out.dtype != torch.float32:
            raise Refused(f"the result is {str(out.dtype).removeprefix('torch.')}, expected float32")
        # All of these keep the order of the values: what starts with the batch has one row for each image.
        if out.dim() == 0 or out.shape[0] != batch or math.prod(out.shape[1:]) != math.prod(x.shape):
            raise Refused(
                f"a batch of {batch} of {x.text} becomes {sizes(out.shape)}; expected {batch} rows of the "
                "same values, as flatten(1) gives"
            )
        return Result(None, out, x.maps)

    return read


def _flatten_layer(x: Value, layer: nn.Flatten) -> Result:
    return _reshape("flatten")(x, layer.start_dim, layer.end_dim)


# How a call of each layer is read: the value that it takes, and the layer.
LAYERS: Mapping[type[nn.Module], Callable[[Value, Any], Result]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.ReLU: lambda x, m: _relu(x),
    nn.MaxPool2d: lambda x, m: _max_pool(
        x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices
    ),
    nn.AvgPool2d: lambda x, m: _avg_pool(
        x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override
    ),
    nn.AdaptiveAvgPool2d: lambda x, m: _adaptive_avg_pool(x, m.output_size),
    nn.AdaptiveMaxPool2d: lambda x, m: _adaptive_max_pool(x, m.output_size, m.return_indices),
    nn.Flatten: _flatten_layer,
    nn.Dropout: lambda x, m: _dropout(x, m.p),
    nn.Identity: lambda x, m: _identity(x),
}

# The same for functions; the arguments are those of torch.
FUNCTIONS: Mapping[Any, Callable[..., Result]] = {
    F.relu: _relu,
    torch.relu: _relu,
    torch.relu_: _relu,
    F.max_pool2d: _max_pool,
    torch.max_pool2d: _max_pool,
    F.avg_pool2d: _avg_pool,
    F.adaptive_avg_pool2d: _adaptive_avg_pool,
    F.adaptive_max_pool2d: _adaptive_max_pool,
    torch.mean: _mean,
    torch.flatten: _reshape("flatten"),
    torch.reshape: _reshape("reshape"),
    torch.squeeze: _reshape("squeeze"),
    torch.unsqueeze: _reshape("unsqueeze"),
    F.dropout: _dropout,
    torch.dropout: lambda x, p, train: _dropout(x, p, train),
    torch.clamp: _clamp,
    torch.clamp_: _clamp,
    torch.clamp_min: _clamp,
    torch.clip: _clamp,
}

# And for methods of a tensor.
METHODS: Mapping[str, Callable[..., Result]] = {
    "relu": _relu,
    "relu_": _relu,
    "mean": _mean,
    **{
        name: _reshape(name)
        for name in ("flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "float", "clone")
    },
    **dict.fromkeys(("clamp", "clamp_", "clamp_min", "clamp_min_", "clip", "clip_"), _clamp),
}

# What messages list: the nearest choices, not every spelling of them.
LAYER_NAMES = "Conv2d, Linear, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten, Dropout"
FUNCTION_NAMES = "relu, max_pool2d, avg_pool2d, adaptive_avg_pool2d, mean, flatten, view, reshape, dropout"


def layer_reader(layer: nn.Module) -> Callable[[Value, Any], Result]:
    """How a layer is read.

    Raises:
        Refused: It is none that the engine has, or a subclass that may compute something else.
    """
    name = type(layer).__name__
    known = next((kind for kind in type(layer).__mro__ if kind in LAYERS), None)
    if known is None:
        raise Refused(f"{name} is not among the lane engine's layers ({LAYER_NAMES})")
    changed = _overridden(layer, known)
    if changed:
        raise Refused(
            f"{name} overrides {', '.join(changed)} of {known.__name__}; use {known.__name__} itself"
        )
    if known in (nn.Conv2d, nn.Linear):
        own = [layer._parameters.get(key) for key in ("weight", "bias")]
        if own[0] is None or any(type(p) is not nn.Parameter for p in own if p is not None):
            raise Refused("its weight and bias are not plain parameters of its own")
        if own[1] is None and layer.bias is not None:
            raise Refused("its bias is not a parameter of its own")
    return LAYERS[known]


def _overridden(layer: nn.Module, known: type[nn.Module]) -> list[str]:
    """What a subclass, or the object itself, has instead of what the engine computes."""
    kinds = type(layer).__mro__[: type(layer).__mro__.index(known)]
    own = {
        name
        for kind in kinds
        for name, value in vars(kind).items()
        if hasattr(known, name) or inspect.isdatadescriptor(value)
    }
    # Of the special methods only these are asked when a layer computes.
    asked = {"__call__", "__getattr__", "__getattribute__"}
    harmless = {name for name in own if name.startswith("__")} | {"extra_repr", "reset_parameters"}
    patched = {name for name in vars(layer) if callable(getattr(known, name, None))}
    return sorted(own - (harmless - asked) | patched)
