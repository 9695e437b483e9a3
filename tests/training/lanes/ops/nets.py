"""Networks as the kernels take them: operations with every attribute, and drawn numbers for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from . import oracle

Op = tuple[str, dict[str, float]]
Shape = tuple[int, int, int]


def conv(out, kernel, *, stride=1, padding=0, dilation=1, bias=True, relu=False, pool=0) -> Op:
    """As torch has it, as all here; padding may also be (top, left, bottom, right)."""
    dh, dw = _pair(dilation)
    windows = _windows(kernel, stride, padding)
    return "conv", {"out": out, **windows, "dh": dh, "dw": dw, "bias": bias, "relu": relu, "pool": pool}


def linear(out, *, bias=True, relu=False) -> Op:
    return "linear", {"out": out, "bias": bias, "relu": relu}


def maxpool(kernel, stride=None, padding=0) -> Op:
    return "maxpool", _windows(kernel, kernel if stride is None else stride, padding)


def avgpool(kernel, stride=None, padding=0, *, include_pad=True, divisor=0) -> Op:
    windows = _windows(kernel, kernel if stride is None else stride, padding)
    return "avgpool", {**windows, "include_pad": include_pad, "divisor": divisor}


def adaptive_avgpool(height, width) -> Op:
    return "adaptive_avgpool", {"oh": height, "ow": width}


def relu() -> Op:
    return "relu", {}


def dropout(p) -> Op:
    return "dropout", {"p": p}


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _windows(kernel, stride, padding) -> dict[str, float]:
    (kh, kw), (sh, sw) = _pair(kernel), _pair(stride)
    sides = _pair(padding)
    pt, pl, pb, pr = sides if len(sides) == 4 else (*sides, *sides)
    return {"kh": kh, "kw": kw, "sh": sh, "sw": sw, "pt": pt, "pl": pl, "pb": pb, "pr": pr}


@dataclass(frozen=True)
class Net:
    """A network with its numbers, all keyed by operation.

    Args:
        shape: Of an image.
        ops: In order; each reads the value before it.
        weights: In torch's shape, float32; zero where pruned.
        biases: Float32; an operation without a bias is not there.
        masks: True is kept; an operation without a mask is dense.
        scale: By channel.
        shift: By channel.
    """

    shape: Shape
    ops: tuple[Op, ...]
    weights: dict[int, np.ndarray]
    biases: dict[int, np.ndarray]
    masks: dict[int, np.ndarray] = field(default_factory=dict)
    scale: np.ndarray = field(default_factory=lambda: np.ones(1, np.float32))
    shift: np.ndarray = field(default_factory=lambda: np.zeros(1, np.float32))

    def pruned(self, masks: dict[int, np.ndarray]) -> Net:
        """The same with other masks, and zeros where they prune."""
        weights = {op: w * masks[op].reshape(w.shape) if op in masks else w for op, w in self.weights.items()}
        return replace(self, weights=weights, masks=masks)


def draw(shape: Shape, ops: Sequence[Op], *, seed: int = 0, density: float = 1.0) -> Net:
    """Weights of a size that keeps activations near one, and where density is below one random masks."""
    generator = np.random.default_rng(seed)
    weights, biases, masks = {}, {}, {}
    x = torch.zeros(1, *shape, dtype=torch.float64)
    for i, (kind, attributes) in enumerate(ops):
        weight = None
        if kind in ("conv", "linear"):
            kernel = (attributes["kh"], attributes["kw"]) if kind == "conv" else ()
            columns = x.shape[1] if kind == "conv" else x[0].numel()
            size = (int(attributes["out"]), columns, *map(int, kernel))
            spread = np.sqrt(2 / (np.prod(size[1:]) * density))
            weights[i] = (generator.standard_normal(size) * spread).astype(np.float32)
            if attributes["bias"]:
                biases[i] = (generator.standard_normal(size[0]) * 0.3).astype(np.float32)
            if density < 1:
                masks[i] = generator.random(size) < density
            weight = torch.from_numpy(weights[i]).double()
        x = oracle.apply((kind, attributes), x, weight)
    scale = generator.uniform(1 / 90, 1 / 50, shape[0]).astype(np.float32)
    shift = generator.uniform(-2, -1, shape[0]).astype(np.float32)
    return Net(tuple(shape), tuple(ops), weights, biases, scale=scale, shift=shift).pruned(masks)


# Of a 3x3 convolution at stride 1: channels on each side and positions from which on it has Winograd's form.
WINOGRAD_CHANNELS, WINOGRAD_POSITIONS = 32, 64


def in_winograd_form(net: Net) -> list[int]:
    """Operations that have other bits dense than sparse."""
    found, channels = [], net.shape[0]
    for i, ((kind, a), (out, *positions)) in enumerate(
        zip(net.ops, oracle.shapes(net.shape, net.ops), strict=True)
    ):
        plain = kind == "conv" and (a["kh"], a["kw"], a["sh"], a["sw"], a["dh"], a["dw"]) == (
            3,
            3,
            1,
            1,
            1,
            1,
        )
        if plain and min(channels, out) >= WINOGRAD_CHANNELS:
            by = 2 if a["pool"] else 1
            if by * by * np.prod(positions) >= WINOGRAD_POSITIONS:
                found.append(i)
        channels = out
    return found


@dataclass(frozen=True)
class Examples:
    """Images as bytes, (n, channels, height, width), and their labels."""

    images: np.ndarray
    labels: np.ndarray


def examples(net: Net, count: int, *, seed: int = 1) -> Examples:
    """Noise, with labels of every output that a byte can name."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, *net.shape), dtype=np.uint8)
    outputs = min(int(oracle.shapes(net.shape, net.ops)[-1][0]), 256)
    return Examples(images, generator.integers(0, outputs, count).astype(np.uint8))
