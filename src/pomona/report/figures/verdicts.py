"""Effects of hypotheses: differences of replicates, mean and interval, and what they are held against."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pomona.report.figures.figure import Figure
from pomona.report.units import unit_of
from pomona.report.verdicts import Verdict

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from pomona.studies.hypotheses.judge import Judged

# Series, its numbers by column, and other columns.
_Drawn = tuple[str, Mapping[str, float | None], dict[str, int]]

NAME = "verdicts"
_COEFFICIENT = "coefficient of "
_COLUMNS = (
    *("hypothesis", "claim", "verdict", "effect", "unit", "series", "replicate"),
    *("value", "low", "high", "n"),
)
_INK, _SOFT, _MARGIN, _FLOOR, _EXPECTED = "#0072B2", "#555555", "#009E73", "#E69F00", "#D55E00"
_LABEL_WIDTH = 42
_PIXELS_A_CHARACTER = 6
_ROW = 58
# Means stand above the middle of a row, replicates below it.
_UP = -7


def verdict_figure(verdicts: Sequence[Verdict]) -> Figure | None:
    """A row for each hypothesis of which something was observed; None where nothing was.

    Rows whose effects have one unit share a panel. All numbers are in the unit that is shown.

    Args:
        verdicts: What was found of each hypothesis.
    """
    import altair as alt
    import pandas as pd

    shown = [verdict for verdict in verdicts if verdict.drawn]
    if not shown:
        return None
    data = pd.DataFrame([row for verdict in shown for row in _rows(verdict)], columns=list(_COLUMNS))
    data = data.astype({"replicate": "Int64", "n": "Int64", "value": float, "low": float, "high": float})
    data = data.sort_values("hypothesis", kind="stable", ignore_index=True)
    title = "Effects that hypotheses speak of"
    drawn = [_panel(data, unit) for unit in dict.fromkeys(data["unit"])]
    chart: alt.TopLevelMixin = drawn[0].properties(title=title)
    if len(drawn) > 1:
        chart = alt.vconcat(*drawn, spacing=26, title=title)
    return Figure(NAME, title, _caption(data, [v for v in verdicts if v not in shown]), data, chart)


def _rows(verdict: Verdict) -> Iterator[dict[str, Any]]:
    """What is drawn of one hypothesis, in the unit that is shown."""
    hypothesis = verdict.judged.hypothesis
    unit = unit_of(hypothesis)
    head = {
        "hypothesis": verdict.number,
        "claim": verdict.claim,
        "verdict": verdict.word,
        "effect": verdict.effect.removesuffix(unit.many).strip(),
        "unit": _COEFFICIENT + hypothesis.model.term if hypothesis.model else unit.many or "as measured",
    }
    for series, numbers, more in [*_found(verdict.judged), *_held_against(verdict.judged)]:
        scaled = {name: unit.scaled(one) for name, one in numbers.items() if one is not None}
        yield {**head, "series": series, **scaled, **more}


def _found(judged: Judged) -> Iterator[_Drawn]:
    for one in judged.observed.complete if judged.observed is not None else ():
        yield "replicate", {"value": one.difference}, {"replicate": one.replicate}
    result = judged.result
    if result is not None and result.estimate is not None:
        numbers = {"value": result.estimate, "low": result.low, "high": result.high}
        yield "mean", numbers, {"n": judged.n}


def _held_against(judged: Judged) -> Iterator[_Drawn]:
    hypothesis = judged.hypothesis
    if hypothesis.expect is not None and hypothesis.expect.effect is not None:
        yield "expected", {"value": hypothesis.expect.effect}, {}
    if hypothesis.margin is not None:
        yield "margin", {"low": -hypothesis.margin, "high": hypothesis.margin}, {}
    floor, contrast = judged.observed.floor if judged.observed is not None else None, hypothesis.contrast
    # A floor is a distance; it lies on the axis where the effect is a distance less a value.
    if floor is not None and contrast is not None and contrast.number is not None and not contrast.across:
        ends = {"value": floor.estimate, "low": floor.low, "high": floor.high}
        numbers = {name: end - contrast.number for name, end in ends.items() if end is not None}
        yield "floor", numbers, {"n": floor.n}


def _panel(data: pd.DataFrame, unit: str) -> alt.LayerChart | alt.FacetChart:
    """All hypotheses of one unit."""
    import altair as alt

    own = data[data["unit"] == unit]
    labels = {
        int(number): "|".join(_wrapped(f"{number}  {claim}"))
        for number, claim in zip(own["hypothesis"], own["claim"], strict=True)
    }
    expression = "{" + ", ".join(f"'{n}': {_quoted(text)}" for n, text in labels.items()) + "}"
    axis = alt.Axis(
        labelExpr=f"split({expression}[datum.value], '|')",
        labelAlign="left",
        labelPadding=_LABEL_WIDTH * _PIXELS_A_CHARACTER,
        labelOffset=-8,
        labelLineHeight=16,
        labelLimit=0,
        ticks=False,
        domain=False,
    )
    y = alt.Y("hypothesis:O", title=None, axis=axis)
    regression = unit.startswith(_COEFFICIENT)
    what = unit if regression else f"difference ({unit})"
    x = alt.X("value:Q", title=what, scale=alt.Scale(domain=_limits(own), nice=False))
    chart = alt.Chart(data).transform_filter(alt.FieldEqualPredicate(field="unit", equal=unit))
    return alt.layer(*_marks(chart, x, y)).properties(width=470, height=alt.Step(_ROW))


def _marks(chart: alt.Chart, x: alt.X, y: alt.Y) -> Iterator[alt.Chart]:
    import altair as alt

    series = {
        name: chart.transform_filter(f"datum.series == '{name}'")
        for name in ("replicate", "mean", "expected", "margin", "floor")
    }
    low = alt.X("low:Q", scale=x["scale"])
    for name, colour, opacity in (("margin", _MARGIN, 0.17), ("floor", _FLOOR, 0.22)):
        band = series[name].mark_bar(size=_ROW - 18, color=colour, opacity=opacity)
        yield band.encode(x=low, x2="high:Q", y=y)
    yield series["floor"].mark_tick(size=_ROW - 18, thickness=1.6, color=_FLOOR).encode(x=x, y=y)
    yield chart.mark_rule(color="#222", strokeWidth=1.2).encode(x=alt.X(datum=0, scale=x["scale"]))
    circles = series["replicate"].mark_point(size=34, strokeWidth=1, color=_SOFT, opacity=0.75, yOffset=9)
    yield circles.encode(x=x, y=y)
    yield series["mean"].mark_rule(strokeWidth=3, color=_INK, yOffset=_UP).encode(x=low, x2="high:Q", y=y)
    yield from _points(series, x, y)


def _points(series: Mapping[str, alt.Chart], x: alt.X, y: alt.Y) -> Iterator[alt.Chart]:
    """Mean and expectation, and what is written beside the row."""
    import altair as alt

    fill = alt.condition("datum.verdict == 'exploratory'", alt.value("white"), alt.value(_INK))
    point = series["mean"].mark_point(size=120, stroke=_INK, strokeWidth=2.2, opacity=1, yOffset=_UP)
    yield point.encode(x=x, y=y, fill=fill)
    diamond = series["expected"].mark_point(
        shape="diamond", size=130, stroke=_EXPECTED, strokeWidth=2, fill="transparent", opacity=1, yOffset=_UP
    )
    yield diamond.encode(x=x, y=y)
    beside = series["mean"].transform_calculate(said="[datum.effect, datum.verdict]")
    text = beside.mark_text(align="left", dx=12, lineHeight=16, dy=-6, fontSize=12, color="#222")
    yield text.encode(x=alt.value("width"), y=y, text="said:N")


def _limits(rows: pd.DataFrame) -> list[float]:
    """Room for all that is drawn and for zero."""
    ends = [0.0, *rows[["value", "low", "high"]].stack().dropna()]
    room = 0.05 * (max(ends) - min(ends)) or 1.0
    return [min(ends) - room, max(ends) + room]


def _wrapped(claim: str) -> list[str]:
    lines = textwrap.wrap(claim.replace("|", "/"), _LABEL_WIDTH)
    return lines if len(lines) <= 2 else [lines[0], f"{lines[1][: _LABEL_WIDTH - 1].rstrip(' .,;/')}…"]


def _quoted(text: str) -> str:
    """Text as a string of Vega's expressions."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _caption(data: pd.DataFrame, unseen: Sequence[Verdict]) -> str:
    there = set(data["series"])
    parts = ["A row for each hypothesis. At 0 is no effect, or the value that an arm is held against."]
    if "replicate" in there:
        parts.append("Small circles are the paired differences of replicates.")
    large = "The large point is their mean" if "replicate" in there else "The point is the coefficient"
    parts.append(f"{large}, the thick line its interval; hollow where the hypothesis is exploratory.")
    if data["unit"].str.startswith(_COEFFICIENT).any() and "replicate" in there:
        parts.append("Of a regression it is the coefficient.")
    if "expected" in there:
        parts.append("Diamond: the effect that was expected.")
    if "margin" in there:
        parts.append("Green band: the margin within which arms count as equivalent.")
    if "floor" in there:
        parts.append("Orange band: the noise floor (the same arms, other data orders) less the same value.")
    if unseen:
        numbers = ", ".join(str(verdict.number) for verdict in unseen)
        parts.append(f"Nothing was observed of hypothes{'e' if len(unseen) > 1 else 'i'}s {numbers}.")
    return " ".join(parts)
