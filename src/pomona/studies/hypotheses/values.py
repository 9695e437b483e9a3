"""From the levels of one lineage to one number: what an estimand asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pomona.graph.nodes import Probe
from pomona.studies.hypotheses.amounts import amount as amount
from pomona.studies.hypotheses.amounts import unit_of as unit_of
from pomona.studies.hypotheses.estimand import EVALUATED, LINE, MASKS, OF_TWO, PREDICTIONS
from pomona.studies.hypotheses.spec import Estimand
from pomona.studies.points import Point
from pomona.studies.results import Results

Floats = NDArray[np.float64]
Probes = Sequence[Sequence[Probe]]
_NEAR = 1e-9  # places that differ by roundings only are one


class Unknown(Exception):
    """A number that there is not; says why."""


def value_of(
    results: Results, points: Sequence[Point], of: Estimand, probes: Probes | None = None
) -> tuple[float | None, str]:
    """One number of the points of one lineage, by level, or why there is none.

    Args:
        results: What a store holds.
        points: Of one step, replicate and arm, in the order of the levels.
        of: What is asked.
        probes: What is read of each point where it is not among its own: comparisons of masks.
    """
    try:
        return _aggregated(results, points, of, probes), ""
    except Unknown as unknown:
        return None, str(unknown)


def at_chance(results: Results, points: Sequence[Point], of: Estimand) -> bool:
    """Whether every point that is read is at chance; of accuracies, and of what two networks say or err.

    Args:
        results: What a store holds.
        points: Of a lineage; of a measure of two arms those of both.
        of: What is read of them.
    """
    if of.measure not in (*EVALUATED, PREDICTIONS, LINE):
        return False
    flags = [_of(results, point, "at-chance", of.part) for point in _read(results, points, of)]
    return bool(flags) and all(flag == 1.0 for flag in flags)


def _aggregated(results: Results, points: Sequence[Point], of: Estimand, probes: Probes | None) -> float:
    if not points:
        raise Unknown("there is no such state")
    values = [_value(results, point, of, probes[i] if probes else ()) for i, point in enumerate(points)]
    if of.aggregate is None:
        return _known(values[-1], results, points[-1], of)
    if of.match == "level" and of.value is not None:
        found = [i for i, point in enumerate(points) if point.level == of.value]
        if not found:
            raise Unknown(f"there is no level {of.value:g}; levels end at {points[-1].level}")
        return _known(values[found[0]], results, points[found[0]], of)
    places = [_place(results, point, of) for point in points]
    return _over(places, values, points, results, of)


def _over(
    places: Sequence[float | None],
    values: Sequence[float | None],
    points: Sequence[Point],
    results: Results,
    of: Estimand,
) -> float:
    """A value, area, slope or crossing along places: log2 density, or level."""
    lineage = _Lineage(places, values, points, results, of)
    if of.value is not None:
        goal = math.log2(of.value)
        return float(np.interp(goal, *lineage.line((goal, goal))))
    if of.area is not None:
        low, high = _ends(of.area, of)
        x, y = lineage.line((low, high))
        grid = np.concatenate([[low], x[(x > low) & (x < high)], [high]])
        return float(np.trapezoid(np.interp(grid, x, y), grid) / (high - low))
    if of.below is not None:
        return lineage.crossing(of.below)
    return lineage.slope()


@dataclass(frozen=True)
class _Lineage:
    """The levels of one lineage: where each lies, and its value. What is missing is never bridged."""

    places: Sequence[float | None]
    values: Sequence[float | None]
    points: Sequence[Point]
    results: Results
    of: Estimand

    def at(self, i: int) -> tuple[float, float]:
        """Place and value of a level.

        Raises:
            Unknown: One of them is missing; says why.
        """
        place = self.places[i]
        if place is None or not math.isfinite(place):
            _known(None, self.results, self.points[i], self.of, self.of.along)
        assert place is not None
        return place, _known(self.values[i], self.results, self.points[i], self.of)

    def line(self, ends: tuple[float, float]) -> tuple[Floats, Floats]:
        """The line through the values between two ends, and one place beyond each. Increasing in x.

        Raises:
            Unknown: The places do not reach the ends, or something that the line needs is missing.
        """
        first, last = self._reach(ends)
        found = [self.at(i) for i in range(first, last + 1)]
        x, y = np.array([place for place, _ in found]), np.array([value for _, value in found])
        # Levels of equal density, where nothing more could be pruned, count as one place.
        line_x = np.unique(x)
        return line_x, np.array([y[x == place].mean() for place in line_x])

    def _reach(self, ends: tuple[float, float]) -> tuple[int, int]:
        """The levels that enclose two ends: the last before the first end, the first after the second."""
        known = [(i, place) for i, place in enumerate(self.places) if place is not None]
        low = [i for i, place in known if place <= ends[0] + _NEAR]
        high = [i for i, place in known if place >= ends[1] - _NEAR]
        if not low or not high:
            missing = [i for i, place in enumerate(self.places) if place is None]
            if missing:
                self.at(missing[0])
            raise Unknown(_out_of_range([place for _, place in known], self.of))
        # Density falls from level to level, the level itself rises.
        sparse, dense = (min(low), max(high)) if not self.of.by_level else (max(low), min(high))
        inside = [i for i, place in known if ends[0] - _NEAR <= place <= ends[1] + _NEAR]
        return min([sparse, dense, *inside]), max([sparse, dense, *inside])

    def crossing(self, below: float) -> float:
        """Where the line first falls below a value, from the dense end on; its end where it never does."""
        before = self.at(0)
        if before[1] < below:
            raise Unknown(f"{self.of.measure} is below {below:g} from the start")
        for i in range(1, len(self.points)):
            place, value = self.at(i)
            if value < below:
                return before[0] + (before[1] - below) / (before[1] - value) * (place - before[0])
            before = place, value
        return before[0]

    def slope(self) -> float:
        """Least squares over the levels between the ends, which it has to reach; or over all pruned ones."""
        if isinstance(self.of.slope, tuple):
            low, high = _ends(self.of.slope, self.of)
            first, last = self._reach((low, high))
            inside = [
                i
                for i, place in enumerate(self.places[first : last + 1], first)
                if place is None or low - _NEAR <= place <= high + _NEAR
            ]
        else:
            inside = [i for i, point in enumerate(self.points) if point.level > 0]
        found = [self.at(i) for i in inside]
        x, y = np.array([place for place, _ in found]), np.array([value for _, value in found])
        distinct = len(np.unique(x))
        if distinct < 2:
            raise Unknown(f"a slope needs two places, got {distinct}")
        centred = x - x.mean()
        return float(centred @ y / (centred @ centred))


def never_below(results: Results, points: Sequence[Point], of: Estimand) -> bool:
    """Whether a lineage ends before its measure falls below the value: its number is then only a bound."""
    if of.below is None:
        return False
    values = [_value(results, point, of, ()) for point in points]
    return all(value is not None and value >= of.below for value in values)


def _ends(given: tuple[float, float], of: Estimand) -> tuple[float, float]:
    ends = sorted(given if of.match == "level" else (math.log2(end) for end in given))
    return ends[0], ends[1]


def _place(results: Results, point: Point, of: Estimand) -> float | None:
    """Where a point lies: its level, or log2 of it or of its density."""
    if of.by_level:
        return float(point.level) if of.match == "level" else _log_level(point.level)
    if of.match == "effective-density":
        density = _of(results, point, "effective-density", "effective-density")
    else:
        density = results.density(point)
    return math.log2(density) if density else None


def _log_level(level: int) -> float | None:
    return math.log2(level) if level else None


def _value(results: Results, point: Point, of: Estimand, probes: Sequence[Probe]) -> float | None:
    if of.measure == "density":
        return results.density(point, of.layer or "")
    if of.measure in OF_TWO:
        found = results.measured(probes[0]) if probes else {}
        return _distance(found, of) if of.measure == MASKS else found.get((_quantity(of), "", -1))
    name = _probe_name(point, of)
    if name not in point.probes:
        return None
    found = results.measured(point.probes[name])
    if of.class_ == "worst":
        classes = [v for (q, _, class_), v in found.items() if q == "class-accuracy" and v is not None]
        return min(classes, default=None)
    quantities = dict.fromkeys(q for q, _, _ in found)
    quantity = of.quantity or (of.measure if of.measure in quantities else next(iter(quantities), ""))
    class_ = of.class_ if isinstance(of.class_, int) else -1
    return found.get((quantity, of.layer or "", class_))


def _probe_name(point: Point, of: Estimand) -> str:
    if of.measure in ("accuracy", "class-accuracy", "loss"):
        return of.part
    own = of.measure.rpartition(":")[2]
    return next((name for name in (of.measure, own) if name in point.probes), of.measure)


def _quantity(of: Estimand) -> str:
    return of.quantity or OF_TWO[of.measure][0]


def _distance(found: Mapping[tuple[str, str, int], float | None], of: Estimand) -> float | None:
    distance = found.get(("jaccard-distance", of.layer or "", -1))
    if not of.corrected or distance is None:
        return distance
    chance = found.get(("chance-distance", of.layer or "", -1))
    # Masks that must be equal, because nothing or everything is kept, are at chance and say nothing.
    return distance / chance if chance is not None and chance > 0 else None


def _of(results: Results, point: Point, quantity: str, probe: str) -> float | None:
    if probe not in point.probes:
        return None
    return results.measured(point.probes[probe]).get((quantity, "", -1))


def _known(
    value: float | None, results: Results, point: Point, of: Estimand, measure: str | None = None
) -> float:
    if value is not None and math.isfinite(value):
        return value
    lost = results.lost_states.get(point.state.key)
    if lost is not None:
        raise Unknown(f"level {point.level}: {lost.kind}: {lost.reason}")
    where = f" of {of.layer}" if of.layer and measure is None else ""
    raise Unknown(f"level {point.level}: no {measure or of.measure}{where} was measured")


def _out_of_range(places: Sequence[float], of: Estimand) -> str:
    wanted = next(w for w in (of.value, of.area, of.slope) if w is not None)
    if not places:
        return f"no {of.along} is known"
    low, high = min(places), max(places)
    low, high = (low, high) if of.match == "level" else (2**low, 2**high)
    asked = f"{wanted:g}" if isinstance(wanted, (int, float)) else " to ".join(f"{w:g}" for w in wanted)
    return f"its levels have {of.along} {high:.3g} to {low:.3g}, and {asked} is asked for"


def _read(results: Results, points: Sequence[Point], of: Estimand) -> list[Point]:
    """The points that a number is made of."""
    if of.aggregate is None:
        return list(points[-1:])
    if of.match == "level" and of.value is not None:
        return [point for point in points if point.level == of.value]
    places = [_place(results, point, of) for point in points]
    known = [(place, point) for place, point in zip(places, points, strict=True) if place is not None]
    given = of.area or (of.slope if isinstance(of.slope, tuple) else None)
    if given is not None:
        low, high = _ends(given, of)
        return [point for place, point in known if low <= place <= high]
    if of.value is not None:
        goal = math.log2(of.value)
        above = [place for place, _ in known if place >= goal]
        below = [place for place, _ in known if place <= goal]
        ends = {*([min(above)] if above else []), *([max(below)] if below else [])}
        return [point for place, point in known if place in ends]
    return [point for _, point in known]
