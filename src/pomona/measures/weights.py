"""Weights to numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError

Weights = NDArray[np.floating]
Mask = NDArray[np.bool_]


def weight_stability(before: Weights, after: Weights, mask_before: Mask, mask_after: Mask) -> float | None:
    """Mean |after - before| over the weights alive at both levels, in units of the layer's spread.

    The unit is the sample SD (n - 1) of the weights of ``before`` that ``mask_before`` keeps, so that
    layers and networks compare. Smaller is more stable. It says nothing about weights that get no gradient
    (a dead network is perfectly stable): leave those out of a mask, ``moved`` finds them. Under finetuning it
    is small by construction, so treatments must not be compared by it.

    Args:
        before: Weights of a layer after training at one level.
        after: Weights of the same layer after training at the next level. The same shape.
        mask_before: True where kept at the first of the levels. The same shape.
        mask_after: True where kept at the second.

    Returns:
        A number >= 0 without unit; None where no weight is alive at both levels or the spread is 0 or
        unknown (fewer than two weights alive before).

    Raises:
        InputError: The shapes differ, or an alive weight is not finite.

    Source:
        Paganini and Forde 2020, arXiv:2001.05050, Figs. 6-8, there over all weights and unscaled.
    """
    _check_shapes(before, after, mask_before, mask_after)
    alive = mask_before & mask_after
    kept = before[mask_before].astype(np.float64)
    moved = after[alive].astype(np.float64) - before[alive].astype(np.float64)
    if not (np.isfinite(kept).all() and np.isfinite(moved).all()):
        raise InputError("weight stability: an alive weight is not finite")
    if not alive.any() or kept.size < 2:
        return None
    spread = float(np.std(kept, ddof=1)) if kept.min() != kept.max() else 0.0
    return float(np.mean(np.abs(moved)) / spread) if spread > 0 else None


def rank_correlation(before: Weights, after: Weights, mask_before: Mask, mask_after: Mask) -> float | None:
    """Spearman's correlation of |before| and |after| over the weights alive at both.

    Where it is 1, pruning by magnitude would take them in the same order. Equal magnitudes share the mean of
    their ranks. Weights that get no gradient keep their ranks as they keep their values, so that a dead
    network has a perfect order; and what was pruned by magnitude at the first of the levels is missing here,
    which leaves a narrower range of magnitudes and a lower correlation than that of all weights.

    Args:
        before: Weights of a layer at one level, or at one moment of a training.
        after: Weights of the same layer later. The same shape.
        mask_before: True where kept at the first. The same shape.
        mask_after: True where kept at the second.

    Returns:
        A number in [-1, 1]; None where fewer than two weights are alive at both, or all of them have one
        magnitude.

    Raises:
        InputError: The shapes differ, or an alive weight is not finite.

    Source:
        Spearman 1904; for the ordinality of weights of which Paganini and Forde 2020, arXiv:2001.05050, speak
        in section 5 and appendix C.
    """
    _check_shapes(before, after, mask_before, mask_after)
    alive = mask_before & mask_after
    magnitudes = [np.abs(weights[alive]) for weights in (before, after)]
    if not all(np.isfinite(values).all() for values in magnitudes):
        raise InputError("rank correlation: an alive weight is not finite")
    if any(values.size < 2 or values.min() == values.max() for values in magnitudes):
        return None
    first, second = (_midranks(values) - (values.size - 1) / 2 for values in magnitudes)
    # Not as dot products, whose last bits depend on the machine.
    squares = float(np.sum(first * first)) * float(np.sum(second * second))
    return min(max(float(np.sum(first * second)) / math.sqrt(squares), -1.0), 1.0)


def _midranks(values: Weights) -> NDArray[np.float64]:
    """Ranks from 0, equal values at the mean of their places."""
    order = np.argsort(values)
    ordered = values[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = np.diff(begins, append=values.size)
    ranks = np.empty(values.size, dtype=np.float64)
    ranks[order] = np.repeat(begins + (counts - 1) / 2, counts)
    return ranks


def magnitude_sd(parts: Sequence[Weights]) -> tuple[float | None, float | None]:
    """Mean |w| and sample SD (n - 1) of the weights of one layer, or of several together.

    Args:
        parts: The weights that count, in any number of arrays.

    Returns:
        Both in units of a weight. The first is None without weights, the second with fewer than two.

    Raises:
        InputError: A weight is not finite.
    """
    values = [np.asarray(part, dtype=np.float64) for part in parts]
    count = sum(part.size for part in values)
    if not all(np.isfinite(part).all() for part in values):
        raise InputError("weight magnitude: a weight is not finite")
    if count == 0:
        return None, None
    magnitude = math.fsum(float(np.abs(part).sum()) for part in values) / count
    mean = math.fsum(float(part.sum()) for part in values) / count
    squares = math.fsum(float(np.square(part - mean).sum()) for part in values)
    return magnitude, math.sqrt(squares / (count - 1)) if count > 1 else None


def moved(before: Weights, after: Weights) -> Mask:
    """True where a weight has other bits than before.

    A weight that gets no gradient keeps every bit in SGD and in Adam, unless weight decay shrinks it. One
    that gets a gradient may end on the same bits, but hardly ever does.

    Args:
        before: Weights of a layer.
        after: Weights of the same layer later. The same shape and type.

    Raises:
        InputError: The shapes or types differ.
    """
    _check_shapes(before, after)
    if before.dtype != after.dtype:
        raise InputError(f"expected weights of one type, got {before.dtype} and {after.dtype}")
    bits = f"u{before.dtype.itemsize}"
    found: Mask = before.view(bits) != after.view(bits)
    return found


def _check_shapes(*arrays: NDArray[np.generic]) -> None:
    shapes = [np.shape(given) for given in arrays]
    if len(set(shapes)) > 1:
        raise InputError(f"expected weights and masks of one shape, got {', '.join(map(str, shapes))}")
