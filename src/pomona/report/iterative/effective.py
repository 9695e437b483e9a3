"""Figure 12: test accuracy of single networks against three ways to count the weights that are left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pomona.report.evidence import Evidence
from pomona.report.figures.axes import accuracy_limits, log_density, shares
from pomona.report.figures.figure import Figure
from pomona.report.iterative.lines import channels, hollow
from pomona.report.iterative.selection import Selection

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from pomona.studies.points import Point

# Ways to count, by what is drawn above a panel.
COUNTS = {
    "density": "a: kept by the masks",
    "changed-density": "b: kept, and not at the initial value",
    "effective-density": "c: kept, and on a live path",
}


def effective_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """A dot for each network and a line for each replicate, against three densities."""
    import altair as alt

    data = counted(selection)
    # Beside Figure 1 the first way alone says nothing new.
    if data["count"].nunique() < 2:
        return None
    positive = data.loc[data["density"] > 0, "density"]
    floor = 0.7 * float(positive.min())
    x = log_density("drawn", "weights left (log scale, sparser to the right)", floor)
    y = shares("accuracy", "test accuracy", accuracy_limits(data["accuracy"]))
    chart = alt.Chart(data).transform_calculate(drawn=f"max(datum.density, {floor})")
    panels = [
        _panel(chart, selection, data, name, (x, y)) for name in COUNTS if (data["count"] == name).any()
    ]
    title = "Test accuracy against explicit, changed and effective density (Figure 12)"
    drawn = alt.concat(*panels, columns=3, title=title)
    return Figure("paper-12-effective", title, _caption(data), data, drawn)


def counted(selection: Selection) -> pd.DataFrame:
    """Every rewound network once for each way to count that was measured of it.

    Columns: count, method, style, replicate, level, density, accuracy, at_chance (whether it is).
    """
    import pandas as pd

    rows = [
        {
            "count": count,
            "method": method,
            "style": "",
            "replicate": replicate,
            "level": point.level,
            **numbers,
        }
        for count in COUNTS
        for method in selection.methods
        for replicate, points in selection.lineages(method).items()
        for point in points
        for numbers in _numbers(selection, point, count)
    ]
    columns = ["count", "method", "style", "replicate", "level", "density", "accuracy", "at_chance"]
    return pd.DataFrame(rows, columns=columns)


def _numbers(selection: Selection, point: Point, count: str) -> Iterator[dict[str, Any]]:
    accuracy = selection.value(point, "accuracy")
    share = selection.results.density(point) if count == "density" else selection.value(point, count)
    if accuracy is not None and share is not None:
        yield {"density": share, "accuracy": accuracy, "at_chance": selection.at_chance(point)}


def _panel(
    chart: alt.Chart, selection: Selection, data: pd.DataFrame, count: str, axes: tuple[alt.X, alt.Y]
) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    x, y = axes
    code = channels(selection, data, 880)
    own = chart.transform_filter(alt.FieldEqualPredicate(field="count", equal=count))
    line = own.mark_line(strokeWidth=0.7, opacity=0.45).encode(
        # In the order of the levels: a count need not fall from one to the next.
        x=x,
        y=y,
        color=code["color"],
        detail="replicate:O",
        order="level:Q",
    )
    where = {"x": x, "y": y, "color": code["color"], "shape": code["shape"]}
    dots = own.mark_point(filled=True, size=24, opacity=0.85).encode(**where)
    dead = hollow(own, "datum.at_chance", 24).encode(**where)
    title = alt.Title(COUNTS[count], fontSize=13, frame="group")
    return alt.layer(line, dots, dead).properties(width=285, height=300, title=title)


def _caption(data: pd.DataFrame) -> str:
    there = set(data["count"])
    text = (
        "A dot for each rewound network, a thin line for each replicate; all panels divide by the number "
        "of all prunable weights. a: weights that the masks keep."
    )
    if "changed-density" in there:
        text += (
            " b: as the paper counts, of these only the weights whose value is not, bit for bit, the "
            "initial one; in a network that does not train, every weight counts as pruned."
        )
    if "effective-density" in there:
        text += (
            " c: exact, from the masks alone: of these only the weights on a path that can make a "
            "difference to the output."
        )
    if data["at_chance"].any():
        text += " Hollow: the network is at chance."
    if (data["density"] == 0).any():
        text += " Dots at the right edge: nothing is left by this count."
    return text
