"""What a test of n replicates can see. Effects are in standard deviations of the differences (d_z).

Equal questions are answered once: the hypotheses of a study often have one test and one number of replicates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from scipy.optimize import brentq

from pomona.core.errors import InputError
from pomona.stats.given import Alternative
from pomona.stats.power import (
    simulated_minimal_effect,
    simulated_power,
    t_minimal_effect,
    t_power,
    t_replicates,
    tost_power,
)

POWER = 0.8
# Names of the paired tests in `pomona.stats`. The term of a regression is judged by a t.
NAMES = {
    "paired-t": "paired-t",
    "permutation": "sign-flip",
    "wilcoxon": "wilcoxon",
    "sign": "sign",
    "equivalence": "equivalence",
    "regression": "paired-t",
}
# Simulated studies of one power, and of each step of a search. Few, because a plan is to be quick.
STUDIES = 2_000
SEARCHED = 500
# Beyond so many replicates a simulated search is given up.
MOST = 200
_WIDEST = 1e4


def simulated(test: str) -> bool:
    """Whether a test's power has no formula."""
    return test in ("sign-flip", "wilcoxon", "sign", "equivalence")


@lru_cache(maxsize=256)
def minimal_effect(test: str, n: int, alpha: float, alternative: Alternative) -> float | None:
    """The smallest |d_z| that is found with 80 % power; of ``equivalence`` the smallest margin that is shown.

    Returns:
        None where the test cannot reach alpha.
    """
    if test == "equivalence":
        return _smallest_margin(n, alpha)
    if test == "paired-t":
        level, side = _one_sided(alpha, alternative, 1.0)
        return t_minimal_effect(n, power=POWER, alpha=level, alternative=side)
    return simulated_minimal_effect(
        test, n, power=POWER, alpha=alpha, alternative=alternative, studies=SEARCHED
    )


@lru_cache(maxsize=256)
def power_against(
    test: str,
    effect: float,
    n: int,
    alpha: float,
    alternative: Alternative,
    margin: float = 0.0,
    studies: int = STUDIES,
) -> float:
    """Power against an effect.

    Args:
        test: As ``pomona.stats`` names it, or ``equivalence``.
        effect: d_z.
        n: Replicates.
        alpha: What p must not exceed.
        alternative: Direction.
        margin: Of ``equivalence``, like d_z.
        studies: Simulated ones, where there is no formula.
    """
    return _power(test, effect, n, alpha, alternative, margin, studies)


@lru_cache(maxsize=256)
def replicates_for(
    test: str, effect: float, alpha: float, alternative: Alternative, margin: float = 0.0
) -> int:
    """The fewest replicates with 80 % power against an effect.

    Raises:
        InputError: There is no such number below some thousands; where power is simulated, below 200.
    """
    if test == "equivalence":
        if abs(effect) >= margin:
            raise InputError("the expected difference is not inside the margin")
        # Both of its tests have to reject, so that one alone needs no more.
        least = _of_t(margin - abs(effect), alpha, "greater")
        return _first(lambda n: _power(test, effect, n, alpha, alternative, margin, STUDIES), least, True)
    least = _of_t(effect, *_one_sided(alpha, alternative, effect))
    if test == "paired-t":
        return least
    # No exact test needs much fewer than t. The power of the sign test rises and falls with n.
    steady = test != "sign"
    return _first(
        lambda n: _power(test, effect, n, alpha, alternative, margin, SEARCHED),
        least if steady else max(2, math.floor(0.7 * least)),
        steady,
    )


def _of_t(effect: float, alpha: float, alternative: Alternative) -> int:
    try:
        return t_replicates(effect, power=POWER, alpha=alpha, alternative=alternative)
    except InputError:
        raise InputError("more than 8,000 replicates are needed") from None


def _power(
    test: str, effect: float, n: int, alpha: float, alternative: Alternative, margin: float, studies: int
) -> float:
    if test == "equivalence":
        return tost_power(n, margin, effect=effect, alpha=alpha, studies=studies)
    if test != "paired-t":
        return simulated_power(test, effect, n, alpha=alpha, alternative=alternative, studies=studies)
    if alternative != "two-sided":
        return t_power(effect, n, alpha=alpha, alternative=alternative)
    sides: tuple[Alternative, Alternative] = ("greater", "less")
    return sum(t_power(effect, n, alpha=alpha / 2, alternative=side) for side in sides)


def _one_sided(alpha: float, alternative: Alternative, effect: float) -> tuple[float, Alternative]:
    """A two-sided t as the one-sided t at half of alpha towards the effect.

    At 80 % power the other tail has less than 1e-6. For few replicates and small alpha its noncentral t is
    not a number, which ends a two-sided search at a wrong place.
    """
    if alternative != "two-sided":
        return alpha, alternative
    return alpha / 2, "greater" if effect > 0 else "less"


def _smallest_margin(n: int, alpha: float) -> float | None:
    def lacking(margin: float) -> float:
        return POWER - tost_power(n, margin, alpha=alpha, studies=STUDIES)

    return None if lacking(_WIDEST) > 0 else float(brentq(lacking, 1e-6, _WIDEST, xtol=1e-3))


def _first(power: Callable[[int], float], start: int, steady: bool) -> int:
    """The first n with enough power, sought from ``start`` on; where power is steady below it too."""
    low, high, step = 1, start, 1
    while high > MOST or power(high) < POWER:
        low, high, step = high, high + step, 2 * step if steady else 1
        if high > MOST:
            raise InputError(f"more than {MOST} replicates are needed")
    step = 1
    while steady and low == 1 and high > 2:
        if power(max(2, high - step)) < POWER:
            low = max(2, high - step)
        else:
            high, step = max(2, high - step), 2 * step
    while steady and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high
