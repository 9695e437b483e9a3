"""The answers of a registration: what a person wrote, and what follows from the study itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pomona.core.streams import STREAMS
from pomona.stats.result import number
from pomona.studies.design.designs import SAID
from pomona.studies.hypotheses.columns import steps_of
from pomona.studies.hypotheses.estimand import MASKS
from pomona.studies.hypotheses.spec import LINEAGE, TESTS, Contrast, Estimand, Hypothesis
from pomona.studies.hypotheses.values import amount, unit_of
from pomona.studies.registration.obstacles import families
from pomona.studies.study import Study
from pomona.studies.yamltext import scalar_text

# Heading of each answer by its name, with the number of AsPredicted's question and the part of OSF's form.
SECTIONS = {
    "question": ("Question", "AsPredicted 2; OSF: description"),
    "data": ("Data collected already", "AsPredicted 1; OSF: existing data"),
    "hypotheses": ("Hypotheses", "AsPredicted 2; OSF: hypotheses"),
    "outcome": ("Outcome", "AsPredicted 3; OSF: measured variables"),
    "conditions": ("Conditions", "AsPredicted 4; OSF: manipulated variables"),
    "analyses": ("Analyses", "AsPredicted 5; OSF: statistical models"),
    "exclusions": ("Exclusions", "AsPredicted 6; OSF: data exclusion"),
    "sample_size": ("Sample size", "AsPredicted 7; OSF: sample size and its rationale"),
    "stopping_rule": ("Stopping rule", "OSF: stopping rule"),
    "randomisation": ("Randomisation", "OSF: randomization"),
    "blinding": ("Blinding", "OSF: blinding"),
    "transformations": ("Transformations", "OSF: transformations"),
    "inference": ("Inference criteria", "OSF: inference criteria"),
    "missing_data": ("Missing data", "OSF: missing data"),
    "exploratory": ("What is exploratory", "AsPredicted 8; OSF: exploratory analysis"),
    "other": ("Anything else", "AsPredicted 8; OSF: other"),
}
_ALPHA = 0.05  # unless a hypothesis says another
_RELATION = {"greater": ("at most", "above"), "less": ("at least", "below"), "two-sided": ("", "other than")}


def written(study: Study) -> dict[str, str]:
    """What a person wrote."""
    given = study.spec.registration
    names = (
        "question",
        "sample_size",
        "exclusions",
        "missing_data",
        "transformations",
        "exploratory",
        "other",
    )
    return {name: getattr(given, name).strip() for name in names}


def derived(study: Study, data: Mapping[str, int]) -> dict[str, list[str]]:
    """Lines of the answers that follow from the study and the store.

    Args:
        study: The study that is registered.
        data: ``results`` that the hypotheses speak of, ``held`` of them in the store, ``seen`` of which the
            state was measured in another way, and the ``states`` that these are read from with how many were
            ``trained`` or had ``failed``.
    """
    hypotheses = study.spec.hypotheses
    return {
        "data": _data(data),
        "hypotheses": [line for i, one in enumerate(hypotheses, 1) for line in _claim(i, one)],
        "outcome": [f"{i}. {outcome(one)}" for i, one in enumerate(hypotheses, 1)],
        "conditions": [f"{i}. {_conditions(one, study)}" for i, one in enumerate(hypotheses, 1)],
        "analyses": [f"{i}. {_analysis(one)}" for i, one in enumerate(hypotheses, 1)] + _families(study),
        "exclusions": [
            f"{i}. left out: {', '.join(h.exclude)}" for i, h in enumerate(hypotheses, 1) if h.exclude
        ],
        "sample_size": [_sample(study)],
        "stopping_rule": [
            f"The number of replicates is fixed: {study.spec.replicates}. Nothing is tested before all "
            "of them are there."
        ],
        "randomisation": _randomisation(study),
        "inference": _inference(study),
        "exploratory": [
            "Whatever is no hypothesis of this registration: estimates and intervals, without p and verdict."
        ],
    }


def outcome(hypothesis: Hypothesis) -> str:
    """The number that each replicate of an arm gives."""
    if hypothesis.model is not None:
        columns = [f"; {name} is {_read(of)}" for name, of in hypothesis.model.columns.items()]
        return f"{hypothesis.model.formula}, one row for each {hypothesis.model.rows}{''.join(columns)}"
    assert hypothesis.of is not None
    return _read(hypothesis.of)


def _read(of: Estimand) -> str:
    """What is read of an arm, and where."""
    parts = [of.measure if of.class_ is None else f"{of.measure}, class {of.class_}"]
    if of.measure in ("accuracy", "loss", "class-accuracy"):
        parts.append(f"{of.part} part")
    if of.to is not None:
        chance = ", divided by chance" if of.measure == MASKS and of.corrected else ""
        parts.append(f"against {arm(of.to)}{chance}")
    parts += [of.layer] if of.layer else []
    parts += [of.quantity] if of.quantity else []
    return ", ".join([*parts, _placed(of)])


def arm(labels: Mapping[str, Any]) -> str:
    """An arm in words: ``method l1, treatment rewind``."""
    return ", ".join(f"{factor} {scalar_text(label)}" for factor, label in labels.items())


def _placed(of: Estimand) -> str:
    """Which levels the number is made of, and how."""
    along = {"effective-density": "effective density"}.get(of.along, of.along)
    if of.value is not None:
        return f"at {along} {of.value:g}"
    if of.area is not None:
        return f"its mean over {along} {of.area[0]:g} to {of.area[1]:g}"
    if of.slope is not None:
        ends = f" from {of.slope[0]:g} to {of.slope[1]:g}" if isinstance(of.slope, tuple) else ""
        return f"its slope over {along}{ends}"
    return f"the {along} at which it first falls below {of.below:g}" if of.below is not None else "last level"


def _data(data: Mapping[str, int]) -> list[str]:
    results, held = data["results"], data["held"]
    if held:
        lines = [f"Yes: {held} of the {results} results that the hypotheses speak of were in the store."]
    else:
        lines = [f"No: none of the {results} results that the hypotheses speak of was in the store."]
    if data["pilot_held"]:
        lines.append(
            f"Yes, of the pilot: {data['pilot_held']} of its {data['pilot']} results were there. They are of "
            "other replicates of the same arms, and in no test."
        )
    if data["trained"]:
        said = f"{data['trained']} of the {data['states']} states that these are read from were there already"
        lines.append(f"{said}.")
    if data["seen"]:
        lines.append(
            f"Of the states of {data['seen']} results that were not there something else had been measured, "
            "as another part of the data or another measure: what they will be may be known."
        )
    if data["failed"]:
        lines.append(f"{data['failed']} of these states had been tried and had failed.")
    return lines


def _claim(place: int, hypothesis: Hypothesis) -> list[str]:
    null, alternative = _null(hypothesis)
    expected = []
    if hypothesis.expect is not None:
        size = hypothesis.expect.effect
        said = [
            amount(size, _unit(hypothesis), digits=4) if size is not None else "",
            hypothesis.expect.text or "",
        ]
        expected = [f"   expected: {'; '.join(filter(None, said))}"]
    return [
        f"{place}. {hypothesis.claim}",
        f"   null: {hypothesis.null or null}",
        f"   alternative: {alternative}",
        *expected,
    ]


def _null(hypothesis: Hypothesis) -> tuple[str, str]:
    """The null and the alternative that the test takes."""
    what, against = _tested(hypothesis)
    if hypothesis.test_name == "equivalence":
        margin = amount(hypothesis.margin or 0.0, _unit(hypothesis), digits=4)
        return f"{what} is {margin} or more from {against}", f"it is less than {margin} from {against}"
    null, other = _RELATION[hypothesis.alternative]
    return f"{what} is {f'{null} ' if null else ''}{against}", f"it is {other} {against}"


def _tested(hypothesis: Hypothesis) -> tuple[str, str]:
    """The quantity that a test is of, and the value that it is held against."""
    if hypothesis.model is not None:
        return f"the coefficient of {hypothesis.model.term}", "0"
    contrast = hypothesis.contrast
    assert contrast is not None
    what = "a - b" if contrast.b is not None else "a"
    if contrast.across:
        ((factor, (first, second)),) = contrast.across.items()
        what = f"{what} at {factor} {scalar_text(first)} less {what} at {scalar_text(second)}"
    centre = "median" if hypothesis.test_name in ("wilcoxon", "sign") else "mean"
    return f"the {centre} of {what}", "0" if contrast.value is None else _held_against(hypothesis, contrast)


def _unit(hypothesis: Hypothesis) -> str:
    return unit_of(hypothesis.of) if hypothesis.of is not None else ""


def _held_against(hypothesis: Hypothesis, contrast: Contrast) -> str:
    if contrast.number is None:
        return "the noise floor of the same replicate"
    return _shown_value(contrast.number, _unit(hypothesis))


def _shown_value(value: float, unit: str) -> str:
    return f"{100 * value:g} %" if unit == "share" else f"{number(value)} {unit}".strip()


def _conditions(hypothesis: Hypothesis, study: Study) -> str:
    model = hypothesis.model
    if model is not None:
        where = f" where {model.where}" if model.where else ""
        steps = f"step {' and '.join(steps_of(study, model))}" if model.rows == LINEAGE else "the study"
        return f"every {model.rows} of {steps}{where}"
    contrast = hypothesis.contrast
    assert contrast is not None
    parts = [f"a: {arm(contrast.a)}"]
    if contrast.b is not None:
        parts.append(f"b: {arm(contrast.b)}")
    if contrast.value is not None:
        parts.append(f"held against {_held_against(hypothesis, contrast)}")
    parts += [
        f"{factor} {scalar_text(first)} less {factor} {scalar_text(second)}"
        for factor, (first, second) in contrast.across.items()
    ]
    parts += [f"both at {arm(contrast.fix)}"] if contrast.fix else []
    parts += [f"matched in {', '.join(contrast.match)}"] if contrast.match else []
    parts += [f"averaged over {', '.join(contrast.average)}"] if contrast.average else []
    return "; ".join([*parts, f"paired by {contrast.pair}"])


def _analysis(hypothesis: Hypothesis) -> str:
    said = f"{TESTS[hypothesis.test_name]} ({hypothesis.alternative}), alpha {hypothesis.alpha:g}"
    if hypothesis.model is not None:
        clusters = f", clustered by {', '.join(hypothesis.model.cluster)}" if hypothesis.model.cluster else ""
        said += (
            f", of {hypothesis.model.term} in {hypothesis.model.formula}; errors {hypothesis.model.errors}"
        )
        said += clusters
    if hypothesis.margin is not None:
        said += f", margin {amount(hypothesis.margin, _unit(hypothesis), digits=4)}"
    return f"{said}; family {hypothesis.in_family}"


def _families(study: Study) -> list[str]:
    correction = study.spec.registration.correction
    how = SAID[correction] if correction == "none" else f"corrected by {SAID[correction]}"
    return [
        f"Family {name}: {len(own)} test{'s' if len(own) > 1 else ''}, {how}"
        for name, own in families(study.spec.hypotheses).items()
    ]


def _inference(study: Study) -> list[str]:
    """The rule of the verdicts, and how often one of them is wrong."""
    hypotheses = study.spec.hypotheses
    lines = [
        "Supported: the p of the test, corrected within its family, is at most alpha. Refuted: the "
        "opposite is shown at the same level. Equivalent: the difference lies within its margin. "
        "Else inconclusive; not answerable where all arms are at chance.",
        "Refuted and, of a claim with a margin, equivalent are second looks at alpha each: where there is no "
        "difference, 'supported or refuted' of a claim with a direction comes up in up to 2 alpha.",
    ]
    others = [f"{one.alpha:g} of {i}" for i, one in enumerate(hypotheses, 1) if one.alpha != _ALPHA]
    lines.append(f"Alpha is {', '.join([*others, 'else .05'] if others else ['.05'])}.")
    count = len(families(hypotheses))
    if count > 1:
        lines.append(
            f"There are {count} families, each corrected by itself: what is wrongly supported in any of them "
            f"adds up to {count} alpha."
        )
    return [*lines, "Intervals are two-sided, whatever the direction of the test."]


def _sample(study: Study) -> str:
    spec, pilot = study.spec, study.spec.registration.pilot
    if not pilot:
        return f"{spec.replicates} replicates, all of them tested."
    left = spec.replicates - pilot
    return f"{spec.replicates} replicates: the first {pilot} are a pilot and in no test, {left} are tested."


def _randomisation(study: Study) -> list[str]:
    spec = study.spec
    own = [stream for stream in STREAMS if stream not in spec.hold and stream not in spec.vary]
    lines = [f"Replicate i draws from seed index i of every stream: {', '.join(own)}."]
    lines += [f"Held for all replicates: {name} at seed index {at}." for name, at in spec.hold.items()]
    lines += [f"Varied in each replicate: {name}, {count} values." for name, count in spec.vary.items()]
    return [*lines, "Arms of one replicate share these seeds, so that they are pairs."]
