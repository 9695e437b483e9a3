"""What keeps a study from being registered; all of it is reported together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pomona.studies.design.designs import design, refusals
from pomona.studies.hypotheses.cells import FLOOR, ORDER, cells, pilot_cells
from pomona.studies.hypotheses.estimand import MASKS
from pomona.studies.hypotheses.spec import NOISE, Hypothesis
from pomona.studies.points import Population
from pomona.studies.registration.repeated import unreplicated
from pomona.studies.study import Study
from pomona.studies.yamltext import scalar_text

# What a person must write, and how it may look; 'none' is an answer.
ASKED = {
    "question": ("the main question", "Does magnitude pruning keep accuracy longer than random pruning?"),
    "sample_size": ("why so many replicates", "what one night of this machine allows"),
    "exclusions": ("what is left out, and when", "none"),
    "missing_data": (
        "what becomes of replicates that fail",
        "replicates that diverge are left out and counted",
    ),
    "transformations": ("how measures are transformed", "none"),
    "exploratory": ("what else will be looked at, without a test", "accuracy by class"),
}


def lacking(study: Study) -> Iterator[str]:
    """Answers that only a person can give and that are not written."""
    for name, (what, example) in ASKED.items():
        if not getattr(study.spec.registration, name).strip():
            place = study.document.where(("registration", name))
            yield f"{place}: a registration says {what}, as '{name}: {example}'"


def obstacles(study: Study, population: Population) -> Iterator[str]:
    """Why hypotheses, as they are planned, cannot be answered."""
    spec, where = study.spec, study.document.where
    if not spec.hypotheses:
        yield f"{where(('hypotheses',))}: there is no hypothesis to register"
    if not spec.verdicts:
        preset = f"the preset {study.preset} is" if study.preset else "it is"
        yield f"{where(('verdicts',))}: {preset} not for verdicts (verdicts: no), so it registers nothing"
    pilot = spec.registration.pilot
    if pilot >= spec.replicates:
        yield (
            f"{where(('registration', 'pilot'))}: all {spec.replicates} replicates are a pilot ({pilot}), "
            "which is in no test; give more replicates"
        )
    else:
        yield from _unreachable(study, population)
        for index, why in unreplicated(population):
            yield f"{where(('hypotheses', index))}: {why}"
    if spec.registration.correction == "max-t":
        yield from _not_for_max_t(study)
    yield from _unspoken(study, population)


def families(hypotheses: Sequence[Hypothesis]) -> dict[str, list[Hypothesis]]:
    """The hypotheses whose p-values are corrected together, by the name of their family."""
    found: dict[str, list[Hypothesis]] = {}
    for hypothesis in hypotheses:
        found.setdefault(hypothesis.in_family, []).append(hypothesis)
    return found


def _unreachable(study: Study, population: Population) -> Iterator[str]:
    """Tests that cannot reach their alpha, with the number of replicates that can."""
    for planned in design(study, population, None):
        if not planned.reaches:
            place = study.document.where(("hypotheses", planned.number - 1, "test"))
            said = refusals([planned])[0].removeprefix(f"{planned.number}: ")
            needed = planned.replicates_to_reach
            advice = f"; write 'replicates: {needed + planned.pilot}'" if needed is not None else ""
            yield f"{place}: {said}{advice}"


def _not_for_max_t(study: Study) -> Iterator[str]:
    place = study.document.where(("registration", "correction"))
    for name, members in families(study.spec.hypotheses).items():
        tests = {(member.test_name, member.alternative) for member in members}
        if len(tests) > 1 or {test for test, _ in tests} != {"permutation"}:
            found = ", ".join(f"{test} ({side})" for test, side in sorted(tests))
            yield (
                f"{place}: max-t flips the signs of all contrasts of a family together, so that all take the "
                f"test permutation in one direction; family {name!r} has {found}. Take 'correction: holm', "
                "or 'test: {permutation: two-sided}' for each"
            )


def _unspoken(study: Study, population: Population) -> Iterator[str]:
    """Hypotheses without any result, and arms compared where nothing says what noise alone does."""
    for index, hypothesis in enumerate(study.spec.hypotheses):
        found = [*pilot_cells(population, hypothesis), *cells(population, hypothesis)]
        masks = hypothesis.of is not None and hypothesis.of.measure == MASKS
        floor = hypothesis.contrast is not None and hypothesis.contrast.value == NOISE
        if not any(cell.points for cell in found):
            yield f"{study.document.where(('hypotheses', index))}: it speaks of no state of this study"
        elif (masks or floor) and not any(cell.side == FLOOR for cell in found):
            place = study.document.where(("hypotheses", index, "of"))
            yield f"{place}: {_floor_advice(study, hypothesis)}"


def _floor_advice(study: Study, hypothesis: Hypothesis) -> str:
    what = "masks" if hypothesis.of is not None and hypothesis.of.measure == MASKS else "predictions"
    said = (
        f"{what} are compared and nothing says how far apart they lie by noise alone: the same arm, trained "
        "from the same initial weights in another order of the data"
    )
    if ORDER in study.spec.vary:
        return f"{said}; no arm of this contrast has {what} of both orders, see 'where'"
    assert hypothesis.contrast is not None
    arm = [(factor, label) for factor, label in hypothesis.contrast.a.items() if factor != "step"]
    if not arm:
        return f"{said}; write 'vary: {{order: 2}}'"
    factor, label = arm[0][0], scalar_text(arm[0][1])
    return (
        f"{said}; write 'vary: {{order: 2}}' and, to keep it to one {factor}, "
        f"'where: [order == 0 or {factor} == {label}]'"
    )
