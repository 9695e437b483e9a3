"""How far masks lie together in whole inputs and outputs of a layer."""

from __future__ import annotations

from collections.abc import Callable

from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative.grid import Row, grid, means, measured, reading, table
from pomona.report.iterative.selection import REWIND, Selection
from pomona.report.iterative.stored import convolutions, short

_SIDES = {"column-clustering": "by inputs", "row-clustering": "by outputs"}
_TREATMENTS = (REWIND, "finetune", "sigma-sign")
_MOST_LAYERS = 2


def structure_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Clustering of the masks of the second convolution, and of the third where there is one."""
    found = convolutions(selection)
    layers = found[1 : 1 + _MOST_LAYERS] or found
    treatments = [name for name in _TREATMENTS if name in selection.treatments]
    rows = [Row(treatment, f"clustering, {treatment}", rule=0.0) for treatment in treatments]
    data = table(
        row
        for treatment in treatments
        for layer in layers
        for quantity, side in _SIDES.items()
        for method in selection.methods
        for row in means(
            selection,
            {"row": treatment, "panel": f"{short(layer)} {side}", "method": method, "style": ""},
            measured(selection, (method, treatment), quantity, layer),
            layer,
        )
    )
    if data.empty:
        return None
    title = f"How far the masks of {' and '.join(map(short, layers))} keep whole inputs and outputs"
    caption = (
        "Clustering is the excess of the variance of kept weights per input (per output) over that of a "
        "random mask of as many weights, 0 (dashed) as random, 1 where only whole ones are kept, as by "
        "structured pruning of inputs. Once fewer weights are left than a single input or output has, 1 is "
        "out of reach and the number falls by itself. At equal level methods need not keep equally many "
        "weights. Where lines coincide, the last of the legend is on top. "
        f"{reading(selection, data)}"
    )
    return Figure("paper-mask-structure", title, caption, data, grid(selection, data, rows, title))


FIGURES: tuple[Callable[[Evidence, Selection], Figure | None], ...] = (structure_figure,)
