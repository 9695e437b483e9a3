"""Means of replicates and their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from pomona.core.errors import InputError
from pomona.stats.result import Result


@dataclass(frozen=True)
class Summary:
    """A mean with its interval.

    Args:
        n: Number of values.
        mean: Their mean.
        sd: Sample standard deviation (n - 1); None for a single value.
        low: Lower end of the interval for the mean; None for a single value.
        high: Upper end.
    """

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


def summarise(values: Sequence[float] | NDArray[np.floating], confidence: float = 0.95) -> Summary:
    """Mean, sample SD and the t interval for the mean.

    The t interval is the one whose coverage holds for the few replicates of this field: at n = 5 its
    nominal 95 % cover 95 %, those of the bootstrap 84 %. A single value has no interval; equal values have
    one of zero width.

    Args:
        values: Independent replicates, at least one. Any unit.
        confidence: Share of intervals that cover the mean, above 0 and below 1.

    Raises:
        InputError: There is no value, one is not finite (says which), or the confidence is out of range.
    """
    given = np.asarray(values, dtype=np.float64)
    if not 0 < confidence < 1:
        raise InputError(f"expected a confidence above 0 and below 1, got {confidence}")
    if given.ndim != 1 or given.size == 0:
        raise InputError(f"expected a list of at least one value, got shape {given.shape}")
    bad = np.flatnonzero(~np.isfinite(given))
    if bad.size:
        raise InputError(
            f"value {bad[0] + 1} of {given.size} is {given[bad[0]]}: failed replicates are counted apart, "
            f"leave them out"
        )
    n = given.size
    if n == 1:
        return Summary(1, float(given[0]), None, None, None)
    if given.min() == given.max():
        # The mean of equal values is off by a rounding; the interval must be exactly that value.
        value = float(given[0])
        return Summary(n, value, 0.0, value, value)
    mean, sd = float(np.mean(given)), float(np.std(given, ddof=1))
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * sd / math.sqrt(n)
    return Summary(n, mean, sd, mean - half, mean + half)


def t_interval(values: Sequence[float] | NDArray[np.floating], level: float = 0.95) -> Result:
    """The t interval for a mean as a ``Result``: the default of this room at every n.

    Raises:
        InputError: As ``summarise``.

    Source:
        Student 1908; ``scipy.stats.t.interval``.
    """
    found = summarise(values, level)
    notes = ("one value has no interval",) if found.n == 1 else ()
    return Result(
        "t interval", found.mean, found.low, found.high, level, None, found.n, df=found.n - 1, notes=notes
    )
