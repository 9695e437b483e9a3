"""Verdicts: what the registered test says of a claim, or why it is only explored.

One rule for all. A claim is *supported* where the corrected p of its test is at most alpha, *refuted* where
the opposite is shown at the same alpha, *equivalent* where the difference is shown to lie within the
registered margin, else *inconclusive*. Arms that are all at chance, or that cannot be compared, are *not
answerable*. The p of the claim is corrected in its registered family; the second looks (the opposite,
equivalence) are multiplied by the family's size, which is safe under any dependence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pomona.stats.effects import cohen_dz
from pomona.stats.result import Result
from pomona.studies.hypotheses.edits import Edits, concerning, edits
from pomona.studies.hypotheses.families import Member, corrected, said, smallest
from pomona.studies.hypotheses.observe import Observed, observe, pending_rows
from pomona.studies.hypotheses.regress import regressed
from pomona.studies.hypotheses.rules import VERDICTS as VERDICTS
from pomona.studies.hypotheses.rules import against_expectation, not_answerable, verdict_of
from pomona.studies.hypotheses.spec import Hypothesis
from pomona.studies.hypotheses.tested import Tested, interval, tested
from pomona.studies.registration.matching import (
    asked_digest,
    earlier_attempts,
    family_of,
    registered_replicates,
    why_exploratory,
)
from pomona.studies.registration.registered import Registered, canonical, registrations
from pomona.studies.results import Results

_FIXED = ": the number is registered, so nothing is tested before the last"


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
        dz: The effect in standard deviations of the differences; None for a regression.
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
    dz: Result | None = None


@dataclass(frozen=True)
class _Found:
    """What the data say of one hypothesis before its family is looked at."""

    judged: Judged
    tests: Tested = field(default_factory=Tested)
    refusal: str = ""
    waiting: bool = False


def judge(results: Results) -> list[Judged]:
    """Every hypothesis of a study with its verdict, or with the reasons why it is only explored."""
    registered = registrations(results.store, results.study.name)
    # What was edited earns no verdict, and an edited registration is none; nor is one that was taken out.
    changed = edits(results.store) if results.study.spec.hypotheses else Edits()
    found = [
        _examine(results, hypothesis, number, registered, changed)
        for number, hypothesis in enumerate(results.study.spec.hypotheses, 1)
    ]
    return [_decided(results, one, found, registered) for one in found]


def _examine(
    results: Results, hypothesis: Hypothesis, number: int, registered: Sequence[Registered], changed: Edits
) -> _Found:
    population = results.population
    reasons = why_exploratory(registered, hypothesis, population)
    reasons += concerning(changed, population, hypothesis)
    if not results.study.spec.verdicts:
        preset = f" (preset {results.study.preset})" if results.study.preset else ""
        reasons += (f"the study says 'verdicts: no'{preset}",)
    replicates = None if reasons else registered_replicates(registered, hypothesis, population)
    empty = Judged(number, hypothesis, reasons, None, "", *(None,) * 4, "", 0, (), None, None, ())
    if hypothesis.model is not None:
        found = _of_regression(results, empty, replicates)
    else:
        found = _of_contrast(empty, observe(results, hypothesis, replicates=replicates))
    attempts = earlier_attempts(registered, hypothesis, population) if registered else 0
    if not attempts:
        return found
    more = f"{attempts} other registration{'s' * (attempts > 1)} asked the same of other states or replicates"
    return replace(found, judged=replace(found.judged, notes=(*found.judged.notes, more)))


def _of_contrast(empty: Judged, observed: Observed) -> _Found:
    hypothesis, rows = empty.hypothesis, observed.complete
    lost = tuple(f"replicate {row.replicate}: {row.lost}" for row in observed.rows if row.difference is None)
    waiting = sum(row.pending for row in observed.rows)
    reasons = empty.exploratory
    if waiting:
        done = f"{len(observed.rows) - waiting} of {len(observed.rows)} replicates are computed"
        reasons = (*reasons, done + ("" if reasons else _FIXED))
    judged = replace(
        empty, exploratory=reasons, n=len(rows), lost=lost, observed=observed, notes=observed.notes
    )
    if len(rows) < 2:
        few = "no replicate is complete" if not rows else "one complete replicate has no interval"
        return _Found(replace(judged, reason=few), refusal=few, waiting=bool(waiting))
    found = interval(hypothesis, observed)
    judged = replace(
        judged,
        result=found,
        against_expectation=against_expectation(hypothesis, found),
        notes=observed.notes + found.notes,
        dz=cohen_dz(observed.differences, level=1 - hypothesis.alpha),
    )
    if reasons:
        return _Found(judged, waiting=bool(waiting))
    return _Found(judged, tested(hypothesis, rows), not_answerable(hypothesis, observed))


def _of_regression(results: Results, empty: Judged, replicates: Sequence[int] | None) -> _Found:
    hypothesis, reasons = empty.hypothesis, empty.exploratory
    found = regressed(results, hypothesis, replicates)
    waiting = pending_rows(results, hypothesis, replicates)
    if waiting:
        reasons = (*reasons, f"{waiting} rows are not computed" + ("" if reasons else _FIXED))
    judged = replace(empty, exploratory=reasons, reason=found.why, result=found.result)
    judged = replace(judged, lost=found.lost)
    if found.result is not None:
        against = against_expectation(hypothesis, found.result)
        judged = replace(judged, n=found.result.n, against_expectation=against, notes=found.result.notes)
    if reasons:
        return _Found(judged, waiting=bool(waiting))
    return _Found(judged, Tested(found.p, found.reverse), found.refusal)


def _decided(
    results: Results, one: _Found, found: Sequence[_Found], registered: Sequence[Registered]
) -> Judged:
    """The verdict of a registered hypothesis, with its p corrected in its family."""
    judged, hypothesis = one.judged, one.judged.hypothesis
    if judged.exploratory:
        return judged
    correction, family = family_of(registered, hypothesis, results.population)
    own = family.index(hypothesis)
    there = [_member(member, found) for member in family]
    if correction == "max-t" and any(other is not None and other.waiting for other in there):
        late = "max-T corrects the claims of a family together, and not all are computed"
        return replace(judged, exploratory=(late,))
    if one.refusal:
        return replace(judged, verdict="not answerable", reason=one.refusal)
    members: list[Member] = [
        None if other is None else (None if other.refusal else other.tests.claim, other.judged.observed)
        for other in there
    ]
    claim = one.tests.claim
    p = None if claim is None else corrected(own, members, family, correction)
    least, least_corrected = smallest(hypothesis, judged.n, len(family), correction)
    reaches = ""
    if least is not None and least_corrected is not None and least_corrected > hypothesis.alpha * (1 + 1e-9):
        over = f", in a family of {len(family)}" if len(family) > 1 else ""
        reaches = (
            f"{judged.n} complete replicates cannot reach {hypothesis.alpha:g}: the smallest p is {least:.4g}"
            + over
        )
    verdict, reason = verdict_of(hypothesis, one.tests, p, len(family), reaches)
    return replace(
        judged,
        verdict=verdict,
        reason=reason,
        p=claim,
        corrected_p=p,
        smallest_p=least,
        correction=said(correction, family, members, hypothesis.in_family),
    )


def _member(hypothesis: Hypothesis, found: Sequence[_Found]) -> _Found | None:
    """What was found of a member of a family, by what it asks."""
    asked = asked_digest(canonical(hypothesis))
    return next((one for one in found if asked_digest(canonical(one.judged.hypothesis)) == asked), None)
