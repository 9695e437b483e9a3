"""The axes and legends that figures share."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pomona.report.arms import Arm

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

_PIXELS_A_CHARACTER = 7


def log_density(field: str, title: str, lowest: float, highest: float = 1.0, format_: str = "~%") -> alt.X:
    """A density on a log axis that begins with the dense network and ends with the sparsest.

    Networks of an ensemble together may have more weights than a dense one: the axis begins with ``highest``.
    """
    import altair as alt

    domain = [1.08 * max(highest, 1.0), min(lowest, 0.9) * 0.92]
    beyond = [value for value in (10.0, 8.0, 5.0, 3.0, 2.0) if value <= highest]
    axis = alt.Axis(values=[*beyond, *ticks(domain[1])], format=format_, title=title)
    return alt.X(f"{field}:Q", axis=axis, scale=alt.Scale(type="log", domain=domain, nice=False))


def ticks(lowest: float) -> list[float]:
    """Densities 1, 0.5, 0.2, 0.1, ... down to the lowest; fewer over a long range, more over a short one.

    >>> ticks(0.06)
    [1.0, 0.5, 0.2, 0.1]
    """
    if lowest > 0.3:
        return [value for value in (1.0, 0.8, 0.6, 0.5, 0.4) if value >= lowest]
    decades = range(math.ceil(-math.log10(lowest)) + 1)
    steps = (1.0, 0.5, 0.2) if -math.log10(lowest) < 3 else (1.0,)
    values = [float(f"{step * 10.0**-decade:.3g}") for decade in decades for step in steps]
    return [value for value in values if value >= lowest]


def log_shares(field: str, title: str, lowest: float) -> alt.Y:
    """A share on a log axis, in percent."""
    import altair as alt

    scale = alt.Scale(type="log", domain=[lowest, 1.12], nice=False)
    return alt.Y(f"{field}:Q", title=title, axis=alt.Axis(format="~%", values=ticks(lowest)), scale=scale)


def shares(field: str, title: str, domain: Sequence[float]) -> alt.Y:
    """A share between two limits on a linear axis, in percent."""
    import altair as alt

    return alt.Y(
        f"{field}:Q",
        title=title,
        axis=alt.Axis(format="~%", tickCount=7),
        scale=alt.Scale(domain=list(domain), nice=False, zero=False),
    )


def accuracy_limits(accuracies: pd.Series[float]) -> tuple[float, float]:
    """From the lowest to the highest, with some room."""
    low, high = float(accuracies.min()), float(accuracies.max())
    room = max(0.04 * (high - low), 0.005)
    return max(0.0, low - room), min(1.0, high + room)


def legend(names: Sequence[str], width: int) -> dict[str, Any]:
    """A legend under the figure, in as many columns as the names leave room for."""
    longest = max(map(len, names), default=1) * _PIXELS_A_CHARACTER + 50
    columns = max(1, min(len(names), width // longest))
    return {"orient": "bottom", "columns": columns, "title": None, "direction": "horizontal"}


def arm_channels(arms: Iterable[Arm], width: int) -> dict[str, Any]:
    """Colour and shape of arms, with one legend for both."""
    import altair as alt

    shown = list(arms)
    names = [arm.name for arm in shown]
    short = {arm.name: arm.short for arm in shown}
    box = alt.Legend(**legend(list(short.values()), width), labelExpr=f"{json.dumps(short)}[datum.label]")
    colours = alt.Scale(domain=names, range=[arm.colour for arm in shown])
    shapes = alt.Scale(domain=names, range=[arm.shape for arm in shown])
    return {
        "color": alt.Color("arm:N", scale=colours, legend=box),
        "shape": alt.Shape("arm:N", scale=shapes, legend=box),
    }


def panels(arms: Sequence[Arm]) -> dict[str, list[Arm]]:
    """Arms by the panel that they are drawn in."""
    found: dict[str, list[Arm]] = {}
    for arm in arms:
        found.setdefault(arm.panel, []).append(arm)
    return found
