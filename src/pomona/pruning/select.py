"""Exact selection of the lowest scores among the units that are still kept, in one pool of many layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pomona.core.errors import InputError
from pomona.pruning.counts import kept

_SAMPLE = 1 << 16
_CHUNK = 1 << 21


@dataclass(frozen=True, eq=False)
class Selection:
    """What a selection removes from one layer.

    Args:
        pruned: True for the units that are removed. 1-D, bool.
        tied: True for those of them that only the tie rule parts from a kept unit of the same score.
    """

    pruned: Tensor
    tied: Tensor


def select_lowest(
    scores: Sequence[Tensor],
    remaining: Sequence[Tensor],
    count: int,
    numbers: Sequence[Callable[[], Tensor]] | None = None,
) -> list[Selection]:
    """Select exactly ``count`` of the remaining units of a pool, those of the lowest scores.

    The order is that of a stable ascending sort of the layers one after the other: among equal scores the
    unit with the lowest index goes first, or the one with the lowest number where numbers are given. A unit
    that is not remaining is never selected. Beside its result this takes little memory, whatever the size.

    Args:
        scores: Larger means keep; signs are honoured, and -0 equals 0. 1-D for each layer, one entry per
            unit, no NaN where remaining.
        remaining: True for the units that are still kept. 1-D for each layer.
        count: How many to remove, from 0 to the number that remain.
        numbers: For each layer what gives one number per unit, which parts equal scores.

    Raises:
        InputError: The count does not fit the units that remain.
    """
    alive = sum(kept(layer) for layer in remaining)
    if not 0 <= count <= alive:
        raise InputError(f"cannot prune {count} units where {alive} remain")
    if count == 0:
        return [Selection(torch.zeros_like(layer), torch.zeros_like(layer)) for layer in remaining]
    common = _common(scores)
    threshold = _ranked(common, remaining, alive, count)
    below = [(layer < threshold) & left for layer, left in zip(common, remaining, strict=True)]
    equal = [(layer == threshold) & left for layer, left in zip(common, remaining, strict=True)]
    wanted = count - sum(kept(layer) for layer in below)
    if wanted == sum(kept(layer) for layer in equal):
        return [Selection(low | same, torch.zeros_like(low)) for low, same in zip(below, equal, strict=True)]
    ahead = _first(equal, wanted) if numbers is None else _drawn(equal, wanted, numbers)
    return [Selection(low | tied, tied) for low, tied in zip(below, ahead, strict=True)]


def select_groups(
    scores: Tensor, remaining: Tensor, groups: Tensor, keep: int, numbers: Tensor | None = None
) -> Selection:
    """Select the lowest scores of each group, so that at most ``keep`` units of it are left.

    Among equal scores of a group the unit with the lowest index goes first, or the lowest number.

    Args:
        scores: As in ``select_lowest``, of one layer.
        remaining: True for the units that are still kept.
        groups: Number of the group that each unit is in. 1-D, int64, from 0 on.
        keep: How many of a group are left at most.
        numbers: One for each unit, which parts equal scores.
    """
    ranked = scores.double().masked_fill(~remaining, -torch.inf)
    order = torch.arange(len(ranked)) if numbers is None else numbers.argsort(stable=True)
    order = order[ranked[order].argsort(stable=True)]
    # What is pruned already is the lowest of its group, even beside a score of -inf.
    order = order[remaining[order].to(torch.uint8).argsort(stable=True)]
    order = order[groups[order].argsort(stable=True)]
    sizes = torch.bincount(groups)
    ends = sizes.cumsum(0)
    from_top = torch.empty_like(order)
    from_top[order] = ends[groups[order]] - 1 - torch.arange(len(order))
    pruned = (from_top >= keep) & remaining
    last_kept = torch.full((len(sizes),), torch.nan, dtype=torch.float64)
    edge = (from_top == keep - 1) & remaining
    last_kept[groups[edge]] = ranked[edge]
    return Selection(pruned, pruned & (ranked == last_kept[groups]))


def _common(scores: Sequence[Tensor]) -> list[Tensor]:
    """All scores in one floating type that holds each of them."""
    exact = {torch.float32, torch.float16, torch.bfloat16}
    wide = torch.float32 if all(layer.dtype in exact for layer in scores) else torch.float64
    return [layer.to(wide) for layer in scores]


def _ranked(scores: Sequence[Tensor], remaining: Sequence[Tensor], alive: int, rank: int) -> Tensor:
    """The score of a rank, counted from 1.

    A sample says between which two scores it lies almost surely. Then only what lies there is sorted; if the
    sample was wrong, everything is.
    """
    sample = _sample(scores, remaining, alive) if alive > 2 * _SAMPLE else None
    if sample is not None and len(sample):
        low, high = _bracket(sample, alive, rank)
        counted = [_around(part, low, high) for part in _parts(scores, remaining)]
        below, at_low = (sum(counts[i] for counts, _ in counted) for i in (0, 1))
        between = torch.cat([found for _, found in counted])
        if below < rank <= below + at_low:
            return low
        if below + at_low < rank <= below + at_low + len(between):
            return between.kthvalue(rank - below - at_low).values
    return torch.cat(list(_parts(scores, remaining))).kthvalue(rank).values


def _sample(scores: Sequence[Tensor], remaining: Sequence[Tensor], alive: int) -> Tensor:
    """Some of the scores that remain, sorted; none where a pattern of the masks hides all from it."""
    # An odd stride: the powers of two that layers are wide must not be the sample's period.
    stride = max(1, alive // _SAMPLE) | 1
    sample = torch.cat(
        [layer[::stride][left[::stride]] for layer, left in zip(scores, remaining, strict=True)]
    )
    return sample.sort().values


def _bracket(sample: Tensor, alive: int, rank: int) -> tuple[Tensor, Tensor]:
    """Two scores of a sample that the score of the rank should lie between."""
    size = len(sample)
    middle, width = int(rank / alive * size), 4 * int(size**0.5) + 4
    return sample[max(0, min(size - 1, middle - width))], sample[max(0, min(size - 1, middle + width))]


def _parts(scores: Sequence[Tensor], remaining: Sequence[Tensor]) -> Iterator[Tensor]:
    """The scores that remain, some at a time, so that what is copied stays small beside them."""
    for layer, left in zip(scores, remaining, strict=True):
        for some, mask in zip(layer.split(_CHUNK), left.split(_CHUNK), strict=True):  # type: ignore[no-untyped-call]
            yield some if kept(mask) == len(mask) else some[mask]


def _around(scores: Tensor, low: Tensor, high: Tensor) -> tuple[tuple[int, int], Tensor]:
    """How many lie below ``low`` and on it, and those that lie above it up to ``high``."""
    return (kept(scores < low), kept(scores == low)), scores[(scores > low) & (scores <= high)]


def _first(equal: Sequence[Tensor], wanted: int) -> list[Tensor]:
    """The first of the equals, layer after layer."""
    found = []
    for layer in equal:
        ahead = torch.zeros_like(layer)
        for start in range(0, len(layer), _CHUNK):
            some = layer[start : start + _CHUNK]
            there = kept(some)
            # Only where the limit lies is each of them counted.
            ahead[start : start + _CHUNK] = some if there <= wanted else some & (some.cumsum(0) <= wanted)
            wanted -= min(there, wanted)
        found.append(ahead)
    return found


def _drawn(equal: Sequence[Tensor], wanted: int, numbers: Sequence[Callable[[], Tensor]]) -> list[Tensor]:
    """Those of the equals that have the lowest numbers."""
    drawn = [number()[layer] for layer, number in zip(equal, numbers, strict=True)]
    chosen = torch.zeros(sum(map(len, drawn)), dtype=torch.bool)
    chosen[torch.cat(drawn).argsort(stable=True)[:wanted]] = True
    found = []
    parts = torch.split(chosen, [len(some) for some in drawn])
    for layer, part in zip(equal, parts, strict=True):
        marks = torch.zeros_like(layer)
        marks[layer] = part
        found.append(marks)
    return found
