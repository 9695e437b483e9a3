"""Figures 1, 2, 10 and their variants: test accuracy against the share of weights that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from pomona.report.evidence import Evidence
from pomona.report.figures.accuracy import zoom_from
from pomona.report.figures.figure import Figure
from pomona.report.iterative.effective import effective_figure
from pomona.report.iterative.lines import (
    Curve,
    accuracy_axes,
    accuracy_panel,
    accuracy_table,
    channels,
    reading_of,
)
from pomona.report.iterative.printed import augmented, comparable, table_2, trained_as_long
from pomona.report.iterative.selection import METHOD, REWIND, TREATMENT, Selection

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

# The treatments that the paper compares; whatever else a study has is a variant.
TREATMENTS = (REWIND, "finetune", "sigma-sign", "sign")
_DENSITY = "Density is the share of all prunable weights that the masks keep explicitly."


def accuracy_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 1: all methods, weights rewound, with the means that Table 2 of the paper prints."""
    import altair as alt
    import pandas as pd

    curves = [*_curves(selection, [REWIND])]
    data = accuracy_table(selection, curves)
    if data.empty:
        return None
    printed = _printed(data) if comparable(selection) else []
    data = pd.concat([data, *printed], ignore_index=True)
    drawn = _enlarged(selection, data, lambda axes: _with_printed(selection, data, axes))
    title = "Test accuracy against density, weights rewound (Figure 1)"
    caption = f"{_DENSITY} {reading_of(selection, data, curves)}"
    if printed:
        caption += (
            " Short bars: the means that Table 2 of the paper prints, at the density that the same level has "
            "here; they are of LeNet on MNIST after 30 epochs a level."
        )
        if trained_as_long(selection) and not augmented(selection):
            caption += (
                " The code of the paper augments its images, its text does not say so; here they are not."
            )
    return Figure("paper-01-accuracy", title, caption, data, alt.concat(*drawn, columns=2, title=title))


def finetune_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 2: rewinding against finetuning, for the methods that have both."""
    import altair as alt

    curves = [*_curves(selection, [REWIND, "finetune"])]
    data = accuracy_table(selection, curves)
    if data["style"].nunique() < 2:
        return None
    drawn = _enlarged(
        selection, data, lambda axes: accuracy_panel(alt.Chart(data), selection, data, axes, 880)
    )
    title = "Test accuracy, rewound or finetuned after pruning (Figure 2)"
    caption = (
        f"{_DENSITY} {reading_of(selection, data, curves)} A finetuned network has behind it the "
        "training of all levels before, a rewound one only its own."
    )
    return Figure("paper-02-finetune", title, caption, data, alt.concat(*drawn, columns=2, title=title))


def treatments_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Figure 10: rewinding, finetuning, and rewinding to the sign alone, a panel for each method."""
    curves = [*_curves(selection, TREATMENTS, by_panel=True)]
    data = accuracy_table(selection, curves)
    if data["style"].nunique() < 2:
        return None
    title = "Test accuracy by what surviving weights become (Figure 10)"
    caption = (
        f"{_DENSITY} rewind: the weights that the network began with; sigma-sign: their signs times the SD "
        "of their tensor, biases too; sign: their signs alone; finetune: as they were trained. "
        f"{reading_of(selection, data, curves)}"
    )
    return Figure("paper-10-treatments", title, caption, data, _panels(selection, data, title))


def variants_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Late resetting, rescaled weights, another rate: each beside the arm that it departs from."""
    curves = [*_variants(selection)]
    data = accuracy_table(selection, curves)
    if data.empty:
        return None
    title = "Test accuracy of variants beside their plain arm"
    caption = (
        "Each panel changes one thing: plain is the first label, variant the second. "
        f"{_DENSITY} {reading_of(selection, data, curves)}"
    )
    return Figure("paper-variants", title, caption, data, _panels(selection, data, title))


def _curves(selection: Selection, treatments: Sequence[str], by_panel: bool = False) -> Iterator[Curve]:
    """The arms of all methods that have every kind of treatment asked for that any method has."""
    for method in selection.methods:
        found = {one: selection.lineages(method, one) for one in treatments}
        there = {one: lineages for one, lineages in found.items() if lineages}
        if REWIND in there and (len(treatments) == 1 or len(there) > 1):
            for treatment, lineages in there.items():
                yield Curve(method, treatment, lineages, method if by_panel else "")


def _variants(selection: Selection) -> Iterator[Curve]:
    factors = {f: list(labels) for f, labels in selection.study.factors.items()}
    for factor, labels in factors.items():
        if factor == METHOD or factor in selection.study.spec.vary:
            continue
        plain = REWIND if factor == TREATMENT else labels[0]
        for label in labels:
            if label == plain or (factor == TREATMENT and label in TREATMENTS):
                continue
            for method in selection.methods:
                both = [selection.lineages(method, **{factor: one}) for one in (plain, label)]
                if all(both):
                    panel = f"{method}, {factor}: {plain} or {label}"
                    yield Curve(method, "plain", both[0], panel)
                    yield Curve(method, "variant", both[1], panel)


def _printed(data: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows of Table 2, each at the density that its level and method have here."""
    import pandas as pd

    means = data[(data["series"] == "mean") & data["density"].notna()]
    density = dict(zip(zip(means["method"], means["level"], strict=True), means["density"], strict=True))
    rows = [
        {
            "panel": "",
            "method": one.column,
            "style": REWIND,
            "level": one.level,
            "series": "printed",
            "density": density[one.column, one.level],
            "accuracy": one.accuracy,
        }
        for one in table_2()
        if (one.column, one.level) in density
    ]
    return [pd.DataFrame(rows).astype({"level": "Int64"})] if rows else []


def _with_printed(
    selection: Selection, data: pd.DataFrame, axes: tuple[alt.X, alt.Y]
) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    code = channels(selection, data, 880)
    chart = alt.Chart(data)
    bars = chart.transform_filter("datum.series == 'printed'").mark_point(
        shape="stroke", size=150, strokeWidth=2, opacity=0.9, clip=True
    )
    marks = bars.encode(x=axes[0], y=axes[1], color=code["color"])
    return alt.layer(accuracy_panel(chart, selection, data, axes, 880), marks)


def _enlarged(
    selection: Selection,
    data: pd.DataFrame,
    draw: Callable[[tuple[alt.X, alt.Y]], alt.LayerChart | alt.FacetChart],
) -> list[alt.LayerChart | alt.FacetChart]:
    """The whole range, and beside it the top where accuracies spread widely."""
    import altair as alt

    whole = accuracy_axes(data)
    best = float(data.loc[data["series"] == "mean", "accuracy"].max())
    zoom = zoom_from(float(data["accuracy"].min()), best)
    if zoom is None:
        return [draw(whole).properties(width=780, height=350)]
    high = min(1.0, float(data["accuracy"].max()) + 0.005)
    parts = {"whole range": whole, f"above {zoom:.0%}": accuracy_axes(data, (zoom, high))}
    return [
        draw(axes).properties(width=400, height=350, title=alt.Title(name, fontSize=13, frame="group"))
        for name, axes in parts.items()
    ]


def _panels(selection: Selection, data: pd.DataFrame, title: str) -> alt.ConcatChart:
    import altair as alt

    axes, names = accuracy_axes(data), list(dict.fromkeys(data["panel"]))
    drawn = []
    for name in names:
        chart = alt.Chart(data).transform_filter(alt.FieldEqualPredicate(field="panel", equal=name))
        panel = accuracy_panel(chart, selection, data, axes, 880)
        drawn.append(
            panel.properties(width=390, height=240, title=alt.Title(name, fontSize=13, frame="group"))
        )
    return alt.concat(*drawn, columns=2, title=title)


FIGURES: tuple[Callable[[Evidence, Selection], Figure | None], ...] = (
    accuracy_figure,
    finetune_figure,
    treatments_figure,
    effective_figure,
    variants_figure,
)
