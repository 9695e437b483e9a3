"""Tables 1 and 2 of the paper, ours beside the printed numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative.ensembles import ensembles, printed_column
from pomona.report.iterative.printed import (
    ENSEMBLES,
    augmented,
    comparable,
    table_1,
    table_2,
    trained_as_long,
)
from pomona.report.iterative.selection import Selection, by_level
from pomona.stats.intervals import summarise
from pomona.studies.points import Point

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

# Parameters of the networks of the catalogue as the paper has them: ten classes, AlexNet and VGG-11 with 1000
# outputs. A report builds no network, so they are written down.
PARAMETERS = {"lenet": 60_074, "alexnet": 61_100_840, "vgg-11": 132_863_336}
_TITLES = {"lenet": "LeNet", "alexnet": "AlexNet", "vgg-11": "VGG-11"}
_WIDTH, _ROW = 770, 22
_CELL_WIDTH, _CELL_HEIGHT = 38, 30
# Differences from here on have the full colour.
_FULL = 0.2
_RED, _BLUE, _GUESS = "#e07b54", "#6aa2d0", "#d9d9d9"


def parameters_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Table 1: parameters left by pruning fraction, and weights that each level leaves of this network."""
    import altair as alt
    import pandas as pd

    left = pd.DataFrame(_left(selection))
    if left.empty or not left["level"].any():
        return None
    printed = pd.DataFrame(_fractions())
    unit = ", in thousands" if left["parameters"].max() >= 10**6 else ""
    title = "Parameters left (Table 1)"
    panels = [
        _grid(printed, "pruned", "~%", "share of the parameters that is pruned", "parameters, in thousands"),
        _grid(left, "level", "d", "level", f"weights kept of the network of this study{unit}"),
    ]
    caption = (
        "Above: parameters left when a share of them is pruned, by our count of each network and as printed "
        "in the paper, which cuts decimals of the two large ones; both have the 1000 outputs of ImageNet. "
        "Below: the prunable weights that the masks of each method keep at a level, without biases, mean "
        "over replicates. At equal level they need not be equally many: whole channels come in whole "
        "numbers, a layer with one input keeps it, and a method may leave layers dense."
    )
    data = pd.concat([printed, left], ignore_index=True)
    data = data.drop(columns="text").astype({"level": "Int64", "n": "Int64"})
    return Figure(
        "paper-table-1",
        title,
        caption,
        data,
        alt.vconcat(*panels, title=title).resolve_scale(color="independent"),
    )


def accuracies_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Table 2: mean accuracy by level and method and of two ensembles, ours beside the paper's."""
    import altair as alt
    import pandas as pd

    data = pd.DataFrame(_accuracies(selection))
    if data.empty or not data["level"].any():
        return None
    data = data.astype({"ours": float, "sd": float, "paper": float})
    data["difference"] = data["ours"] - data["paper"]
    title = "Mean test accuracy in percent, by level and method (Table 2)"
    panels = [_ours(data)]
    if data["paper"].notna().any():
        panels.append(_paper(data))
    chart = alt.hconcat(*panels, title=title, spacing=16).resolve_scale(color="independent")
    return Figure("paper-table-2", title, _caption(selection, data), data, chart)


def _fractions() -> Iterator[dict[str, Any]]:
    """Table 1 from our counts, and as printed."""
    for one in table_1():
        ours = PARAMETERS[one.network] * (1 - one.pruned)
        for source, count in (("ours", ours), ("paper", 1000 * one.thousands)):
            # As the paper prints them: whole thousands, and tenths below one.
            text = f"{count / 1000:,.0f}" if count >= 999.5 else f"{count / 1000:.1f}"
            row = f"{_TITLES[one.network]}, {source}"
            yield {"row": row, "pruned": one.pruned, "parameters": count, "text": text}


def _left(selection: Selection) -> Iterator[dict[str, Any]]:
    """Weights of this study's network that each level leaves, by method."""
    results = selection.results
    for method in selection.methods:
        levels = by_level(selection.lineages(method))
        whole = _weights(selection, [point for points in levels.values() for point in points])
        for level, points in levels.items():
            found = [d for point in points if (d := results.density(point)) is not None]
            if found:
                density = sum(found) / len(found)
                count = density * whole
                text = f"{count / 1000:,.0f}" if whole >= 10**6 else f"{count:,.0f}"
                head = {"row": method, "level": level, "density": density, "n": len(found)}
                yield {**head, "parameters": count, "text": text}


def _weights(selection: Selection, points: list[Point]) -> int:
    """Prunable weights of a network, from the masks of the first of its states that are there."""
    done = (point for point in points if selection.results.density(point) is not None)
    first = next(done, None)
    if first is None:
        return 0
    return sum(mask.size for mask in selection.results.store.masks(first.masked.key)[0].values())


def _accuracies(selection: Selection) -> Iterator[dict[str, Any]]:
    """A row for each cell of Table 2 that this study has, in the order of the paper's columns."""
    table = table_2()
    printed = {(one.column, one.level): one.accuracy for one in table} if comparable(selection) else {}
    joined = {column: own for own in ensembles(selection).values() if (column := printed_column(own))}
    arms = {**{method: selection.lineages(method) for method in selection.methods}, **joined}
    known = list(dict.fromkeys(one.column for one in table))
    methods = [name for name in known if name not in ENSEMBLES] + list(selection.methods)
    for column in dict.fromkeys([*methods, *ENSEMBLES]):
        for level, points in by_level(arms.get(column, {})).items():
            values = [v for point in points if (v := selection.value(point, "accuracy")) is not None]
            if values:
                found = summarise(values)
                guesses = sum(selection.at_chance(point) for point in points)
                numbers = {"ours": found.mean, "sd": found.sd, "n": found.n, "at_chance": guesses}
                yield {"level": level, "column": column, **numbers, "paper": printed.get((column, level))}


def _caption(selection: Selection, data: pd.DataFrame) -> str:
    replicates = selection.evidence.replicates
    several = f"Left: mean over {replicates} replicates, beneath it their SD."
    text = several if replicates > 1 else "Left: the one replicate."
    if (data["at_chance"] > 0).any():
        text += " Grey: at chance in all replicates; outlined: in some."
    both = data[data["paper"].notna()]
    if both.empty:
        return text
    text += (
        " Right: what the paper prints, of LeNet on MNIST after 30 epochs a level, and beneath it ours less "
        "that, in percentage points; blue where ours is higher."
    )
    if set(ENSEMBLES) & set(both["column"]):
        text += " all: the eight methods together; trio: hybrid, fc-only and l1-unstructured."
    first = both[both["level"] == both["level"].min()]
    apart = 100 * first["difference"]
    text += (
        f" At level {first['level'].iloc[0]} ours differ from the paper's by {apart.min():+.1f} to "
        f"{apart.max():+.1f} points, on average by {apart.mean():+.1f}."
    )
    if apart.min() > 0 and trained_as_long(selection) and not augmented(selection):
        text += (
            " The code of the paper shifts and mirrors its images in training, its text says that nothing of "
            "the kind is done, and here it is not: that all of ours are higher fits the code."
        )
    return text


def _grid(
    data: pd.DataFrame, x: str, format_: str, below: str, title: str
) -> alt.LayerChart | alt.FacetChart:
    """A table of numbers, its rows in the order of the data."""
    import altair as alt

    rows = list(dict.fromkeys(data["row"]))
    axis = alt.Axis(title=below, format=format_, labelAngle=0, domain=False, ticks=False)
    columns = alt.X(f"{x}:O", axis=axis)
    names = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(domain=False, ticks=False, labelLimit=0))
    shade = alt.Color(
        "parameters:Q",
        scale=alt.Scale(type="log", range=["#ffffff", "#b9d3ea"], interpolate="rgb"),
        legend=None,
    )
    base = alt.Chart(data).encode(x=columns, y=names)
    size = 10.5 if data[x].nunique() > 15 else 11.5
    return alt.layer(
        base.mark_rect(stroke="#fff").encode(color=shade),
        base.mark_text(fontSize=size).encode(text="text:N"),
    ).properties(width=_WIDTH, height=_ROW * len(rows), title=alt.Title(title, fontSize=13))


def _ours(data: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    cells = data.assign(
        upper=[f"{100 * value:.1f}" for value in data["ours"]],
        lower=["" if math.isnan(sd) else f"{100 * sd:.1f}" for sd in data["sd"]],
        # Where no replicate learned anything.
        guess=(data["at_chance"] >= data["n"]),
        outlined=(data["at_chance"] > 0) & (data["at_chance"] < data["n"]),
    )
    # White at perfect, darker below.
    scale = alt.Scale(domain=[0.1, 1], range=["#f2b77c", "#ffffff"], interpolate="rgb")
    shade = alt.condition("datum.guess", alt.value(_GUESS), alt.Color("ours:Q", scale=scale, legend=None))
    return _cells(data, cells, shade, "ours, and SD" if (cells["lower"] != "").any() else "ours")


def _paper(data: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    cells = data[data["paper"].notna()]
    cells = cells.assign(
        upper=[f"{100 * value:.1f}" for value in cells["paper"]],
        lower=[_signed(value) for value in cells["difference"]],
        outlined=False,
    )
    scale = alt.Scale(
        domain=[-_FULL, 0, _FULL], range=[_RED, "#ffffff", _BLUE], clamp=True, interpolate="rgb"
    )
    shade = alt.Color("difference:Q", scale=scale, legend=None)
    return _cells(data, cells, shade, "paper, and ours less it")


def _signed(difference: float) -> str:
    """Percentage points with their sign; none where they round to nothing.

    >>> _signed(0.0123), _signed(-0.0004)
    ('+1.2', '0.0')
    """
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def _cells(
    data: pd.DataFrame, cells: pd.DataFrame, shade: Any, title: str
) -> alt.LayerChart | alt.FacetChart:
    """Cells with two numbers, one above the other, some outlined; rows and columns are those of all data."""
    import altair as alt

    columns, levels = list(dict.fromkeys(data["column"])), sorted(set(data["level"]))
    above = alt.Axis(orient="top", labelAngle=-50, title=None, domain=False, ticks=False, labelLimit=0)
    x = alt.X("column:N", scale=alt.Scale(domain=columns), axis=above)
    beside = alt.Axis(title="level", domain=False, ticks=False)
    y = alt.Y("level:O", scale=alt.Scale(domain=levels), axis=beside)
    base = alt.Chart(cells).encode(x=x, y=y)
    lower = bool((cells["lower"] != "").any())
    outline = base.transform_filter("datum.outlined").mark_rect(fill=None, stroke="#444", strokeWidth=1.3)
    return alt.layer(
        base.mark_rect(stroke="#fff").encode(color=shade),
        *([outline] * bool(cells["outlined"].any())),
        base.mark_text(fontSize=11.5, dy=-5 if lower else 0).encode(text="upper:N"),
        *([base.mark_text(fontSize=9, dy=8, color="#444").encode(text="lower:N")] * lower),
    ).properties(
        title=alt.Title(title, fontSize=13),
        width=_CELL_WIDTH * len(columns),
        height=_CELL_HEIGHT * len(levels),
    )


FIGURES: tuple[Callable[[Evidence, Selection], Figure | None], ...] = (parameters_figure, accuracies_figure)
