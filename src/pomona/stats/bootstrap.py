"""Bootstrap intervals on index draws of our own, the same for one seed whatever the library's version.

With few replicates a bootstrap interval is too short: at n = 5 nominal 95 % cover about 84 %. The default of
this room is the t interval (``intervals``).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

from pomona.core.errors import InputError
from pomona.stats.draws import Draws, chunks
from pomona.stats.given import level_of, sample, table, whole
from pomona.stats.intervals import summarise
from pomona.stats.result import Result

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

DRAWS = 9_999
BCA_FROM = 20


def mean(values: Floats) -> Floats:
    """The mean over the last axis."""
    return np.asarray(values.mean(axis=-1))


def bca(
    values: ArrayLike, statistic: Statistic = mean, *, level: float = 0.95, seed: int = 0, draws: int = DRAWS
) -> Result:
    """The bias-corrected and accelerated bootstrap interval from n = 20; below it the t interval, said so.

    Args:
        values: Independent replicates. Shape (n,).
        statistic: Takes (..., n), gives (...).
        level: Level of the interval.
        seed: Of the index draws.
        draws: Number of resamples.

    Source:
        Efron 1987, JASA 82. Own draws; oracle: ``scipy.stats.bootstrap(method="BCa")`` on the same resamples.
    """
    given, level = sample(values), level_of(level)
    if given.size < BCA_FROM and statistic is mean:
        note = f"n = {given.size} is below {BCA_FROM}, where BCa covers too seldom: this is the t interval"
        found = summarise(given, level)
        return Result("t interval", found.mean, found.low, found.high, level, None, found.n, notes=(note,))
    notes = (
        () if given.size >= BCA_FROM else (f"n = {given.size} is below {BCA_FROM}: BCa covers too seldom",)
    )
    seen, resampled = float(statistic(given)), np.sort(resamples(given, statistic, seed, draws))
    low, high = np.quantile(resampled, _bca_tails(given, statistic, seen, resampled, level))
    return Result("BCa bootstrap", seen, float(low), float(high), level, None, given.size, notes=notes)


def percentile(
    values: ArrayLike, statistic: Statistic = mean, *, level: float = 0.95, seed: int = 0, draws: int = DRAWS
) -> Result:
    """The percentile bootstrap interval: for comparison with others' reports, too short for few replicates.

    Source:
        Efron and Tibshirani 1993, chapter 13.
    """
    given, level = sample(values), level_of(level)
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(resamples(given, statistic, seed, draws), tails)
    notes = () if given.size >= BCA_FROM else (f"n = {given.size} is below {BCA_FROM}: it covers too seldom",)
    return Result(
        "percentile bootstrap",
        float(statistic(given)),
        float(low),
        float(high),
        level,
        None,
        given.size,
        notes=notes,
    )


def resamples(given: Floats, statistic: Statistic, seed: int, draws: int) -> Floats:
    """The statistic of ``draws`` resamples with replacement. Shape (draws,)."""
    source = Draws("bootstrap", seed)
    sizes = chunks(whole(draws, "draws", 100), given.size)
    return np.concatenate([statistic(given[source.indices(given.size, size, given.size)]) for size in sizes])


def _bca_tails(given: Floats, statistic: Statistic, seen: float, resampled: Floats, level: float) -> Floats:
    """The quantiles that BCa takes instead of (1 - level) / 2 and (1 + level) / 2."""
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    below = ((resampled < seen).mean() + (resampled <= seen).mean()) / 2
    left_out = np.array([statistic(np.delete(given, i)) for i in range(given.size)])
    away = left_out.mean() - left_out
    if not away.any() or not 0 < below < 1:
        return tails
    bias, skew = ndtri(below), (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    shifted = bias + ndtri(tails)
    return np.asarray(ndtr(bias + shifted / (1 - skew * shifted)))


def two_level(
    a: ArrayLike, b: ArrayLike | None = None, *, level: float = 0.95, seed: int = 0, draws: int = 1_999
) -> Result:
    """A mean over replicates and examples that both were drawn from a population.

    A difference on one test set has an error from its examples too. Rows and columns are resampled
    independently. The interval is the estimate -+ a t quantile times the spread of the resamples, to which is
    added what resampling few replicates loses; the degrees of freedom weigh those of replicates and of
    examples by the variance that each makes. It covers too often where chance of single answers is nearly
    all there is.

    Args:
        a: Values such as 0 or 1 for wrong and right. Shape (replicates, examples); examples are the same in
            every row.
        b: The other arm, paired in both, or None.
        level: Level of the interval.
        seed: Of the index draws.
        draws: Number of resamples.

    Raises:
        InputError: Fewer than two replicates or examples, unequal shapes, or a value that is not finite.

    Source:
        Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1(2); Satterthwaite 1946.
        To join them is our choice; its simulated coverage is in docs/statistics.md.
    """
    given = table(a, "a", "replicates", "examples")
    if b is not None:
        given = given - matching(given, b)
    rows, columns = given.shape
    whole(columns, "number of examples", 2)
    by_row, by_column = (float(given.mean(axis=k).var(ddof=1)) / given.shape[1 - k] for k in (1, 0))
    # A resample of n rows has (n - 1) / n of their variance.
    error = math.sqrt(_pigeonhole(given, seed, draws) ** 2 + by_row / rows)
    pooled = by_row**2 / (rows - 1) + by_column**2 / (columns - 1)
    df = (by_row + by_column) ** 2 / pooled if pooled > 0 else float(rows - 1)
    seen, half = float(given.mean()), float(stdtrit(df, (1 + level_of(level)) / 2)) * error
    name = "two-level bootstrap (replicates x examples)"
    return Result(name, seen, seen - half, seen + half, level, None, rows, df=df)


def matching(given: Floats, other: ArrayLike) -> Floats:
    """A table of the same shape."""
    found = table(other, "b", "replicates", "examples")
    if found.shape != given.shape:
        raise InputError(
            f"a has shape {given.shape} and b {found.shape}: both need (replicates, examples) alike"
        )
    return found


def _pigeonhole(given: Floats, seed: int, draws: int) -> float:
    """Standard deviation of the mean when rows and columns are resampled independently."""
    rows, columns = given.shape
    source, means = Draws("two-level bootstrap", seed), []
    for size in chunks(whole(draws, "draws", 100), rows + columns):
        row = _counts(source.indices(rows, size, rows), rows)
        column = _counts(source.indices(columns, size, columns), columns)
        means.append(((row @ given) * column).sum(axis=1) / (rows * columns))
    return float(np.concatenate(means).std(ddof=1))


def _counts(drawn: NDArray[np.int64], count: int) -> Floats:
    """How often each index occurs in each row of draws. Shape (rows, count)."""
    offset = np.arange(len(drawn))[:, None] * count
    return (
        np.bincount((drawn + offset).ravel(), minlength=len(drawn) * count).reshape(-1, count).astype(float)
    )
