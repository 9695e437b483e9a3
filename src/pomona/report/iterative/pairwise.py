"""Distances between the masks of two arms, replicate by replicate, held against what chance would give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pomona.report.iterative.selection import Lineages, Selection
from pomona.report.iterative.stored import short
from pomona.stats.intervals import Summary, summarise

if TYPE_CHECKING:
    import pandas as pd

    from pomona.studies.points import Point

WHOLE = "whole network"
COLUMNS = (
    *("group", "pair", "level", "layer", "n", "distance", "low", "high", "chance"),
    *("corrected", "corrected_low", "corrected_high", "n_corrected", "flagged"),
)


@dataclass(frozen=True)
class Compared:
    """Two arms whose masks are compared.

    Args:
        pair: What tells it from the others of a figure: a method, a treatment.
        a: One of them.
        b: The other.
        group: What it is drawn with, such as a treatment that both have.
    """

    pair: str
    a: Lineages
    b: Lineages
    group: str = ""


class Distance(NamedTuple):
    """What was found of one replicate, level and layer.

    Args:
        replicate: The replicate.
        level: The level.
        layer: Name of the weight; empty for the whole network.
        distance: Jaccard distance, 0 to 1.
        chance: That of independent masks of these counts and granularities; None where it is not known.
        settled: Whether a mask keeps all or nothing, so that the distance is that of chance anyway.
        flagged: Whether one of the networks that were pruned to these masks was at chance, or a layer of the
            two has no weights.
    """

    replicate: int
    level: int
    layer: str
    distance: float
    chance: float | None
    settled: bool
    flagged: bool

    @property
    def corrected(self) -> float | None:
        """Distance over that of chance: 0 for equal masks, 1 as by chance; None where it says nothing."""
        return self.distance / self.chance if self.chance and not self.settled else None


def distances_of(selection: Selection, compared: Compared) -> Iterator[Distance]:
    """The mask distances of two arms at equal level and replicate, the whole network first, then layers."""
    for replicate, points in compared.a.items():
        others = {point.level: point for point in compared.b.get(replicate, [])}
        for point in points:
            if point.level in others:
                yield from _of_pair(selection, point, others[point.level])


def distance_table(selection: Selection, pairs: Sequence[Compared]) -> pd.DataFrame:
    """Means over replicates with their 95 % t intervals, by pair, level and layer.

    Columns: group, pair, level, layer (``whole network``, or the weight without ``.weight``), n, distance,
    low, high, chance, corrected (mean of distance over chance, where it says something), its interval,
    n_corrected (of how many replicates), flagged (how many replicates are, as ``Distance`` has it).
    """
    import pandas as pd

    rows = [row for compared in pairs for row in _rows(selection, compared)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"corrected": float, "chance": float})


def layer_title(layer: str) -> str:
    """What figures call a layer."""
    return short(layer) or WHOLE


def layer_titles(selection: Selection) -> list[str]:
    """What figures call the whole network and its layers, in order."""
    return [layer_title(layer) for layer in ("", *selection.layers())]


def _of_pair(selection: Selection, a: Point, b: Point) -> Iterator[Distance]:
    probe = selection.compared(a, b)
    if probe is None:
        return
    flagged = any(_ill_scored(selection, point) for point in (a, b))
    found = selection.results.measured(probe)
    for layer in ("", *selection.layers()):
        distance = found.get(("jaccard-distance", layer, -1))
        if distance is not None:
            chance = found.get(("chance-distance", layer, -1))
            settled = any(selection.results.density(point, layer) in (0, 1) for point in (a, b))
            yield Distance(a.replicate, a.level, layer, distance, chance, settled, flagged)


def _ill_scored(selection: Selection, point: Point) -> bool:
    # A mask is made from the weights of the level before.
    scored = point.previous
    return (scored is not None and selection.at_chance(scored)) or selection.results.collapsed(point)


def _rows(selection: Selection, compared: Compared) -> Iterator[dict[str, Any]]:
    groups: dict[tuple[int, str], list[Distance]] = {}
    for one in distances_of(selection, compared):
        groups.setdefault((one.level, one.layer), []).append(one)
    for (level, layer), found in sorted(groups.items(), key=lambda item: item[0][0]):
        stat = summarise([one.distance for one in found])
        chances = [one.chance for one in found if one.chance is not None]
        ratios = [one.corrected for one in found if one.corrected is not None]
        over: Summary | None = summarise(ratios) if ratios else None
        yield {
            "group": compared.group,
            "pair": compared.pair,
            "level": level,
            "layer": layer_title(layer),
            "n": stat.n,
            "distance": stat.mean,
            "low": stat.low,
            "high": stat.high,
            "chance": sum(chances) / len(chances) if chances else None,
            "corrected": over.mean if over else None,
            "corrected_low": over.low if over else None,
            "corrected_high": over.high if over else None,
            "n_corrected": len(ratios),
            "flagged": sum(one.flagged for one in found),
        }
