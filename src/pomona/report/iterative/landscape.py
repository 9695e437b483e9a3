"""The straight line between two trained networks: how far the error rises on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative.grid import Found, Row, grid, means, reading, table
from pomona.report.iterative.selection import METHOD, REWIND, TREATMENT, Selection
from pomona.studies.landscape import turned
from pomona.studies.points import Pair, Point

if TYPE_CHECKING:
    import pandas as pd

_ALONG = "error-along"
_HEIGHTS, _ERROR = "heights", "error"
_PROFILES, _MOST_PANELS = 4, 4


@dataclass(frozen=True)
class _Line:
    """Paths of a figure that are drawn as one line: what their ends differ in, and all else."""

    panel: str
    method: str
    style: str


def connectivity_figure(evidence: Evidence, selection: Selection) -> Figure | None:
    """Barrier and instability by level and method, and the error along the line at a few levels."""
    lines = _lines(selection)
    data = table(row for line, pairs in lines.items() for row in _rows(selection, line, pairs))
    if data.empty:
        return None
    rows = [
        Row(_HEIGHTS, "rise of the error", share=True),
        *(Row(name, "test error", along="place", share=True, together=False) for name in _profiles(data)),
    ]
    title = "Test error on the straight line between networks of one beginning"
    caption = (
        "Both ends began as one untrained network and differ in what stands above a panel. Barrier: how far "
        "the error rises over the line between the errors of the ends, at its highest; instability: over "
        "their mean, which also counts a difference of the ends. Where it is near 0, training falls into one "
        "basin whatever the noise. Below: the error on the way, from the first end to the second. Pairs of "
        "methods or treatments also differ in their masks, so that networks between them keep weights of "
        f"both. Two dead networks have no barrier. {reading(selection, data)}"
    )
    return Figure("paper-linear-connectivity", title, caption, data, grid(selection, data, rows, title))


def _lines(selection: Selection) -> dict[_Line, list[Pair]]:
    """Paths with one end at the reference of the factor that they differ in, and all else at its own."""
    first = {name: next(iter(labels)) for name, labels in selection.study.factors.items()}
    found: dict[_Line, list[Pair]] = {}
    for pair in selection.evidence.population.paths:
        a, b = pair.a.arm, pair.b.arm
        (factor,) = [name for name, label in a.items() if b[name] != label]
        free = {METHOD, TREATMENT, factor}
        plain = all(label == first[name] for name, label in a.items() if name not in free)
        if pair.a.step != selection.step or not plain or first[factor] not in (a[factor], b[factor]):
            continue
        panel = f"{factor}: {a[factor]} and {b[factor]}"
        # Of two methods the one that is no reference names the line; the reference is the panel's.
        if factor == METHOD:
            panel = f"{first[METHOD]} and another method"
        other = b if a[factor] == first[factor] else a
        style = "" if factor == TREATMENT else a.get(TREATMENT, REWIND)
        found.setdefault(_Line(panel, other.get(METHOD, ""), style), []).append(pair)
    panels = list(dict.fromkeys(line.panel for line in found))[:_MOST_PANELS]
    return {line: pairs for line, pairs in found.items() if line.panel in panels}


def _rows(selection: Selection, line: _Line, pairs: Sequence[Pair]) -> Iterator[dict[str, Any]]:
    head = {"panel": line.panel, "method": line.method, "style": line.style}
    for quantity in ("barrier", "instability"):
        found = [_found(pair, selection.number(pair.probe, quantity)) for pair in pairs]
        named = {"row": _HEIGHTS, "panel": f"{quantity}, {line.panel}"}
        yield from means(selection, {**head, **named}, found)
    levels = _chosen(sorted({pair.a.level for pair in pairs}))
    along: dict[str, list[Found]] = {}
    for pair in pairs:
        for place, error in _along(selection, pair).items() if pair.a.level in levels else ():
            along.setdefault(place, []).append(_found(pair, error))
    for place in sorted(along, key=float):
        for row in means(selection, head, along[place]):
            panel = f"level {row['level']}, {line.panel}"
            yield {**row, "row": f"{_ERROR}, {line.panel}", "panel": panel, "place": float(place)}


def _along(selection: Selection, pair: Pair) -> Mapping[str, float | None]:
    """Error by place on the line, from the first end of a pair to the second."""
    found = selection.results.measured(pair.probe)
    # The ends of a probe are in the order of their keys.
    swapped = pair.probe.states[0] != pair.a.state.key
    return {
        turned(place) if swapped else place: value
        for (quantity, place, _), value in found.items()
        if quantity == _ALONG
    }


def _found(pair: Pair, value: float | None) -> Found:
    ends: tuple[Point, ...] = (pair.a, pair.b)
    return ends, value


def _chosen(levels: Sequence[int]) -> set[int]:
    """A few levels from the first to the last, evenly apart."""
    last = len(levels) - 1
    return {levels[round(i * last / (_PROFILES - 1))] for i in range(_PROFILES)}


def _profiles(data: pd.DataFrame) -> list[str]:
    """Rows that show the error along the line."""
    return [name for name in dict.fromkeys(data["row"]) if name.startswith(_ERROR)]


FIGURES: tuple[Callable[[Evidence, Selection], Figure | None], ...] = (connectivity_figure,)
