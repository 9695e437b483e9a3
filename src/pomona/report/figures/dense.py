"""Test accuracy where there is no density to draw it against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure

if TYPE_CHECKING:
    import pandas as pd


def dense_figure(evidence: Evidence, data: pd.DataFrame) -> Figure:
    """Accuracies of arms that are all dense: one line of points each.

    Args:
        evidence: The study.
        data: As ``curve_data`` gives it for the test accuracy.
    """
    import altair as alt

    limits = _limits(data)
    scale = alt.Scale(domain=limits, nice=False, zero=False)
    x = alt.X("accuracy:Q", title="test accuracy", axis=alt.Axis(format="~%", tickCount=6), scale=scale)
    names = [arm.name for arm in evidence.arms]
    y = alt.Y("arm:N", title=None, sort=names, axis=alt.Axis(labelLimit=400))
    colours = alt.Scale(domain=names, range=[arm.colour for arm in evidence.arms])
    colour = alt.Color("arm:N", scale=colours, legend=None)
    chart = alt.Chart(data)
    means = chart.transform_filter("datum.series == 'mean'")
    singles = chart.transform_filter("datum.series == 'replicate'")
    intervals = means.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2, clip=True)
    drawn = alt.layer(
        intervals.encode(x=alt.X("low:Q", scale=scale), x2="high:Q", y=y, color=colour),
        singles.mark_tick(thickness=1.5, size=14, opacity=0.6).encode(x=x, y=y, color=colour),
        means.mark_point(filled=True, size=90, opacity=1).encode(x=x, y=y, color=colour),
    )
    pruned = any(point.level for point in evidence.population.points)
    first = "No pruned state has been measured." if pruned else "Nothing is pruned in this study."
    caption = f"{first} {_reading(evidence)}"
    title = "Test accuracy of dense networks"
    return Figure(
        "accuracy", title, caption, data, drawn.properties(title=title, width=680, height=alt.Step(36))
    )


def _reading(evidence: Evidence) -> str:
    if evidence.replicates == 1:
        return "One replicate: there is no interval."
    return "Ticks are replicates, the point is their mean, the line its 95 % t interval."


def _limits(data: pd.DataFrame) -> list[float]:
    low = data[["accuracy", "low"]].min().min()
    high = data[["accuracy", "high"]].max().max()
    room = max(0.04 * (high - low), 0.01)
    return [max(0.0, low - room), min(1.0, high + room)]
