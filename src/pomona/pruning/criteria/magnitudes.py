"""Scores from the size of the weights alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def magnitude(weight: Tensor) -> Tensor:
    """Score a weight by its absolute value.

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.

    Returns:
        Scores >= 0; same shape and dtype.

    Source:
        Han et al. 2015, arXiv:1506.02626.
    """
    return weight.abs()


def norm(weight: Tensor, mask: Tensor, n: float) -> Tensor:
    """Score a single weight by its absolute value, which every norm of one number is.

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.
        mask: Not used: a single weight has no neighbours.
        n: Not used, for the same reason.
    """
    return weight.abs()


def norm_unit(weight: Tensor, mask: Tensor, n: float) -> Tensor:
    """Score a unit by the n-norm of its kept weights.

    Args:
        weight: Values at scoring time. Shape [units, members], float64.
        mask: True where a weight is kept. Same shape, bool. Pruned weights are no minimum either.
        n: A positive number, or ``inf`` (largest absolute value), or ``-inf`` (smallest).

    Returns:
        Scores >= 0, one per unit, float64; a unit without a kept weight has 0.

    Source:
        Li et al. 2017, arXiv:1608.08710 (n = 1). Sums run in one fixed order, so that for n in
        {1, 2, inf, -inf} the score has the same bits on every machine; other n rest on its ``pow``.
    """
    sizes = weight.abs()
    if n == -math.inf:
        low = sizes.masked_fill(~mask, math.inf).amin(dim=1)
        return low.masked_fill(~mask.any(dim=1), 0.0)
    sizes = sizes.masked_fill(~mask, 0.0)
    if n == math.inf:
        return sizes.amax(dim=1)
    if n == 1:
        return _totals(sizes)
    if n == 2:
        return _totals(sizes * sizes).sqrt()
    # Scaled by the largest entry: a high power of small weights must not vanish into ties.
    largest = sizes.amax(dim=1, keepdim=True).clamp_min(2.0**-1000)
    return _totals((sizes / largest) ** n) ** (1 / n) * largest[:, 0]


def lamp(weight: Tensor, mask: Tensor) -> Tensor:
    """Score a weight by its square over the squares of all kept weights of its layer that outlive it.

    Args:
        weight: Values at scoring time. Shape ``*s``; unitless.
        mask: True where a weight is kept. Shape ``*s``, bool. Pruned weights count for nothing.

    Returns:
        Scores in [0, 1], float64, shape ``*s``. The largest weight of every layer has 1, a pruned one 0.

    Source:
        Lee et al. 2021, arXiv:2010.07611. Equal weights are ranked by their index, the lowest first.
    """
    squares = weight.double().square().reshape(-1)
    return _share_of_survivors(squares, mask.reshape(-1)).reshape(weight.shape)


def lamp_unit(weight: Tensor, mask: Tensor) -> Tensor:
    """As ``lamp``, of units: the squared norm of a unit's kept weights in the place of a squared weight.

    Args:
        weight: Shape [units, members], float64.
        mask: True where a weight is kept. Same shape, bool.
    """
    squares = _totals(weight.square().masked_fill(~mask, 0.0))
    return _share_of_survivors(squares, mask.any(dim=1))


def _share_of_survivors(squares: Tensor, alive: Tensor) -> Tensor:
    kept = squares[alive]
    order = kept.argsort(stable=True)
    ranked = kept[order]
    survivors = ranked.flip(0).cumsum(0).flip(0)
    shares = kept.new_empty(kept.shape)
    # A layer of zeros has no shares: 0 / 0.
    shares[order] = (ranked / survivors).masked_fill(survivors == 0, 0.0)
    found = squares.new_zeros(squares.shape)
    found[alive] = shares
    return found


def _totals(rows: Tensor) -> Tensor:
    # A plain sum is split by SIMD width; a running sum has one order everywhere.
    return rows.cumsum(dim=1)[:, -1]
