"""The hypotheses of a study, written out. What was found of them is in ``verdicts``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pomona.report.numbers import plain
from pomona.report.units import unit_of, unit_of_measure
from pomona.studies.hypotheses.estimand import MASKS, PREDICTIONS
from pomona.studies.hypotheses.spec import TESTS, Contrast, Estimand, Hypothesis, Regression

Row = tuple[str, str]

_EXCLUDED = {
    "at-chance": "replicates of which an arm is at chance",
    "layer-collapse": "replicates of which a layer keeps no weight",
}
_ERRORS = {
    "auto": "",
    "classical": "classical errors",
    "hc3": "HC3 errors",
    "hac": "HAC errors",
    "cluster": "clustered errors",
    "cr2": "CR2 errors",
    "wild": "wild cluster bootstrap",
}


def parts_of(hypothesis: Hypothesis) -> Iterator[Row]:
    """Name and text of each part of a hypothesis that was given."""
    if hypothesis.null:
        yield "Null", hypothesis.null
    if hypothesis.contrast is not None:
        yield "Compares", compared(hypothesis.contrast, hypothesis.of)
    if hypothesis.model is not None:
        yield "Regression", _regression(hypothesis.model)
    if hypothesis.of is not None:
        yield "In", outcome(hypothesis.of)
    yield "Test", _test(hypothesis)
    if hypothesis.margin is not None:
        yield "Equivalent within", unit_of(hypothesis).written(hypothesis.margin)
    if hypothesis.exclude:
        yield "Leaves out", " and ".join(_EXCLUDED[name] for name in hypothesis.exclude)
    if hypothesis.assume is not None:
        yield "Planned with", f"an SD of {unit_of(hypothesis).written(hypothesis.assume.sd)}"
    if hypothesis.expect is not None:
        yield "Expected", _expected(hypothesis)


def compared(contrast: Contrast, of: Estimand | None) -> str:
    """The two sides of a contrast, and what becomes of the other factors.

    >>> compared(Contrast(a={"method": "x"}, b={"method": "y"}), None)
    'method x (a) with method y (b); paired by replicate'
    """
    parts = [f"{_labels(contrast.a)} (a) {_against(contrast, of)}"]
    for factor, (first, second) in contrast.across.items():
        parts[0] = f"{parts[0].rstrip()}, at {factor} {first} less at {second}"
    if contrast.fix:
        parts.append(f"at {_labels(contrast.fix)}")
    if contrast.match:
        parts.append(f"matched in {', '.join(contrast.match)}")
    if contrast.average:
        parts.append(f"averaged over {', '.join(contrast.average)}")
    return "; ".join([*parts, f"paired by {contrast.pair}"])


def outcome(of: Estimand) -> str:
    """What is measured, and how levels become one number.

    >>> outcome(Estimand(measure="accuracy", match="density", area=(1, 0.1)))
    'mean of test accuracy over log density from 1 to 0.1'
    """
    text = _measured(of)
    if of.value is not None:
        return f"{text}, at {_along(of)} {plain(of.value)}"
    if of.area is not None:
        over = "level" if of.along == "level" else f"log {_along(of)}"
        return f"mean of {text} over {over} from {plain(of.area[0])} to {plain(of.area[1])}"
    if of.slope is not None:
        ends = of.slope if isinstance(of.slope, tuple) else None
        where = f"from {plain(ends[0])} to {plain(ends[1])}" if ends else "over all pruned levels"
        return f"slope of {text} per {of.step_along}, {where}"
    if of.below is not None:
        place = "level" if of.along == "level" else f"log2 {_along(of)}"
        return f"{place} at which {text} first falls below {unit_of_measure(of).place(of.below)}"
    return text


def _measured(of: Estimand) -> str:
    text = f"{of.part} {of.measure}" if of.measure in ("accuracy", "loss") else of.measure
    if of.class_ is not None:
        which = "the worst class" if of.class_ == "worst" else f"class {of.class_}"
        text = f"{of.part} accuracy of {which}"
    if of.quantity:
        text = f"{of.quantity} of {text}"
    if of.layer:
        text += f" of {of.layer}"
    if of.to is not None and of.measure == MASKS:
        chance = "a share of that of independent masks" if of.corrected else "not corrected for chance"
        return f"{text} to the masks of {_labels(of.to)} ({chance})"
    if of.to is not None:
        text += f" {'with' if of.measure == PREDICTIONS else 'to'} {_labels(of.to)}"
    return text


def _along(of: Estimand) -> str:
    return of.along.replace("-", " ")


def _against(contrast: Contrast, of: Estimand | None) -> str:
    if contrast.b is not None:
        return f"with {_labels(contrast.b)} (b)"
    if contrast.value is None or of is None:
        return "" if contrast.across else "held against 0"
    if contrast.number is None:
        return "held against the noise floor of the same replicate"
    whole = of.slope is None and of.below is None
    value = unit_of_measure(of).place(contrast.number) if whole else plain(contrast.number)
    return f"held against {value}"


def _labels(arm: Mapping[str, Any]) -> str:
    return ", ".join(f"{factor} {label}" for factor, label in arm.items()) or "every arm"


def _regression(model: Regression) -> str:
    parts = [f"{model.formula}, one row for each {model.rows}"]
    parts += [f"{name} is {outcome(of)}" for name, of in model.columns.items()]
    parts += [f"the term {model.term} is tested"]
    if model.where:
        parts.append(f"rows where {model.where}")
    if model.cluster:
        parts.append(f"clustered by {' and '.join(model.cluster)}")
    return "; ".join([*parts, *filter(None, [_ERRORS[model.errors]])])


def _test(hypothesis: Hypothesis) -> str:
    name, side = hypothesis.test_name, hypothesis.alternative
    direction = "" if name == "equivalence" else f", alternative: {side}"
    family = f", in the family {hypothesis.family}" if hypothesis.family else ""
    importance = "primary" if hypothesis.primary else "secondary"
    return f"{name} ({TESTS[name]}){direction}; level {plain(hypothesis.alpha)}, {importance}{family}"


def _expected(hypothesis: Hypothesis) -> str:
    expect, parts = hypothesis.expect, []
    assert expect is not None
    if expect.effect is not None:
        parts.append(f"an effect of {unit_of(hypothesis).written(expect.effect)}")
    if expect.text:
        parts.append(expect.text)
    return "; ".join(parts)
