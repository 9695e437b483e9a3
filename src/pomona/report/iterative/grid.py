"""Small panels of means over replicates, by level or density: rows of a quantity, columns of a layer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pomona.report.figures.axes import log_density
from pomona.report.figures.curves import has_bands
from pomona.report.iterative.lines import channels
from pomona.report.iterative.panels import level_axis
from pomona.report.iterative.selection import Selection
from pomona.stats.intervals import summarise
from pomona.studies.points import Point

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

COLUMNS = (
    *("row", "panel", "method", "style", "level", "place", "density", "value", "low", "high", "n"),
    "flagged",
)
FLAGGED = "Hollow points: in some replicate a network is at chance or a layer has no weight left."
# Of a panel, by how many there are side by side.
_WIDTHS, _HEIGHT = {1: 420, 2: 340, 3: 235, 4: 165, 5: 122}, 150
_PIXELS_A_CHARACTER = 7
_HEIGHTS = ("value", "low", "high")
Found = tuple[Sequence[Point], float | None]


@dataclass(frozen=True)
class Row:
    """A row of panels.

    Args:
        name: Which rows of the data it shows.
        title: Of its y axis.
        along: What its x axis is: ``level``, ``density`` or ``place`` (on a line between two networks).
        together: Whether its panels have one y axis.
        floor: Where its y axis is logarithmic, its lower end: what is below is drawn there.
        rule: Where a line is drawn across.
        share: Whether it is written in percent.
    """

    name: str
    title: str
    along: str = "level"
    together: bool = True
    floor: float | None = None
    rule: float | None = None
    share: bool = False


def measured(
    selection: Selection, arm: tuple[str, str], quantity: str, layer: str, probe: str | None = None
) -> list[Found]:
    """What was measured of every network of an arm: method and treatment, all else at its first label."""
    points = [point for line in selection.lineages(*arm).values() for point in line]
    return [((point,), selection.value(point, quantity, layer, probe)) for point in points]


def means(
    selection: Selection, head: Mapping[str, Any], found: Iterable[Found], layer: str = ""
) -> Iterator[dict[str, Any]]:
    """Means over replicates, a level a row.

    Args:
        selection: The study.
        head: What else every row says.
        found: Networks and what was measured of them; None where nothing was. Several of one replicate (the
            lines from one network to others) count as their mean.
        layer: Whose density is given; of the whole network where there is none.
    """
    by_level: dict[int, list[Found]] = {}
    for points, value in found:
        by_level.setdefault(points[0].level, []).append((points, value))
    for level, own in sorted(by_level.items()):
        values: dict[int, list[float]] = {}
        for points, value in own:
            if value is not None:
                values.setdefault(points[0].replicate, []).append(value)
        if not values:
            continue
        stat = summarise([sum(several) / len(several) for several in values.values()])
        there = [points for points, value in own if value is not None]
        densities = [d for points in there if (d := selection.results.density(points[0], layer)) is not None]
        # An interval of two replicates would fill the panel.
        low, high = (stat.low, stat.high) if stat.n > 2 else (None, None)
        flagged = {p.replicate for points in there for p in points if _flagged(selection, p)}
        share = sum(densities) / len(densities) if densities else None
        numbers = {"value": stat.mean, "low": low, "high": high, "n": stat.n, "flagged": len(flagged)}
        yield {**head, "level": level, "density": share, **numbers}


def table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """What a figure of small panels draws; without the columns that it has nothing in."""
    import pandas as pd

    data = pd.DataFrame(list(rows), columns=list(COLUMNS))
    numbers = dict.fromkeys(("density", "value", "low", "high", "place"), float)
    data = data.astype({**numbers, "level": int, "n": int, "flagged": int})
    return data if data["place"].notna().any() else data.drop(columns="place")


def grid(selection: Selection, data: pd.DataFrame, rows: Sequence[Row], title: str) -> alt.VConcatChart:
    """Draw what ``table`` gave, colour by method and dashes by style."""
    import altair as alt

    drawn = []
    for row in rows:
        own = data[data["row"] == row.name]
        panels = list(dict.fromkeys(own["panel"]))
        columns = len(panels) if len(panels) <= max(_WIDTHS) else 4
        parts = [
            _panel(selection, data, row, panel, i % columns == 0, columns) for i, panel in enumerate(panels)
        ]
        if parts:
            drawn.append(alt.concat(*parts, columns=columns, spacing=14))
    return alt.vconcat(*drawn, title=title, spacing=22)


def reading(selection: Selection, data: pd.DataFrame) -> str:
    """How means, intervals and flags are drawn, in words."""
    several = selection.evidence.replicates > 1
    text = "Lines are means over replicates" if several else "One replicate: there is no interval."
    if several:
        text += ", bands their 95 % t intervals." if has_bands(selection.evidence) else "."
    return f"{text} {FLAGGED}" if (data["flagged"] > 0).any() else text


def _flagged(selection: Selection, point: Point) -> bool:
    return selection.at_chance(point) or selection.results.collapsed(point)


def _panel(
    selection: Selection, data: pd.DataFrame, row: Row, panel: str, first: bool, columns: int
) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    of_row = data[data["row"] == row.name]
    own = of_row[of_row["panel"] == panel]
    x = _along(of_row, row.along)
    title = row.title if first else None
    scale, axis = _across(of_row if row.together else own, row)
    y = alt.Y("value:Q", title=title, scale=scale, axis=axis)
    # Of a legend that all panels share: it names all that the figure draws.
    code = channels(selection, data, 880)
    chart = alt.Chart(own)
    if row.floor is not None:
        raised = {name: f"isValid(datum.{name}) ? max(datum.{name}, {row.floor}) : null" for name in _HEIGHTS}
        chart = chart.transform_calculate(**raised)
    band = chart.transform_filter("isValid(datum.low)").mark_area(opacity=0.1, clip=True)
    parts: list[alt.Chart] = []
    if row.rule is not None:
        line = alt.Chart(own.head(1)).mark_rule(strokeDash=[4, 4], color="#555", strokeWidth=1.2)
        parts.append(line.encode(y=alt.Y(datum=row.rule, scale=scale)))
    if own["low"].notna().any():
        ends = {"y": alt.Y("low:Q", scale=scale, title=title), "y2": "high:Q", "color": code["color"]}
        parts.append(band.encode(x=x, detail="style:N", **ends))
    lines = chart.mark_line(strokeWidth=1.6, opacity=0.85, clip=True)
    parts.append(lines.encode(x=x, y=y, color=code["color"], strokeDash=code["strokeDash"]))
    if row.along != "place":
        points = chart.mark_point(filled=True, size=14, opacity=1)
        hollow = chart.transform_filter("datum.flagged > 0")
        circles = hollow.mark_point(filled=False, fill="white", size=18, strokeWidth=1.1, opacity=1)
        parts += [mark.encode(x=x, y=y, color=code["color"]) for mark in (points, circles)]
    lines = textwrap.wrap(panel, _WIDTHS[columns] // _PIXELS_A_CHARACTER)
    named = alt.Title(lines, fontSize=12.5, frame="group", offset=6)
    return alt.layer(*parts).properties(width=_WIDTHS[columns], height=_HEIGHT, title=named)


def _along(of_row: pd.DataFrame, along: str) -> alt.X:
    import altair as alt

    if along == "density":
        return log_density("density", "weights of the layer kept", float(of_row["density"].min()))
    if along == "place":
        axis = alt.Axis(values=[0, 0.5, 1])
        return alt.X("place:Q", title="place on the line", scale=alt.Scale(domain=[0, 1]), axis=axis)
    return level_axis(of_row)


def _across(own: pd.DataFrame, row: Row) -> tuple[alt.Scale, alt.Axis]:
    """The y axis of the means of a panel or a row of them."""
    import altair as alt

    if row.floor is None:
        domain = _limits(own, row.rule)
        axis = alt.Axis(tickCount=5, format="~%") if row.share else alt.Axis(tickCount=5)
        return alt.Scale(domain=domain, nice=False), axis
    top = max(1.3 * float(own["value"].max()), 10 * row.floor)
    ticks = [10.0**power for power in range(-6, 7) if row.floor <= 10.0**power <= top]
    return alt.Scale(type="log", domain=[row.floor, top], nice=False), alt.Axis(values=ticks, format="~g")


def _limits(own: pd.DataFrame, rule: float | None) -> list[float]:
    """Room for all means and 0; intervals of few replicates may reach beyond."""
    ends = [0.0, *([rule] if rule is not None else []), *own["value"]]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 1.0
    return [low - room if low < 0 else 0.0, high + room if high > 0 else 0.0]
