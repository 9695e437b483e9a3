"""What becomes of the surviving weights: their movement, their size, their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative import landscape, structure
from pomona.report.iterative.grid import Row, grid, means, measured, reading, table
from pomona.report.iterative.selection import REWIND, Selection
from pomona.report.iterative.stored import linears, short
from pomona.studies.schema import moment_of

_FINETUNE = "finetune"
_MOVING, _PAPERS = "moving-stability", "weight-stability"
_MAGNITUDE, _INITIAL = "weight-magnitude", "initial-magnitude"
_RANK = "rank-correlation"
_FLOOR = 0.01
_BY_CONSTRUCTION = (
    "Rewound networks begin each level at the same initial values and may end anywhere; finetuned ones go on "
    "from where the level before ended and are near to it by construction: the rows of the two are not to be "
    "compared."
)


def stability_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 8: how far the surviving weights of each layer move between levels."""
    rows = [
        Row("moving", "moved weights (SD)", floor=_FLOOR),
        Row("all", "all survivors (SD)", floor=_FLOOR),
        Row("finetune", "moved, finetuned (SD)", floor=_FLOOR),
    ]
    shown = (("moving", REWIND, _MOVING), ("all", REWIND, _PAPERS), ("finetune", _FINETUNE, _MOVING))
    data = table(
        row for name, treatment, quantity in shown for row in _by_layer(selection, name, treatment, quantity)
    )
    if data.empty:
        return None
    title = "Movement of surviving weights from one level to the next, by layer (Figure 8)"
    caption = (
        "Mean absolute change of the weights that are alive at a level and at the one before, in standard "
        "deviations of the layer (log scale); lower is more stable. First row: without the weights that the "
        "training of either level left as they were, bit for bit. Second row: all of them, the number of the "
        "paper but for the scaling; in it a dead network, whose weights do not move at all, looks perfectly "
        f"stable. {_BY_CONSTRUCTION if (data['row'] == 'finetune').any() else ''} Where few weights are left "
        "and lie close together, their deviation is small and the number large. "
        f"{'Points at the lower edge are below it. ' if (data['value'] < _FLOOR).any() else ''}"
        f"{reading(selection, data)}"
    )
    return Figure(
        "paper-08-stability", title, " ".join(caption.split()), data, grid(selection, data, rows, title)
    )


def magnitude_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Size of the kept weights of linear layers and of their initial values, and under finetuning."""
    trained, initial, finetuned = "kept weights", "their initial values", "kept weights, finetuned"
    layers = linears(selection)
    shown = [
        ("density", trained, REWIND, _MAGNITUDE, selection.methods),
        ("density", initial, REWIND, _INITIAL, selection.methods),
        ("level", trained, REWIND, _MAGNITUDE, _finetuned(selection)),
        ("level", finetuned, _FINETUNE, _MAGNITUDE, _finetuned(selection)),
    ]
    data = table(
        row
        for name, style, treatment, quantity, methods in shown
        for row in _by_layer(selection, name, treatment, quantity, layers, methods, style)
    )
    data = data[data["density"] > 0].reset_index(drop=True)
    if data.empty:
        return None
    rows = [
        Row("density", "mean |weight|", along="density", together=False),
        Row("level", "mean |weight|", together=False),
    ]
    title = "Size of the kept weights of linear layers"
    caption = (
        "Mean magnitude of the weights that are kept, at the end of a level's training. Against the density "
        "of the layer, beside the initial values of the same weights: where both rise together, pruning "
        "chose large weights; where the gap between them opens, training made the survivors larger."
    )
    if (data["row"] == "level").any():
        caption += (
            " Below, by level: rewinding beside finetuning, which trains weights further at each level."
        )
    caption = f"{caption} {reading(selection, data)}"
    return Figure("paper-weight-magnitude", title, caption, data, grid(selection, data, rows, title))


def rank_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Whether surviving weights keep their order of magnitude, between levels and within a training."""
    moments = [m for m in selection.study.spec.measure if isinstance(m, str) and moment_of(m) is not None]
    rows = [
        Row("levels", "with the level before", rule=1.0),
        Row("finetune", "the same, finetuned", rule=1.0),
        *(Row(moment, f"{moment.partition('@')[2]} with the end", rule=1.0) for moment in moments),
    ]
    shown = [("levels", REWIND, _RANK), ("finetune", _FINETUNE, _RANK)]
    shown += [(moment, REWIND, moment) for moment in moments]
    data = table(
        row
        for name, treatment, probe in shown
        for row in _by_layer(selection, name, treatment, _RANK, probe=probe)
    )
    if data.empty:
        return None
    title = "Rank correlation of the magnitudes of surviving weights, by layer"
    caption = (
        "Spearman's correlation of |weight| over the weights alive at both: 1 where pruning by magnitude "
        "would take them in the same order. Above: ends of two levels that follow each other"
    )
    if moments:
        caption += "; below, a moment of each level's training and its end, under rewinding"
    caption += ". A dead network keeps its order perfectly."
    if (data["row"] == "finetune").any():
        caption += f" {_BY_CONSTRUCTION}"
    caption = f"{caption} {reading(selection, data)}"
    return Figure("paper-rank-correlation", title, caption, data, grid(selection, data, rows, title))


def _by_layer(
    selection: Selection,
    row: str,
    treatment: str,
    quantity: str,
    layers: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    style: str = "",
    probe: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Means of a quantity of every method and layer, or of some."""
    for layer in selection.layers() if layers is None else layers:
        for method in selection.methods if methods is None else methods:
            head = {"row": row, "panel": short(layer), "method": method, "style": style}
            found = measured(selection, (method, treatment), quantity, layer, probe)
            yield from means(selection, head, found, layer)


def _finetuned(selection: Selection) -> list[str]:
    """Methods that are there with finetuning too."""
    return [method for method in selection.methods if selection.lineages(method, _FINETUNE)]


FIGURES: tuple[Callable[[Evidence, Selection], Figure | None], ...] = (
    stability_figure,
    magnitude_figure,
    rank_figure,
    *structure.FIGURES,
    *landscape.FIGURES,
)
