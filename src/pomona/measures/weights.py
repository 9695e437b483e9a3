"""Weights to numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError

Weights = NDArray[np.floating]
Mask = NDArray[np.bool_]


def weight_stability(before: Weights, after: Weights, mask_before: Mask, mask_after: Mask) -> float | None:
    """Mean |after - before| over the weights alive at both levels, in units of the layer's spread.

    The unit is the sample SD (n - 1) of the weights of ``before`` that ``mask_before`` keeps, so that
    layers and networks compare. Smaller is more stable. It says nothing about weights that get no gradient
    (a dead network is perfectly stable): leave those out of a mask. Under finetuning it is small by
    construction, so treatments must not be compared by it.

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
    shapes = [np.shape(given) for given in (before, after, mask_before, mask_after)]
    if len(set(shapes)) > 1:
        raise InputError(f"expected weights and masks of one shape, got {', '.join(map(str, shapes))}")
    alive = mask_before & mask_after
    kept = before[mask_before].astype(np.float64)
    moved = after[alive].astype(np.float64) - before[alive].astype(np.float64)
    if not (np.isfinite(kept).all() and np.isfinite(moved).all()):
        raise InputError("weight stability: an alive weight is not finite")
    if not alive.any() or kept.size < 2:
        return None
    spread = float(np.std(kept, ddof=1)) if kept.min() != kept.max() else 0.0
    return float(np.mean(np.abs(moved)) / spread) if spread > 0 else None
