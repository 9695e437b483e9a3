"""Exact selection of the lowest scores among the units that are still kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pomona.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Selection:
    """What a selection removes.

    Args:
        pruned: True for the units that are removed. 1-D, bool.
        tied: True for those of them that only the tie rule parts from a kept unit of the same score.
    """

    pruned: Tensor
    tied: Tensor


def select_lowest(scores: Tensor, remaining: Tensor, count: int) -> Selection:
    """Select exactly ``count`` of the remaining units, those of the lowest scores.

    The order is that of a stable ascending sort: among equal scores the unit with the lowest index goes
    first. A unit that is not remaining is never selected.

    Args:
        scores: Larger means keep; signs are honoured. 1-D, one entry per unit, no NaN where remaining.
        remaining: True for the units that are still kept. 1-D, bool.
        count: How many to remove, from 0 to the number that remain.

    Raises:
        InputError: The count does not fit the units that remain.
    """
    alive = int(remaining.sum())
    if not 0 <= count <= alive:
        raise InputError(f"cannot prune {count} units where {alive} remain")
    pruned = remaining.new_zeros(remaining.shape)
    if count == 0:
        return Selection(pruned, pruned.clone())
    candidates = scores[remaining]
    # The score of rank `count` parts the pool without sorting it; only its equals need the tie rule.
    threshold = candidates.kthvalue(count).values
    below = candidates < threshold
    equal = candidates == threshold
    ahead = equal & (equal.cumsum(0) <= count - int(below.sum()))
    pruned[remaining] = below | ahead
    tied = remaining.new_zeros(remaining.shape)
    if int(ahead.sum()) < int(equal.sum()):
        tied[remaining] = ahead
    return Selection(pruned, tied)


def kept_units(mask: Tensor, axis: int | None) -> Tensor:
    """Which units a mask still keeps: a channel is kept while any of its weights is. 1-D, bool."""
    if axis is None:
        return mask.reshape(-1)
    return mask.movedim(axis, 0).reshape(mask.shape[axis], -1).any(dim=1)


def without_units(mask: Tensor, axis: int | None, pruned: Tensor) -> Tensor:
    """A new mask without the pruned units; what was pruned before stays so."""
    if axis is None:
        return mask & ~pruned.reshape(mask.shape)
    shape = [1] * mask.dim()
    shape[axis] = -1
    return mask & ~pruned.reshape(shape)
