"""Accuracy of arms against density: the numbers of every network and their means, and how they are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pomona.report.figures.axes import accuracy_limits, legend, log_density, shares
from pomona.report.figures.curves import has_bands, reading
from pomona.report.iterative.ended import ended
from pomona.report.iterative.selection import Lineages, Selection, by_level
from pomona.stats.intervals import summarise

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

COLUMNS = (
    *("panel", "method", "style", "level", "series", "replicate", "density", "accuracy", "low", "high", "n"),
    *("missing", "at_chance", "collapsed"),
)
X_TITLE = "weights kept (log scale, sparser to the right)"
# Of rows with at_chance and n: what is drawn hollow, and what a caption says of it.
AT_CHANCE = "datum.at_chance * 2 > datum.n"
HOLLOW = " Hollow points: most replicates are at chance."
_DASHES = ([1, 0], [7, 4], [2, 3], [9, 3, 2, 3], [4, 2, 1, 2, 1, 2])


@dataclass(frozen=True)
class Curve:
    """One arm of a figure.

    Args:
        method: Its method, which gives it a colour.
        style: What its line style stands for, such as the treatment.
        lineages: Its points by replicate.
        panel: Title of its panel; empty where there is one only.
    """

    method: str
    style: str
    lineages: Lineages
    panel: str = ""

    @property
    def name(self) -> str:
        """What captions call it."""
        return f"{self.panel or self.method}, {self.style}"


def accuracy_table(selection: Selection, curves: Sequence[Curve]) -> pd.DataFrame:
    """What is drawn of some arms: every network, the means of each level with their 95 % t interval, chance.

    Columns: panel, method, style, level, series (``replicate``, ``mean``, ``chance``), replicate, density,
    accuracy, low, high, n (replicates with an accuracy), missing (without one), at_chance and collapsed (how
    many are at chance, and how many have a layer without weights). A level that no replicate has an accuracy
    of has a mean with n = 0 and nothing to draw; where that is so of every level, nothing is given.
    """
    import pandas as pd

    rows = [row for curve in curves for row in _rows(selection, curve)]
    data = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"density": float, "accuracy": float})
    if data["accuracy"].isna().all():
        return data.iloc[:0]
    # One replicate is its own mean: a second line would only hide the first.
    data = data[data["series"] == "mean"] if selection.evidence.replicates == 1 else data
    whole = ("level", "replicate", "n", "missing", "at_chance", "collapsed")
    data = pd.concat([data, *_chance(selection, data)], ignore_index=True)
    return data.astype(dict.fromkeys(whole, "Int64"))


def accuracy_axes(data: pd.DataFrame, limits: tuple[float, float] | None = None) -> tuple[alt.X, alt.Y]:
    """Density on a log axis and accuracy, over all that is drawn or between limits."""
    between = limits or accuracy_limits(data["accuracy"])
    return log_density("density", X_TITLE, float(data["density"].min())), shares(
        "accuracy", "test accuracy", between
    )


def hollow(chart: alt.Chart, where: str, size: int) -> alt.Chart:
    """Points that are drawn hollow, over the filled ones.

    Args:
        chart: What they are of.
        where: Which ones, as an expression.
        size: As that of the filled ones.
    """
    points: alt.Chart = chart.transform_filter(where).mark_point(
        filled=False, fill="white", size=size, strokeWidth=1.2, opacity=1, clip=True
    )
    return points


def mostly_at_chance(rows: pd.DataFrame) -> bool:
    """Whether any of some rows is drawn hollow."""
    return bool((2 * rows["at_chance"] > rows["n"]).any())


def accuracy_panel(
    chart: alt.Chart, selection: Selection, data: pd.DataFrame, axes: tuple[alt.X, alt.Y], width: int
) -> alt.LayerChart | alt.FacetChart:
    """Draw what ``accuracy_table`` gave.

    Args:
        chart: A chart of it, or of a panel of it.
        selection: The study.
        data: All of it, for the legends.
        axes: As ``accuracy_axes`` gives them.
        width: Room for the legend, in points.
    """
    import altair as alt

    x, y = axes
    code = channels(selection, data, width)
    line = {name: code[name] for name in ("color", "strokeDash")}
    there = chart.transform_filter("isValid(datum.accuracy)")
    of = {
        name: there.transform_filter(f"datum.series == '{name}'") for name in ("mean", "replicate", "chance")
    }
    # An interval of two replicates would fill the figure.
    band = of["mean"].transform_filter("isValid(datum.low) && datum.n > 2").mark_area(opacity=0.1, clip=True)
    low = alt.Y("low:Q", scale=y["scale"])
    dead = of["mean"].transform_filter("datum.collapsed > 0")
    cross = dead.mark_point(shape="cross", angle=45, size=90, strokeWidth=1.6, opacity=1, clip=True)
    return alt.layer(
        *(
            [band.encode(x=x, y=low, y2="high:Q", color=code["color"], detail="style:N")]
            * has_bands_of(selection)
        ),
        of["chance"].mark_rule(strokeDash=[2, 3], color="#555", strokeWidth=1.2, clip=True).encode(y=y),
        of["replicate"]
        .mark_line(strokeWidth=0.7, opacity=0.4, clip=True)
        .encode(x=x, y=y, detail="replicate:O", **line),
        of["mean"].mark_line(strokeWidth=2, clip=True).encode(x=x, y=y, **line),
        of["mean"]
        .mark_point(filled=True, size=30, opacity=1, clip=True)
        .encode(x=x, y=y, color=code["color"], shape=code["shape"]),
        hollow(of["mean"], AT_CHANCE, 30).encode(x=x, y=y, color=code["color"], shape=code["shape"]),
        cross.encode(x=x, y=y, color=code["color"]),
    )


def channels(selection: Selection, data: pd.DataFrame, width: int) -> dict[str, Any]:
    """Colour and shape by method, dashes by style where there are several, with their legends."""
    import altair as alt

    methods = [name for name in selection.methods if (data["method"] == name).any()]
    styles = [style for style in dict.fromkeys(data["style"]) if style]
    box = alt.Legend(**legend(methods, width))
    dashes = alt.Legend(
        **{**legend(styles, width), "orient": "top", "symbolSize": 300, "symbolStrokeColor": "#333"}
    )
    colours = alt.Scale(domain=methods, range=[selection.colour(name) for name in methods])
    shapes = alt.Scale(domain=methods, range=[selection.shape(name) for name in methods])
    patterns = alt.Scale(domain=styles, range=[_DASHES[i % len(_DASHES)] for i in range(len(styles))])
    return {
        "color": alt.Color("method:N", scale=colours, legend=box),
        "shape": alt.Shape("method:N", scale=shapes, legend=box),
        "strokeDash": alt.StrokeDash("style:N", scale=patterns, legend=dashes if len(styles) > 1 else None),
    }


def has_bands_of(selection: Selection) -> bool:
    """Whether intervals are drawn."""
    return has_bands(selection.evidence)


def reading_of(selection: Selection, data: pd.DataFrame, curves: Sequence[Curve]) -> str:
    """How replicates, means, intervals and flags of some arms are drawn, and which arms ended, in words."""
    text = reading(selection.evidence)
    if (data["series"] == "chance").any():
        text += " Dotted: always answering the largest class."
    means = data[data["series"] == "mean"]
    if mostly_at_chance(means):
        text += HOLLOW
    if (means["collapsed"] > 0).any():
        text += " Crosses: in some replicate a layer has no weight left."
    if (means["missing"] > 0).any():
        text += (
            f" Networks without an accuracy (failed or not computed) are left out: {means['missing'].sum()} "
            f"of {(means['missing'] + means['n']).sum()}; a mean is that of the others."
        )
    return text + ended(selection, curves)


def _rows(selection: Selection, curve: Curve) -> Iterator[dict[str, Any]]:
    head = {"panel": curve.panel, "method": curve.method, "style": curve.style}
    for level, points in by_level(curve.lineages).items():
        found = [
            {"replicate": point.replicate, "accuracy": accuracy, "density": density, "point": point}
            for point in points
            if (accuracy := selection.value(point, "accuracy")) is not None
            and (density := selection.results.density(point))
        ]
        for row in found:
            yield {**head, "level": level, "series": "replicate", **{k: row[k] for k in row if k != "point"}}
        yield {**head, "level": level, **_mean(selection, found), "missing": len(points) - len(found)}


def _mean(selection: Selection, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if not found:
        return {"series": "mean", "n": 0, "at_chance": 0, "collapsed": 0}
    stat = summarise([row["accuracy"] for row in found])
    points = [row["point"] for row in found]
    return {
        "series": "mean",
        "density": sum(row["density"] for row in found) / len(found),
        "accuracy": stat.mean,
        "low": stat.low,
        "high": stat.high,
        "n": stat.n,
        "at_chance": sum(selection.at_chance(point) for point in points),
        "collapsed": sum(selection.results.collapsed(point) for point in points),
    }


def _chance(selection: Selection, data: pd.DataFrame) -> list[pd.DataFrame]:
    """The level of guessing, in every panel, where an arm comes near it."""
    import pandas as pd

    points = selection.evidence.population.points
    levels = {value for point in points if (value := selection.value(point, "chance")) is not None}
    near = [level for level in sorted(levels) if data["accuracy"].min() < 1.5 * level]
    panels = dict.fromkeys(data["panel"])
    rows = [
        {"panel": p, "method": "", "style": "", "series": "chance", "accuracy": v}
        for p in panels
        for v in near
    ]
    return [pd.DataFrame(rows)] if rows else []
