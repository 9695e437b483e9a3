"""A panel of the values of single weights over levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pomona.report.iterative.panels import level_axis
from pomona.report.iterative.raster import strip
from pomona.report.iterative.stored import short

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_WIDTH, _HEIGHT = 205, 170
# Blue for the lowest, grey in the middle, vermilion for the highest: none is pale on white.
_RANGE = ((0, 70, 168), (74, 134, 197), (143, 143, 143), (224, 138, 60), (196, 61, 0))
_COLOURS = 21


def evolution_panel(
    data: pd.DataFrame, layer: str, method: str, treatment: str, several: bool
) -> alt.LayerChart | alt.FacetChart:
    """Draw the weights of one layer of one arm.

    Args:
        data: Of the whole figure: layer, method, treatment, weight, level, value, rank, at_chance.
        layer: Name of the weight.
        method: Label of the arm.
        treatment: The same.
        several: Whether the figure shows several layers, so that each is named.
    """
    import altair as alt

    of_layer = data[data["layer"] == layer]
    own = of_layer[(of_layer["method"] == method) & (of_layer["treatment"] == treatment)]
    largest = 1.02 * max(float(of_layer["value"].abs().max()), 1e-9)
    x, values = level_axis(data), alt.Scale(domain=[-largest, largest], nice=False)
    y = alt.Y("value:Q", title="weight", scale=values, axis=alt.Axis(tickCount=5))
    shades = alt.Scale(type="ordinal", domain=list(range(_COLOURS)), range=_names())
    # One path of each colour holds all its weights: a path of its own for each would take ten times the room.
    lines = alt.Chart(_broken(own)).mark_line(strokeWidth=0.7, opacity=0.6, strokeCap="round")
    drawn = lines.encode(x=x, y=y, color=alt.Color("colour:O", scale=shades, legend=None), order="place:Q")
    spans = _spans(own)
    begin = alt.X("begin:Q", title="level", scale=x["scale"], axis=x["axis"])
    shade = alt.Chart(spans).mark_rect(color="#e2e2e2", clip=True).encode(x=begin, x2="end:Q")
    named = alt.Title(f"{method}, {treatment}", fontSize=12.5, offset=6, frame="group")
    if several:
        named = alt.Title(f"{short(layer)}: {method}, {treatment}", fontSize=12.5, offset=6, frame="group")
    parts = [shade, drawn] if len(spans) else [drawn]
    return alt.layer(*parts).properties(width=_WIDTH, height=_HEIGHT, title=named)


def rank_legend() -> alt.Chart:
    """What the colours of weights mean."""
    image = np.rint(_palette(220))[None].astype(np.uint8)
    return strip(image, 220, ("lowest", "", "highest"), "rank of the weight at level 0")


def _broken(own: pd.DataFrame) -> pd.DataFrame:
    """Lines one after the other with a gap behind each, and the number of its colour."""
    import pandas as pd

    lines = own[["weight", "level", "value", "rank"]]
    gaps = lines.groupby("weight", as_index=False).last().assign(value=np.nan)
    found = pd.concat([lines.sort_values(["weight", "level"]), gaps]).sort_values("weight", kind="stable")
    colour = (found["rank"] * (_COLOURS - 1)).round().astype(int)
    return found[["level", "value"]].assign(colour=colour, place=range(len(found)))


def _spans(own: pd.DataFrame) -> pd.DataFrame:
    """Runs of levels at which the network is at chance, with half a level to either side."""
    levels = own.loc[own["at_chance"], ["level"]].drop_duplicates().sort_values("level")
    run = (levels["level"].diff() != 1).cumsum()
    ends = levels.groupby(run)["level"].agg(["min", "max"]).reset_index(drop=True)
    return ends.assign(begin=(ends["min"] - 0.5).clip(lower=0), end=ends["max"] + 0.5)[["begin", "end"]]


def _names() -> list[str]:
    return ["#" + "".join(f"{round(part):02x}" for part in colour) for colour in _palette(_COLOURS)]


def _palette(count: int) -> np.ndarray:
    """So many colours from the lowest rank to the highest, red, green and blue."""
    places, ends = np.linspace(0, len(_RANGE) - 1, count), np.array(_RANGE, dtype=float)
    return np.stack([np.interp(places, np.arange(len(_RANGE)), part) for part in ends.T], axis=1)
