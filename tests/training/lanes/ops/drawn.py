"""Strategies for networks: random stacks of operations, and masks with and without structure."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from . import oracle
from .nets import Net, adaptive_avgpool, avgpool, conv, draw, dropout, linear, maxpool, relu

SIZES = (1, 2, 5, 31, 32, 33, 60, 100)
MASKS = ("none", "half", "tenth", "fiftieth", "rows", "columns", "one", "all")


@st.composite
def _windows(draw_from, size: int, *, pool: bool) -> tuple[int, int, tuple[int, int]]:
    """Kernel, stride and padding before and after, in one direction; at least one window fits."""
    kernel = draw_from(st.integers(1, min(size + 2, 4)))
    most = kernel // 2 if pool else 3
    padding = (draw_from(st.integers(0, most)), draw_from(st.integers(0, most)))
    if size + sum(padding) < kernel:
        kernel = size
        padding = (0, 0)
    return kernel, draw_from(st.integers(1, 3)), padding


@st.composite
def _geometry(draw_from, height: int, width: int, *, pool: bool):
    (kh, sh, (top, bottom)) = draw_from(_windows(height, pool=pool))
    (kw, sw, (left, right)) = draw_from(_windows(width, pool=pool))
    return (kh, kw), (sh, sw), (top, left, bottom, right)


def _outputs(size: int, padding: int, kernel: int, stride: int, dilation: int = 1) -> int:
    return (size + padding - dilation * (kernel - 1) - 1) // stride + 1


@st.composite
def _conv(draw_from, height: int, width: int):
    kernel, stride, (top, left, bottom, right) = draw_from(_geometry(height, width, pool=False))
    reach = (height + top + bottom, width + left + right)
    dilation = tuple(
        draw_from(st.integers(1, min(3, (r - 1) // (k - 1)) if k > 1 else 2))
        for k, r in zip(kernel, reach, strict=True)
    )
    rows = _outputs(height, top + bottom, kernel[0], stride[0], dilation[0])
    columns = _outputs(width, left + right, kernel[1], stride[1], dilation[1])
    return conv(
        draw_from(st.integers(1, 9)),
        kernel,
        stride=stride,
        padding=(top, left, bottom, right),
        dilation=dilation,
        bias=draw_from(st.booleans()),
        relu=draw_from(st.booleans()),
        pool=2 if min(rows, columns) > 1 and draw_from(st.booleans()) else 0,
    )


@st.composite
def _wide_conv(draw_from, height: int, width: int):
    """One that the dense kernels compute in Winograd's form, behind 32 channels."""
    padding = [draw_from(st.integers(0, 2)) for _ in range(4)]
    rows, columns = (height + padding[0] + padding[2] - 2, width + padding[1] + padding[3] - 2)
    if rows // 2 * (columns // 2) * 4 < 64:
        padding, rows, columns = [1] * 4, height, width
    return conv(
        draw_from(st.integers(32, 40)),
        3,
        padding=tuple(padding),
        bias=draw_from(st.booleans()),
        relu=draw_from(st.booleans()),
        pool=draw_from(st.sampled_from((0, 0, 2))),
    )


@st.composite
def _spatial(draw_from, height: int, width: int):
    kind = draw_from(st.sampled_from(("conv", "conv", "maxpool", "avgpool", "adaptive", "relu", "dropout")))
    if kind == "conv":
        return draw_from(_conv(height, width))
    if kind == "relu":
        return relu()
    if kind == "dropout":
        return dropout(draw_from(st.sampled_from((0.1, 0.5, 0.8))))
    if kind == "adaptive":
        return adaptive_avgpool(draw_from(st.integers(1, 5)), draw_from(st.integers(1, 5)))
    geometry = draw_from(_geometry(height, width, pool=True))
    if kind == "maxpool":
        return maxpool(*geometry)
    padded = draw_from(st.booleans())
    return avgpool(*geometry, include_pad=padded, divisor=draw_from(st.sampled_from((0, 0, 3))))


@st.composite
def stacks(draw_from):
    """The shape of an image and operations that end in logits."""
    shape = tuple(draw_from(st.integers(1, most)) for most in (3, 9, 9))
    ops = []
    if draw_from(st.sampled_from((False, False, False, True))):
        shape = (shape[0], 8 + shape[1] % 4, 8 + shape[2] % 4)
        ops = [conv(draw_from(st.integers(32, 40)), 1, relu=draw_from(st.booleans()))]
        ops.append(draw_from(_wide_conv(*shape[1:])))
    for _ in range(draw_from(st.integers(0, 4))):
        *_, height, width = oracle.shapes(shape, ops)[-1] if ops else shape
        ops.append(draw_from(_spatial(height, width)))
    for _ in range(draw_from(st.integers(0, 2))):
        ops.append(linear(draw_from(st.integers(1, 40)), bias=draw_from(st.booleans()), relu=True))
        if draw_from(st.booleans()):
            ops.append(dropout(0.4))
    ops.append(linear(draw_from(st.integers(2, 12)), bias=draw_from(st.booleans())))
    return shape, ops


def mask(kind: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """A mask of a weight, True is kept.

    Args:
        kind: ``half``, ``tenth`` and ``fiftieth`` are kept at random; ``rows`` prunes outputs, ``columns``
            inputs, of a linear layer in runs as a channel has them; ``one`` and ``all`` prune that much.
    """
    kept = np.ones(shape, bool)
    if kind in ("half", "tenth", "fiftieth"):
        return generator.random(shape) < {"half": 0.5, "tenth": 0.1, "fiftieth": 0.02}[kind]
    if kind == "rows":
        kept[generator.random(shape[0]) < 0.5] = False
    elif kind == "columns":
        run = 1 if len(shape) > 2 else int(generator.integers(1, 10))
        pruned = np.repeat(generator.random(-(-shape[1] // run)) < 0.5, run)[: shape[1]]
        kept[:, pruned] = False
    elif kind == "one":
        kept.reshape(-1)[generator.integers(kept.size)] = False
    elif kind == "all":
        kept[:] = False
    return kept


@st.composite
def networks(draw_from) -> Net:
    """A stack with numbers and masks."""
    shape, ops = draw_from(stacks())
    seed = draw_from(st.integers(0, 2**32 - 1))
    net, generator = draw(shape, ops, seed=seed), np.random.default_rng(seed)
    masks = {}
    for op, weight in net.weights.items():
        kind = draw_from(st.sampled_from(MASKS))
        if kind != "none":
            masks[op] = mask(kind, weight.shape, generator)
    return net.pruned(masks)
