"""Curves against density: thin lines for replicates, a thick one for their mean, a band for its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pomona.report.arms import Arm
from pomona.report.evidence import Evidence
from pomona.report.figures.axes import arm_channels

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

COLUMNS = ("arm", "level", "series", "replicate", "density")


def curve_data(evidence: Evidence, quantity: str, part: str = "", layer: str = "") -> pd.DataFrame:
    """What a figure of curves shows: a row for every replicate and mean that has a place on a log axis.

    Columns: arm, level, series (``replicate`` or ``mean``), replicate, density, the quantity, low, high, n.
    """
    import pandas as pd

    frame = evidence.frame
    own = (frame["quantity"] == quantity) & (frame["part"] == part) & (frame["layer"] == layer)
    single = frame[own & frame["class"].isna() & frame["value"].notna()].rename(columns={"value": quantity})
    summary = evidence.summary(quantity, layer)
    means = summary[summary["n"] > 0].rename(columns={"mean": quantity})
    columns = [*COLUMNS, quantity, "low", "high", "n"]
    parts = [means.assign(series="mean")]
    # One replicate is its own mean: a second line would only hide the first.
    if evidence.replicates > 1:
        parts.append(single.assign(series="replicate"))
    rows = pd.concat(
        [table.reindex(columns=columns) for table in parts if len(table)] or [means.reindex(columns=columns)]
    )
    rows = rows.astype({"replicate": "Int64", "n": "Int64", "density": float, quantity: float})
    return rows[rows["density"] > 0].reset_index(drop=True)


def curves(
    chart: alt.Chart, evidence: Evidence, arms: Sequence[Arm], x: alt.X, y: alt.Y, legend_width: int
) -> alt.LayerChart | alt.FacetChart:
    """Draw what ``curve_data`` gave of some arms, which differ in colour.

    Args:
        chart: A chart of it.
        evidence: The study.
        arms: Those that are drawn.
        x: Density.
        y: The quantity.
        legend_width: Room for the legend, in points.
    """
    import altair as alt

    channels = arm_channels(arms, legend_width)
    colour = channels["color"]
    own = chart.transform_filter(alt.FieldOneOfPredicate(field="arm", oneOf=[arm.name for arm in arms]))
    means = own.transform_filter("datum.series == 'mean'")
    singles = own.transform_filter("datum.series == 'replicate'")
    band = means.transform_filter("isValid(datum.low)").mark_area(
        opacity=0.16 if len(arms) <= 4 else 0.08, clip=True
    )
    return alt.layer(
        *(
            [band.encode(x=x, y=alt.Y("low:Q", scale=y["scale"]), y2="high:Q", color=colour)]
            * has_bands(evidence)
        ),
        singles.mark_line(strokeWidth=0.8, opacity=0.45, clip=True).encode(
            x=x, y=y, detail="replicate:O", color=colour
        ),
        means.mark_line(strokeWidth=2.4, clip=True).encode(x=x, y=y, color=colour),
        means.mark_point(filled=True, size=42, opacity=1, clip=True).encode(x=x, y=y, **channels),
    )


def has_bands(evidence: Evidence) -> bool:
    """Whether intervals are drawn. Those of two replicates are 12.7 standard errors wide to either side."""
    return evidence.replicates > 2


def reading(evidence: Evidence, single: str = "Thin lines", mean: str = "the thick line with points") -> str:
    """How replicates, means and intervals are drawn, in words."""
    if evidence.replicates == 1:
        return "One replicate: there is no interval."
    text = f"{single} are replicates, {mean} is their mean"
    if has_bands(evidence):
        return f"{text}, the band its 95 % t interval."
    return f"{text}. The interval of two replicates would fill the figure; the table gives it."
