"""How far the surviving weights move from level to level, by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pomona.report.evidence import Evidence
from pomona.report.figures.axes import log_density, panels
from pomona.report.figures.curves import curve_data, curves, reading
from pomona.report.figures.figure import Figure

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_NAME = "weight-stability"


def weight_stability_figure(evidence: Evidence) -> Figure | None:
    """Mean movement of the surviving weights of each layer against the density of the network."""
    layers = _layers(evidence.frame)
    tables = [curve_data(evidence, _NAME, layer=layer).assign(layer=layer) for layer in layers]
    if not any(len(table) for table in tables):
        return None
    import altair as alt
    import pandas as pd

    data = pd.concat([table for table in tables if len(table)], ignore_index=True)
    x = log_density("density", "weights kept in the network", data["density"].min())
    limits = [0.0, 1.06 * max(float(data[_NAME].max()), 1e-9)]
    y = alt.Y(
        f"{_NAME}:Q", title="movement, in SDs", axis=alt.Axis(tickCount=5), scale=alt.Scale(domain=limits)
    )
    groups = panels(evidence.arms)
    drawn = []
    for group, arms in groups.items():
        for layer in layers:
            chart = alt.Chart(data).transform_filter(alt.FieldEqualPredicate(field="layer", equal=layer))
            title = ", ".join(text for text in (layer.removesuffix(".weight"), group) if text)
            panel = curves(chart, evidence, arms, x, y, 880 if len(groups) == 1 else 260)
            drawn.append(
                panel.properties(width=240, height=190, title=alt.Title(title, fontSize=13, limit=280))
            )
    title = "Movement of surviving weights from one level to the next"
    whole: alt.TopLevelMixin = alt.concat(*drawn, columns=3, title=title)
    if len(groups) > 1:
        whole = whole.resolve_scale(color="independent", shape="independent")
    caption = (
        "Mean absolute change of the weights that are alive at a level and at the one before, in standard "
        f"deviations of the layer's weights; smaller is more stable. {reading(evidence)} Treatments must not "
        "be compared by it: they start from other weights. A layer that no longer trains is perfectly stable."
    )
    return Figure(_NAME, title, caption, data, whole)


def _layers(frame: pd.DataFrame) -> list[str]:
    measured = frame[frame["quantity"] == _NAME]
    return [layer for layer in dict.fromkeys(measured["layer"]) if layer]
