"""What the hypotheses of a study can see as it is planned, before there are data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pomona.core.errors import InputError
from pomona.graph.nodes import Graph
from pomona.graph.store import Store
from pomona.stats.reach import Correction
from pomona.studies.design.detect import (
    POWER,
    SEARCHED,
    STUDIES,
    minimal_effect,
    power_against,
    replicates_for,
    simulated,
)
from pomona.studies.design.reachable import reach
from pomona.studies.design.spread import Spread, spread
from pomona.studies.hypotheses.cells import Cell, cells, keys
from pomona.studies.hypotheses.spec import Hypothesis
from pomona.studies.hypotheses.values import unit_of
from pomona.studies.plan import Pace, keys_done
from pomona.studies.points import Population
from pomona.studies.results import Results
from pomona.studies.study import Study

SAID = {"holm": "Holm", "benjamini-hochberg": "Benjamini-Hochberg", "max-t": "max-T", "none": "not corrected"}
_TESTS = {
    "paired-t": "t test",
    "sign-flip": "exact permutation test",
    "wilcoxon": "exact Wilcoxon test",
    "sign": "sign test",
    "equivalence": "equivalence test",
    "max-t": "max-T permutation test",
    "regression": "regression",
    "wild": "wild bootstrap",
}
_MANY = 4  # so many simulated hypotheses are few


@dataclass(frozen=True)
class Design:
    """One hypothesis as it is planned.

    Args:
        number: From 1, as in the study.
        hypothesis: As written.
        n: Replicates that are tested: those that are no pilot.
        pilot: Replicates before them.
        test: What judges it, one name a kind of p.
        comparisons: Hypotheses of its family.
        correction: Of the family's p-values.
        alpha: What its own p has to pass in the worst case: of Holm the first step.
        smallest_p: The smallest p of its test with n replicates; 0 where there is no bound.
        corrected_smallest_p: The same after the correction.
        reaches: Whether that is at most the alpha of the hypothesis.
        replicates_to_reach: The fewest replicates that can reach it; None where no number can.
        unit: Of effects; ``share`` stands for points.
        sd: Standard deviation of the differences; of a regression that of its term in one replicate.
        sd_source: Where that comes from, or why it is not known.
        sd_low: Lower end of its 95 % interval where it is from a pilot.
        sd_high: Upper end.
        minimal_dz: Smallest effect with 80 % power, in SDs; of an equivalence the smallest margin that is
            shown where there is no difference. None of a regression, and where alpha is out of reach.
        minimal_effect: The same in the unit.
        minimal_effect_high: The same at the upper end of the SD.
        power: Against the expected effect; of an equivalence within its margin.
        replicates_needed: For 80 % power against it.
        why_needed: Why that is not known.
        missing: Results that are not in the store.
        cells: Of so many.
        seconds: Forecast of the time of the missing ones; None where it is not known.
        notes: What else has to be said.
    """

    number: int
    hypothesis: Hypothesis
    n: int
    pilot: int
    test: str
    comparisons: int
    correction: Correction
    alpha: float
    smallest_p: float
    corrected_smallest_p: float
    reaches: bool
    replicates_to_reach: int | None
    unit: str = ""
    sd: float | None = None
    sd_source: str = ""
    sd_low: float | None = None
    sd_high: float | None = None
    minimal_dz: float | None = None
    minimal_effect: float | None = None
    minimal_effect_high: float | None = None
    power: float | None = None
    replicates_needed: int | None = None
    why_needed: str = ""
    missing: int = 0
    cells: int = 0
    seconds: float | None = None
    notes: tuple[str, ...] = ()


def design(
    study: Study, population: Population, store: Store | None, pace: Pace | None = None
) -> list[Design]:
    """What every hypothesis of a study can see with the replicates that are planned.

    Nothing is read of the replicates that will be tested, but which of them are there.

    Args:
        study: A checked study.
        population: Its graph.
        store: Where a pilot's results and earlier states are; None without one.
        pace: For the cost of what is missing, as ``make_plan`` finds it.
    """
    found = []
    done = keys_done(store, "states"), keys_done(store, "probes")
    results = Results(study, store, population) if store is not None else None
    studies = _studies(study)
    for number, hypothesis in enumerate(study.spec.hypotheses, 1):
        speaks_of = cells(population, hypothesis)
        planned = _reached(study, hypothesis, number, speaks_of)
        planned = _effects(planned, spread(hypothesis, results, planned.pilot), studies)
        planned = replace(planned, notes=_notes(planned))
        found.append(_cost(planned, population.graph, speaks_of, *done, pace))
    return found


def refusals(designs: Sequence[Design]) -> list[str]:
    """Why hypotheses cannot be registered: their tests cannot reach alpha. One line each."""
    return [f"{found.number}: {_refusal(found)}" for found in designs if not found.reaches]


def short(number: float) -> str:
    """A share with at most four digits and without the leading zero.

    >>> short(0.05), short(0.1875), short(0.0166667), short(0.00000191), short(1.0)
    ('.05', '.1875', '.0167', '1.9e-06', '1')
    """
    if number < 1e-4:
        return f"{number:.2g}"
    return f"{number:.4f}".rstrip("0").rstrip(".").removeprefix("0")


def _refusal(found: Design) -> str:
    planned = f"{found.n} replicate{'' if found.n == 1 else 's'}"
    over = f" ({SAID[found.correction]} over {found.comparisons})" if found.comparisons > 1 else ""
    least = f"reaches p {short(found.corrected_smallest_p)} at least" if found.n > 1 else "gives no p"
    alpha = short(found.hypothesis.alpha)
    said = f"the {_TESTS[found.test]} of {planned} {least}{over}, alpha is {alpha}: "
    if found.replicates_to_reach is None:
        return f"{said}no number of replicates can"
    beside = f" beside the pilot of {found.pilot}" if found.pilot else ""
    return f"{said}{found.replicates_to_reach} replicates{beside} can"


def _reached(study: Study, hypothesis: Hypothesis, number: int, speaks_of: Sequence[Cell]) -> Design:
    spec, pilot = study.spec, study.spec.registration.pilot
    size = sum(other.in_family == hypothesis.in_family for other in spec.hypotheses)
    n = max(0, spec.replicates - pilot)
    can = reach(hypothesis, n, size, spec.registration.correction, speaks_of)
    unit = unit_of(hypothesis.of) if hypothesis.of is not None else ""
    return Design(number=number, hypothesis=hypothesis, pilot=pilot, unit=unit, **vars(can))


def _studies(study: Study) -> int:
    """Simulated studies of each power: fewer where many are asked for, so that the plan stays quick."""
    spec = study.spec
    tests = [reach(h, 2, 1, spec.registration.correction).test for h in spec.hypotheses]
    return max(SEARCHED, STUDIES * _MANY // max(_MANY, sum(map(simulated, tests))))


def _effects(found: Design, known: Spread, studies: int) -> Design:
    """What is detected, and whether that is enough for what is expected."""
    found = replace(found, sd=known.sd, sd_source=known.source, sd_low=known.low, sd_high=known.high)
    smallest = None
    if found.reaches and found.n >= 2:
        smallest = minimal_effect(_judge(found), found.n, found.alpha, found.hypothesis.alternative)
    scaled = [None if smallest is None or sd is None else smallest * sd for sd in (known.sd, known.high)]
    dz = None if found.hypothesis.model is not None else smallest
    found = replace(found, minimal_dz=dz, minimal_effect=scaled[0], minimal_effect_high=scaled[1])
    return _expected(found, studies)


def _expected(found: Design, studies: int) -> Design:
    """Power against the expected effect, and replicates that it needs."""
    hypothesis, side = found.hypothesis, found.hypothesis.alternative
    expected = hypothesis.expect.effect if hypothesis.expect is not None else None
    if expected is None and hypothesis.margin is not None and found.test == "equivalence":
        expected = 0.0
    if expected is None:
        return replace(found, why_needed="no 'expect: {effect: ...}' is given")
    if found.sd is None:
        return replace(found, why_needed="the SD of the differences is not known")
    effect, margin = expected / found.sd, (hypothesis.margin or 0.0) / found.sd
    if effect == 0 and found.test != "equivalence":
        return replace(found, why_needed="the expected effect is 0")
    power = 0.0
    if found.reaches and found.n >= 2:
        power = power_against(_judge(found), effect, found.n, found.alpha, side, margin, studies)
    try:
        needed = replicates_for(_judge(found), effect, found.alpha, side, margin)
    except InputError as error:
        return replace(found, power=power, why_needed=str(error))
    return replace(found, power=power, replicates_needed=needed)


def _judge(found: Design) -> str:
    """The paired test whose power stands for that of the test."""
    return {"max-t": "sign-flip", "regression": "paired-t", "wild": "paired-t"}.get(found.test, found.test)


def _notes(found: Design) -> tuple[str, ...]:
    notes = []
    if found.comparisons > 1 and found.correction == "max-t":
        notes.append(
            f"power is that of one claim alone; with max-T over {found.comparisons} it is lower, the less "
            "the claims depend on each other"
        )
    if found.sd is not None and found.hypothesis.model is not None:
        notes.append("the error of the term is taken to fall with the root of the replicates")
    if found.sd_high is not None:
        notes.append(f"an SD of {found.sd_source.removeprefix('pilot of ')} is itself uncertain")
    if simulated(_judge(found)) and found.minimal_dz is not None:
        error = math.sqrt(POWER * (1 - POWER) / SEARCHED)
        notes.append(f"power is simulated, give or take {short(round(error, 2))}")
    return tuple(notes)


def _cost(
    found: Design,
    graph: Graph,
    speaks_of: Sequence[Cell],
    done: set[str],
    measured: set[str],
    pace: Pace | None,
) -> Design:
    """Which results are missing, and how long they take."""
    read = keys(speaks_of)
    # A density is read of the states themselves.
    probes = [key for key in read if key in graph.probes]
    missing = [key for key in probes if key not in measured]
    states = _needed(graph, [state for key in missing for state in graph.probes[key].states], done)
    if not probes:
        wanted = [key for key in read if key in graph.states]
        states = _needed(graph, wanted, done)
        missing = [key for key in wanted if key not in done]
    seconds = pace.seconds(graph, missing if probes else (), states) if pace is not None else None
    return replace(found, missing=len(missing), cells=len(probes) or len(read), seconds=seconds)


def _needed(graph: Graph, wanted: Sequence[str], done: set[str]) -> set[str]:
    """What has to be computed for some states: themselves and what they descend from, but what is there."""
    waiting, found = list(wanted), set[str]()
    while waiting:
        key = waiting.pop()
        if key not in done and key not in found:
            found.add(key)
            waiting += graph.states[key].parents
    return found
