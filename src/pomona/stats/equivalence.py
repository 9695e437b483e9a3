"""Equivalence within a margin that was set beforehand: two one-sided t tests (TOST).

A test that does not reject says nothing of equality; this one does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from statsmodels.stats.weightstats import DescrStatsW

from pomona.core.errors import InputError
from pomona.stats.bootstrap import matching
from pomona.stats.exact import varies
from pomona.stats.given import bounded, differences, table
from pomona.stats.intervals import summarise
from pomona.stats.result import Result


def tost(
    a: ArrayLike, b: ArrayLike | float = 0.0, *, margin: float | tuple[float, float], alpha: float = 0.05
) -> Result:
    """Paired equivalence: is the mean of a - b inside the margin? With one value ``b``, of one sample.

    The interval has level 1 - 2 alpha: it lies inside the margin exactly if p < alpha.

    Args:
        a: One value for each replicate.
        b: The other arm in the same order, or a value.
        margin: m for (-m, m), or (low, high), in the unit of the data.
        alpha: Of the two tests.

    Raises:
        InputError: A margin that holds nothing, unequal lengths, one pair, or a number that is not finite.

    Source:
        Schuirmann 1987; ``statsmodels`` ``ttost_paired``.
    """
    low, high = margin_of(margin)
    given, level = differences(a, b), 1 - 2 * bounded(alpha, "alpha", 0, 0.5)
    found = summarise(given, level)
    notes: tuple[str, ...] = ()
    if not varies(given):
        p = None
        notes = ("every pair has the same difference: its spread cannot be estimated, so there is no p",)
    else:
        p = float(DescrStatsW(given).ttost_mean(low, high)[0])
    return Result(
        f"equivalence within [{low:g}, {high:g}] (TOST)",
        found.mean,
        found.low,
        found.high,
        level,
        p,
        found.n,
        df=found.n - 1,
        alternative="equivalence",
        notes=notes,
    )


def tost_curve(
    a: ArrayLike, b: ArrayLike, *, margin: float | tuple[float, float], alpha: float = 0.05
) -> tuple[Result, tuple[Result, ...]]:
    """Equivalence of whole curves: of the means at every level.

    The claim holds only if it holds at each level, so the largest p is the p of all, without correction.

    Args:
        a: Shape (replicates, levels).
        b: The other arm, paired in both.
        margin: One for all levels.
        alpha: Of the claim.

    Returns:
        The result at the level with the largest p, which is that of the curve, and those of all levels.

    Source:
        Berger 1982, the intersection-union test, Technometrics 24(4).
    """
    left = table(a, "a", "replicates", "levels")
    right = matching(left, b)
    each = tuple(tost(x, y, margin=margin, alpha=alpha) for x, y in zip(left.T, right.T, strict=True))
    place = int(np.argmax([2 if result.p is None else result.p for result in each]))
    note = f"level {place + 1} of {len(each)} decides: equivalence must hold at each"
    return each[place].noted(note), each


def margin_of(margin: float | tuple[float, float]) -> tuple[float, float]:
    """Both ends of a margin."""
    low, high = (-margin, margin) if isinstance(margin, int | float) else margin
    if not -np.inf < low < high < np.inf:
        raise InputError(f"margin: expected a positive number or (low, high) with low < high, got {margin!r}")
    return float(low), float(high)
