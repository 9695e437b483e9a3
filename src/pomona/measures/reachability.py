"""Follows what may be nonzero through a traced network, forwards and backwards.

Every value is 0 (always zero) or 1 (may be nonzero). Operations run on these with masks for weights, and
after each one anything nonzero becomes 1 again, in the gradient too, so that no count overflows in a deep
network and no path cancels another.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from pomona.core.errors import InputError
from pomona.core.global_state import LOCK

# Zero in, zero out.
_PASS_MODULES = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU,
    nn.Mish, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Softsign, nn.Dropout, nn.Dropout1d, nn.Dropout2d,
    nn.Dropout3d, nn.AlphaDropout, nn.LogSoftmax, nn.Softmax,
)  # fmt: skip
_PASS_FUNCTIONS = {
    F.relu, torch.relu, torch.relu_, F.relu6, F.leaky_relu, F.elu, F.celu, F.selu, F.gelu, F.silu, F.mish,
    F.tanh, torch.tanh, F.hardtanh, F.hardswish, F.softsign, F.dropout, F.dropout1d, F.dropout2d,
    F.log_softmax, F.softmax, torch.log_softmax, torch.softmax,
}  # fmt: skip
_PASS_METHODS = {"relu", "relu_", "tanh", "log_softmax", "softmax", "contiguous", "float", "double", "clone"}

# Zero in, a constant out: as if there were a bias.
_LIFT_MODULES = (nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.LogSigmoid)
_LIFT_FUNCTIONS = {F.sigmoid, torch.sigmoid, F.hardsigmoid, F.softplus, F.logsigmoid}

# Moving and averaging do to these values what they do to any.
_RUN_MODULES = (nn.Flatten, nn.Unflatten, nn.ZeroPad2d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
                nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)  # fmt: skip
_RUN_FUNCTIONS = {
    torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze, torch.cat,
    torch.mean, torch.sum, F.pad, F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d,
    F.interpolate, operator.getitem, getattr,
}  # fmt: skip
_RUN_METHODS = {"flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "mean", "sum",
                "size", "dim", "expand"}  # fmt: skip
_ADD = {operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub}
_SCALE = {operator.mul, operator.imul, operator.truediv, operator.itruediv, torch.mul, torch.div}
_INTEGER = {operator.floordiv, operator.mod}

WEIGHTED: dict[Any, Callable[..., Tensor]] = {
    nn.Linear: F.linear,
    nn.Conv1d: F.conv1d,
    nn.Conv2d: F.conv2d,
    nn.Conv3d: F.conv3d,
}
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_AVERAGES: dict[Any, Callable[..., Tensor]] = {
    nn.MaxPool1d: F.avg_pool1d, nn.MaxPool2d: F.avg_pool2d, nn.MaxPool3d: F.avg_pool3d,
    F.max_pool1d: F.avg_pool1d, F.max_pool2d: F.avg_pool2d, torch.max_pool2d: F.avg_pool2d,
}  # fmt: skip
_ADAPTIVE_AVERAGES: dict[Any, Callable[..., Tensor]] = {
    nn.AdaptiveMaxPool1d: F.adaptive_avg_pool1d, nn.AdaptiveMaxPool2d: F.adaptive_avg_pool2d,
    F.adaptive_max_pool1d: F.adaptive_avg_pool1d, F.adaptive_max_pool2d: F.adaptive_avg_pool2d,
}  # fmt: skip


def reached_weights(
    module: nn.Module, masks: Mapping[str, NDArray[np.bool_]], input_shape: tuple[int, ...]
) -> dict[str, NDArray[np.bool_]]:
    """Which entries of each masked parameter meet a value and reach an output.

    Args:
        module: The network.
        masks: True where kept, by parameter name.
        input_shape: Shape of one example.

    Returns:
        True where the entry, kept or not, lies between a live source and a live target.

    Raises:
        InputError: The module cannot be traced or run on this shape, or has an operation unknown here.
    """
    # Tracing replaces the calls of all modules of the process while it lasts.
    with LOCK:
        traced = trace(module)
        signs = signs_of(module, masks)
        result = run_through(Reach(traced, signs), type(module).__name__, input_shape)
    named = dict(module.named_parameters())
    leaves = [signs[id(named[key])] for key in masks]
    total = sum((output.sum() for output in tensors_in(result)), start=torch.zeros((), dtype=torch.float64))
    if not total.requires_grad:
        return {key: np.zeros(mask.shape, dtype=np.bool_) for key, mask in masks.items()}
    grads = torch.autograd.grad(total, leaves, allow_unused=True)
    return {
        key: np.zeros(mask.shape, dtype=np.bool_) if grad is None else (grad != 0).numpy()
        for (key, mask), grad in zip(masks.items(), grads, strict=True)
    }


def trace(module: nn.Module) -> fx.GraphModule:
    """The operations of a module in order.

    Raises:
        InputError: Its control flow depends on values.
    """
    try:
        return fx.symbolic_trace(module)
    except Exception as error:
        raise InputError(
            f"effective masks: the module {type(module).__name__} cannot be traced "
            f"({type(error).__name__}: {error}); torch.fx follows no control flow that depends on values"
        ) from error


def run_through(reach: Reach, name: str, input_shape: tuple[int, ...]) -> Any:
    """What a trace gives for an input that is nonzero everywhere.

    Raises:
        InputError: An operation is not understood, or the network takes no such input.
    """
    try:
        return reach.run(torch.ones(1, *input_shape, dtype=torch.float64))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"effective masks: the module {name} does not run on an input of shape {input_shape}: {error}"
        ) from error


def signs_of(module: nn.Module, masks: Mapping[str, NDArray[np.bool_]]) -> dict[int, Tensor]:
    """For each parameter, by identity: 1 where it may be nonzero. Masked ones ask for a gradient."""
    found: dict[int, Tensor] = {}
    for name, tensor in module.named_parameters():
        if tensor.is_meta:
            raise InputError(f"effective masks: parameter {name!r} has no values (it is on the meta device)")
        # Of what is not pruned only vectors (biases, shifts) are read: a weight counts as nonzero.
        live = tensor.detach().cpu() != 0 if tensor.dim() < 2 else torch.ones(tensor.shape)
        found[id(tensor)] = live.double()
    for name, mask in masks.items():
        found[id(module.get_parameter(name))] = torch.tensor(mask, dtype=torch.float64, requires_grad=True)
    return found


def tensors_in(result: Any) -> list[Tensor]:
    """The tensors of what a network gives, in whatever it packs them."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, Mapping):
        result = list(result.values())
    return [x for part in result for x in tensors_in(part)] if isinstance(result, (tuple, list)) else []


class _Saturate(torch.autograd.Function):
    """0 stays 0, all else becomes 1: the value going forwards, the gradient going backwards."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return (value != 0).to(value.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return (grad != 0).to(grad.dtype)


class Reach(fx.Interpreter):
    """Runs the trace with each operation replaced; what has no replacement is refused by name."""

    def __init__(self, traced: fx.GraphModule, signs: dict[int, Tensor]) -> None:
        super().__init__(traced)
        self.signs = signs

    def run_node(self, n: fx.Node) -> Any:
        """An operation, and of what it gives only whether it is zero."""
        value = super().run_node(n)
        if isinstance(value, Tensor) and n.op in ("call_module", "call_function", "call_method"):
            return _Saturate.apply(value)  # type: ignore[no-untyped-call]
        return value

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A parameter or buffer: whether it is zero."""
        found = super().get_attr(target, args, kwargs)
        if not isinstance(found, Tensor):
            return found
        return self.signs[id(found)] if id(found) in self.signs else (found != 0).double()

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A layer, by what it does to zeros."""
        layer: Any = self.fetch_attr(target)
        x = args[0]
        if isinstance(layer, tuple(WEIGHTED)):
            return self._weighted(layer, x)
        if isinstance(layer, BATCH_NORMS):
            return self._normalised(layer, x)
        if isinstance(layer, _PASS_MODULES):
            return x
        if isinstance(layer, _LIFT_MODULES):
            return x + 1
        if isinstance(layer, _RUN_MODULES):
            return super().call_module(target, args, kwargs)
        if type(layer) in _AVERAGES:
            return _average(type(layer), x, layer.kernel_size, layer.stride, layer.padding,
                            layer.dilation, layer.ceil_mode, layer.return_indices)  # fmt: skip
        if type(layer) in _ADAPTIVE_AVERAGES:
            return _ADAPTIVE_AVERAGES[type(layer)](x, layer.output_size)
        raise _not_understood(f"module {target!r} ({type(layer).__name__})")

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A function, by what it does to zeros."""
        tensors = [x for x in args if isinstance(x, Tensor)]
        if not tensors and target in _ADD | _SCALE | _INTEGER | _RUN_FUNCTIONS:
            return super().call_function(target, args, kwargs)
        if target in _PASS_FUNCTIONS:
            return args[0]
        if target in _LIFT_FUNCTIONS or (target in _ADD and len(tensors) == 1):
            return tensors[0] + 1
        if target in _ADD:
            return tensors[0] + tensors[1]
        if target in _SCALE and len(tensors) == 1:
            return tensors[0] * 1
        if target in (operator.mul, operator.imul, torch.mul):
            return tensors[0] * tensors[1]
        if target is F.interpolate and kwargs.get("mode", "nearest") == "bicubic":
            raise _not_understood("bicubic interpolation, whose weights may cancel")
        if target in _RUN_FUNCTIONS or target in WEIGHTED.values():
            return super().call_function(target, args, kwargs)
        if target in _AVERAGES:
            return _average(target, *args, **kwargs)
        if target in _ADAPTIVE_AVERAGES:
            return _ADAPTIVE_AVERAGES[target](args[0], args[1])
        raise _not_understood(f"function {getattr(target, '__name__', target)!r}")

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A method of a tensor, by what it does to zeros."""
        if target in _PASS_METHODS:
            return args[0]
        if target in _RUN_METHODS:
            return super().call_method(target, args, kwargs)
        if target in ("add", "add_", "sub", "sub_"):
            return args[0] + (args[1] if isinstance(args[1], Tensor) else 1)
        if target in ("sigmoid", "softplus"):
            return args[0] + 1
        raise _not_understood(f"tensor method {target!r}")

    def _weighted(self, layer: Any, x: Tensor) -> Tensor:
        weight = self.signs[id(layer.weight)]
        bias = None if layer.bias is None else self.signs[id(layer.bias)]
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, bias)
        if layer.padding_mode != "zeros":
            raise _not_understood(f"convolution with padding mode {layer.padding_mode!r}")
        function: Callable[..., Tensor] = WEIGHTED[type(layer)]
        return function(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)

    def _normalised(self, layer: Any, x: Tensor) -> Tensor:
        shape = [1, -1] + [1] * (x.dim() - 2)
        if layer.affine:
            x = x * self.signs[id(layer.weight)].view(shape)
        # Of a channel that is zero the norm makes this constant, in evaluation.
        constant = torch.zeros(()) if not layer.affine else layer.bias.detach().double().cpu()
        if layer.running_mean is not None:
            mean, variance = layer.running_mean.double().cpu(), layer.running_var.double().cpu()
            scale = layer.weight.detach().double().cpu() if layer.affine else 1.0
            constant = constant - mean * scale / (variance + layer.eps).sqrt()
        return x + (constant != 0).double().reshape(shape if constant.dim() else [])


def _average(
    pool: Any, x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """Average where the network takes the maximum: any input of a window may be the one."""
    if (
        any(step != 1 for step in (dilation if isinstance(dilation, tuple) else (dilation,)))
        or return_indices
    ):
        raise _not_understood("max pooling with dilation or indices")
    return _AVERAGES[pool](x, kernel_size, stride, padding, ceil_mode)


def _not_understood(what: str) -> InputError:
    return InputError(
        f"effective masks: {what} is not understood; known are linear and convolution layers, batch "
        f"normalization, pooling, elementwise activations, dropout, reshaping, sums and concatenation"
    )
