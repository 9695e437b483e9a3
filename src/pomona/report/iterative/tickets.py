"""Whether methods find one ticket: the overlap of masks beside that which luck alone leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative.pairwise import Compared, distances_of, layer_title, layer_titles
from pomona.report.iterative.selection import UNSTRUCTURED, Selection
from pomona.stats.intervals import summarise

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_LEVELS = (5, 10, 15)
_ORDER, _INIT = "another order of the data", "another initialization"
_COLUMNS = ("row", "kind", "level", "layer", "series", "replicate", "overlap", "low", "high", "n", "flagged")
_FLOOR, _INK = "#E69F00", "#444"


def ticket_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """What masks share with those of L1-unstructured pruning, beyond chance, by where the two differ."""
    data = overlaps(selection)
    if data.empty:
        return None
    import altair as alt

    rows = list(dict.fromkeys(data["row"]))
    levels = list(dict.fromkeys(data["level"]))
    layers = [layer for layer in layer_titles(selection) if (data["layer"] == layer).any()]
    limits = [min(-0.05, float(data["overlap"].min()) - 0.03), 1.03]
    grid = [
        _panel(selection, data, (level, layer), rows, limits, first=layer == layers[0])
        for level in levels
        for layer in layers
    ]
    title = f"One ticket? Overlap with the masks of {UNSTRUCTURED} beyond chance"
    drawn = alt.concat(*grid, columns=len(layers), title=title, spacing=8)
    return Figure("paper-one-ticket", title, _caption(data), data, drawn)


def overlaps(selection: Selection) -> pd.DataFrame:
    """Overlap beyond chance, 1 - distance / chance, with masks of L1-unstructured pruning under rewinding.

    Columns: row (what differs), kind (``order``, ``init``, ``method``, ``own order``), level, layer, series
    (``replicate``, ``mean``), replicate, overlap, low, high (95 % t interval), n, flagged (how many
    replicates are, as of ``Distance``).
    """
    import pandas as pd

    wanted = [level for level in _LEVELS if level in selection.levels] or selection.levels[-1:]
    rows = [
        row
        for kind, compared in _compared(selection)
        for row in _rows(selection, kind, compared)
        if row["level"] in wanted
    ]
    data = pd.DataFrame(rows, columns=list(_COLUMNS))
    if selection.evidence.replicates == 1:
        data = data[data["series"] == "mean"].reset_index(drop=True)
    data = data.sort_values("level", kind="stable", ignore_index=True)
    return data.astype({"replicate": "Int64", "n": "Int64", "flagged": "Int64"})


def _compared(selection: Selection) -> Iterator[tuple[str, Compared]]:
    own = selection.lineages(UNSTRUCTURED)
    for kind, row in (("order", _ORDER), ("init", _INIT)):
        yield kind, Compared(row, own, selection.lineages(UNSTRUCTURED, **{kind: "1"}))
    for method in selection.methods:
        if method != UNSTRUCTURED:
            yield "method", Compared(method, own, selection.lineages(method))
    for method in selection.methods:
        if method != UNSTRUCTURED:
            again = selection.lineages(method, order="1")
            yield (
                "own order",
                Compared(f"{method} itself, in another order", selection.lineages(method), again),
            )


def _rows(selection: Selection, kind: str, compared: Compared) -> Iterator[dict[str, Any]]:
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for one in distances_of(selection, compared):
        if one.corrected is not None:
            found = {"replicate": one.replicate, "overlap": 1 - one.corrected, "flagged": int(one.flagged)}
            groups.setdefault((one.level, one.layer), []).append(found)
    for (level, layer), values in groups.items():
        head = {"row": compared.pair, "kind": kind, "level": level, "layer": layer_title(layer)}
        for value in values:
            yield {**head, "series": "replicate", **value}
        stat = summarise([value["overlap"] for value in values])
        flagged = sum(value["flagged"] for value in values)
        mean = {"overlap": stat.mean, "low": stat.low, "high": stat.high, "n": stat.n, "flagged": flagged}
        yield {**head, "series": "mean", **mean}


def _panel(
    selection: Selection,
    data: pd.DataFrame,
    place: tuple[int, str],
    rows: list[str],
    limits: list[float],
    first: bool,
) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    level, layer = place
    chart = alt.Chart(data).transform_filter(f"datum.level == {level}")
    chart = chart.transform_filter(alt.FieldEqualPredicate(field="layer", equal=layer))
    scale = alt.Scale(domain=limits, nice=False)
    x = alt.X("overlap:Q", title="overlap beyond chance", scale=scale, axis=alt.Axis(values=[0, 0.5, 1]))
    labels = alt.Axis(labelLimit=330, minExtent=230) if first else alt.Axis(labels=False, ticks=False)
    y = alt.Y("row:N", title=None, sort=rows, scale=alt.Scale(domain=rows), axis=labels)
    colour = alt.Color("row:N", scale=_colours(selection, rows), legend=None)
    mean = chart.transform_filter("datum.series == 'mean'")
    single = chart.transform_filter("datum.series == 'replicate'")
    floor = mean.transform_filter("datum.kind == 'order'")
    band = floor.transform_filter("isValid(datum.low) && datum.n > 2")
    ends = alt.X("low:Q", scale=scale)
    hollow = mean.transform_filter("datum.flagged > 0").mark_point(
        filled=False, fill="white", size=50, opacity=1
    )
    return alt.layer(
        band.mark_rect(color=_FLOOR, opacity=0.2, clip=True).encode(x=ends, x2="high:Q"),
        floor.mark_rule(color=_FLOOR, strokeWidth=1.4).encode(x=x),
        alt.Chart(data.head(1))
        .mark_rule(color="#555", strokeDash=[4, 4])
        .encode(x=alt.X(datum=0, scale=scale)),
        single.mark_tick(size=9, thickness=1, opacity=0.6).encode(x=x, y=y, color=colour),
        mean.mark_point(filled=True, size=50, opacity=1).encode(x=x, y=y, color=colour),
        hollow.encode(x=x, y=y, color=colour),
    ).properties(
        width=125, height=alt.Step(17), title=alt.Title(f"{layer}, level {level}", fontSize=12, frame="group")
    )


def _colours(selection: Selection, rows: list[str]) -> alt.Scale:
    import altair as alt

    known = {row: selection.colour(row) for row in rows if row in selection.methods}
    return alt.Scale(domain=rows, range=[known.get(row, _FLOOR if row == _ORDER else _INK) for row in rows])


def _caption(data: pd.DataFrame) -> str:
    text = (
        "1 less distance over chance, under rewinding at equal level: 1 for the same mask, 0 (dashed) for "
        "masks no more alike than independent ones of their counts and granularities. Each row differs "
        f"from {UNSTRUCTURED} in one thing. A layer is left out where a mask keeps all or nothing of it."
    )
    if (data["series"] == "replicate").any():
        text += " Large points are means, ticks replicates."
    if (data["row"] == _ORDER).any():
        band = "; the band is its 95 % t interval" if (data["n"] > 2).any() else ""
        text += (
            f" Orange: the noise floor, what {UNSTRUCTURED} shares with itself in another order of the data, "
            f"when nothing but luck differs{band}."
        )
    if (data["kind"] == "own order").any():
        text += " The last row compares another method with itself in another order: its own noise floor."
    if (data["flagged"] > 0).any():
        text += (
            " Hollow: in some replicate one of the networks that were pruned to these masks was at chance, "
            "or a layer has no weight left."
        )
    return text
