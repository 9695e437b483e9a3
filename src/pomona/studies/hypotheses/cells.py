"""What a hypothesis speaks of: the states of its arms in every replicate, and what is read of them.

A hypothesis is bound to its cells by their keys. Whatever else of a study changes does not touch it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pomona.graph.nodes import Probe
from pomona.studies.hypotheses.arms import Labels, labels_of, sides, step_of
from pomona.studies.hypotheses.columns import steps_of
from pomona.studies.hypotheses.estimand import LINE, MASKS, PREDICTIONS, WITH_FLOOR
from pomona.studies.hypotheses.rows import RowPlace, row_condition, selected
from pomona.studies.hypotheses.spec import LINEAGE, Contrast, Estimand, Hypothesis, Regression
from pomona.studies.own import own_measures
from pomona.studies.points import Pair, Point, Population

FLOOR = "floor"
ROW = "row"
ORDER = "order"  # the stream whose other values give the noise floor


@dataclass(frozen=True)
class Cell:
    """One lineage of one arm.

    Args:
        side: ``a`` or ``b``; ``a2`` and ``b2`` at the second label of ``across``; ``floor`` of a noise floor;
            ``row`` of a regression.
        replicate: Its replicate.
        labels: Label by factor, of averaged and matched factors too.
        points: Its states by level; of a measure of two arms those of the first.
        probes: What is read of each point, in the same order; several where levels are placed by a measure.
        others: Of a measure of two arms the points of the other one, in the same order.
    """

    side: str
    replicate: int
    labels: Labels
    points: tuple[Point, ...]
    probes: tuple[tuple[Probe, ...], ...]
    others: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Lineage:
    """One replicate of one arm, level by level."""

    step: str
    replicate: int
    labels: Labels
    points: tuple[Point, ...]


def cells(population: Population, hypothesis: Hypothesis) -> list[Cell]:
    """Every cell of every replicate that is no pilot."""
    spec = population.study.spec
    return list(_cells(population, hypothesis, range(spec.registration.pilot, spec.replicates)))


def pilot_cells(population: Population, hypothesis: Hypothesis) -> list[Cell]:
    """The cells of the pilot's replicates."""
    return list(_cells(population, hypothesis, range(population.study.spec.registration.pilot)))


def keys(found: Sequence[Cell]) -> frozenset[str]:
    """Keys of all that is read: probes, the states that they measure, and those that masks come from."""
    points = [point for cell in found for point in cell.points]
    probes = [probe for cell in found for read in cell.probes for probe in read]
    return frozenset(
        [
            *(probe.key for probe in probes),
            *(state for probe in probes for state in probe.states),
            *(point.masked.key for point in points),
            *(point.state.key for point in points),
        ]
    )


class Lineages:
    """The points of a population by step, replicate and arm; comparisons of two by measure and points."""

    def __init__(self, population: Population) -> None:
        self.study = population.study
        self._points: dict[tuple[str, int], list[tuple[Labels, list[Point]]]] = {}
        seen: dict[tuple[str, int, tuple[str, ...]], list[Point]] = {}
        for point in population.points:
            place = (point.step, point.replicate, tuple(point.arm.values()))
            if place not in seen:
                seen[place] = []
                self._points.setdefault(place[:2], []).append((point.arm, seen[place]))
            seen[place].append(point)
        compared = {
            MASKS: population.pairs,
            PREDICTIONS: population.agreements,
            LINE: population.paths,
        }
        self._pairs: dict[str, dict[frozenset[int], Pair]] = {
            measure: {frozenset((id(pair.a), id(pair.b))): pair for pair in pairs}
            for measure, pairs in compared.items()
        }
        spec = self.study.spec
        own = own_measures(spec, self.study.order, self.study.document) if spec.own_measures else []
        self._own = {measure.probe.name: measure.label for measure in own}
        self._own |= {measure.label: measure.label for measure in own}

    def of(self, step: str, replicate: int, labels: Labels) -> list[tuple[Labels, list[Point]]]:
        """Arms of a step that have these labels, where it reaches their factors, with their points."""
        reach = self.study.reach[step]
        wanted = {factor: label for factor, label in labels.items() if factor in reach}
        return [
            (arm, points)
            for arm, points in self._points.get((step, replicate), [])
            if wanted.items() <= arm.items()
        ]

    def read(self, points: Sequence[Point], of: Estimand) -> tuple[tuple[Probe, ...], ...]:
        """The probes that an estimand reads of each point."""
        return tuple(tuple(self._read(point, of)) for point in points)

    def _read(self, point: Point, of: Estimand) -> Iterator[Probe]:
        names: list[str]
        if of.measure in ("accuracy", "loss", "class-accuracy"):
            names = [of.part]
        elif of.measure == "density":
            names = []
        else:
            names = [self._own.get(of.measure.rpartition(":")[2], of.measure)]
        if of.match == "effective-density":
            names.append("effective-density")
        yield from (point.probes[name] for name in dict.fromkeys(names) if name in point.probes)

    def pair(self, measure: str, a: Point, b: Point) -> Pair | None:
        """The comparison of two points by a measure, whichever is the first."""
        return self._pairs[measure].get(frozenset((id(a), id(b))))


def _cells(population: Population, hypothesis: Hypothesis, replicates: Sequence[int]) -> Iterator[Cell]:
    model = hypothesis.model
    if model is not None:
        rows = _row_lineages if model.rows == LINEAGE else _row_states
        yield from (cell for cell in rows(population, model) if cell.replicate in replicates)
        return
    lineages = _lineages(population)
    assert hypothesis.contrast is not None
    assert hypothesis.of is not None
    for replicate in replicates:
        yield from _contrasted(lineages, hypothesis.contrast, hypothesis.of, replicate)


def lineages_of(population: Population, model: Regression) -> Iterator[Lineage]:
    """The lineages that a regression has rows for, in the order of steps, replicates and arms."""
    study, known = population.study, _lineages(population)
    condition = row_condition(study, model)
    for step in steps_of(study, model):
        for replicate in range(study.spec.replicates):
            for labels, points in known.of(step, replicate, {}):
                if condition(RowPlace(step, replicate, labels)):
                    yield Lineage(step, replicate, labels, tuple(points))


def _row_states(population: Population, model: Regression) -> Iterator[Cell]:
    read = ["test", *(["effective-density"] if "effective_density" in model.formula else [])]
    for point in selected(population, model):
        if "test" in point.probes:
            probes = tuple(point.probes[name] for name in read if name in point.probes)
            yield Cell(ROW, point.replicate, point.arm, (point,), (probes,))


def _row_lineages(population: Population, model: Regression) -> Iterator[Cell]:
    """A cell for each row, with every level and probe that any of its columns reads."""
    known = _lineages(population)
    for one in lineages_of(population, model):
        read: dict[int, dict[str, Probe]] = {}
        for of in model.columns.values():
            wanted = levels_read(one.points, of)
            for point, probes in zip(wanted, known.read(wanted, of), strict=True):
                read.setdefault(one.points.index(point), {}).update({probe.key: probe for probe in probes})
        found = sorted(read.items())
        points = tuple(one.points[place] for place, _ in found)
        yield Cell(ROW, one.replicate, one.labels, points, tuple(tuple(by.values()) for _, by in found))


def _lineages(population: Population) -> Lineages:
    """Made once for a population: every hypothesis looks its arms up in them."""
    found = vars(population).get("_lineages")
    if not isinstance(found, Lineages):
        found = vars(population)["_lineages"] = Lineages(population)
    return found


def _contrasted(lineages: Lineages, contrast: Contrast, of: Estimand, replicate: int) -> Iterator[Cell]:
    found: dict[str, list[tuple[str, Labels, list[Point]]]] = {}
    for side, arm in sides(contrast).items():
        step = step_of(lineages.study, arm, contrast)
        found[side] = [(step, *one) for one in lineages.of(step, replicate, labels_of(arm))]
    common = _matched(found, contrast.match)
    for side, arms in found.items():
        for step, labels, points in arms:
            if common is not None and tuple(labels.get(f, "") for f in contrast.match) not in common:
                continue
            read = levels_read(points, of)
            if of.to is None:
                yield Cell(side, replicate, labels, tuple(read), lineages.read(read, of))
            else:
                yield from _of_two(lineages, of, (side, step, labels), read)


def _matched(
    found: Mapping[str, list[tuple[str, Labels, list[Point]]]], match: Sequence[str]
) -> set[tuple[str, ...]] | None:
    """Labels of the matched factors that every side has; None where nothing is matched."""
    if not match:
        return None
    each = [{tuple(labels.get(f, "") for f in match) for _, labels, _ in arms} for arms in found.values()]
    return set.intersection(*each)


def levels_read(points: Sequence[Point], of: Estimand) -> list[Point]:
    """The points of a lineage that an estimand reads: one level where it says so, all where any may count."""
    if of.match is None:
        return list(points[-1:])
    if of.match == "level" and of.value is not None:
        return [point for point in points if point.level == of.value]
    ends = of.area or of.slope
    if of.by_level and isinstance(ends, tuple):
        return [point for point in points if min(ends) <= point.level <= max(ends)]
    return list(points)


def _of_two(
    lineages: Lineages,
    of: Estimand,
    arm: tuple[str, str, Labels],
    points: Sequence[Point],
) -> Iterator[Cell]:
    """An arm beside the one that it is compared with, and the noise floors of both."""
    side, step, labels = arm
    assert of.to is not None
    wanted = {**labels, **labels_of(of.to)}
    others = lineages.of(step, points[0].replicate if points else 0, wanted)
    for _, other in others[:1]:
        read = [(point, _level(other, point.level)) for point in points]
        yield _compared(lineages, of, (side, labels), read)
        for own, lineage in ((labels, points), (wanted, _leveled(other, points))):
            yield from _floors(lineages, of, (step, own), lineage)


def _floors(
    lineages: Lineages, of: Estimand, arm: tuple[str, Labels], points: Sequence[Point]
) -> Iterator[Cell]:
    """The same arm with other data orders: what differs by noise alone."""
    step, labels = arm
    varied = ORDER in lineages.study.spec.vary and ORDER in labels
    if of.measure not in WITH_FLOOR or not varied or not points:
        return
    rest = {factor: label for factor, label in labels.items() if factor != ORDER}
    for other_labels, other in lineages.of(step, points[0].replicate, rest):
        if other_labels[ORDER] != labels[ORDER]:
            read = [(point, _level(other, point.level)) for point in points]
            yield _compared(lineages, of, (FLOOR, labels), read)


def _compared(
    lineages: Lineages,
    of: Estimand,
    arm: tuple[str, Labels],
    read: Sequence[tuple[Point, Point | None]],
) -> Cell:
    side, labels = arm
    pairs = [(a, b, lineages.pair(of.measure, a, b)) for a, b in read if b is not None]
    there = [(a, b, pair.probe) for a, b, pair in pairs if pair is not None]
    return Cell(
        side,
        read[0][0].replicate if read else 0,
        labels,
        tuple(a for a, _, _ in there),
        tuple((probe,) for _, _, probe in there),
        tuple(b for _, b, _ in there),
    )


def _level(points: Sequence[Point], level: int) -> Point | None:
    return next((point for point in points if point.level == level), None)


def _leveled(points: Sequence[Point], like: Sequence[Point]) -> list[Point]:
    levels = {point.level for point in like}
    return [point for point in points if point.level in levels]
