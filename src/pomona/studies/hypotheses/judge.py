"""Verdicts: what the registered test says of a claim, or why it is only explored.

One rule for all. A claim is *supported* where the corrected p of its test is at most alpha, *refuted* where
the opposite is shown at the same alpha, *equivalent* where the difference is shown to lie within the
registered margin, else *inconclusive*. Arms that are all at chance, or that cannot be compared, are *not
answerable*. The p of the claim is corrected in its registered family; the second looks (the opposite,
equivalence) are multiplied by the family's size, which is safe under any dependence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pomona.graph import chain
from pomona.stats.equivalence import tost
from pomona.stats.given import Alternative
from pomona.stats.multiplicity import adjust, max_t
from pomona.stats.paired import paired
from pomona.stats.reach import smallest_p
from pomona.stats.result import Result
from pomona.studies.hypotheses.cells import cells, keys
from pomona.studies.hypotheses.observe import Observed, Replicate, observe
from pomona.studies.hypotheses.regress import regressed
from pomona.studies.hypotheses.spec import Hypothesis
from pomona.studies.registration.matching import family_of, registered_replicates, why_exploratory
from pomona.studies.registration.registered import Registered, registrations
from pomona.studies.results import Results

VERDICTS = ("supported", "refuted", "equivalent", "inconclusive", "not answerable")
# The names of paired tests in ``pomona.stats``.
PAIRED = {"paired-t": "paired-t", "permutation": "sign-flip", "wilcoxon": "wilcoxon", "sign": "sign"}
_NODES = "SELECT key FROM states UNION ALL SELECT key FROM probes"
_OPPOSITE: dict[Alternative, Alternative] = {"greater": "less", "less": "greater"}


@dataclass(frozen=True)
class Judged:
    """A hypothesis and what was found.

    Args:
        number: From 1, as in the study.
        hypothesis: As written.
        exploratory: Why there is no verdict; empty for a registered one.
        verdict: One of ``VERDICTS``; None where it is exploratory.
        reason: Why this verdict, in a sentence.
        result: Estimate with its two-sided interval, whatever the direction of the test.
        p: Of the registered test; None where nothing is tested.
        corrected_p: The same in its family.
        smallest_p: What the test can reach with these replicates; None where there is no bound.
        correction: How p was corrected, in words.
        n: Complete replicates.
        lost: What is missing and why, one line a replicate: the comparison is of survivors.
        against_expectation: ``stronger``, ``weaker``, ``as expected`` or ``opposite``.
        observed: What was observed; None for a regression.
        notes: What else has to be said.
    """

    number: int
    hypothesis: Hypothesis
    exploratory: tuple[str, ...]
    verdict: str | None
    reason: str
    result: Result | None
    p: float | None
    corrected_p: float | None
    smallest_p: float | None
    correction: str
    n: int
    lost: tuple[str, ...]
    against_expectation: str | None
    observed: Observed | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """What the data say of one hypothesis before its family is looked at."""

    judged: Judged
    p: float | None = None
    reverse: float | None = None
    equivalent: float | None = None


def judge(results: Results) -> list[Judged]:
    """Every hypothesis of a study with its verdict, or with the reasons why it is only explored."""
    registered = registrations(results.store, results.study.name)
    # What was edited earns no verdict, and an edited registration is none.
    broken = chain.check(results.store.ledger) if registered else []
    found = [
        _examine(results, hypothesis, number, registered, broken)
        for number, hypothesis in enumerate(results.study.spec.hypotheses, 1)
    ]
    return [_decided(results, one, found, registered) for one in found]


def _examine(
    results: Results,
    hypothesis: Hypothesis,
    number: int,
    registered: Sequence[Registered],
    broken: Sequence[chain.Break],
) -> _Found:
    reasons = why_exploratory(registered, hypothesis, results.population)
    reasons = (*reasons, *_edited(results, hypothesis, broken))
    if not results.study.spec.verdicts:
        reasons = (*reasons, "the study says 'verdicts: no'" + _of_preset(results))
    replicates = None if reasons else registered_replicates(registered, hypothesis, results.population)
    if hypothesis.model is not None:
        return _of_regression(results, hypothesis, number, reasons, replicates)
    observed = observe(results, hypothesis, replicates=replicates)
    waiting = sum(row.pending for row in observed.rows)
    if waiting:
        done = f"{len(observed.rows) - waiting} of {len(observed.rows)} replicates are computed"
        stop = "" if reasons else ": the number is registered, so nothing is tested before the last"
        reasons = (*reasons, done + stop)
    return _of_contrast(hypothesis, number, reasons, observed)


def _edited(results: Results, hypothesis: Hypothesis, broken: Sequence[chain.Break]) -> tuple[str, ...]:
    """What of the chain is broken and concerns a hypothesis: not the results that it does not read."""
    graph = results.population.graph
    own = keys(cells(results.population, hypothesis)) if broken else frozenset()
    others = {row["key"] for row in results.store.ledger.rows(_NODES)} if broken else set()
    concerned = [
        one.what
        for one in broken
        if one.subject in own or one.subject not in {*others, *graph.states, *graph.probes}
    ]
    if not concerned:
        return ()
    more = f", and {len(concerned) - 1} more" if len(concerned) > 1 else ""
    return (f"the chain of the store is broken: {concerned[0]}{more}; see 'pomona verify --fraction 0'",)


def _of_preset(results: Results) -> str:
    return f" (preset {results.study.preset})" if results.study.preset else ""


def _of_contrast(hypothesis: Hypothesis, number: int, reasons: tuple[str, ...], observed: Observed) -> _Found:
    lost = tuple(f"replicate {row.replicate}: {row.lost}" for row in observed.rows if row.difference is None)
    rows = observed.complete
    judged = Judged(
        number,
        hypothesis,
        reasons,
        None,
        "",
        *(None,) * 4,
        "",
        len(rows),
        lost,
        None,
        observed,
        observed.notes,
    )
    if len(rows) < 2:
        few = "no replicate is complete" if not rows else "one complete replicate has no interval"
        return _Found(replace(judged, reason=few))
    interval = _interval(hypothesis, observed)
    judged = replace(
        judged,
        result=interval,
        against_expectation=_against_expectation(hypothesis, interval),
        notes=observed.notes + interval.notes,
    )
    return _Found(judged, *_tested(hypothesis, rows)) if not reasons else _Found(judged)


def _interval(hypothesis: Hypothesis, observed: Observed) -> Result:
    """The estimate with the two-sided interval that belongs to the test."""
    given = observed.differences
    if hypothesis.test_name == "equivalence":
        assert hypothesis.margin is not None
        return tost(given, margin=hypothesis.margin, alpha=hypothesis.alpha)
    return paired(PAIRED[hypothesis.test_name], given, level=1 - hypothesis.alpha)


def _tested(
    hypothesis: Hypothesis, rows: Sequence[Replicate]
) -> tuple[float | None, float | None, float | None]:
    """The p of the claim, of its opposite, and of equivalence within the margin."""
    given = np.array([row.difference for row in rows], dtype=np.float64)
    margin, side = hypothesis.margin, hypothesis.alternative
    if hypothesis.test_name == "equivalence":
        assert margin is not None
        claimed = tost(given, margin=margin, alpha=hypothesis.alpha).p
        beyond = [
            paired("paired-t", given, margin, alternative="greater").p,
            paired("paired-t", given, -margin, alternative="less").p,
        ]
        known = [p for p in beyond if p is not None]
        return claimed, min(1.0, 2 * min(known)) if known else None, None
    test = PAIRED[hypothesis.test_name]
    claimed = paired(test, given, alternative=side).p
    reverse = paired(test, given, alternative=_OPPOSITE[side]).p if side != "two-sided" else None
    within = tost(given, margin=margin, alpha=hypothesis.alpha).p if margin is not None else None
    return claimed, reverse, within


def _of_regression(
    results: Results,
    hypothesis: Hypothesis,
    number: int,
    reasons: tuple[str, ...],
    replicates: Sequence[int] | None,
) -> _Found:
    found = regressed(results, hypothesis, replicates)
    waiting = sum(
        one.failed is None
        for one in results.lost_states.values()
        if replicates is None or one.point.replicate in replicates
    )
    if waiting:
        stop = "" if reasons else ": the number is registered, so nothing is tested before the last"
        reasons = (*reasons, f"{waiting} states of the study are not computed{stop}")
    lost = (f"{found.lost} rows have no accuracy",) if found.lost else ()
    judged = Judged(
        number,
        hypothesis,
        reasons,
        None,
        found.why,
        found.result,
        *(None,) * 3,
        "",
        found.result.n if found.result else 0,
        lost,
        _against_expectation(hypothesis, found.result) if found.result else None,
        None,
        found.result.notes if found.result else (),
    )
    return _Found(judged, found.p, found.reverse) if not reasons else _Found(judged)


def _decided(
    results: Results, one: _Found, found: Sequence[_Found], registered: Sequence[Registered]
) -> Judged:
    """The verdict of a registered hypothesis, with its p corrected in its family."""
    judged, hypothesis = one.judged, one.judged.hypothesis
    if judged.exploratory:
        return judged
    refusal = _not_answerable(judged)
    if refusal:
        return replace(judged, verdict="not answerable", reason=refusal)
    correction, family = family_of(registered, hypothesis, results.population)
    corrected = _corrected(one, found, correction, family)
    size = len(family)
    least = _smallest(judged)
    judged = replace(
        judged,
        p=one.p,
        corrected_p=corrected,
        smallest_p=least,
        correction=_said(correction, size, hypothesis),
    )
    verdict, reason = _verdict(one, corrected, size, least)
    return replace(judged, verdict=verdict, reason=reason)


def _not_answerable(judged: Judged) -> str:
    if judged.result is None:
        return judged.reason or "nothing was observed"
    observed = judged.observed
    contrast = judged.hypothesis.contrast
    if observed is None or contrast is None or contrast.value is not None:
        return ""
    chance = sum(row.at_chance for row in observed.complete)
    if 2 * chance > judged.n:
        return f"every arm is at chance in {chance} of {judged.n} replicates: neither equal nor different"
    return ""


def _smallest(judged: Judged) -> float | None:
    test = PAIRED.get(judged.hypothesis.test_name)
    if test is None or test == "paired-t":
        return None
    return smallest_p(test, judged.n, judged.hypothesis.alternative)


def _corrected(
    one: _Found, found: Sequence[_Found], correction: str, family: Sequence[Hypothesis]
) -> float | None:
    """The corrected p; a member of the family that has no p counts as one of 1."""
    if one.p is None:
        return None
    own = one.judged.hypothesis
    members = [_member(hypothesis, found) for hypothesis in family]
    if correction == "max-t":
        return _max_t(own, family, members)
    p = [member.p if member is not None and member.p is not None else 1.0 for member in members]
    return float(adjust(p, correction)[list(family).index(own)])


def _member(hypothesis: Hypothesis, found: Sequence[_Found]) -> _Found | None:
    return next((one for one in found if one.judged.hypothesis == hypothesis), None)


def _max_t(own: Hypothesis, family: Sequence[Hypothesis], members: Sequence[_Found | None]) -> float:
    """Over the replicates that are complete in every member; a member without any counts as no difference."""
    rows: list[Mapping[int, float]] = [
        {row.replicate: row.difference for row in member.judged.observed.complete}  # type: ignore[misc]
        if member is not None and member.judged.observed is not None and member.p is not None
        else {}
        for member in members
    ]
    there = [set(row) for row in rows if row]
    common = sorted(set.intersection(*there)) if there else []
    if len(common) < 2:
        return 1.0
    table = np.array([[row.get(replicate, 0.0) for row in rows] for replicate in common])
    return float(max_t(table, alternative=own.alternative)[list(family).index(own)])


def _said(correction: str, size: int, hypothesis: Hypothesis) -> str:
    if size == 1:
        return "alone in its family"
    names = {"holm": "Holm", "benjamini-hochberg": "Benjamini-Hochberg", "max-t": "max-T"}
    if correction == "none":
        return f"not corrected, one of {size} in family {hypothesis.in_family}"
    return f"{names[correction]} over {size} in family {hypothesis.in_family}"


def _verdict(one: _Found, corrected: float | None, size: int, least: float | None) -> tuple[str, str]:
    hypothesis, alpha = one.judged.hypothesis, one.judged.hypothesis.alpha
    if corrected is None:
        return "inconclusive", "the differences are all equal, so their spread cannot be estimated"
    equivalence = hypothesis.test_name == "equivalence"
    if _at_most(corrected, alpha):
        if equivalence:
            return "equivalent", f"the difference lies within the margin at level {alpha:g}"
        return "supported", f"corrected p is at most {alpha:g}"
    if _shown(one.reverse, size, alpha):
        beyond = "lies beyond the margin" if equivalence else "has the opposite sign"
        return "refuted", f"the difference {beyond} at level {alpha:g}"
    if _shown(one.equivalent, size, alpha):
        return "equivalent", f"the difference lies within the registered margin at level {alpha:g}"
    if least is not None and least * size > alpha * (1 + 1e-9):
        return "inconclusive", (
            f"{one.judged.n} complete replicates cannot reach {alpha:g}: the smallest p is {least:.4g}"
            + (f", in a family of {size}" if size > 1 else "")
        )
    return "inconclusive", f"corrected p is above {alpha:g}, and nothing else is shown at this level"


def _shown(p: float | None, size: int, alpha: float) -> bool:
    return p is not None and _at_most(min(1.0, size * p), alpha)


def _at_most(p: float, alpha: float) -> bool:
    return p <= alpha * (1 + 1e-9)


def _against_expectation(hypothesis: Hypothesis, result: Result) -> str | None:
    """How the interval lies to the effect that was expected."""
    expected = hypothesis.expect.effect if hypothesis.expect is not None else None
    if expected is None or result.estimate is None or result.low is None or result.high is None:
        return None
    if result.low <= expected <= result.high:
        return "as expected"
    if result.estimate * expected < 0 and not result.low <= 0 <= result.high:
        return "opposite"
    return "stronger" if abs(result.estimate) > abs(expected) else "weaker"
