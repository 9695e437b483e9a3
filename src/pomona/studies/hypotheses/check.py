"""Faults of hypotheses that are seen before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pomona.core.errors import InputError, unknown
from pomona.studies.hypotheses.arms import labels_of, sides, step_of
from pomona.studies.hypotheses.columns import column_faults
from pomona.studies.hypotheses.estimand import Estimand
from pomona.studies.hypotheses.readable import measure_faults as measure_faults
from pomona.studies.hypotheses.readable import place_faults, uncompared, unreadable
from pomona.studies.hypotheses.rows import row_condition
from pomona.studies.hypotheses.spec import NOISE, Contrast, Hypothesis, Regression
from pomona.studies.yamltext import scalar_text

if TYPE_CHECKING:
    from pomona.studies.study import Study

Row = tuple[str, ...]
Place = tuple[str, ...]  # below a hypothesis
_ORDER = "order"  # the stream whose values give the noise floor of masks


def hypothesis_faults(study: Study) -> Iterator[str]:
    """Contrasts that leave a factor open, compare what there is not, or read what is not measured."""
    for index, hypothesis in enumerate(study.spec.hypotheses):
        for key, fault in _faults(study, hypothesis):
            yield f"{study.document.where(('hypotheses', index, *key))}: {fault}"
    yield from _blind_faults(study)


def _faults(study: Study, hypothesis: Hypothesis) -> Iterator[tuple[Place, str]]:
    if hypothesis.model is not None:
        yield from _model_faults(study, hypothesis.model)
        return
    contrast, of = hypothesis.contrast, hypothesis.of
    assert contrast is not None
    assert of is not None
    yield from ((("of",), fault) for fault in measure_faults(study, of))
    found = list(_contrast_faults(study, contrast, of))
    yield from ((("contrast",), fault) for fault in found)
    if not found:
        yield from ((("of",), fault) for fault in _place_faults(study, contrast, of))
        yield from ((("of",), fault) for fault in reading_faults(study, contrast, of))


def _contrast_faults(study: Study, contrast: Contrast, of: Estimand) -> Iterator[str]:
    """A contrast fixes, matches or averages every factor that it does not compare."""
    named = [contrast.a, contrast.b or {}, contrast.fix, of.to or {}]
    named += [{factor: label} for factor, labels in contrast.across.items() for label in labels]
    found = list(dict.fromkeys(fault for side in named for fault in _label_faults(study, side)))
    factors = [*contrast.match, *contrast.average]
    found += [unknown("factor", factor, study.factors) for factor in factors if factor not in study.factors]
    if found:
        yield from found
        return
    if contrast.b is not None and contrast.a == contrast.b:
        yield f"both arms are {contrast.a!r}: there is nothing to compare"
    if contrast.b is not None:
        for factor in sorted(_one_sided(study, contrast)):
            yield f"factor {factor!r} is given for one arm only; give it for both"
    steps = [step_of(study, arm, contrast) for arm in sides(contrast).values()]
    yield from _twice(contrast)
    yield from _open_faults(study, contrast, steps)
    for step, arm in zip(steps, sides(contrast).values(), strict=True):
        yield from _arm_faults(study, step, arm)
        if of.to is not None:
            yield from _arm_faults(study, step, {**arm, **of.to})
    yield from _average_faults(study, contrast)
    if contrast.value == NOISE and _ORDER not in study.spec.vary:
        yield "'value: floor' takes the same arm in another order of the data: write 'vary: {order: 2}'"


def _one_sided(study: Study, contrast: Contrast) -> set[str]:
    """Factors of one arm that the other arm, which reaches them too, says nothing of."""
    found = set()
    for arm, other in ((contrast.a, contrast.b or {}), (contrast.b or {}, contrast.a)):
        missing = set(arm) - set(other)
        # An ensemble, or a step before the factor counts, has one state for all of its labels.
        apart = "step" in other
        reach = study.reach.get(step_of(study, other, contrast), frozenset()) if apart else missing
        found |= {factor for factor in missing if factor == "step" or factor in reach}
    return found


def _label_faults(study: Study, side: Mapping[str, Any]) -> Iterator[str]:
    for factor, label in side.items():
        known = study.spec.steps if factor == "step" else study.factors.get(factor)
        if known is None:
            yield unknown("factor", factor, study.factors)
        elif scalar_text(label) not in known:
            what = "step" if factor == "step" else f"label of factor {factor!r}"
            yield unknown(what, label, known)


def _twice(contrast: Contrast) -> Iterator[str]:
    places = {
        "compared": {*contrast.a, *(contrast.b or {})} - {"step"},
        "across": set(contrast.across),
        "fix": set(contrast.fix),
        "match": set(contrast.match),
        "average": set(contrast.average),
    }
    names = list(places)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            for factor in sorted(places[first] & places[second]):
                yield f"factor {factor!r} stands both in {first!r} and in {second!r}: one of them counts"


def _open_faults(study: Study, contrast: Contrast, steps: Sequence[str]) -> Iterator[str]:
    settled = {*contrast.a, *(contrast.b or {}), *contrast.across, *contrast.fix}
    settled |= {*contrast.match, *contrast.average}
    reached = {factor for step in steps for factor in study.reach.get(step, ())}
    for factor, values in study.factors.items():
        if factor in reached and factor not in settled:
            label = next(iter(values))
            yield (
                f"factor {factor!r} is left open; fix it (fix: {{{factor}: {label}}}), match it "
                f"(match: [{factor}]) or average over it (average: [{factor}])"
            )
        elif factor not in reached and factor in settled:
            named = ", ".join(dict.fromkeys(steps))
            yield f"no arm depends on factor {factor!r} (steps: {named}); leave it out"


def _arm_faults(study: Study, step: str, arm: Mapping[str, Any]) -> Iterator[str]:
    """An arm that no combination of labels makes: the conditions of the study leave it out."""
    reach = study.reach.get(step, frozenset())
    wanted = {factor: label for factor, label in labels_of(arm).items() if factor in reach}
    if not any(wanted.items() <= found.items() for found in study.arms_of(step)):
        said = ", ".join(f"{factor}: {label}" for factor, label in wanted.items())
        yield f"step {step!r} has no arm with {said}: the conditions ('where') leave it out"


def _average_faults(study: Study, contrast: Contrast) -> Iterator[str]:
    """Arms that are averaged over other labels: their difference would be one of these labels too."""
    reached = {side: study.reach[step_of(study, arm, contrast)] for side, arm in sides(contrast).items()}
    # A side whose step does not reach a factor has one state for all of its labels.
    over = [f for f in contrast.average if all(f in reach for reach in reached.values())]
    match = [f for f in contrast.match if all(f in reach for reach in reached.values())]
    found: dict[str, dict[Row, set[Row]]] = {}
    for side, arm in sides(contrast).items():
        labels = {f: label for f, label in labels_of(arm).items() if f in reached[side]}
        for one in study.arms_of(step_of(study, arm, contrast)):
            if labels.items() <= one.items():
                matched = tuple(one[f] for f in match)
                found.setdefault(side, {}).setdefault(matched, set()).add(tuple(one[f] for f in over))
    common = set.intersection(*(set(own) for own in found.values())) if found else set()
    if any(len({frozenset(own[matched]) for own in found.values()}) > 1 for matched in common):
        said = ", ".join(f"{side} over {_labels_in(own)}" for side, own in found.items())
        yield (
            f"the arms are averaged over other labels ({said}), so that their difference would be one of "
            f"{' and '.join(over)} too: write 'match: [{', '.join(over)}]', or change 'where'"
        )


def _labels_in(found: Mapping[Row, set[Row]]) -> str:
    return " and ".join(sorted({" ".join(one) for own in found.values() for one in own}))


def reading_faults(study: Study, contrast: Contrast, of: Estimand) -> Iterator[str]:
    """What the states of an arm can never have, each fault once."""
    faults = (
        fault
        for arm in sides(contrast).values()
        for one in _arms_of(study, step_of(study, arm, contrast), arm)
        for fault in [*unreadable(study, *one, of), *uncompared(study, *one, of)]
    )
    yield from dict.fromkeys(faults)


def _arms_of(study: Study, step: str, arm: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    wanted = {factor: label for factor, label in labels_of(arm).items() if factor in study.reach[step]}
    yield from ((step, one) for one in study.arms_of(step) if wanted.items() <= one.items())


def _place_faults(study: Study, contrast: Contrast, of: Estimand) -> Iterator[str]:
    for step in dict.fromkeys(step_of(study, arm, contrast) for arm in sides(contrast).values()):
        yield from place_faults(study, step, of)


def _model_faults(study: Study, model: Regression) -> Iterator[tuple[Place, str]]:
    try:
        row_condition(study, model)
    except InputError as error:
        yield ("model",), str(error)
        return
    faults = list(column_faults(study, model))
    yield from ((("model", "columns", name) if name else ("model",), fault) for name, fault in faults)
    # Only a study with a regression waits for what reads formulas.
    from pomona.studies.hypotheses.formulas import formula_fault

    fault = formula_fault(study, model) if not faults else None
    if fault is not None:
        yield ("model",), fault
    most = {"cluster": 2, "cr2": 1, "wild": 1, "auto": 2}.get(model.errors, 0)
    if len(model.cluster) > most:
        yield ("model",), f"errors {model.errors!r} take {most or 'no'} clusters, got {len(model.cluster)}"
    if model.errors in ("cluster", "cr2", "wild") and not model.cluster:
        yield ("model",), f"errors {model.errors!r} need 'cluster', as [replicate]"


def _blind_faults(study: Study) -> Iterator[str]:
    blind, place = study.spec.registration.blind, study.document.where(("registration", "blind"))
    for factor in blind if isinstance(blind, tuple) else ():
        if factor not in study.factors:
            yield unknown("factor", factor, study.factors, where=place)
