"""What a design can see, before there are data: power, minimal detectable effect, replicates needed.

Effects are d_z: the mean difference in standard deviations of the differences. Times the standard deviation
of a pilot they have the unit of the data.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import stdtr
from statsmodels.stats.power import TTestPower

from pomona.core.errors import InputError
from pomona.stats import exact
from pomona.stats.draws import Draws
from pomona.stats.equivalence import margin_of
from pomona.stats.given import Alternative, alternative_of, bounded, sample, whole
from pomona.stats.reach import smallest_p

Floats = NDArray[np.float64]

STUDIES = 10_000
_MOST = 10_000
_LARGEST = 50.0
_SIDES = {"two-sided": "two-sided", "greater": "larger", "less": "smaller"}


def t_power(effect: float, n: int, *, alpha: float = 0.05, alternative: Alternative = "two-sided") -> float:
    """Power of the paired or one-sample t test.

    Source:
        ``statsmodels`` ``TTestPower.power`` (noncentral t).
    """
    size = _size(effect, alternative)
    if alternative == "two-sided":
        # Tail by tail: where the far one is not a number, the near one is still right.
        sides: tuple[Alternative, Alternative] = ("greater", "less")
        return sum(t_power(size, n, alpha=_alpha(alpha) / 2, alternative=side) for side in sides)
    found = TTestPower().power(size, whole(n, "n", 2), _alpha(alpha), alternative=_side(alternative))
    # Far out in its tail the noncentral t is not a number.
    return float(found) if found == found else float(_towards(size, alternative) > 0)


def t_minimal_effect(
    n: int, *, power: float = 0.8, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> float:
    """The smallest |d_z| that the t test finds with the given power: 1.68 with 5 pairs, 1.00 with 10.

    Source:
        ``statsmodels`` ``TTestPower.power``; its own search ends at a wrong place for few pairs and small
        alpha, where the far tail of the noncentral t is not a number.
    """
    wanted = _power(power, _alpha(alpha))
    side: Alternative = "two-sided" if alternative_of(alternative) == "two-sided" else "greater"

    def lacking(size: float) -> float:
        return wanted - t_power(size, n, alpha=alpha, alternative=side)

    high = 1.0
    while lacking(high) > 0:
        high *= 2
    return float(brentq(lacking, 0.0, high, xtol=1e-9))


def t_replicates(
    effect: float, *, power: float = 0.8, alpha: float = 0.05, alternative: Alternative = "two-sided"
) -> int:
    """The fewest replicates with which the t test has the given power against the effect.

    Raises:
        InputError: The effect is 0, against the alternative, or too small for thousands of replicates.
    """
    size, wanted = _size(effect, alternative), _power(power, alpha)
    if _towards(size, alternative) <= 0:
        raise InputError(
            f"effect: expected one in the direction of {alternative!r} and not 0, got {effect!r}"
        )
    low, high = 1, 2
    while t_power(size, high, alpha=alpha, alternative=alternative) < wanted:
        low, high = high, 2 * high
        if high > _MOST:
            raise InputError(f"effect: {effect!r} needs more than {low} replicates for power {power:g}")
    while high - low > 1:
        middle = (low + high) // 2
        enough = t_power(size, middle, alpha=alpha, alternative=alternative) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def simulated_power(
    test: str,
    effect: float,
    n: int,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    studies: int = STUDIES,
    seed: int = 0,
    pilot: ArrayLike | None = None,
) -> float:
    """Share of simulated studies in which a paired test rejects.

    Args:
        test: One of ``exact.PAIRED``.
        effect: d_z.
        n: Pairs.
        alpha: Level that p must not exceed; after correction the corrected level.
        alternative: Direction.
        studies: Number of simulated studies; the Monte Carlo error is at most .5 / sqrt(studies).
        seed: Of the simulated studies.
        pilot: Differences whose shape is drawn from with replacement; normal if not given.
    """
    noise = _noise(whole(n, "n", 2), whole(studies, "studies", 100), seed, pilot)
    return _rejected(test, noise + _size(effect, alternative), _alpha(alpha), alternative)


def simulated_minimal_effect(
    test: str,
    n: int,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    alternative: Alternative = "two-sided",
    studies: int = STUDIES,
    seed: int = 0,
    pilot: ArrayLike | None = None,
) -> float | None:
    """The smallest |d_z| that a paired test finds with the given power; None where its p cannot reach alpha.

    The same simulated noise is used for every effect, so that power rises with the effect.
    """
    alpha, wanted = _alpha(alpha), _power(power, alpha)
    if smallest_p(test, n, alternative) > alpha * (1 + 1e-9):
        return None
    noise = _noise(n, whole(studies, "studies", 100), seed, pilot)
    sign = -1 if alternative == "less" else 1

    def lacking(size: float) -> float:
        return wanted - _rejected(test, noise + sign * size, alpha, alternative)

    if lacking(_LARGEST) > 0:
        return None
    return float(brentq(lacking, 0.0, _LARGEST, xtol=1e-3))


def tost_power(
    n: int,
    margin: float | tuple[float, float],
    *,
    effect: float = 0.0,
    alpha: float = 0.05,
    studies: int = STUDIES,
    seed: int = 0,
) -> float:
    """Share of simulated studies in which TOST finds equivalence; margin and effect are like d_z."""
    low, high = margin_of(margin)
    given = _noise(whole(n, "n", 2), whole(studies, "studies", 100), seed, None) + bounded(effect, "effect")
    mean, error = given.mean(axis=1), given.std(axis=1, ddof=1) / math.sqrt(n)
    p = np.maximum(stdtr(n - 1, -(mean - low) / error), stdtr(n - 1, (mean - high) / error))
    return float((p <= _alpha(alpha)).mean())


def _noise(n: int, studies: int, seed: int, pilot: ArrayLike | None) -> Floats:
    """Differences of mean 0 and standard deviation 1. Shape (studies, n)."""
    source = Draws("power", seed)
    if pilot is None:
        return source.normal(studies, n)
    given = sample(pilot, "pilot", 3)
    spread = given.std(ddof=1)
    if spread == 0:
        raise InputError("pilot: its differences are all equal, so they have no shape to draw from")
    return np.asarray((given - given.mean())[source.indices(given.size, studies, n)] / spread)


def _rejected(test: str, given: Floats, alpha: float, alternative: Alternative) -> float:
    p = exact.p_values(test, given, alternative_of(alternative), draws=1_999)
    return float((p <= alpha * (1 + 1e-9)).mean())


def _towards(effect: float, alternative: Alternative) -> float:
    return {"two-sided": abs(effect), "greater": effect, "less": -effect}[alternative]


def _side(alternative: Alternative) -> str:
    return _SIDES[alternative_of(alternative)]


def _size(effect: float, alternative: Alternative) -> float:
    alternative_of(alternative)
    return bounded(effect, "effect")


def _alpha(alpha: float) -> float:
    return bounded(alpha, "alpha", 0, 1)


def _power(power: float, alpha: float) -> float:
    return bounded(power, "power", alpha, 1)
