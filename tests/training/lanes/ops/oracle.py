"""What the kernels are to compute: torch in float64, on the same float32 weights and inputs.

A ReLU or a maximum whose argument lies within rounding of its kink may go either way in float32. ``Kinks``
measures how near an example comes; tests take examples that stay away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from . import philox

# Relative to the largest argument of the op. Float32 sums of some hundred terms are off by some 1e-6.
NEAR = 1e-5


class Kinks:
    """By example: the smallest relative distance of an argument from its kink."""

    def __init__(self, count: int) -> None:
        self.distance = torch.full((count,), torch.inf, dtype=torch.float64)

    def relu(self, z: Tensor) -> None:
        # Exactly zero comes of zeros alone: it is exact in float32 as well.
        self._see(torch.where(z == 0, torch.inf, z.abs()), z)

    def maximum(self, windows: Tensor, x: Tensor, *, gated: bool) -> None:
        """Windows are (..., window, position); of the gated ones a negative maximum has no gradient."""
        if windows.shape[-2] == 1:
            return
        first, second = windows.topk(2, dim=-2).values.unbind(-2)
        # Exactly equal are copies of one input, or zeros: the first is taken, here as there.
        safe = (first == second) | ((first <= 0) & gated)
        self._see(torch.where(safe, torch.inf, first - second), x)

    def _see(self, distance: Tensor, of: Tensor) -> None:
        distance = distance.detach().reshape(len(self.distance), -1).amin(1)
        self.distance = torch.minimum(self.distance, distance / of.detach().abs().amax().clamp_min(1e-30))


def apply(op, x: Tensor, weight=None, bias=None, kept=None, kinks: Kinks | None = None) -> Tensor:
    """One operation. ``kept`` is the mask of a dropout, (n, units), or None where it is off."""
    kind, a = op[0], _integers(op[1])
    kinks = kinks or Kinks(len(x))
    if kind in ("conv", "linear"):
        return activate(op, affine(op, x, weight, bias), kinks)
    if kind == "relu":
        return _relu(x, kinks)
    if kind == "dropout":
        return x if kept is None else x * torch.from_numpy(kept).reshape(x.shape) / (1 - a["p"])
    if kind == "adaptive_avgpool":
        return F.adaptive_avg_pool2d(x, (a["oh"], a["ow"]))
    kernel, stride = (a["kh"], a["kw"]), (a["sh"], a["sw"])
    if kind == "maxpool":
        return _maxpool(_padded(x, a, -torch.inf), kernel, stride, kinks, gated=False)
    # torch pads both sides alike; a window's share of the image is the average of ones.
    divisor = a["divisor"] or kernel[0] * kernel[1]
    total = F.avg_pool2d(_padded(x, a, 0.0), kernel, stride, divisor_override=1)
    if a["include_pad"] or a["divisor"]:
        return total / divisor
    return total / F.avg_pool2d(_padded(torch.ones_like(x), a, 0.0), kernel, stride, divisor_override=1)


def affine(op, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A layer before what is fused into it."""
    kind, a = op[0], _integers(op[1])
    if kind == "linear":
        return F.linear(x.flatten(1), weight, bias)[..., None, None]
    return F.conv2d(_padded(x, a, 0.0), weight, bias, (a["sh"], a["sw"]), dilation=(a["dh"], a["dw"]))


def activate(op, x: Tensor, kinks: Kinks) -> Tensor:
    """What is fused into a layer."""
    if op[1].get("pool"):
        x = _maxpool(x, (2, 2), (2, 2), kinks, gated=bool(op[1]["relu"]))
    return _relu(x, kinks) if op[1]["relu"] else x


def terms(op, x: Tensor, gradient: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """What gradients of a layer's weights and bias are sums of, without signs.

    Args:
        x: What the layer read.
        gradient: Of what it made, before what is fused into it.
        weight: Of the shape of the sums.
    """
    x, gradient = x.detach().abs(), gradient.detach().abs()
    if op[0] == "linear":
        gradient = gradient.flatten(1)
        return gradient.T @ x.flatten(1), gradient.sum(0)
    a = _integers(op[1])
    strides, dilation = (a["sh"], a["sw"]), (a["dh"], a["dw"])
    padded = _padded(x, a, 0.0)
    found = conv2d_weight(padded, weight.shape, gradient, stride=strides, dilation=dilation)
    return found, gradient.sum((0, 2, 3))


def _integers(attributes):
    return {k: v if k in ("p", "divisor") else int(v) for k, v in attributes.items()}


def _padded(x: Tensor, a, value: float) -> Tensor:
    return F.pad(x, (a["pl"], a["pr"], a["pt"], a["pb"]), value=value)


def _relu(x: Tensor, kinks: Kinks) -> Tensor:
    kinks.relu(x)
    return F.relu(x)


def _maxpool(x: Tensor, kernel, stride, kinks: Kinks, *, gated: bool) -> Tensor:
    windows = x.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1]).flatten(-2)
    kinks.maximum(windows.movedim(-1, -2), torch.where(x.isinf(), 0.0, x), gated=gated)
    return F.max_pool2d(x, kernel, stride)


def shapes(shape, ops: Sequence) -> list[tuple[int, ...]]:
    """Of each operation's value."""
    found = []
    x = torch.zeros(1, *shape)
    for kind, a in ops:
        weight = None
        if kind == "conv":
            weight = torch.zeros(int(a["out"]), x.shape[1], int(a["kh"]), int(a["kw"]))
        elif kind == "linear":
            weight = torch.zeros(int(a["out"]), x[0].numel())
        x = apply((kind, a), x, weight)
        found.append(tuple(x.shape[1:]))
    return found


class Oracle:
    """A network in float64."""

    def __init__(self, net) -> None:
        self.net = net
        self.weights = {op: _parameter(w) for op, w in net.weights.items()}
        self.biases = {op: _parameter(b) for op, b in net.biases.items()}
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def parameters(self) -> list[Tensor]:
        return [*self.weights.values(), *self.biases.values()]

    def forward(self, images: np.ndarray, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Logits, and by example the distance from the nearest kink. Dropout is on where there is a seed."""
        net = self.net
        inputs = images.astype(np.float32) * net.scale[:, None, None] + net.shift[:, None, None]
        x = torch.from_numpy(inputs).double()
        kinks = Kinks(len(x))
        for i, (kind, a) in enumerate(net.ops):
            if i in self.weights:
                z = affine((kind, a), x, self.weights[i], self.biases.get(i))
                self._layers[i] = x, z
                x = activate((kind, a), z, kinks)
                continue
            kept = None
            if kind == "dropout" and seed is not None:
                kept = philox.kept(seed, i, x[0].numel(), len(x), a["p"])
            x = apply((kind, a), x, kept=kept, kinks=kinks)
        return x.flatten(1), kinks.distance

    def logits(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        """Without dropout; and the largest sum of terms without signs that is in one of them."""
        with torch.no_grad():
            logits, _ = self.forward(images)
            last = len(self.net.ops) - 1
            largest = logits.abs()
            if last in self.weights:
                bias = self.biases.get(last)
                x, weight = self._layers[last][0].abs(), self.weights[last].abs()
                largest = affine(self.net.ops[last], x, weight, None if bias is None else bias.abs())
        return logits.numpy(), float(largest.max())

    def backward(self, images: np.ndarray, labels: np.ndarray, seed: int | None = None) -> dict[str, float]:
        """Gradients of the mean cross-entropy, zero where pruned, into the parameters.

        Returns:
            By ``weight`` or ``bias`` and operation: the largest sum of terms, without signs.
        """
        logits, _ = self.forward(images, seed)
        for parameter in self.parameters():
            parameter.grad = torch.zeros_like(parameter)
        for _, z in self._layers.values():
            z.retain_grad()
        truth = torch.from_numpy(labels.astype(np.int64))
        F.cross_entropy(logits, truth).backward()
        log_p = F.log_softmax(logits.detach(), 1)[torch.arange(len(truth)), truth]
        # The loss's own gradient for the true logit is a difference: p - 1.
        cancels = (1 + log_p.exp()) / -torch.expm1(log_p).clamp_max(-1e-300)
        largest = {}
        for op, (x, z) in self._layers.items():
            if op in self.net.masks:
                self.weights[op].grad *= torch.from_numpy(self.net.masks[op])
            gradient = z.grad * cancels[:, None, None, None]
            sums = terms(self.net.ops[op], x, gradient, self.weights[op])
            largest |= {
                f"{kind} {op}": float(s.max()) for kind, s in zip(("weight", "bias"), sums, strict=True)
            }
        return largest

    def safe_batch(self, images: np.ndarray, candidates: Sequence[int], size: int, seed: int | None = None):
        """The first candidates that stay away from every kink; None if there are too few of them."""
        batch, left = list(candidates[:size]), list(candidates[size:])
        while True:
            with torch.no_grad():
                near = self.forward(images[batch], seed)[1] < NEAR
            if not near.any():
                return np.array(batch, np.int64)
            if len(left) < near.sum():
                return None
            for k in near.nonzero():
                batch[k] = left.pop(0)


def _parameter(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).double().requires_grad_()
