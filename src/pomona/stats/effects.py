"""Effect sizes with intervals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import nctdtrinc
from scipy.stats import beta
from statsmodels.stats.nonparametric import rank_compare_2indep

from pomona.stats.exact import settle
from pomona.stats.given import differences, level_of, sample
from pomona.stats.result import Result

# From so many replicates an arm on the t of Brunner and Munzel keeps its level.
_ENOUGH = 20


def cohen_dz(a: ArrayLike, b: ArrayLike | float = 0.0, *, level: float = 0.95) -> Result:
    """Mean difference in units of the standard deviation of the differences.

    The interval holds every d_z whose noncentral t distribution does not put the observed t in a tail.

    Raises:
        InputError: Unequal lengths, one pair, or a number that is not finite.

    Source:
        Cohen 1988, section 2.3.5; interval: Cumming and Finch 2001; ``scipy.special.nctdtrinc``.
    """
    given, level = differences(a, b), level_of(level)
    n = given.size
    if np.ptp(given) == 0:
        note = "every pair has the same difference: there is no spread to measure it by"
        return Result("Cohen's d_z", None, None, None, level, None, n, notes=(note,))
    effect = float(given.mean() / given.std(ddof=1))
    t = effect * math.sqrt(n)
    low, high = (_noncentrality(n - 1, tail, t) / math.sqrt(n) for tail in ((1 + level) / 2, (1 - level) / 2))
    return Result("Cohen's d_z", effect, low, high, level, None, n, t, n - 1)


def _noncentrality(df: int, share: float, t: float) -> float:
    """The noncentrality whose distribution has ``share`` of its mass below t."""
    # The inverse is exact for positive t; the distribution mirrors.
    return float(nctdtrinc(df, share, t)) if t >= 0 else -float(nctdtrinc(df, 1 - share, -t))


def superiority(a: ArrayLike, b: ArrayLike | float = 0.0, *, level: float = 0.95) -> Result:
    """The probability that a pair has a > b, ties counted as half.

    The interval is exact: its lower end bounds P(a > b), its upper end P(a >= b), both by Clopper and
    Pearson.

    Source:
        Grissom and Kim 2012, chapter 6; Clopper and Pearson 1934. Own code; oracle:
        ``scipy.stats.binomtest(...).proportion_ci()``.
    """
    given, level = settle(differences(a, b, 1)), level_of(level)
    n, wins, ties = given.size, int((given > 0).sum()), int((given == 0).sum())
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, wins, n - wins + 1)) if wins else 0.0
    high = float(beta.ppf(1 - tail, wins + ties + 1, n - wins - ties)) if wins + ties < n else 1.0
    notes = (f"{ties} of {n} pairs are tied and count as half",) if ties else ()
    return Result(
        "probability of superiority, paired", (wins + ties / 2) / n, low, high, level, None, n, notes=notes
    )


def superiority_unpaired(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Result:
    """The probability that a replicate of a exceeds one of b, with the Brunner-Munzel test and interval.

    Where the arms do not overlap at all, the data bound the probability on one side only: then there is an
    estimate and neither interval nor p. With fewer than 20 replicates in an arm there is no p either: its t
    rejects up to 6.5 % of true nulls at .05. Test by permutation then.

    Source:
        Brunner and Munzel 2000; ``statsmodels`` ``rank_compare_2indep``.
    """
    left, right, level = sample(a, "a"), sample(b, "b"), level_of(level)
    n, name = left.size + right.size, "probability of superiority (Brunner-Munzel)"
    apart = left.min() > right.max() or right.min() > left.max()
    if apart or np.ptp(np.concatenate([left, right])) == 0:
        note = "the arms do not overlap: no interval" if apart else "all values are equal: no interval"
        estimate = float(left.min() > right.max()) if apart else 0.5
        return Result(name, estimate, None, None, level, None, n, notes=(note,))
    found = rank_compare_2indep(left, right, use_t=True)
    low, high = found.conf_int(alpha=1 - level)
    enough = min(left.size, right.size) >= _ENOUGH
    note = f"fewer than {_ENOUGH} replicates in an arm: no p, test by permutation"
    return Result(
        name,
        float(found.prob1),
        max(0.0, float(low)),
        min(1.0, float(high)),
        level,
        float(found.pvalue) if enough else None,
        n,
        float(found.statistic),
        float(found.df),
        notes=() if enough else (note,),
    )
