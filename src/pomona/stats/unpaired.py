"""Tests of two arms whose replicates are not paired. Pairing by seed is better where it can be had."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, islice

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pomona.core.errors import InputError, unknown
from pomona.stats import exact, reach
from pomona.stats.draws import Draws, Indices
from pomona.stats.given import Alternative, alternative_of, level_of, sample
from pomona.stats.result import Result

Floats = NDArray[np.float64]

# About 32 MB of sums at a time, however many splits and studies there are.
_SUMS = 1 << 22


def unpaired(
    test: str,
    a: ArrayLike,
    b: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    seed: int = 0,
    draws: int = exact.DRAWS,
) -> Result:
    """An unpaired test by name: ``welch`` or ``permutation``."""
    if test == "welch":
        return welch(a, b, alternative=alternative, level=level)
    if test == "permutation":
        return permutation(a, b, alternative=alternative, level=level, seed=seed, draws=draws)
    raise InputError(unknown("unpaired test", test, reach.UNPAIRED))


def welch(
    a: ArrayLike, b: ArrayLike, *, alternative: Alternative = "two-sided", level: float = 0.95
) -> Result:
    """Welch's t test of the difference of two means, unequal variances allowed.

    Raises:
        InputError: Fewer than two values in an arm, or one that is not finite.

    Source:
        Welch 1947; ``scipy.stats.ttest_ind(equal_var=False)``.
    """
    side, left, right = alternative_of(alternative), sample(a, "a"), sample(b, "b")
    level, n = level_of(level), left.size + right.size
    mean = float(left.mean() - right.mean())
    if np.ptp(left) == 0 and np.ptp(right) == 0:
        note = "the values of each arm are all equal: their spread, and with it t, cannot be estimated"
        p = 1.0 if left[0] == right[0] else None
        return Result("Welch t", mean, mean, mean, level, p, n, alternative=side, notes=(note,))
    found = stats.ttest_ind(left, right, equal_var=False, alternative=side)
    ends = found.confidence_interval(level)
    return Result(
        "Welch t",
        mean,
        float(ends.low),
        float(ends.high),
        level,
        float(found.pvalue),
        n,
        float(found.statistic),
        float(found.df),
        side,
    )


def permutation(
    a: ArrayLike,
    b: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    seed: int = 0,
    draws: int = exact.DRAWS,
) -> Result:
    """The permutation test of the difference of means: under the null the labels are exchangeable.

    Exact over all splits up to 2^20 of them, above that over ``draws`` random ones and the observed. The
    interval is Welch's: labels say nothing of an interval unless both arms have one shape.

    Source:
        Pitman 1937. Own code; oracle: ``scipy.stats.permutation_test(permutation_type="independent")``.
    """
    side, left, right = alternative_of(alternative), sample(a, "a", 1), sample(b, "b", 1)
    p = float(permutation_p(left[None], right[None], side, seed, draws)[0])
    least = reach.smallest_p("permutation", left.size, side, other=right.size, draws=draws)
    drawn = _drawn(left.size, right.size)
    method = f"permutation, {draws} drawn" if drawn else "permutation, all splits"
    mean, n = float(left.mean() - right.mean()), left.size + right.size
    result = Result(
        method, mean, None, None, level_of(level), p, n, mean, None, side, least, exact.bound(least, level)
    )
    if min(left.size, right.size) < 2:
        return result.noted("one replicate in an arm: no interval")
    ends = welch(left, right, alternative=side, level=level)
    return Result(
        method,
        mean,
        ends.low,
        ends.high,
        level,
        p,
        n,
        mean,
        None,
        side,
        least,
        (*result.notes, "the interval is Welch's"),
    )


def permutation_p(
    a: Floats, b: Floats, alternative: Alternative = "two-sided", seed: int = 0, draws: int = exact.DRAWS
) -> Floats:
    """The p of the permutation test for each of many studies.

    Args:
        a: Shape (studies, replicates).
        b: Shape (studies, replicates of the other arm).
        alternative: Direction.
        seed: Of drawn splits.
        draws: Number of those.

    Returns:
        Shape (studies,).
    """
    pooled = np.concatenate([a, b], axis=1)
    # As in paired tests: whole numbers, whose sums are equal but for the roundings of their parts.
    values, tied = exact.settle(pooled - pooled.mean(axis=1, keepdims=True)), a.shape[1]
    seen = values[:, : a.shape[1]].sum(axis=1)
    sizes = a.shape[1], b.shape[1]
    listed = not _drawn(*sizes)
    # The observed split is one of those listed; where splits are drawn it is added to them.
    total = 0 if listed else 1
    up, down = np.full(len(a), float(total)), np.full(len(a), float(total))
    size = max(1, _SUMS // max(len(a), sum(sizes)))
    for members in _all(*sizes, size) if listed else _random(*sizes, size, seed, draws):
        sums = members @ values.T
        up, down = up + (sums >= seen - tied).sum(axis=0), down + (sums <= seen + tied).sum(axis=0)
        total += len(members)
    return exact.toward(up / total, down / total, alternative)


def _drawn(size: int, other: int) -> bool:
    return bool(math.comb(size + other, size) > 2**exact.ENUMERATED)


def _all(one: int, other: int, size: int) -> Iterator[Floats]:
    """Every split, ``size`` at a time: 1 for a member of the first arm. Shape (splits, replicates)."""
    splits = combinations(range(one + other), one)
    while block := list(islice(splits, size)):
        yield _indicator(np.array(block), one + other)


def _random(one: int, other: int, size: int, seed: int, draws: int) -> Iterator[Floats]:
    source = Draws("splits", seed)
    for start in range(0, draws, size):
        orders = source.orders(one + other, min(size, draws - start))
        yield _indicator(orders[:, :one], one + other)


def _indicator(members: Indices, count: int) -> Floats:
    found = np.zeros((len(members), count))
    np.put_along_axis(found, members, 1.0, axis=1)
    return found
