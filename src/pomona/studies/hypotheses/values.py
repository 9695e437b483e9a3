"""From the levels of one lineage to one number: what an estimand asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pomona.graph.nodes import Probe
from pomona.studies.expand import Point
from pomona.studies.hypotheses.spec import Estimand
from pomona.studies.results import Results

Floats = NDArray[np.float64]
Probes = Sequence[Sequence[Probe]]


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
    """Whether every point that is read is at chance; of accuracies only."""
    if of.measure not in ("accuracy", "class-accuracy", "loss"):
        return False
    flags = [_of(results, point, "at-chance", of.part) for point in _read(results, points, of)]
    return bool(flags) and all(flag == 1.0 for flag in flags)


def unit_of(of: Estimand) -> str:
    """The unit of the number: shares are shown in percent, their differences in points."""
    if of.below is not None:
        return "levels" if of.match == "level" else "doublings of density"
    unit = {
        "loss": "nats",
        "mask-distance": "distance / chance" if of.corrected else "distance",
        "weight-stability": "SDs of the layer",
    }.get(of.measure, "share" if ":" not in of.measure else "")
    if of.slope is not None:
        return f"{unit} per level" if of.match == "level" else f"{unit} per doubling of density"
    return unit


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
    there = [i for i, place in enumerate(places) if place is not None and math.isfinite(place)]
    x = np.array([places[i] for i in there], dtype=np.float64)
    if of.value is not None:
        goal = math.log2(of.value)
        return float(np.interp(goal, *_line(x, values, there, (goal, goal), points, results, of)))
    if of.area is not None:
        ends = _ends(of.area, of)
        line_x, line_y = _line(x, values, there, ends, points, results, of)
        inner = (line_x > ends[0]) & (line_x < ends[1])
        grid = np.concatenate([[ends[0]], line_x[inner], [ends[1]]])
        return float(np.trapezoid(np.interp(grid, line_x, line_y), grid) / (ends[1] - ends[0]))
    if of.below is not None:
        return _crossing(x, [values[i] for i in there], [points[i] for i in there], results, of)
    return _slope(x, values, there, points, results, of)


def _line(
    x: Floats,
    values: Sequence[float | None],
    there: Sequence[int],
    ends: tuple[float, float],
    points: Sequence[Point],
    results: Results,
    of: Estimand,
) -> tuple[Floats, Floats]:
    """The line through the values between two ends, and one place beyond each. Increasing in x.

    Raises:
        Unknown: The places do not reach the ends, or a value that the line needs is missing.
    """
    tolerance = 1e-9
    if not len(x) or x.min() > ends[0] + tolerance or x.max() < ends[1] - tolerance:
        missing = [point for i, point in enumerate(points) if i not in there]
        if missing:
            _known(None, results, missing[0], of)
        raise Unknown(_out_of_range(x, of))
    low = x[x <= ends[0] + tolerance].max()
    high = x[x >= ends[1] - tolerance].min()
    needed = [i for i in range(len(x)) if low <= x[i] <= high]
    y = np.array([_known(values[there[i]], results, points[there[i]], of) for i in needed])
    # Levels of equal density, where nothing more could be pruned, count as one place.
    line_x = np.unique(x[needed])
    line_y = np.array([y[x[needed] == place].mean() for place in line_x])
    return line_x, line_y


def _crossing(
    x: Floats, values: Sequence[float | None], points: Sequence[Point], results: Results, of: Estimand
) -> float:
    """Where the line first falls below a value, from the dense end on; the last place where it never does."""
    assert of.below is not None
    y = [_known(value, results, point, of) for value, point in zip(values, points, strict=True)]
    if not y or y[0] < of.below:
        raise Unknown(f"{of.measure} is below {of.below:g} from the start")
    for i in range(1, len(y)):
        if y[i] < of.below:
            share = (y[i - 1] - of.below) / (y[i - 1] - y[i])
            return float(x[i - 1] + share * (x[i] - x[i - 1]))
    return float(x[-1])


def never_below(results: Results, points: Sequence[Point], of: Estimand) -> bool:
    """Whether a lineage ends before its measure falls below the value: its number is then only a bound."""
    if of.below is None:
        return False
    values = [_value(results, point, of, ()) for point in points]
    return all(value is not None and value >= of.below for value in values)


def _slope(
    x: Floats,
    values: Sequence[float | None],
    there: Sequence[int],
    points: Sequence[Point],
    results: Results,
    of: Estimand,
) -> float:
    low, high = _ends(of.slope, of) if isinstance(of.slope, tuple) else (-math.inf, math.inf)
    chosen = [
        i
        for i, place in enumerate(x)
        if low - 1e-9 <= place <= high + 1e-9 and (of.slope != "all" or points[there[i]].level > 0)
    ]
    y = np.array([_known(values[there[i]], results, points[there[i]], of) for i in chosen])
    centred = x[chosen] - x[chosen].mean() if chosen else x[:0]
    if len(np.unique(centred)) < 2:
        raise Unknown(f"a slope needs two places, got {len(np.unique(centred))}")
    return float(centred @ y / (centred @ centred))


def _ends(given: tuple[float, float], of: Estimand) -> tuple[float, float]:
    ends = sorted(given if of.match == "level" else (math.log2(end) for end in given))
    return ends[0], ends[1]


def _place(results: Results, point: Point, of: Estimand) -> float | None:
    """Where a point lies: its level, or log2 of its density."""
    if of.match == "level":
        return float(point.level)
    if of.match == "effective-density":
        density = _of(results, point, "effective-density", "effective-density")
    else:
        density = results.density(point)
    return math.log2(density) if density else None


def _value(results: Results, point: Point, of: Estimand, probes: Sequence[Probe]) -> float | None:
    if of.measure == "density":
        return results.density(point, of.layer or "")
    if of.measure == "mask-distance":
        return _distance(results, probes, of)
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


def _distance(results: Results, probes: Sequence[Probe], of: Estimand) -> float | None:
    for probe in probes:
        found = results.measured(probe)
        distance = found.get(("jaccard-distance", of.layer or "", -1))
        if not of.corrected or distance is None:
            return distance
        chance = found.get(("chance-distance", of.layer or "", -1))
        if not found or chance is None:
            return None
        # Masks that must be equal, because nothing or everything is kept, are at chance and say nothing.
        return distance / chance if chance > 0 else None
    return None


def _of(results: Results, point: Point, quantity: str, probe: str) -> float | None:
    if probe not in point.probes:
        return None
    return results.measured(point.probes[probe]).get((quantity, "", -1))


def _known(value: float | None, results: Results, point: Point, of: Estimand) -> float:
    if value is not None and math.isfinite(value):
        return value
    lost = results.lost_states.get(point.state.key)
    if lost is not None:
        raise Unknown(f"level {point.level}: {lost.kind}: {lost.reason}")
    where = f" of {of.layer}" if of.layer else ""
    raise Unknown(f"level {point.level}: no {of.measure}{where} was measured")


def _out_of_range(x: Floats, of: Estimand) -> str:
    wanted = of.value if of.value is not None else of.area
    if not len(x):
        return f"no {of.along} is known"
    low, high = (x.min(), x.max()) if of.match == "level" else (2 ** x.min(), 2 ** x.max())
    asked = f"{wanted:g}" if isinstance(wanted, (int, float)) else " to ".join(f"{w:g}" for w in wanted or ())
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
