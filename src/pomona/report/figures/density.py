"""Effective density against density."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pomona.report.evidence import Evidence
from pomona.report.figures.axes import log_density, log_shares, panels
from pomona.report.figures.curves import curve_data, curves, reading
from pomona.report.figures.figure import Figure

if TYPE_CHECKING:
    import altair as alt

_NAME = "effective-density"


def effective_density_figure(evidence: Evidence) -> Figure | None:
    """How much of what the masks keep lies on a path from input to output."""
    data = curve_data(evidence, _NAME)
    if data.empty or data["density"].min() > 0.9999:
        return None
    import altair as alt

    positive = data.loc[data[_NAME] > 0, _NAME]
    floor = 0.7 * min(positive.min() if len(positive) else 1.0, data["density"].min())
    # A log axis has no place for 0: it is drawn at the lower edge.
    raised = {
        column: f"isValid(datum['{column}']) ? max(datum['{column}'], {floor}) : null"
        for column in (_NAME, "low", "high")
    }
    chart = alt.Chart(data).transform_calculate(**raised)
    x = log_density("density", "weights kept (log scale, sparser to the right)", data["density"].min())
    y = log_shares(_NAME, "weights on a live path (log scale)", floor)
    groups = panels(evidence.arms)
    size = (780, 330) if len(groups) == 1 else (400, 300)
    same = (
        alt.Chart(data)
        .mark_line(strokeDash=[5, 4], color="#666", strokeWidth=1.2)
        .encode(x=x, y=alt.Y("density:Q", scale=y["scale"]))
    )
    drawn = [
        alt.layer(same, curves(chart, evidence, arms, x, y, 880 if len(groups) == 1 else 430)).properties(
            width=size[0], height=size[1], title=alt.Title(group, fontSize=13)
        )
        for group, arms in groups.items()
    ]
    title = "Effective density against density"
    whole: alt.TopLevelMixin = drawn[0].properties(title=title)
    if len(drawn) > 1:
        whole = alt.concat(*drawn, columns=2, title=title)
        whole = whole.resolve_scale(color="independent", shape="independent")
    caption = (
        "Effective density is the share of prunable weights that lie on a live path from input to output. "
        f"On the dashed line every kept weight does. {reading(evidence)}"
    )
    if (data[_NAME] == 0).any():
        caption += " Points at the lower edge are 0: no path is left."
    return Figure(_NAME, title, caption, data, whole)
