"""Shares of variance by source, and the statistical beside the systematic error on one axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pomona.report.arms import shorten
from pomona.report.figures.figure import Figure
from pomona.report.units import Unit
from pomona.report.variation import counted_in, name_of, title_of, unit_of_outcome
from pomona.studies.variation import INTERACTIONS, VALUE, Sources

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

NAME = "variation"
_COLOURS = {"random": "#0072B2", "interactions": "#555555", "systematic": "#D55E00"}
_COLUMNS = ("panel", "row", "kind", "series", "label", "value", "low", "high")
_WIDTH, _ROW, _LONGEST = 520, 38, 110
_SPREAD, _MEAN = "single values, ± total SD", "mean ± statistical error (SE)"


def variation_figures(found: Sequence[Sources]) -> list[Figure]:
    """A figure for each outcome whose sources can be told apart."""
    return [_figure(sources) for sources in found if sources.sources]


def _figure(sources: Sources) -> Figure:
    import altair as alt
    import pandas as pd

    unit = unit_of_outcome(sources)
    data = pd.DataFrame([*_shares(sources), *_errors(sources, unit)], columns=list(_COLUMNS))
    outcome = shorten([title_of(sources.variation)], _LONGEST)[0]
    drawn = alt.Title("Sources of variation", subtitle=outcome)
    chart = alt.vconcat(_share_panel(data), _error_panel(data, sources, unit), spacing=26, title=drawn)
    name = NAME if sources.number == 1 else f"{NAME}-{sources.number}"
    return Figure(name, f"Sources of variation: {outcome}", _caption(sources), data, chart)


def _shares(sources: Sources) -> Iterator[dict[str, Any]]:
    for source in sources.sources:
        found = source.component
        kind = INTERACTIONS if source.name == INTERACTIONS else source.kind
        yield {
            "panel": "shares",
            "row": name_of(source, sources),
            "kind": kind,
            "series": "share",
            "value": found.share,
            "low": found.share_low,
            "high": found.share_high,
        }


def _errors(sources: Sources, unit: Unit) -> Iterator[dict[str, Any]]:
    """All in the unit that is shown."""

    def row(
        name: str, kind: str, series: str, value: float, half: float | None = None, label: str = ""
    ) -> Any:
        ends = {} if half is None else {"low": unit.scaled(value - half), "high": unit.scaled(value + half)}
        head = {"panel": "errors", "row": name, "kind": kind, "series": series, "label": label}
        return {**head, "value": unit.scaled(value), **ends}

    assert sources.mean is not None
    for value in sources.frame[VALUE]:
        yield row(_SPREAD, "random", "single", float(value))
    yield row(_SPREAD, "random", "mean", sources.mean, sources.total)
    yield row(_MEAN, "random", "mean", sources.mean, sources.error)
    for one in sources.systematic:
        name = f"mean ± systematic error: {one.factor} (SD)"
        # Neighbours are named on different sides of the line.
        for place, label in enumerate(sorted(one.means, key=lambda label: one.means[label])):
            series = "label below" if place % 2 else "label"
            yield row(name, "systematic", series, one.means[label], label=label)
        yield row(name, "systematic", "mean", sources.mean, one.sd)


def _share_panel(data: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    own = alt.Chart(data).transform_filter("datum.panel == 'shares'")
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="~%", tickCount=6)
    x = alt.X("value:Q", title="share of the variance", scale=scale, axis=axis)
    y, colour = _rows(data, "shares"), _colour(data)
    bars = own.mark_bar(size=16, opacity=0.35).encode(x=x, y=y, color=colour)
    ends = own.mark_rule(strokeWidth=2.2).encode(
        x=alt.X("low:Q", scale=scale), x2="high:Q", y=y, color=colour
    )
    points = own.mark_point(filled=True, size=90, opacity=1).encode(x=x, y=y, color=colour)
    return alt.layer(bars, ends, points).properties(width=_WIDTH, height=alt.Step(_ROW))


def _error_panel(data: pd.DataFrame, sources: Sources, unit: Unit) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    own = alt.Chart(data).transform_filter("datum.panel == 'errors'")
    alone = sources.variation.b is None and sources.variation.of.slope is None
    counted = counted_in(sources, unit)
    what = sources.variation.of.measure if alone else "difference" if sources.variation.b else "slope"
    scale = alt.Scale(zero=False, nice=True)
    x = alt.X("value:Q", title=f"{what}, {counted}" if counted else what, scale=scale)
    y, colour = _rows(data, "errors"), _colour(data)
    mean = own.transform_filter("datum.series == 'mean'")
    above = own.transform_filter("datum.series == 'label'")
    below = own.transform_filter("datum.series == 'label below'")
    single = own.transform_filter("datum.series == 'single'")
    return alt.layer(
        single.mark_tick(size=20, thickness=1.4, opacity=0.4).encode(x=x, y=y, color=colour),
        *(part.mark_tick(size=20, thickness=2).encode(x=x, y=y, color=colour) for part in (above, below)),
        above.mark_text(dy=-16, fontSize=11.5).encode(x=x, y=y, text="label:N", color=colour),
        below.mark_text(dy=17, fontSize=11.5).encode(x=x, y=y, text="label:N", color=colour),
        mean.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", scale=scale), x2="high:Q", y=y, color=colour),
        mean.mark_point(filled=True, size=90, opacity=1).encode(x=x, y=y, color=colour),
    ).properties(width=_WIDTH, height=alt.Step(_ROW + 14))


def _rows(data: pd.DataFrame, panel: str) -> alt.Y:
    import altair as alt

    names = list(dict.fromkeys(data.loc[data["panel"] == panel, "row"]))
    return alt.Y("row:N", title=None, sort=names, axis=alt.Axis(labelLimit=330, minExtent=250))


def _colour(data: pd.DataFrame) -> alt.Color:
    import altair as alt

    shown = [kind for kind in _COLOURS if (data["kind"] == kind).any()]
    scale = alt.Scale(domain=shown, range=[_COLOURS[kind] for kind in shown])
    return alt.Color("kind:N", scale=scale, legend=alt.Legend(orient="bottom", title=None))


def _caption(sources: Sources) -> str:
    text = (
        "Above: share of each source in the sum of all components of variance, with its 95 % interval. "
        "Below: single values (ticks) with the SD that all sources make together, and on the same axis the "
        "mean with its statistical error, which more draws make smaller"
    )
    if sources.systematic:
        text += (
            ", and with the systematic error of each choice, which they do not; ticks: means of its labels"
        )
    return f"{text}."
