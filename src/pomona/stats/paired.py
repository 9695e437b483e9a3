"""Tests of one arm against another, pair by pair, or against a value. The pair is the replicate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, stdtrit
from scipy.stats import rankdata

from pomona.core.errors import InputError, unknown
from pomona.stats import exact
from pomona.stats.draws import Draws
from pomona.stats.given import Alternative, alternative_of, differences, level_of
from pomona.stats.reach import smallest_p
from pomona.stats.result import Result, defined

Floats = NDArray[np.float64]


def paired(
    test: str,
    a: ArrayLike,
    b: ArrayLike | float = 0.0,
    *,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    seed: int = 0,
    draws: int = exact.DRAWS,
) -> Result:
    """A paired test by name: ``paired-t``, ``sign-flip``, ``wilcoxon`` or ``sign``.

    Args:
        test: One of ``exact.PAIRED``.
        a: One value for each replicate. Shape (n,).
        b: The other arm in the same order, or one value that ``a`` is held against.
        alternative: ``greater`` where a > b is claimed.
        level: Level of the interval, which has the direction of the alternative.
        seed: For what is drawn: sign flips of more than 20 pairs.
        draws: Number of sign flips then.

    Raises:
        InputError: Unknown test, unequal lengths, one pair, or a number that is not finite.
    """
    if test == "paired-t":
        return paired_t(a, b, alternative=alternative, level=level)
    if test == "sign-flip":
        return sign_flip(a, b, alternative=alternative, level=level, seed=seed, draws=draws)
    if test == "wilcoxon":
        return wilcoxon(a, b, alternative=alternative, level=level)
    if test == "sign":
        return sign_test(a, b, alternative=alternative, level=level)
    raise InputError(unknown("paired test", test, exact.PAIRED))


def paired_t(
    a: ArrayLike, b: ArrayLike | float = 0.0, *, alternative: Alternative = "two-sided", level: float = 0.95
) -> Result:
    """Student's t test of the mean difference, with its t interval.

    Assumes differences that are about normal; with few replicates that is an assumption, not a finding.
    Equal differences have no spread: then there is an estimate and no p.

    Source:
        Student 1908; the numbers are those of ``scipy.stats.ttest_rel``.
    """
    side, given = alternative_of(alternative), differences(a, b)
    n, level = given.size, level_of(level)
    p = float(exact.p_values("paired-t", given[None], side)[0])
    if not exact.varies(given):
        note = "every pair has the same difference: its spread, and with it t, cannot be estimated"
        value = float(given[0])
        return Result("paired t", value, value, value, level, defined(p), n, None, n - 1, side, None, (note,))
    mean, error = float(given.mean()), float(given.std(ddof=1)) / math.sqrt(n)
    tail = (1 - level) / (2 if side == "two-sided" else 1)
    half = -float(stdtrit(n - 1, tail)) * error
    low, high = _sided(mean - half, mean + half, side)
    return Result("paired t", mean, low, high, level, p, n, mean / error, n - 1, side)


def sign_flip(
    a: ArrayLike,
    b: ArrayLike | float = 0.0,
    *,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    seed: int = 0,
    draws: int = exact.DRAWS,
) -> Result:
    """The permutation test of paired data: under the null the sign of each difference is a coin.

    Exact over all 2^n sign patterns up to 20 pairs, above that over ``draws`` random ones and the observed.
    The interval holds the shifts that the test does not reject; they end at means of subsets of the
    differences. Assumes differences that are symmetric about the shift.

    Source:
        Fisher 1935, The Design of Experiments, chapter 3; Hartigan 1969 (typical values), JASA 64, for the
        interval; Phipson and Smyth 2010 for the +1 rule. Own code; oracle: ``scipy.stats.permutation_test``.
    """
    side, given = alternative_of(alternative), differences(a, b)
    p = float(exact.p_values("sign-flip", given[None], side, seed, draws)[0])
    means, patterns = _subset_means(given, seed, draws)
    tail = (1 - level_of(level)) / (2 if side == "two-sided" else 1)
    low, high = _rejected_beyond(means, math.floor(tail * patterns + 1e-9), side)
    whole = given.size <= exact.ENUMERATED
    method = "sign flips, all" if whole else f"sign flips, {draws} drawn"
    moved = int(np.count_nonzero(exact.settle(given)))
    least = smallest_p("sign-flip", moved, side, draws=draws) if moved else 1.0
    notes = _zeros(given.size - moved, "stay as they are under every flip") + exact.bound(least, level)
    return Result(
        method,
        float(given.mean()),
        low,
        high,
        level,
        p,
        given.size,
        float(given.sum()),
        None,
        side,
        least,
        notes,
    )


def wilcoxon(
    a: ArrayLike, b: ArrayLike | float = 0.0, *, alternative: Alternative = "two-sided", level: float = 0.95
) -> Result:
    """Wilcoxon's signed-rank test, exact with ties too; the estimate is the Hodges-Lehmann pseudo-median.

    Pairs without a difference are left out; tied differences share their mid-rank, and p is exact for the
    ranks as they are. The interval takes all pairs and no tie.

    Source:
        Wilcoxon 1945; Hodges and Lehmann 1963; Hollander, Wolfe and Chicken 2014, section 3.3. Without zeros
        and ties p is that of ``scipy.stats.wilcoxon(method="exact")``.
    """
    side, given = alternative_of(alternative), differences(a, b)
    n, level = given.size, level_of(level)
    p = float(exact.p_values("wilcoxon", given[None], side)[0])
    rows, columns = np.triu_indices(n)
    walsh = (given[rows] + given[columns]) / 2
    tail = (1 - level) / (2 if side == "two-sided" else 1)
    rank = int(np.searchsorted(exact.rank_sums(tuple(range(1, n + 1))), tail + 1e-12, side="right"))
    low, high = _rejected_beyond(walsh, rank, side)
    settled = exact.settle(given)
    sizes = np.abs(settled[settled != 0])
    least = smallest_p("wilcoxon", sizes.size, side) if sizes.size else 1.0
    notes = _zeros(n - sizes.size, "are left out") + exact.bound(least, level)
    if np.unique(sizes).size < sizes.size:
        notes += ("some differences are tied: they share mid-ranks, and p is exact for those",)
    return Result(
        "Wilcoxon signed ranks",
        float(np.median(walsh)),
        low,
        high,
        level,
        p,
        n,
        _positive_ranks(settled),
        None,
        side,
        least,
        notes,
    )


def sign_test(
    a: ArrayLike, b: ArrayLike | float = 0.0, *, alternative: Alternative = "two-sided", level: float = 0.95
) -> Result:
    """The sign test: only which arm is ahead counts; the estimate is the median difference.

    Source:
        Arbuthnot 1710; Hollander, Wolfe and Chicken 2014, section 3.4. p is that of ``scipy.stats.binomtest``
        over the pairs that differ.
    """
    side, given = alternative_of(alternative), differences(a, b)
    n, level = given.size, level_of(level)
    settled = exact.settle(given)
    p = float(exact.p_values("sign", given[None], side)[0])
    tail = (1 - level) / (2 if side == "two-sided" else 1)
    below = bdtr(np.arange(n + 1), n, 0.5)
    low, high = _rejected_beyond(given, int(np.searchsorted(below, tail + 1e-12, side="right")), side)
    moved = int(np.count_nonzero(settled))
    least = smallest_p("sign", moved, side) if moved else 1.0
    notes = _zeros(n - moved, "are left out") + exact.bound(least, level)
    wins = float((settled > 0).sum())
    return Result(
        "sign test", float(np.median(given)), low, high, level, p, n, wins, None, side, least, notes
    )


def _positive_ranks(settled: Floats) -> float:
    kept = settled[settled != 0]
    return float(rankdata(np.abs(kept))[kept > 0].sum())


def _subset_means(given: Floats, seed: int, draws: int) -> tuple[Floats, int]:
    """Means of subsets of the differences, without the empty one, and how many patterns they stand for."""
    n = given.size
    if n <= exact.ENUMERATED:
        sums, sizes = exact.subset_sums(given), exact.subset_sums(np.ones(n))
        return sums[1:] / sizes[1:], 2**n
    chosen = (1 - Draws("sign flips", seed).signs(draws, n)) / 2
    sizes = chosen.sum(axis=1)
    means = chosen @ given / np.where(sizes > 0, sizes, 1)
    return np.where(sizes > 0, means, -np.inf), draws + 1


def _rejected_beyond(values: Floats, rank: int, side: Alternative) -> tuple[float, float]:
    """The ``rank``-th smallest and largest value; infinite where the test rejects no shift at all."""
    if rank == 0:
        return -math.inf, math.inf
    low = float(np.partition(values, rank - 1)[rank - 1])
    high = float(np.partition(values, values.size - rank)[values.size - rank])
    return _sided(low, high, side)


def _sided(low: float, high: float, side: Alternative) -> tuple[float, float]:
    return (-math.inf if side == "less" else low), (math.inf if side == "greater" else high)


def _zeros(count: int, what: str) -> tuple[str, ...]:
    return (f"{count} pair{'s' if count > 1 else ''} without a difference: they {what}",) if count else ()
