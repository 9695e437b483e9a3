"""Masks of convolutions as pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative.raster import data_uri, kernels, picture, tiled
from pomona.report.iterative.selection import REWIND, UNSTRUCTURED, Selection
from pomona.report.iterative.stored import convolutions, first_lineage, masks, short
from pomona.report.numbers import percent

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_MOST_LAYERS, _LONGEST, _FLATTEST, _PALE = 4, 430, 40, 232


def convolution_masks_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 15: masks of the first convolutions of a larger network at its last level."""
    layers = convolutions(selection)[:_MOST_LAYERS]
    points = first_lineage(selection, UNSTRUCTURED, REWIND)
    found = {level: masks(selection, point) for level, point in list(points.items())[-1:]}
    if len(layers) < 3 or not any(found.values()):
        return None
    import altair as alt
    import pandas as pd

    ((level, there),) = found.items()
    tables, drawn = [], []
    for layer in layers:
        mask = kernels(there[layer])
        tables.append(_mask_rows(mask).assign(layer=layer, level=level))
        kept = f"{short(layer)}: {percent(float(mask.mean()))} % kept"
        drawn.append(_mask_picture(mask).properties(title=alt.Title(kept, fontSize=13, frame="group")))
    data = pd.concat(tables, ignore_index=True)
    title = f"Masks of the first convolutions at level {level}, {UNSTRUCTURED}, replicate 0 (Figure 15)"
    caption = (
        "Black: kept weights, grey: pruned ones, in kernels of inputs (down) x outputs (across). Empty rows "
        "and columns are channels that nothing is read of or that read nothing. With so few weights left "
        "many lines are empty by chance: the figure of mask structure tells. In the CSV a line of "
        "pixels is a text of 0 and 1."
    )
    chart = alt.concat(*drawn, columns=2, title=title, spacing=30)
    return Figure("paper-15-masks", title, caption, data[["layer", "level", "input", "row", "mask"]], chart)


def _mask_picture(mask: np.ndarray) -> alt.Chart:
    outputs, inputs = mask.shape[:2]
    image = np.where(tiled(mask), 0, _PALE).astype(np.uint8)
    # Small masks are enlarged by whole pixels, so that edges stay sharp.
    scale = max(1, 2 * _LONGEST // max(image.shape))
    height, width = (round(_LONGEST * side / max(image.shape)) for side in image.shape)
    large = image.repeat(scale, 0).repeat(scale, 1)
    return picture(data_uri(large), (inputs, outputs), (width, max(height, _FLATTEST)))


def _mask_rows(mask: np.ndarray) -> pd.DataFrame:
    """A mask as it is drawn, a line of pixels a row."""
    import pandas as pd

    lines = tiled(mask).astype(int)
    texts = ["".join(map(str, line)) for line in lines]
    height = mask.shape[2]
    numbers = np.arange(len(texts))
    return pd.DataFrame({"input": numbers // height, "row": numbers % height, "mask": texts})


FIGURES: tuple[Callable[[Evidence, Selection], Figure | None], ...] = (convolution_masks_figure,)
