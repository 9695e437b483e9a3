"""Which points of a study stand for an arm of the paper, and how each method is drawn."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pomona.graph.nodes import Probe
from pomona.report.arms import PALETTE, SHAPES
from pomona.studies.points import Point
from pomona.studies.schema import QUANTITIES

if TYPE_CHECKING:
    from pomona.report.evidence import Evidence

METHOD, TREATMENT, REWIND = "method", "treatment", "rewind"
# The method that others are held against.
UNSTRUCTURED = "l1-unstructured"
# A method has the same colour in every figure and preset: its place in the palette of all figures.
_COLOURS = {
    UNSTRUCTURED: 0,
    "l1-structured": 1,
    "l2-structured": 4,
    "neg-inf-structured": 3,
    "random-unstructured": 6,
    "random-structured": 5,
    "hybrid": 2,
    "fc-only": 7,
}
_MEASURE_OF = {quantity: measure for measure, given in QUANTITIES.items() for quantity in given}
_TESTED = ("accuracy", "loss", "chance", "at-chance")
Lineages = dict[int, list[Point]]
_Name = tuple[str, int, int, tuple[str, ...]]


class Selection:
    """The lineages of a study by method and treatment, all other factors at their first label.

    Args:
        evidence: What the report is made from.

    Attributes:
        step: The step that prunes to the most levels; empty where nothing is pruned.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.results = evidence.results
        self.study = evidence.study
        pruned = [point for point in evidence.population.points if point.level > 0]
        self.step = max(pruned, key=lambda point: point.level).step if pruned else ""
        self.levels = sorted({point.level for point in pruned if point.step == self.step})

    @cached_property
    def methods(self) -> list[str]:
        """Labels of the methods that are there, in the order of the study."""
        return self._present(METHOD)

    @cached_property
    def treatments(self) -> list[str]:
        """Labels of the treatments that are there, in the order of the study."""
        return self._present(TREATMENT)

    def lineages(self, method: str, treatment: str = REWIND, **others: str) -> Lineages:
        """The points of an arm by replicate, level 0 first; empty where there is no such arm.

        Args:
            method: Label of the factor ``method``.
            treatment: Label of the factor ``treatment``.
            others: Label by any other factor; those that are not named are at their first label.
        """
        named = {METHOD: method, TREATMENT: treatment, **others}
        if not named.keys() <= self.study.factors.keys():
            return {}
        first = {factor: next(iter(labels)) for factor, labels in self.study.factors.items()}
        return self._lineages.get(self._place({**first, **named}), {})

    def value(self, point: Point, quantity: str, layer: str = "", probe: str | None = None) -> float | None:
        """What was measured of a point; None where it was not.

        Args:
            point: The point.
            quantity: Name of the number: ``accuracy``, ``effective-density``, ``weight-sd``.
            layer: Name of a weight; empty for the whole network.
            probe: Name among the point's probes; by default the measure of that quantity, and ``test`` for
                what is measured on the test images.
        """
        name = probe or ("test" if quantity in _TESTED else _MEASURE_OF.get(quantity, quantity))
        found = point.probes.get(name)
        return self.number(found, quantity, layer) if found is not None else None

    def number(self, probe: Probe, quantity: str, layer: str = "") -> float | None:
        """What a probe found, of a pair for example; empty layer for the whole network."""
        return self.results.measured(probe).get((quantity, layer, -1))

    def at_chance(self, point: Point) -> bool:
        """Whether a network is no better than always answering the largest class."""
        return self.value(point, "at-chance") == 1.0

    def compared(self, a: Point, b: Point) -> Probe | None:
        """What compares the masks of two points of equal level and replicate; None where nothing does."""
        pairs = self._pairs
        return pairs.get((_name(a), _name(b))) or pairs.get((_name(b), _name(a)))

    @cached_property
    def _pairs(self) -> dict[tuple[_Name, _Name], Probe]:
        return {(_name(pair.a), _name(pair.b)): pair.probe for pair in self.evidence.population.pairs}

    def layers(self) -> dict[str, str]:
        """Kind (``conv``, ``linear``) of each prunable weight by name, in the order of the network."""
        return self._layers

    @cached_property
    def _layers(self) -> dict[str, str]:
        status = self.results.store.ledger.statuses("states")
        for point in self.evidence.population.points:
            if point.step == self.step and status.get(point.masked.key) == "done":
                return self.results.store.masks(point.masked.key)[1]
        return {}

    def colour(self, method: str) -> str:
        """The colour of a method, the same in all figures."""
        return PALETTE[self._index(method)]

    def shape(self, method: str) -> str:
        """The shape of the points of a method, the same in all figures."""
        return SHAPES[self._index(method)]

    def _index(self, method: str) -> int:
        labels = list(self.study.factors.get(METHOD, {}))
        return _COLOURS.get(method, labels.index(method) % len(PALETTE) if method in labels else 0)

    def _present(self, factor: str) -> list[str]:
        points = self.evidence.population.points
        found = {point.arm.get(factor) for point in points if point.step == self.step}
        return [label for label in self.study.factors.get(factor, {}) if label in found]

    def _place(self, labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
        reach = self.study.reach.get(self.step, frozenset())
        return tuple(sorted((factor, label) for factor, label in labels.items() if factor in reach))

    @cached_property
    def _lineages(self) -> dict[tuple[tuple[str, str], ...], Lineages]:
        found: dict[tuple[tuple[str, str], ...], Lineages] = {}
        points = [point for point in self.evidence.population.points if point.step == self.step]
        for point in sorted(points, key=lambda point: point.level):
            arm = found.setdefault(self._place(dict(point.arm)), {})
            arm.setdefault(point.replicate, []).append(point)
        return {place: dict(sorted(arm.items())) for place, arm in found.items()}


def by_level(lineages: Lineages) -> dict[int, list[Point]]:
    """The points of an arm or an ensemble at each level, of every replicate that has it."""
    found: dict[int, list[Point]] = {}
    for points in lineages.values():
        for point in points:
            found.setdefault(point.level, []).append(point)
    return dict(sorted(found.items()))


def _name(point: Point) -> _Name:
    return point.step, point.replicate, point.level, tuple(point.arm.values())
