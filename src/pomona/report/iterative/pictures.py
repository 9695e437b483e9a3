"""The weights that a convolution keeps as pictures, and all figures of single weights and masks."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative import evolution, mask_pictures
from pomona.report.iterative.raster import colour_bar, colours, data_uri, kernels, picture, tiled
from pomona.report.iterative.selection import REWIND, UNSTRUCTURED, Selection
from pomona.report.iterative.stored import (
    Masked,
    first_lineage,
    masked,
    second_convolution,
    short,
)
from pomona.report.numbers import percent

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

# What Figure 5 shows side by side: method and treatment.
_ARMS = (
    (UNSTRUCTURED, REWIND),
    ("l1-structured", REWIND),
    (UNSTRUCTURED, "sigma-sign"),
    (UNSTRUCTURED, "finetune"),
    ("random-unstructured", REWIND),
)
_LEVELS = (5, 10)
# Larger layers are cut to what can still be told apart on a page.
_INPUTS, _OUTPUTS = 16, 32
_SCALE, _GAP = 8, 3
# Of the kept weights this share has a colour of its own; the largest ones have the full colour.
_FULL = 0.98
_WIDTH, _WIDEST, _ROOM, _PIXELS_A_CHARACTER = 960, 380, 54, 6
# What an arm is called, and its label by factor.
_Arm = tuple[Sequence[str], Mapping[str, str]]


@dataclass(frozen=True)
class _Panel:
    """One picture: its arm as it is called and by labels, its level, its density, and what is shown."""

    name: Sequence[str]
    arm: Mapping[str, str]
    level: int
    density: float
    weight: np.ndarray
    mask: np.ndarray
    channels: tuple[int, ...]


def masked_weights_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 5: the weights that methods and treatments keep of the second convolution."""
    arms = [((method, treatment), {"method": method, "treatment": treatment}) for method, treatment in _ARMS]
    rows = _panels(selection, arms)
    layer = short(second_convolution(selection))
    title = f"What is kept of {layer}: kernels by input and output channel, replicate 0 (Figure 5)"
    caption = (
        "Each square is a kernel, each cell of it a weight at the end of its level's training: red positive, "
        "blue negative, grey pruned. An input channel that nothing is read of is a grey row, an output "
        "channel that reads nothing a grey column. Structured pruning removes whole rows; the paper sees "
        "unstructured pruning do much the same under rewinding and not under finetuning. The eye finds "
        "structure in random masks too: the figure of mask structure measures it against them."
    )
    return _figure("paper-05-masked-weights", title, caption, rows)


def brief_training_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 13: the second convolution where pruning follows one epoch, beside the full training."""
    # The reference comes first in a study; in the paper it is on the right.
    trainings = list(selection.study.factors.get("training", {}))[::-1]
    plain = {"method": UNSTRUCTURED, "treatment": REWIND}
    arms = [((f"training: {one}",), {**plain, "training": one}) for one in trainings]
    rows = _panels(selection, arms)
    if len({panel.arm["training"] for row in rows for panel in row}) < 2:
        return None
    layer = short(second_convolution(selection))
    title = f"What {UNSTRUCTURED} keeps of {layer} by length of training, replicate 0 (Figure 13)"
    caption = (
        "Kernels of the same network by input and output channel; panels of a level differ in how long each "
        "level is trained before it is pruned. Red positive, blue negative, grey pruned. Where rows of "
        "inputs or columns of outputs fade on one side alone, structure came with the length of training."
    )
    return _figure("paper-13-brief-training", title, caption, rows)


def _panels(selection: Selection, arms: Sequence[_Arm]) -> list[list[_Panel]]:
    """Rows of pictures: the levels of the paper, or the deepest ones whose weights are stored."""
    layer = second_convolution(selection)
    if not layer:
        return []
    points = [(name, arm, first_lineage(selection, **arm)) for name, arm in arms]

    def row(level: int) -> list[_Panel]:
        found = [
            (name, arm, masked(selection, there[level], [layer]))
            for name, arm, there in points
            if level in there
        ]
        return [_panel(name, arm, level, read[layer]) for name, arm, read in found if layer in read]

    rows = [found for level in _LEVELS if (found := row(level))]
    if len(rows) == len(_LEVELS):
        return rows
    deep = sorted({level for *_, there in points for level in there if level > 0}, reverse=True)
    found_rows = (found for level in deep if (found := row(level)))
    return list(itertools.islice(found_rows, len(_LEVELS)))[::-1]


def _panel(name: Sequence[str], arm: Mapping[str, str], level: int, read: Masked) -> _Panel:
    weight, mask = (kernels(array) for array in read)
    part = np.s_[:_OUTPUTS, :_INPUTS]
    return _Panel(name, arm, level, float(mask.mean()), weight[part], mask[part], mask.shape[:2])


def _figure(name: str, title: str, caption: str, rows: Sequence[Sequence[_Panel]]) -> Figure | None:
    if not rows:
        return None
    import altair as alt
    import pandas as pd

    panels = [panel for row in rows for panel in row]
    kept = np.concatenate([np.abs(panel.weight[panel.mask]) for panel in panels])
    limit = float(np.quantile(kept, _FULL)) if kept.size and kept.max() > 0 else 1.0
    columns = max(map(len, rows))
    width = min(_WIDEST, _WIDTH // columns - _ROOM)
    drawn = [
        alt.hconcat(
            *(
                _picture(panel, limit, width, (place == 0, row is rows[-1]))
                for place, panel in enumerate(row)
            ),
            spacing=14,
        )
        for row in rows
    ]
    chart = alt.vconcat(*drawn, colour_bar(limit), title=title, spacing=22)
    whole, shown = panels[0].channels, panels[0].mask.shape[:2]
    if whole != shown:
        caption += (
            f" Shown are the first {shown[0]} of {whole[0]} outputs and {shown[1]} of {whole[1]} inputs."
        )
    return Figure(name, title, caption, pd.concat(map(_rows, panels), ignore_index=True), chart)


def _picture(panel: _Panel, limit: float, width: int, named: tuple[bool, bool]) -> alt.Chart:
    import altair as alt

    image = tiled(colours(panel.weight, panel.mask, limit), _SCALE, _GAP)
    outputs, inputs = panel.mask.shape[:2]
    size = width, round(width * image.shape[0] / image.shape[1])
    drawn = picture(data_uri(image), (inputs, outputs), size, named)
    head, *more = panel.name
    said = ", ".join([*more, f"level {panel.level}: {percent(panel.density, 0)} % kept"])
    lines = textwrap.wrap(said, width // _PIXELS_A_CHARACTER)
    title = alt.Title(head, subtitle=lines, fontSize=12.5, subtitleFontSize=11.5, offset=6, frame="group")
    return drawn.properties(title=title)


def _rows(panel: _Panel) -> pd.DataFrame:
    """What a picture shows, a weight a row."""
    import pandas as pd

    index = pd.MultiIndex.from_product(
        map(range, panel.mask.shape), names=["output", "input", "row", "column"]
    )
    found = pd.DataFrame({"kept": panel.mask.ravel(), "weight": panel.weight.ravel()}, index=index)
    head = {**panel.arm, "level": panel.level}
    table = found.reset_index().assign(**head)
    return table[[*head, *found.index.names, *found.columns]]


FIGURES: tuple[Callable[[Evidence, Selection], Figure | None], ...] = (
    masked_weights_figure,
    *evolution.FIGURES,
    brief_training_figure,
    *mask_pictures.FIGURES,
)
