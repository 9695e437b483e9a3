"""Convolutions as pictures: kernels side by side, inputs down and outputs across."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import altair as alt

PRUNED = (190, 190, 190)
_POSITIVE, _NEGATIVE, _ZERO = (178, 24, 43), (33, 102, 172), (250, 250, 250)


def kernels(weight: NDArray[Any]) -> NDArray[Any]:
    """A convolution's weights or mask as [outputs, inputs, rows, columns], whatever its dimensions."""
    return weight.reshape(*weight.shape[:2], -1, weight.shape[-1])


def colours(weight: NDArray[np.floating], mask: NDArray[np.bool_], limit: float) -> NDArray[np.uint8]:
    """Colour of each weight: red where positive, blue where negative, grey where pruned.

    Args:
        weight: Values. Shape ``*s``.
        mask: True where kept. The same shape.
        limit: Magnitude from which on a colour is full.

    Returns:
        Red, green and blue, 0 to 255. Shape ``*s, 3``.
    """
    share = np.clip(np.abs(weight) / limit, 0, 1)[..., None]
    full = np.where(weight[..., None] > 0, _POSITIVE, _NEGATIVE)
    mixed = np.rint((1 - share) * np.array(_ZERO) + share * full)
    return np.where(mask[..., None], mixed, PRUNED).astype(np.uint8)


def tiled(pixels: NDArray[Any], scale: int = 1, gap: int = 0) -> NDArray[Any]:
    """One image of many kernels.

    Args:
        pixels: Shape [outputs, inputs, rows, columns] or the same with colours behind.
        scale: Side of a weight, in pixels.
        gap: Pixels of white between kernels.
    """
    large = pixels.repeat(scale, 2).repeat(scale, 3)
    room = [(0, 0), (0, 0), (0, gap), (0, gap), *[(0, 0)] * (pixels.ndim - 4)]
    padded = np.pad(large, room, constant_values=255)
    outputs, inputs, height, width = padded.shape[:4]
    image = padded.swapaxes(0, 1).swapaxes(1, 2).reshape(inputs * height, outputs * width, *pixels.shape[4:])
    return image[: inputs * height - gap, : outputs * width - gap]


def data_uri(image: NDArray[np.uint8]) -> str:
    """An image, grey or of colours, as a PNG that lies within the drawing itself."""
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(image).save(written, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()


def picture(
    uri: str, channels: tuple[int, int], size: tuple[int, int], named: tuple[bool, bool] = (True, True)
) -> alt.Chart:
    """A picture of a convolution with its channels on the axes.

    Args:
        uri: The image.
        channels: How many inputs it has from top to bottom and outputs from left to right.
        size: Width and height, in points.
        named: Whether the axes of inputs and of outputs have a title.
    """
    import altair as alt
    import pandas as pd

    (inputs, outputs), (width, height) = channels, size
    data = pd.DataFrame({"output": [outputs / 2 - 0.5], "input": [inputs / 2 - 0.5], "picture": [uri]})
    down, across = ("input" if named[0] else None), ("output" if named[1] else None)
    image = alt.Chart(data).mark_image(width=width, height=height, aspect=False)
    x = alt.X("output:Q", title=across, **_channels(outputs, width, down=False))
    y = alt.Y("input:Q", title=down, **_channels(inputs, height, down=True))
    drawn: alt.Chart = image.encode(x=x, y=y, url="picture:N").properties(width=width, height=height)
    return drawn


def colour_bar(limit: float) -> alt.HConcatChart:
    """What the colours of weights mean."""
    import altair as alt

    steps = np.linspace(-limit, limit, 201)[None]
    grey = np.full((1, 1, 3), PRUNED, dtype=np.uint8)
    ends = (f"below -{limit:.2f}", "0", f"above {limit:.2f}")
    bar = strip(colours(steps, np.ones_like(steps, dtype=bool), limit), 220, ends, "weight")
    return alt.hconcat(bar, strip(grey, 60, ("", "pruned", "")), spacing=40)


def strip(
    image: NDArray[np.uint8], width: int, labels: tuple[str, str, str], title: str | None = None
) -> alt.Chart:
    """A strip of colours as a legend, with what stands under its left end, its middle and its right end."""
    import altair as alt
    import pandas as pd

    named = json.dumps(dict(zip(("0", "1", "2"), labels, strict=True)))
    axis = alt.Axis(
        values=[0, 1, 2], labelExpr=f"{named}[datum.value]", domain=False, ticks=False, grid=False
    )
    x = alt.X("place:Q", title=title, scale=alt.Scale(domain=[0, 2], nice=False), axis=axis)
    data = pd.DataFrame({"place": [1.0], "picture": [data_uri(image)]})
    bar = alt.Chart(data).mark_image(width=width, height=12, aspect=False)
    bar = bar.encode(x=x, y=alt.value(6), url="picture:N")
    drawn: alt.Chart = bar.properties(width=width, height=12, view=alt.ViewBackground(stroke=None))
    return drawn


def _channels(count: int, points: int, down: bool) -> dict[str, Any]:
    """Axis and scale of channels, from 0 on; no more labels than there is room for."""
    import altair as alt

    step = next(step for step in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if count / step * 16 <= points)
    ends = [-0.5, count - 0.5]
    axis = alt.Axis(values=list(range(0, count, step)), format="d", grid=False, domain=False, ticks=False)
    return {"axis": axis, "scale": alt.Scale(domain=ends[::-1] if down else ends, nice=False)}
