"""A panel of mask distances over levels, raw with the distance of chance or corrected by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pomona.report.arms import PALETTE
from pomona.report.figures.axes import legend

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

# What stands under every figure of them.
READING = (
    "Hollow points: in some replicate one of the networks that were pruned to these masks was at chance, "
    "or a layer has no weight left. Where lines coincide, the last of the legend is on top."
)
CHANCE = (
    "Dashed, in the same colour: independent random masks of the same counts and granularities, whose "
    "distance rises by itself as masks become sparser."
)
CORRECTED = (
    "Corrected: the distance divided by that of chance, in each replicate: 0 for equal masks, 1 (the line) "
    "for masks no more alike than chance; left out where a mask keeps all or nothing of a layer."
)


def level_axis(data: pd.DataFrame, log: bool = False) -> alt.X:
    """Levels on a linear axis, or on one where each doubling takes the same room."""
    import altair as alt

    last = int(data["level"].max())
    if not log:
        scale = alt.Scale(domain=[0, last], nice=False)
        return alt.X("level:Q", title="level", scale=scale, axis=alt.Axis(tickMinStep=1, tickCount=6))
    ticks = [2**i for i in range(last.bit_length())]
    scale = alt.Scale(type="log", base=2, domain=[1, max(last, 2)], nice=False)
    return alt.X("level:Q", title="level (log scale)", scale=scale, axis=alt.Axis(values=ticks, format="d"))


def pair_colour(colours: Mapping[str, str], width: int) -> alt.Color:
    """Colour by pair, with a legend under the figure."""
    import altair as alt

    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color("pair:N", scale=scale, legend=alt.Legend(**legend(list(colours), width)))


def treatment_colours(treatments: Sequence[str]) -> dict[str, str]:
    """A colour for each treatment, in the order of the study."""
    return {treatment: PALETTE[i % len(PALETTE)] for i, treatment in enumerate(treatments)}


def distance_panel(
    data: pd.DataFrame,
    where: Mapping[str, str],
    channels: tuple[alt.X, alt.Color],
    *,
    title: str,
    size: tuple[int, int],
    corrected: bool = False,
    bands: bool = True,
) -> alt.LayerChart | alt.FacetChart:
    """Draw the rows of ``distance_table`` that a column has some value in.

    Args:
        data: The whole table of a figure.
        where: Value by column of what is drawn.
        channels: Level and colour.
        title: What stands above it; empty for nothing.
        size: Width and height.
        corrected: Whether distances are divided by those of chance.
        bands: Whether intervals are drawn.
    """
    import altair as alt

    x, colour = channels
    own, chart = data, alt.Chart(data)
    for column, value in where.items():
        own = own[own[column] == value]
        chart = chart.transform_filter(alt.FieldEqualPredicate(field=column, equal=value))
    field, low, high, count = _fields(corrected)
    top = max(1.05, 1.03 * float(data["corrected"].max())) if corrected else 1.0
    scale = alt.Scale(domain=[0, top], nice=False)
    axis = alt.Axis(tickCount=5)
    y = alt.Y(
        f"{field}:Q", title="distance / chance" if corrected else "mask distance", scale=scale, axis=axis
    )
    # An interval of two replicates would fill the panel.
    band = chart.transform_filter(f"isValid(datum.{low}) && datum.{count} > 2").mark_area(
        opacity=0.12, clip=True
    )
    valid = chart.transform_filter(f"isValid(datum.{field})")
    points = valid.mark_point(filled=True, size=20, opacity=1)
    hollow = valid.transform_filter("datum.flagged > 0").mark_point(
        filled=False, fill="white", size=20, opacity=1
    )
    line = alt.Chart(data.head(1)).mark_rule(strokeDash=[4, 4], color="#555", strokeWidth=1.2)
    parts = [
        *([band.encode(x=x, y=alt.Y(f"{low}:Q", scale=scale), y2=f"{high}:Q", color=colour)] * bands),
        valid.mark_line(strokeWidth=2, opacity=0.75).encode(x=x, y=y, color=colour),
        points.encode(x=x, y=y, color=colour),
        hollow.encode(x=x, y=y, color=colour),
        # On top: arms that are as far apart as chance would otherwise hide it.
        line.encode(y=alt.Y(datum=1, scale=scale))
        if corrected
        else chart.mark_line(strokeDash=[4, 4], strokeWidth=1.2).encode(
            x=x, y=alt.Y("chance:Q", scale=scale), color=colour
        ),
    ]
    if corrected and own["corrected"].isna().all():
        note = alt.Chart(data.head(1)).mark_text(fontSize=12, color="#555", text="nothing to compare")
        parts.append(note.encode(x=alt.value(size[0] / 2), y=alt.value(size[1] / 2)))
    drawn = alt.layer(*parts).properties(width=size[0], height=size[1])
    return drawn.properties(title=alt.Title(title, fontSize=13, frame="group")) if title else drawn


def _fields(corrected: bool) -> tuple[str, str, str, str]:
    """Columns of what is drawn: the mean, its interval, and of how many replicates."""
    if corrected:
        return "corrected", "corrected_low", "corrected_high", "n_corrected"
    return "distance", "low", "high", "n"
