"""The rules of verdicts."""

from __future__ import annotations

import math

from pomona.stats.result import Result
from pomona.studies.hypotheses.estimand import OF_TWO
from pomona.studies.hypotheses.observe import Observed
from pomona.studies.hypotheses.spec import Hypothesis
from pomona.studies.hypotheses.tested import Tested

VERDICTS = ("supported", "refuted", "equivalent", "inconclusive", "not answerable")


def verdict_of(
    hypothesis: Hypothesis, tests: Tested, corrected: float | None, size: int, reaches: str
) -> tuple[str, str]:
    """The verdict of a claim that can be answered, and why.

    Args:
        hypothesis: As written.
        tests: Its p-values.
        corrected: The p of the claim, corrected in its family.
        size: Of the family, by which the second looks are multiplied.
        reaches: Why the complete replicates cannot reach alpha; empty where they can.
    """
    alpha = hypothesis.alpha
    if corrected is None:
        return "inconclusive", "the differences are all equal, so their spread cannot be estimated"
    equivalence = hypothesis.test_name == "equivalence"
    within = _shown(tests.within, size, alpha)
    if _at_most(corrected, alpha):
        if equivalence:
            return "equivalent", f"the difference lies within the margin at level {alpha:g}"
        beside = "; the difference is shown to lie within the margin all the same" if within else ""
        return "supported", f"corrected p is at most {alpha:g}{beside}"
    if _shown(tests.opposite, size, alpha):
        beyond = "lies beyond the margin" if equivalence else "has the opposite sign"
        return "refuted", f"the difference {beyond} at level {alpha:g}"
    if within:
        return "equivalent", f"the difference lies within the registered margin at level {alpha:g}"
    if reaches:
        return "inconclusive", reaches
    looks = {"beyond the margin" if equivalence else "the opposite": tests.opposite}
    looks |= {} if equivalence else {"within the margin": tests.within}
    near = [
        f"{what}: p {p:.2g}, times {size} for the family {min(1.0, size * p):.2g}"
        for what, p in looks.items()
        if p is not None and _at_most(p, alpha)
    ]
    beside = f"; {'; '.join(near)}" if near else ""
    return "inconclusive", f"corrected p is above {alpha:g}, and nothing else is shown at this level{beside}"


def not_answerable(hypothesis: Hypothesis, observed: Observed) -> str:
    """Why a contrast has no answer, whatever its numbers; empty where it has one."""
    rows, contrast = observed.complete, hypothesis.contrast
    if 2 * len(rows) < len(observed.rows):
        return (
            f"{len(rows)} of {len(observed.rows)} replicates are complete: too few survive to stand for all"
        )
    chance = sum(row.at_chance for row in rows)
    # An accuracy may be held against a number even at chance; what two such networks say means nothing.
    of_two = hypothesis.of is not None and hypothesis.of.measure in OF_TWO
    relative = contrast is not None and (contrast.value is None or of_two)
    if relative and 2 * chance > len(rows):
        return f"every arm is at chance in {chance} of {len(rows)} replicates: neither equal nor different"
    every = sum(row.bounds == row.lineages > 0 for row in rows)
    if 2 * every > len(rows):
        return f"no arm falls below the value in {every} of {len(rows)} replicates: their numbers are bounds"
    bounded = sum(row.bounds > 0 for row in rows)
    if bounded and hypothesis.test_name == "equivalence":
        return f"in {bounded} of {len(rows)} replicates a number is only a bound: bounds show no equivalence"
    return ""


def against_expectation(hypothesis: Hypothesis, result: Result) -> str | None:
    """How the effect lies to the one that was expected; None where nothing says."""
    expected = hypothesis.expect.effect if hypothesis.expect is not None else None
    if expected is None or result.estimate is None or result.low is None or result.high is None:
        return None
    if not (math.isfinite(result.low) and math.isfinite(result.high)):
        return None
    if result.low <= expected <= result.high:
        return "as expected"
    if result.estimate * expected < 0:
        return "opposite"
    return "stronger" if abs(result.estimate) > abs(expected) else "weaker"


def _shown(p: float | None, size: int, alpha: float) -> bool:
    return p is not None and _at_most(min(1.0, size * p), alpha)


def _at_most(p: float, alpha: float) -> bool:
    return p <= alpha * (1 + 1e-9)
