"""Ensembles by level: their accuracy beside that of their members, and at equal numbers of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from pomona.report.arms import PALETTE
from pomona.report.evidence import Evidence
from pomona.report.figures.accuracy import zoom_from
from pomona.report.figures.axes import accuracy_limits, legend, shares, ticks
from pomona.report.figures.curves import has_bands
from pomona.report.figures.figure import Figure
from pomona.report.iterative.lines import AT_CHANCE, HOLLOW, hollow, mostly_at_chance
from pomona.report.iterative.printed import ENSEMBLES, TRIO, table_2
from pomona.report.iterative.selection import METHOD, REWIND, TREATMENT, Lineages, Selection, by_level
from pomona.stats.intervals import summarise
from pomona.studies.points import Point

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

# Lines of a panel.
SERIES = ("ensemble", "best member", "members' mean")
SINGLE = "single networks"
_GREY = "#9a9a9a"
# Of ensembles of several methods; those of one method have its colour.
_COLOURS = ("#5e3c99", "#b2182b", "#1b7837", "#8c510a")
# Of the steps of ensembles of one method, which may have the same one.
_DASHES = ([1, 0], [7, 3], [2, 3], [9, 3, 2, 3])
_COLUMNS, _WIDTH, _HEIGHT = 3, 230, 180
_Style = tuple[str, list[int]]


def ensembles(selection: Selection) -> dict[str, Lineages]:
    """The ensembles of a study by name, all factors but the method at their reference: points by replicate.

    Those over replicates are one for each method, whose label then is part of the name.
    """
    found: dict[str, Lineages] = {}
    for point in selection.evidence.population.points:
        if point.members and _at_reference(selection, point):
            method = point.arm.get(METHOD)
            name = f"{point.step}: {method}" if method else point.step
            found.setdefault(name, {}).setdefault(point.replicate, []).append(point)
    return found


def printed_column(lineages: Lineages) -> str:
    """The column of the paper's Table 2 whose ensemble this is; empty where it has none."""
    members = {member.arm.get(METHOD) for points in lineages.values() for member in points[0].members}
    if members == set(TRIO):
        return "trio"
    return "all" if members == {row.column for row in table_2()} - set(ENSEMBLES) else ""


def ensembles_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Accuracy of ensembles by level beside their members', and against all weights that they keep."""
    import altair as alt
    import pandas as pd

    joined = [row for name, own in ensembles(selection).items() for row in _beside(selection, name, own)]
    if not joined:
        return None
    columns = ["ensemble", "series", "level", "density", "accuracy", "low", "high", "n", "at_chance"]
    data = pd.DataFrame([*joined, *_singles(selection)], columns=columns)
    data = data.astype({"low": float, "high": float, "density": float})
    names = list(dict.fromkeys(row["ensemble"] for row in joined))
    bands = has_bands(evidence)
    title = "Ensembles beside their members, and at equal numbers of weights"
    chart = alt.vconcat(
        alt.concat(*[_level_panel(data, name, bands) for name in names], columns=_COLUMNS),
        _weights_panel(data, _styles(selection), bands),
        title=title,
    ).resolve_scale(color="independent", strokeDash="independent")
    caption = (
        "An ensemble averages the probabilities that its members give. Above, by level, beside its members: "
        "their mean is easily beaten, and leaves a panel at the lower edge; the best member is the harder "
        "test, and flattered, for it is chosen on these same test images. Below, against the weights that "
        "all members keep together, in shares of one network: more than 100 % is more than a dense one has. "
        "Where the line of an ensemble lies above every grey line, no rewound single network at the "
        "reference labels with as many weights does as well on average."
        f"{_means(evidence)}{HOLLOW if mostly_at_chance(data) else ''}"
    )
    return Figure("paper-14-ensembles", title, caption, data, chart)


def _at_reference(selection: Selection, point: Point) -> bool:
    factors = selection.study.factors
    reference = {name: next(iter(labels)) for name, labels in factors.items()}
    if REWIND in factors.get(TREATMENT, {}):
        reference[TREATMENT] = REWIND
    return all(label == reference[name] for name, label in point.arm.items() if name != METHOD)


def _means(evidence: Evidence) -> str:
    if evidence.replicates == 1:
        return " One replicate: there is no interval."
    bands = ", with their 95 % t intervals" if has_bands(evidence) else ""
    return f" Lines are means over replicates{bands}; an ensemble over replicates is a single one."


def _beside(selection: Selection, name: str, lineages: Lineages) -> Iterator[dict[str, Any]]:
    """Rows of an ensemble and of its members, of the replicates of which every accuracy is known."""
    for level, points in by_level(lineages).items():
        found = [(point, _accuracies(selection, [point, *point.members])) for point in points]
        known = [(point, values[0], values[1:]) for point, values in found if None not in values]
        if not known:
            continue
        head = {"ensemble": name, "level": level}
        density = _mean_density(selection, [point for point, _, _ in known])
        dead = [[selection.at_chance(member) for member in point.members] for point, _, _ in known]
        own = sum(selection.at_chance(point) for point, _, _ in known)
        yield {**head, "series": SERIES[0], "density": density, **_mean([v for _, v, _ in known], own)}
        # The best member is at chance where all are, their mean is not better where most are.
        all_dead, most_dead = sum(map(all, dead)), sum(2 * sum(one) > len(one) for one in dead)
        yield {**head, "series": SERIES[1], **_mean([max(m) for _, _, m in known], all_dead)}
        yield {**head, "series": SERIES[2], **_mean([sum(m) / len(m) for _, _, m in known], most_dead)}


def _singles(selection: Selection) -> Iterator[dict[str, Any]]:
    for method in selection.methods:
        for level, points in by_level(selection.lineages(method)).items():
            values = [value for value in _accuracies(selection, points) if value is not None]
            if values:
                dead = sum(selection.at_chance(point) for point in points)
                density = _mean_density(selection, points)
                head = {"ensemble": SINGLE, "series": method, "level": level, "density": density}
                yield {**head, **_mean(values, dead)}


def _accuracies(selection: Selection, points: Sequence[Point]) -> list[Any]:
    return [selection.value(point, "accuracy") for point in points]


def _mean_density(selection: Selection, points: Sequence[Point]) -> float | None:
    found = [d for point in points if (d := selection.results.density(point)) is not None]
    return sum(found) / len(found) if found else None


def _mean(values: Sequence[float], at_chance: int) -> dict[str, Any]:
    found = summarise(values)
    numbers = {"accuracy": found.mean, "low": found.low, "high": found.high}
    return {**numbers, "n": found.n, "at_chance": at_chance}


def _level_panel(data: pd.DataFrame, name: str, bands: bool) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    chart = alt.Chart(data).transform_filter(alt.FieldEqualPredicate(field="ensemble", equal=name))
    x = alt.X("level:Q", title="level", axis=alt.Axis(tickMinStep=1, tickCount=6, format="d"))
    own = data[(data["ensemble"] == name) & data["series"].isin(SERIES[:2])]
    y = shares("accuracy", "test accuracy", accuracy_limits(own["accuracy"]))
    box = alt.Legend(**legend(SERIES, 880), symbolType="stroke")
    scale = alt.Scale(domain=list(SERIES), range=[PALETTE[0], PALETTE[1], _GREY])
    colour = alt.Color("series:N", scale=scale, legend=box)
    dashes = alt.Scale(domain=list(SERIES), range=[[1, 0], [5, 3], [1, 0]])
    dash = alt.StrokeDash("series:N", scale=dashes, legend=box)
    band = chart.transform_filter("isValid(datum.low)").mark_area(opacity=0.12, clip=True)
    below = band.encode(x=x, y=alt.Y("low:Q", scale=y["scale"]), y2="high:Q", color=colour)
    line = chart.mark_line(strokeWidth=1.8, clip=True).encode(x=x, y=y, color=colour, strokeDash=dash)
    # The ensemble on top, where all are at chance.
    parts = [
        chart.transform_filter(alt.FieldEqualPredicate(field="series", equal=one)) for one in SERIES[::-1]
    ]
    dead = [hollow(part, AT_CHANCE, 24).encode(x=x, y=y, color=colour) for part in parts]
    title = alt.Title(name, fontSize=13)
    return alt.layer(*([below] * bands), line, *dead).properties(width=_WIDTH, height=_HEIGHT, title=title)


def _styles(selection: Selection) -> dict[str, _Style]:
    """Colour and dashes by name: a colour for each method and each ensemble of several, dashes by step."""
    found: dict[str, _Style] = {}
    joined, steps = cycle(_COLOURS), list[str]()
    for name, lineages in ensembles(selection).items():
        point = next(iter(lineages.values()))[0]
        method = point.arm.get(METHOD)
        if method and point.step not in steps:
            steps.append(point.step)
        dashes = _DASHES[steps.index(point.step) % len(_DASHES)] if method else _DASHES[0]
        found[name] = selection.colour(method) if method else next(joined), dashes
    return {**found, SINGLE: (_GREY, _DASHES[0])}


def _weights_panel(
    data: pd.DataFrame, styles: Mapping[str, _Style], bands: bool
) -> alt.LayerChart | alt.FacetChart:
    import altair as alt

    own = data[data["density"] > 0]
    lowest, highest = float(own["density"].min()) * 0.92, float(own["density"].max()) * 1.08
    values = [value for value in (10.0, 5.0, 2.0, *ticks(min(lowest, 0.9))) if value <= highest]
    x = alt.X(
        "density:Q",
        axis=alt.Axis(values=values, format="~%", title="weights kept by all members (log scale)"),
        scale=alt.Scale(type="log", domain=[highest, lowest], nice=False),
    )
    best = own.loc[own["series"] == SERIES[0], "accuracy"]
    begin = zoom_from(float(own["accuracy"].min()), float(best.max()))
    # The whole of the ensembles, unless some of them learned nothing.
    limits = (
        accuracy_limits(best)
        if begin is None or best.min() > 0.5
        else (begin, min(1.0, float(best.max()) + 0.005))
    )
    y = shares("accuracy", "test accuracy", limits)
    names, colours, dashes = list(styles), *map(list, zip(*styles.values(), strict=True))
    box = alt.Legend(**legend(names, 880), symbolType="stroke", symbolSize=300)
    colour = alt.Color("ensemble:N", scale=alt.Scale(domain=names, range=colours), legend=box)
    dash = alt.StrokeDash("ensemble:N", scale=alt.Scale(domain=names, range=dashes), legend=box)
    chart = alt.Chart(data).transform_filter("datum.density > 0")
    single = chart.transform_filter(alt.FieldEqualPredicate(field="ensemble", equal=SINGLE))
    joined = chart.transform_filter(alt.FieldEqualPredicate(field="series", equal=SERIES[0]))
    low = alt.Y("low:Q", scale=y["scale"])
    band = joined.transform_filter("isValid(datum.low)").mark_area(opacity=0.12, clip=True)
    layers = [
        single.mark_line(strokeWidth=1.1, clip=True).encode(x=x, y=y, color=colour, detail="series:N"),
        *([band.encode(x=x, y=low, y2="high:Q", color=colour)] * bands),
        hollow(single, AT_CHANCE, 20).encode(x=x, y=y, color=colour),
        joined.mark_line(strokeWidth=2, clip=True).encode(x=x, y=y, color=colour, strokeDash=dash),
        joined.mark_point(filled=True, size=34, opacity=1, clip=True).encode(x=x, y=y, color=colour),
        hollow(joined, AT_CHANCE, 34).encode(x=x, y=y, color=colour),
    ]
    title = alt.Title("at equal numbers of weights", fontSize=13)
    return alt.layer(*layers).properties(width=780, height=320, title=title)


FIGURES: tuple[Callable[[Evidence, Selection], Figure | None], ...] = (ensembles_figure,)
