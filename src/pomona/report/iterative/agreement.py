"""Agreement of methods on single test images (the paper's Figure 14), and their ensembles by level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative import ensembles
from pomona.report.iterative.selection import Selection
from pomona.studies.points import Point

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

# Those of the paper's figure.
_LEVELS = (18, 20)
_WIDTH, _HEIGHT = 43, 27
_PANELS = {
    "images": "test images of which both say the same",
    "kappa": "the same beyond chance: Cohen's kappa",
}
_PALE, _DARK, _NONE = "#f7fbff", "#5b9bd0", "#e4e4e4"


def agreement_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 14: how many test images two methods agree on at two levels, and how far beyond chance."""
    import altair as alt
    import pandas as pd

    data = pd.DataFrame(_rows(evidence, selection))
    if data.empty:
        return None
    data = data.astype({"kappa": float})
    rows = [
        alt.hconcat(*_pair_of_panels(selection, data, level), spacing=8).resolve_scale(color="independent")
        for level in dict.fromkeys(data["level"])
    ]
    title = "Agreement of methods on single test images (Figure 14)"
    caption = (
        "Each cell compares the predicted classes of two networks of one replicate at equal level, mean "
        "over replicates. Left: of how many test images both predict the same class, right or wrong. "
        "Accurate networks agree often because they are right, and networks that answer one class for "
        "everything agree throughout. Right: Cohen's kappa takes out what their class counts give by "
        "chance; a dash where both answer the same one class for every image, so that it has no value. †: "
        "at chance in all replicates. Densities of two methods at one level need not be equal."
    )
    return Figure("paper-14-agreement", title, caption, data, alt.vconcat(*rows, title=title))


def _rows(evidence: Evidence, selection: Selection) -> Iterator[dict[str, Any]]:
    """Both halves of the matrix of every level that is drawn."""
    of = {id(point): method for method in selection.methods for point in _points(selection, method)}
    images = {choice: info.test_count for choice, info in evidence.data.items()}
    found: dict[tuple[int, str, str], list[tuple[float, float, float | None]]] = {}
    for pair in evidence.population.agreements:
        if id(pair.a) in of and id(pair.b) in of and pair.a.data is not None:
            share = selection.number(pair.probe, "agreement")
            if share is not None:
                value = share * images[pair.a.data], share, selection.number(pair.probe, "kappa")
                for one, other in ((pair.a, pair.b), (pair.b, pair.a)):
                    found.setdefault((one.level, of[id(one)], of[id(other)]), []).append(value)
    for level in _levels({level for level, _, _ in found}):
        for (at, a, b), values in found.items():
            if at == level:
                yield {"level": level, "a": a, "b": b, **_means(values)}


def _means(values: Sequence[tuple[float, float, float | None]]) -> dict[str, Any]:
    kappas = [kappa for *_, kappa in values if kappa is not None]
    return {
        "images": sum(images for images, *_ in values) / len(values),
        "agreement": sum(share for _, share, _ in values) / len(values),
        "n": len(values),
        "kappa": sum(kappas) / len(kappas) if kappas else None,
        "n_kappa": len(kappas),
    }


def _levels(there: set[int]) -> list[int]:
    """The paper's two levels, or the deepest two."""
    return list(_LEVELS) if there >= set(_LEVELS) else sorted(there)[-2:]


def _points(selection: Selection, method: str) -> list[Point]:
    return [point for points in selection.lineages(method).values() for point in points]


def _axis_names(selection: Selection, level: int) -> dict[str, str]:
    """Methods as the axes have them: with a mark where all replicates are at chance."""
    found = {}
    for method in selection.methods:
        points = [point for point in _points(selection, method) if point.level == level]
        flags = [flag for point in points if (flag := selection.value(point, "at-chance")) is not None]
        found[method] = f"{method} †" if flags and min(flags) == 1.0 else method
    return found


def _pair_of_panels(
    selection: Selection, data: pd.DataFrame, level: int
) -> Iterator[alt.LayerChart | alt.FacetChart]:
    names = _axis_names(selection, level)
    return (_panel(data[data["level"] == level], quantity, names, level) for quantity in _PANELS)


def _panel(
    own: pd.DataFrame, quantity: str, names: dict[str, str], level: int
) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    counts = quantity == "images"
    shown = [names[method] for method in names if (own["a"] == method).any()]
    cells = own.assign(
        row=[names[a] for a in own["a"]],
        column=[names[b] for b in own["b"]],
        defined=own[quantity].notna(),
        text=[_written(value, "{:,.0f}" if counts else "{:.2f}") for value in own[quantity]],
    )
    axis: dict[str, Any] = {"title": None, "domain": False, "ticks": False, "labelLimit": 0}
    x = alt.X("column:N", sort=shown, axis=alt.Axis(orient="top", labelAngle=-50, **axis))
    y = alt.Y("row:N", sort=shown, axis=alt.Axis(**axis) if counts else None)
    limits = [0, float(own["images"].max() / own["agreement"].max()) if counts else 1]
    scale = alt.Scale(domain=limits, range=[_PALE, _DARK], clamp=True, interpolate="rgb")
    base = alt.Chart(cells).encode(x=x, y=y)
    cell = base.transform_filter("datum.defined").mark_rect(stroke="#fff")
    return alt.layer(
        base.transform_filter("!datum.defined").mark_rect(stroke="#fff", color=_NONE),
        cell.encode(color=alt.Color(f"{quantity}:Q", scale=scale, legend=None)),
        base.mark_text(fontSize=11).encode(text="text:N"),
    ).properties(
        width=_WIDTH * len(shown),
        height=_HEIGHT * len(shown),
        title=alt.Title(f"level {level}: {_PANELS[quantity]}", fontSize=13),
    )


def _written(value: float, form: str) -> str:
    return "–" if math.isnan(value) else form.format(value).replace("-0.00", "0.00").replace("-", "−")


FIGURES: tuple[Callable[[Evidence, Selection], Figure | None], ...] = (agreement_figure, *ensembles.FIGURES)
