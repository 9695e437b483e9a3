"""The values of single weights from level to level."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pomona.core.streams import Stream
from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative.evolved import evolution_panel, rank_legend
from pomona.report.iterative.selection import REWIND, UNSTRUCTURED, Selection
from pomona.report.iterative.stored import (
    convolutions,
    first_lineage,
    linears,
    masked,
    second_convolution,
    short,
)

if TYPE_CHECKING:
    import pandas as pd

_TREATMENTS = (REWIND, "finetune")
_LARGE = ("l1-structured", "hybrid", UNSTRUCTURED)
_MOST_LINES = 1500
# So many points of lines are less than a megabyte of CSV, and a quarter of one of SVG.
_MOST_POINTS = 13_500
_COLUMNS = 4
# Layer, method and treatment.
Panel = tuple[str, str, str]


@dataclass(frozen=True)
class _Lines:
    """The weights of a layer that may be drawn, in random order, the same for every arm.

    Args:
        places: Their places in the layer.
        values: Their values, levels down, from level 0 as far as stored; NaN from where they are pruned.
        at_chance: Whether the network is at chance, by level.
        of: How many weights the layer has.
    """

    places: NDArray[np.int64]
    values: NDArray[np.floating]
    at_chance: NDArray[np.bool_]
    of: int


def convolution_evolution_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 6: weights of the second convolution of a small network."""
    if len(convolutions(selection)) > 2:
        return None
    layers = list(filter(None, [second_convolution(selection)]))
    return _figure("paper-06-weights-of-convolution", "Figure 6", selection, layers, selection.methods)


def linear_evolution_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 7: weights of the last linear layer of a small network."""
    if len(convolutions(selection)) > 2:
        return None
    layers = linears(selection)[-1:]
    return _figure("paper-07-weights-of-linear", "Figure 7", selection, layers, selection.methods)


def large_evolution_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 16: weights of the first convolution and the last linear layer of a larger network."""
    found = convolutions(selection)
    if len(found) <= 2:
        return None
    methods = [method for method in _LARGE if method in selection.methods]
    layers = [found[0], *linears(selection)[-1:]]
    return _figure("paper-16-weights-of-larger", "Figure 16", selection, layers, methods)


def _figure(
    name: str, number: str, selection: Selection, layers: Sequence[str], methods: Iterable[str]
) -> Figure | None:
    arms = [(m, t) for t in _TREATMENTS if t in selection.treatments for m in methods]
    read: dict[Panel, _Lines] = {}
    for method, treatment in arms:
        for layer, lines in _lines(selection, layers, method, treatment).items():
            read[layer, method, treatment] = lines
    if not read:
        return None
    import altair as alt
    import pandas as pd

    by_layer = [{key: lines for key, lines in read.items() if key[0] == layer} for layer in layers]
    data = pd.concat([_drawn(own, len(layers)) for own in by_layer if own], ignore_index=True)
    rows = [[key for key in read if (key[0], key[2]) == (layer, t)] for layer in layers for t in _TREATMENTS]
    several = len(layers) > 1
    drawn = [
        alt.concat(*(evolution_panel(data, *key, several) for key in row), columns=_COLUMNS, spacing=16)
        for row in rows
        if row
    ]
    title = f"Weights of {' and '.join(map(short, layers))} at the end of each level, replicate 0 ({number})"
    chart = alt.vconcat(*drawn, rank_legend(), title=title, spacing=24)
    return Figure(name, title, _caption(data, read), data, chart)


def _lines(selection: Selection, layers: Sequence[str], method: str, treatment: str) -> dict[str, _Lines]:
    """What may be drawn of an arm, by layer."""
    points = first_lineage(selection, method, treatment)
    found: dict[str, _Lines] = {}
    for level in range(len(points)):
        read = masked(selection, points[level], layers) if level in points else {}
        if not read:
            break
        chance = np.array([selection.at_chance(points[level])])
        for layer, (weight, mask) in read.items():
            before = found.get(layer)
            places = before.places if before else _places(layer, weight.size)
            alive = mask.ravel()[places]
            if before:
                # A line ends where its weight is pruned, also with a method that may take it back.
                alive = alive & ~np.isnan(before.values[-1])
            values = np.where(alive, weight.ravel()[places], np.nan)[None]
            found[layer] = _Lines(
                places,
                np.concatenate([before.values, values]) if before else values,
                np.concatenate([before.at_chance, chance]) if before else chance,
                weight.size,
            )
    return found


def _places(layer: str, count: int) -> NDArray[np.int64]:
    return Stream("subset", 0, layer).permutation(count)[:_MOST_LINES]


def _drawn(read: Mapping[Panel, _Lines], layers: int) -> pd.DataFrame:
    """What is drawn of a layer: as many weights as the figure has room for, each until it is pruned.

    Columns: layer, method, treatment, weight (its place in the layer), level, value, rank (of its value at
    level 0 among those drawn, from 0 to 1), at_chance (whether the network is).
    """
    import pandas as pd

    points = sum(np.sum(~np.isnan(lines.values), axis=0) for lines in read.values())
    count = max(1, int(np.searchsorted(np.cumsum(points), _MOST_POINTS / layers, side="right")))
    tables = []
    for (layer, method, treatment), lines in read.items():
        own = lines.values[:, :count]
        ranks = np.argsort(np.argsort(own[0], kind="stable"), kind="stable") / max(own.shape[1] - 1, 1)
        levels, columns = np.nonzero(~np.isnan(own))
        table = pd.DataFrame({"weight": lines.places[columns], "level": levels})
        # Finer than a tenth of a pixel, and shorter to write.
        table["value"] = own[levels, columns].astype(float).round(5)
        table["rank"], table["at_chance"] = ranks[columns].round(3), lines.at_chance[levels]
        tables.append(table.assign(layer=layer, method=method, treatment=treatment))
    head = ["layer", "method", "treatment", "weight", "level"]
    return pd.concat(tables, ignore_index=True)[[*head, "value", "rank", "at_chance"]]


def _caption(data: pd.DataFrame, read: Mapping[Panel, _Lines]) -> str:
    text = (
        "A line for each weight: its value at the end of every level's training, until it is pruned. Colour: "
        "the rank of its value at level 0. Where lines are level and colours stay in order, training finds "
        "the same weights again."
    )
    if (data["treatment"] == "finetune").any():
        text += (
            " Under finetuning they are level by construction, for training goes on from the values of the "
            "level before: not to be compared with rewinding."
        )
    if data["at_chance"].any():
        text += (
            " Grey: levels at which the network is at chance; the weights of a dead network do not move and "
            "look perfectly stable."
        )
    for layer in dict.fromkeys(data["layer"]):
        of = next(lines.of for key, lines in read.items() if key[0] == layer)
        count = data.loc[data["layer"] == layer, "weight"].nunique()
        if count < of:
            text += (
                f" Of the {of:,} weights of {short(layer)} {count:,} are drawn, a random sample that is the "
                "same in every panel."
            )
    return text


FIGURES: tuple[Callable[[Evidence, Selection], Figure | None], ...] = (
    convolution_evolution_figure,
    linear_evolution_figure,
    large_evolution_figure,
)
