"""The roles of factors in a variation: drawn, chosen, averaged over; and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pomona.core.errors import unknown
from pomona.studies.hypotheses.arms import labels_of, sides, step_of
from pomona.studies.hypotheses.check import measure_faults, reading_faults
from pomona.studies.hypotheses.spec import Contrast, Hypothesis, Variation
from pomona.studies.schema import StudySpec
from pomona.studies.yamltext import scalar_text

if TYPE_CHECKING:
    from pomona.studies.study import Study

REPLICATE = "replicate"
Labels = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Roles:
    """What becomes of the factors of a variation, replicates among them; the rest is fixed or compared.

    Args:
        random: Drawn anew from value to value: ``replicate`` and streams.
        systematic: Chosen, and ought not to matter.
        average: Averaged over.
    """

    random: tuple[str, ...]
    systematic: tuple[str, ...]
    average: tuple[str, ...]


def roles_of(variation: Variation, spec: StudySpec) -> Roles:
    """The roles as they are given; by default all that is drawn and not settled otherwise is random."""
    drawn = [*([REPLICATE] if spec.replicates > 1 else []), *spec.vary]
    settled = {*variation.a, *(variation.b or {}), *variation.fix, *variation.average, *variation.systematic}
    random = variation.random or tuple(name for name in drawn if name not in settled)
    return Roles(random, variation.systematic, variation.average)


def as_hypothesis(variation: Variation) -> Hypothesis:
    """The same arms and outcome as a hypothesis has them; nothing is tested."""
    fix = {factor: label for factor, label in variation.fix.items() if factor != REPLICATE}
    against = None if variation.b is not None else 0.0
    contrast = Contrast(a=variation.a, b=variation.b, value=against, fix=fix)
    return Hypothesis(claim="sources of variation", contrast=contrast, of=variation.of)


def variation_faults(study: Study) -> Iterator[str]:
    """Variations that leave a factor open, name what there is not, or have nothing that varies."""
    spec = study.spec
    labels: dict[str, list[str]] = {name: list(values) for name, values in study.factors.items()}
    labels[REPLICATE] = [str(number) for number in range(spec.replicates)]
    for index, variation in enumerate(spec.variation):
        found = [*measure_faults(study, variation.of), *_name_faults(variation, labels, study.order)]
        if not found:
            found = [*_arm_faults(variation, study), *_role_faults(variation, study, labels)]
        if not found:
            contrast = as_hypothesis(variation).contrast
            assert contrast is not None
            found = list(reading_faults(study, contrast, variation.of))
        yield from (f"{study.document.where(('variation', index))}: {fault}" for fault in found)


def _name_faults(variation: Variation, labels: Labels, order: Sequence[str]) -> Iterator[str]:
    known = {**labels, "step": order}
    for side in (variation.a, variation.b or {}, variation.fix):
        for factor, label in side.items():
            if factor not in known:
                yield unknown("factor", factor, labels)
            elif scalar_text(label) not in known[factor]:
                what = "step" if factor == "step" else f"label of factor {factor!r}"
                yield unknown(what, label, known[factor])
    for factor in (*variation.average, *variation.random, *variation.systematic):
        if factor not in labels:
            yield unknown("factor", factor, labels)
    if variation.b is not None:
        if variation.a == variation.b:
            yield f"both arms are {variation.a!r}: their difference is always 0"
        for factor in sorted(set(variation.a) ^ set(variation.b)):
            yield f"factor {factor!r} is given for one arm only; give it for both"


def _arms(variation: Variation, study: Study) -> Iterator[tuple[str, dict[str, str]]]:
    """The step of each arm, and its labels."""
    contrast = as_hypothesis(variation).contrast
    assert contrast is not None
    for arm in sides(contrast).values():
        yield step_of(study, arm, contrast), labels_of(arm)


def _arm_faults(variation: Variation, study: Study) -> Iterator[str]:
    arms = list(_arms(variation, study))
    for step, labels in arms:
        wanted = {factor: label for factor, label in labels.items() if factor in study.reach[step]}
        if not any(wanted.items() <= arm.items() for arm in study.arms_of(step)):
            said = ", ".join(f"{factor}: {label}" for factor, label in wanted.items())
            yield f"step {step!r} has no arm with {said}: the conditions ('where') leave it out"
    for step in dict.fromkeys(step for step, _ in arms):
        spec = study.spec.steps[step]
        several = spec.repeat != 1 or (spec.mask is not None and spec.mask.levels > 1)
        if several and variation.of.match is None:
            yield f"step {step!r} has several levels: say which, as 'match: density, value: 0.1'"


def _role_faults(variation: Variation, study: Study, labels: Labels) -> Iterator[str]:
    roles, drawn = roles_of(variation, study.spec), {REPLICATE, *study.spec.vary}
    reached = {REPLICATE}.union(*(study.reach[step] for step, _ in _arms(variation, study)))
    compared = {*variation.a, *(variation.b or {})} - {"step"}
    fixed = [factor for factor in variation.fix if factor != "step"]
    given = [*compared, *fixed, *roles.average, *roles.random, *roles.systematic]
    for factor in dict.fromkeys(given):
        if given.count(factor) > 1:
            yield f"factor {factor!r} has two roles; give it one"
        if factor not in reached:
            yield f"factor {factor!r} does not reach the step that is looked at; leave it out"
    for factor in roles.random:
        if factor not in drawn:
            yield (
                f"random: the labels of factor {factor!r} are chosen, not drawn; name it under 'systematic' "
                f"or 'average'. What is drawn here: {', '.join(sorted(drawn))}"
            )
    nested = [factor for factor in roles.random if factor != REPLICATE and factor in drawn]
    if REPLICATE in roles.average and nested:
        yield (
            f"average: each replicate has other seeds of {' and '.join(nested)}, so that value 1 of one and "
            "of the next are draws of their own, and their mean spreads less than any of them; name "
            f"{REPLICATE!r} under 'random' too, or fix one (fix: {{{REPLICATE}: 0}})"
        )
    for factor in roles.systematic:
        if factor in drawn:
            yield f"systematic: {factor!r} is drawn, not chosen; name it under 'random'"
    for factor, known in labels.items():
        if factor in reached and factor not in given and len(known) > 1:
            yield _open(factor, known[0], factor in drawn)
    if not any(len(labels[factor]) > 1 for factor in roles.random):
        yield "nothing is drawn anew: vary a stream (vary: {order: 4}) or ask for more than one replicate"


def _open(factor: str, label: str, drawn: bool) -> str:
    role = "random" if drawn else "systematic"
    return (
        f"factor {factor!r} is left open; fix it (fix: {{{factor}: {label}}}), average over it "
        f"(average: [{factor}]) or name it a source ({role}: [{factor}])"
    )
