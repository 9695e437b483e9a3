"""Folds what follows a convolution or a linear layer into it, so that the kernels pass over memory once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pomona.training.lanes.program import Op

_HALVING = {"kh": 2, "kw": 2, "sh": 2, "sw": 2, "pt": 0, "pl": 0, "pb": 0, "pr": 0}


def fuse(ops: Sequence[Op]) -> tuple[Op, ...]:
    """Fold ReLU and 2x2 max-pooling into what they follow, and number the values again.

    ReLU commutes with max-pooling, values and gradients: it goes back to the layer before the pool.

    Args:
        ops: In order, each takes the value of the one before it.
    """
    fused: list[Op] = []
    for op in ops:
        target = _folded_into(op, fused)
        if target is None:
            fused.append(op)
        elif op.kind == "maxpool":
            fused[target] = _with(fused[target], pool=2)
        elif fused[target].kind != "relu":
            fused[target] = _with(fused[target], relu=1)
    return tuple(replace(op, inputs=(i,)) for i, op in enumerate(fused))


def _folded_into(op: Op, before: Sequence[Op]) -> int | None:
    """Position of the op that does it too."""
    i = len(before) - 1
    if op.kind == "maxpool" and dict(op.attributes) == _HALVING:
        return i if i >= 0 and before[i].kind == "conv" and not before[i].attributes["pool"] else None
    if op.kind != "relu":
        return None
    while i >= 0 and before[i].kind == "maxpool":
        i -= 1
    return i if i >= 0 and before[i].kind in ("conv", "linear", "relu") else None


def _with(op: Op, **attributes: float) -> Op:
    return replace(op, attributes={**op.attributes, **attributes})
