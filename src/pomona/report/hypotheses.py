"""The hypotheses of a study, written out. They are not judged here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pomona.report.numbers import plain
from pomona.studies.schema import TESTS, Contrast, Estimand, Expect, Hypothesis, Regression

Row = tuple[str, str]


def written_out(hypotheses: Sequence[Hypothesis]) -> list[tuple[str, list[Row]]]:
    """Claim, and name and text of each of its parts, for every hypothesis."""
    return [(hypothesis.claim, list(_parts(hypothesis))) for hypothesis in hypotheses]


def _parts(hypothesis: Hypothesis) -> Iterator[Row]:
    if hypothesis.contrast is not None:
        yield "Compares", _contrast(hypothesis.contrast)
    if hypothesis.model is not None:
        yield "Regression", _regression(hypothesis.model)
    if hypothesis.of is not None:
        yield "In", _estimand(hypothesis.of)
    if hypothesis.test is not None:
        level = f"level {plain(hypothesis.alpha)}, {'primary' if hypothesis.primary else 'secondary'}"
        yield "Test", f"{_test(hypothesis.test)}; {level}"
    if hypothesis.expect is not None:
        yield "Expected", _expected(hypothesis.expect)


def _contrast(contrast: Contrast) -> str:
    parts = [f"{_labels(contrast.a)} with {_labels(contrast.b)}"]
    if contrast.fix:
        parts.append(f"at {_labels(contrast.fix)}")
    if contrast.match:
        parts.append(f"matched in {', '.join(contrast.match)}")
    if contrast.average:
        parts.append(f"averaged over {', '.join(contrast.average)}")
    if contrast.pair:
        parts.append(f"paired by {contrast.pair}")
    return "; ".join(parts)


def _labels(arm: Mapping[str, Any]) -> str:
    return ", ".join(f"{factor} {label}" for factor, label in arm.items())


def _estimand(of: Estimand) -> str:
    text = f"{of.part} accuracy" if of.measure == "accuracy" else of.measure
    if of.layer:
        text += f" of {of.layer}"
    if of.match:
        at = f" {plain(of.value)}" if of.value is not None else ""
        text += f", at {of.match}{at}"
    return text


def _regression(model: Regression) -> str:
    cluster = f", clustered by {', '.join(model.cluster)}" if model.cluster else ""
    return f"{model.formula}, one row for each {model.rows}{cluster}"


def _test(test: str | Mapping[str, str]) -> str:
    named = {test: ""} if isinstance(test, str) else test
    return ", ".join(
        f"{name} ({TESTS[name]}){f', alternative: {side}' if side else ''}" for name, side in named.items()
    )


def _expected(expect: Expect) -> str:
    parts = []
    if expect.effect is not None:
        parts.append(f"an effect of {plain(round(100 * expect.effect, 10))} percentage points")
    if expect.text:
        parts.append(expect.text)
    return "; ".join(parts)
