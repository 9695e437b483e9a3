"""Figures 3, 4, 9 and 11: how far apart the masks of methods and treatments lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pomona.report.evidence import Evidence
from pomona.report.figures.curves import has_bands
from pomona.report.figures.figure import Figure
from pomona.report.iterative.pairwise import Compared, distance_table, layer_titles
from pomona.report.iterative.panels import (
    CHANCE,
    CORRECTED,
    READING,
    distance_panel,
    level_axis,
    pair_colour,
    treatment_colours,
)
from pomona.report.iterative.selection import REWIND, UNSTRUCTURED, Selection
from pomona.report.iterative.stored import second_convolution, short
from pomona.report.iterative.tickets import ticket_figure

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_STRUCTURED = "l2-structured"
_TREATMENTS = ("finetune", "sigma-sign", "sign")
_JACCARD = (
    "Jaccard distance of the masks of one replicate at equal level: 0 where both keep the same weights, 1 "
    "where they share none; mean over the replicates that have both masks"
)


def methods_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 3: every other method against L2-structured pruning, under rewinding."""
    import altair as alt

    data = distance_table(selection, _others(selection, _STRUCTURED, REWIND))
    if data.empty:
        return None
    channels = level_axis(data), pair_colour(_colours(selection, data), 880)
    drawn = [
        distance_panel(
            data, {"layer": layer}, channels, title=layer, size=(250, 200), bands=has_bands(evidence)
        )
        for layer in _present(selection, data)
    ]
    title = f"Mask distance of other methods from {_STRUCTURED} (Figure 3)"
    caption = f"{_jaccard(evidence)} {CHANCE} {READING} Levels of different methods are not equal densities."
    return Figure("paper-03-methods", title, caption, data, alt.concat(*drawn, columns=3, title=title))


def structure_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 4: other methods against L1-unstructured in the second convolution, rewound and finetuned."""
    layer = short(second_convolution(selection))
    groups = {treatment: _others(selection, UNSTRUCTURED, treatment) for treatment in (REWIND, "finetune")}
    data = distance_table(selection, [one for group in groups.values() for one in group])
    data = data[data["layer"] == layer].reset_index(drop=True)
    if data.empty:
        return None
    title = f"Mask distance of other methods from {UNSTRUCTURED} in {layer} (Figure 4)"
    caption = (
        f"A column for each treatment that both methods have. {_jaccard(evidence)} Above the distances "
        f"themselves. {CHANCE} Below: {CORRECTED} {READING}"
    )
    channels = level_axis(data), pair_colour(_colours(selection, data), 880)
    titles = {group: f"both: {group}" for group in dict.fromkeys(data["group"])}
    chart = _raw_and_corrected(evidence, data, "group", titles, channels, (390, 230), 2, title)
    return Figure("paper-04-structure", title, caption, data, chart)


def finetune_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 9: rewinding against finetuning of one method, by layer, over the logarithm of the level."""
    pairs = [
        Compared(method, selection.lineages(method), finetuned)
        for method in selection.methods
        if (finetuned := selection.lineages(method, "finetune"))
    ]
    data = distance_table(selection, pairs)
    if data.empty:
        return None
    title = "Mask distance between rewinding and finetuning (Figure 9)"
    caption = (
        f"{_jaccard(evidence)} At level 1 both prune the same dense network. On this axis a straight line "
        f"grows with the logarithm of the level. First the distances themselves. {CHANCE} Then, by layer "
        f"again, corrected for it. {CORRECTED} {READING}"
    )
    channels = level_axis(data, log=True), pair_colour(_colours(selection, data), 880)
    titles = {layer: layer for layer in _present(selection, data)}
    chart = _raw_and_corrected(evidence, data, "layer", titles, channels, (250, 170), 3, title)
    return Figure("paper-09-finetune", title, caption, data, chart)


def treatments_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 11: each treatment against rewinding, a column for each method and a row for each layer."""
    import altair as alt

    pairs = [
        Compared(treatment, selection.lineages(method), other, method)
        for method in selection.methods
        for treatment in _TREATMENTS
        if (other := selection.lineages(method, treatment))
    ]
    data = distance_table(selection, pairs)
    if data.empty or data["pair"].nunique() < 2:
        return None
    there = [treatment for treatment in _TREATMENTS if (data["pair"] == treatment).any()]
    channels = level_axis(data, log=True), pair_colour(treatment_colours(there), 880)
    drawn = [
        distance_panel(
            data,
            {"layer": layer, "group": method},
            channels,
            title=f"{method}: {layer}",
            size=(185, 120),
            bands=has_bands(evidence),
        )
        for layer in _present(selection, data)
        for method in dict.fromkeys(data["group"])
    ]
    title = "Mask distance of other treatments from rewinding (Figure 11)"
    caption = f"{_jaccard(evidence)} {CHANCE} {READING} At level 1 all prune the same dense network."
    chart = alt.concat(*drawn, columns=data["group"].nunique(), title=title)
    return Figure("paper-11-treatments", title, caption, data, chart)


def _others(selection: Selection, method: str, treatment: str) -> list[Compared]:
    """Every other method that has a treatment against this one."""
    own = selection.lineages(method, treatment)
    found = {other: selection.lineages(other, treatment) for other in selection.methods if other != method}
    return [
        Compared(other, own, lineages, treatment) for other, lineages in found.items() if own and lineages
    ]


def _raw_and_corrected(
    evidence: Evidence,
    data: pd.DataFrame,
    column: str,
    titles: Mapping[str, str],
    channels: tuple[alt.X, alt.Color],
    size: tuple[int, int],
    columns: int,
    title: str,
) -> alt.ConcatChart:
    """Panels by the values of a column: first the distances themselves, then those over chance."""
    import altair as alt

    drawn = [
        distance_panel(
            data,
            {column: value},
            channels,
            title=f"{name}, corrected" if corrected else name,
            size=size,
            corrected=corrected,
            bands=has_bands(evidence),
        )
        for corrected in (False, True)
        for value, name in titles.items()
    ]
    return alt.concat(*drawn, columns=min(columns, len(titles)), title=title)


def _colours(selection: Selection, data: pd.DataFrame) -> dict[str, str]:
    there = set(data["pair"])
    return {method: selection.colour(method) for method in selection.methods if method in there}


def _present(selection: Selection, data: pd.DataFrame) -> list[str]:
    there = set(data["layer"])
    return [layer for layer in layer_titles(selection) if layer in there]


def _jaccard(evidence: Evidence) -> str:
    return f"{_JACCARD}{' with its 95 % t interval' if has_bands(evidence) else ''}."


FIGURES: tuple[Callable[[Evidence, Selection], Figure | None], ...] = (
    methods_figure,
    structure_figure,
    finetune_figure,
    treatments_figure,
    ticket_figure,
)
