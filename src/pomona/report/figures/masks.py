"""Distance of masks against density, by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pomona.report.arms import PALETTE
from pomona.report.evidence import Evidence
from pomona.report.figures.axes import legend, log_density
from pomona.report.figures.curves import has_bands
from pomona.report.figures.figure import Figure
from pomona.report.figures.pairs import Pair, figures_of_pairs

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_WIDTH, _HEIGHT, _COLUMNS = 245, 190, 3
_LEGEND_WIDTH = 880


def mask_figures(evidence: Evidence) -> list[Figure]:
    """Figures of mask distances: one where the pairs of arms have colours enough, else one for each group."""
    table = evidence.distances
    if table.empty:
        return []
    present = {(row.step, row.a, row.b) for row in table.itertuples()}
    found = []
    for number, (title, pairs) in enumerate(figures_of_pairs(evidence.arms, present), 1):
        name = "mask-distance" if number == 1 else f"mask-distance-{number}"
        found.append(_figure(evidence, name, title, pairs, folded=number > 2))
    return found


def distance_data(table: pd.DataFrame, pairs: Mapping[str, Pair]) -> pd.DataFrame:
    """What a figure of some pairs shows: of every level and layer that has a place on a log axis.

    Columns: pair, level, layer, density (mean of the layer's two), density_a, density_b, n, distance, low,
    high, chance.
    """
    names = {(a.step, a.full, b.full): name for name, (a, b) in pairs.items()}
    places = zip(table["step"], table["a"], table["b"], strict=True)
    rows = table.assign(pair=[names.get(place, "") for place in places]).rename(columns={"mean": "distance"})
    rows["density"] = (rows["density_a"] + rows["density_b"]) / 2
    shown = rows[(rows["pair"] != "") & (rows["density"] > 0)]
    columns = ["pair", "level", "layer", "density", "density_a", "density_b", "n"]
    return shown[[*columns, "distance", "low", "high", "chance"]].reset_index(drop=True)


def _figure(evidence: Evidence, name: str, group: str, pairs: Mapping[str, Pair], folded: bool) -> Figure:
    import altair as alt

    data = distance_data(evidence.distances, pairs)
    layers = list(dict.fromkeys(data["layer"]))
    lowest = data["density"].min()
    drawn = [_panel(evidence, data, layer, list(pairs), lowest) for layer in layers]
    title = "Distance of masks at equal level, by layer" + (f": {group}" if group else "")
    chart = alt.concat(*drawn, columns=_COLUMNS, title=alt.Title(title))
    caption = (
        "Jaccard distance between the masks of two arms of the same replicate at equal level: 0 where they "
        "keep the same weights, 1 where they share none. The two densities need not be equal; the axis shows "
        "their mean, of the layer. Solid: mean over replicates"
        + (" with its 95 % t interval" if has_bands(evidence) else "")
        + ". Dashed, in the same colour: independent random masks of the same densities and granularities."
    )
    return Figure(name, title, caption, data, chart, folded)


def _panel(
    evidence: Evidence, data: pd.DataFrame, layer: str, names: Sequence[str], lowest: float
) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    own = data[data["layer"] == layer]
    chart = alt.Chart(data).transform_filter(alt.FieldEqualPredicate(field="layer", equal=layer))
    x = log_density("density", "weights of the layer kept", lowest)
    scale = alt.Scale(domain=[0, 1])
    y = alt.Y("distance:Q", title="mask distance", scale=scale, axis=alt.Axis(tickCount=5))
    box = alt.Legend(**legend(names, _LEGEND_WIDTH))
    colours = alt.Scale(domain=list(names), range=list(PALETTE[: len(names)]))
    colour = alt.Color("pair:N", scale=colours, legend=box)
    band = chart.transform_filter("isValid(datum.low)").mark_area(opacity=0.12, clip=True)
    layers = [
        *([band.encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=colour)] * has_bands(evidence)),
        chart.mark_line(strokeWidth=2.6, opacity=0.6).encode(x=x, y=y, color=colour),
        chart.mark_point(filled=True, size=26, opacity=1).encode(x=x, y=y, color=colour),
        # On top: arms that are as far apart as chance would otherwise hide it.
        chart.mark_line(strokeDash=[4, 4], strokeWidth=1.6).encode(
            x=x, y=alt.Y("chance:Q", scale=scale), color=colour
        ),
    ]
    if bool(((own["density_a"] == 1) & (own["density_b"] == 1)).all()):
        note = alt.Chart(data.head(1)).mark_text(
            fontSize=13, color="#555", text="nothing is pruned in this layer"
        )
        layers.append(note.encode(x=alt.value(_WIDTH / 2), y=alt.value(_HEIGHT / 2)))
    title = alt.Title(layer.removesuffix(".weight"), fontSize=13)
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT, title=title)
