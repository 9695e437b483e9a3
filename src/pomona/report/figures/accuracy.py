"""Test accuracy against density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pomona.report.arms import Arm
from pomona.report.evidence import Evidence
from pomona.report.figures.axes import accuracy_limits, log_density, panels, shares
from pomona.report.figures.curves import curve_data, curves, reading
from pomona.report.figures.dense import dense_figure
from pomona.report.figures.figure import Figure

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_X = "weights kept (log scale, sparser to the right)"
# The enlarged panel reaches down to this many times the error of the best mean.
_ERRORS = 6


def accuracy_figure(evidence: Evidence) -> Figure | None:
    """Test accuracy against density; where accuracies spread widely, a second panel enlarges the top."""
    data = curve_data(evidence, "accuracy", "test")
    if data.empty:
        return None
    if data["density"].min() > 0.9999:
        return dense_figure(evidence, data)
    import altair as alt

    data = _with_chance(evidence, data)
    whole = accuracy_limits(data["accuracy"])
    zoom = zoom_from(data["accuracy"].min(), data.loc[data["series"] == "mean", "accuracy"].max())
    ranges = {"": whole} if zoom is None else {"whole range": whole, f"above {zoom:.0%}": (zoom, whole[1])}
    groups = panels(evidence.arms)
    size = (780, 350) if len(groups) * len(ranges) == 1 else (400, 320)
    # Arms of other panels have colours of their own; panels that only enlarge share one legend.
    legend_width = 880 if len(groups) == 1 else 430
    drawn = [
        _panel(evidence, data, arms, limits, legend_width)
        .properties(width=size[0], height=size[1])
        .properties(title=alt.Title(", ".join(t for t in (group, name) if t), fontSize=13))
        for group, arms in groups.items()
        for name, limits in ranges.items()
    ]
    title = "Test accuracy against density"
    chart: alt.TopLevelMixin = drawn[0].properties(title=title)
    if len(drawn) > 1:
        chart = alt.concat(*drawn, columns=2, title=title)
        if len(groups) > 1:
            chart = chart.resolve_scale(color="independent", shape="independent")
    text = "Density is the share of all prunable weights that the mask keeps. " + reading(evidence)
    if zoom is not None:
        text += (
            " Panels on the right enlarge the top of those on the left, where curves leave at the lower edge."
        )
    if (data["series"] == "chance").any():
        text += " Dotted: the accuracy of always answering the largest class."
    return Figure("accuracy", title, text, data, chart)


def zoom_from(low: float, best: float) -> float | None:
    """Where an enlarged panel begins; None where the whole range is hardly larger.

    >>> zoom_from(0.1, 0.98), zoom_from(0.94, 0.98)
    (0.88, None)
    """
    begin = math.floor(100 * (1 - _ERRORS * (1 - best)) + 1e-9) / 100
    return begin if best < 1 and best - low > 2 * (best - begin) else None


def _panel(
    evidence: Evidence,
    data: pd.DataFrame,
    arms: Sequence[Arm],
    limits: tuple[float, float],
    legend_width: int,
) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    x = log_density("density", _X, data["density"].min(), data["density"].max())
    y = shares("accuracy", "test accuracy", limits)
    drawn = curves(alt.Chart(data), evidence, arms, x, y, legend_width)
    chance = data.loc[data["series"] == "chance", "accuracy"]
    if len(chance) and limits[0] <= chance.max():
        level = alt.Chart(data).transform_filter("datum.series == 'chance'")
        line = level.mark_rule(strokeDash=[2, 3], color="#555", strokeWidth=1.4).encode(y=y)
        label = level.mark_text(align="left", baseline="bottom", dx=4, dy=-3, color="#444", fontSize=12)
        label = label.encode(x=alt.value(0), y=y, text="label:N")
        label = label.transform_calculate(label="'chance, ' + format(datum.accuracy, '.2%')")
        drawn = alt.layer(line, label, drawn)
    return drawn


def _with_chance(evidence: Evidence, data: pd.DataFrame) -> pd.DataFrame:
    """The data with the level of guessing, where an arm comes near it."""
    import pandas as pd

    levels = sorted({float(value) for value in evidence.summary("chance")["mean"].dropna()})
    flagged = (evidence.summary()["at_chance"] > 0).any()
    if not levels or not (flagged or data["accuracy"].min() < 1.5 * levels[-1]):
        return data
    rows = pd.DataFrame([{"arm": "", "series": "chance", "accuracy": value} for value in levels])
    return pd.concat([data, rows], ignore_index=True).astype({"level": "Int64"})
