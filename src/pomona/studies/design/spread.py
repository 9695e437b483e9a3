"""How much the differences of replicates spread, as far as that is known before there are data to test.

It is taken from pilot replicates, which no test uses, or it is assumed. The replicates that will be tested
never tell: a number of replicates that follows from their own differences belongs to no registered design.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from pomona.stats.exact import varies
from pomona.studies.hypotheses.observe import observe
from pomona.studies.hypotheses.regress import regressed
from pomona.studies.hypotheses.spec import Hypothesis
from pomona.studies.results import Results

# Pilot replicates that a standard deviation needs.
LEAST = 3
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """A standard deviation in the unit of the estimand.

    Args:
        sd: Of the differences; of a regression that of its term, fitted to one replicate.
        source: Where it comes from, or why it is not known.
        low: Lower end of its 95 % interval; None where it is assumed.
        high: Upper end.
    """

    sd: float | None
    source: str
    low: float | None = None
    high: float | None = None


def spread(hypothesis: Hypothesis, results: Results | None, pilot: int) -> Spread:
    """The spread of a pilot where there is one, else what is assumed.

    Args:
        hypothesis: What is planned.
        results: What a store holds; None without a store.
        pilot: Number of pilot replicates of the study.
    """
    found = _of_pilot(hypothesis, results, pilot)
    if found.sd is None and hypothesis.assume is not None:
        return Spread(hypothesis.assume.sd, "assumed")
    return found


def _of_pilot(hypothesis: Hypothesis, results: Results | None, pilot: int) -> Spread:
    if pilot == 0:
        return Spread(None, "not known: there is no pilot and no 'assume: {sd: ...}'")
    if pilot < LEAST:
        return Spread(None, f"not known: a pilot of {pilot} is too small, {LEAST} replicates are needed")
    if results is None:
        return Spread(None, _too_few(0, pilot))
    if hypothesis.model is not None:
        return _of_term(hypothesis, results, pilot)
    found = observe(results, hypothesis, pilot=True).differences
    if found.size < LEAST:
        return Spread(None, _too_few(found.size, pilot))
    return _interval(_deviation(found), found.size)


def _deviation(differences: NDArray[np.float64]) -> float:
    return float(differences.std(ddof=1)) if varies(differences) else 0.0


def _of_term(hypothesis: Hypothesis, results: Results, pilot: int) -> Spread:
    """The standard error of the term in the pilot, scaled to one replicate."""
    fitted = regressed(results, hypothesis, pilot=True)
    found = fitted.result
    if found is None:
        return Spread(None, f"not known: the pilot cannot tell ({fitted.why})")
    if found.n < LEAST:
        return Spread(None, _too_few(found.n, pilot))
    # Kept are the estimate and its t.
    error = found.estimate / found.statistic if found.estimate and found.statistic else 0.0
    return _interval(error * math.sqrt(found.n), found.n)


def _too_few(complete: int, pilot: int) -> str:
    return f"not known: {complete} of {pilot} pilot replicates are complete, {LEAST} are needed"


def _interval(sd: float, n: int) -> Spread:
    """With its chi-squared interval, which assumes normal differences."""
    source = f"pilot of {n} replicates"
    if not math.isfinite(sd) or sd == 0:
        return Spread(None, f"not known: all differences of the {source} are equal")
    tail = (1 - _CONFIDENCE) / 2
    # `chdtri` takes the area above.
    low, high = (sd * ((n - 1) / chdtri(n - 1, area)) ** 0.5 for area in (tail, 1 - tail))
    return Spread(sd, source, float(low), float(high))
