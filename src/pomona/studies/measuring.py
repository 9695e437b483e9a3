"""What is measured of the states of a study, alone and in pairs: the probes of its graph."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from pomona.core.errors import InputError
from pomona.core.step import Step
from pomona.data.choice import DataChoice
from pomona.graph.growth import add_probe
from pomona.graph.nodes import Graph, State
from pomona.studies.identity import Identities
from pomona.studies.landscape import linked, nothing_linked, refuse_running_statistics
from pomona.studies.own import own_measures
from pomona.studies.points import Pair, Point
from pomona.studies.reach import lines_of_steps
from pomona.studies.schema import moment_of
from pomona.studies.study import Study

_EVALUATED = frozenset({"accuracy", "class-accuracy", "loss"})


Places = Mapping[tuple[str, int, tuple[str, ...]], Sequence[Point]]


def state_at(point: Point, at: Step | None, make: Identities, graph: Graph) -> State:
    """A moment of a point's own training: its end where none is named.

    Raises:
        InputError: It trains nothing.
    """
    if at is None:
        return point.state
    if at.count == 0:
        return point.start
    if point.run is None:
        raise InputError(f"{point.step}@{at}: step {point.step!r} trains nothing, so it has no such moment")
    return graph.add(make.snapshot(point.run, at))


def predicted(point: Point, make: Identities, graph: Graph) -> State:
    """What a point says of the test images.

    Raises:
        InputError: There are no data to say it of.
    """
    if point.data is None:
        raise InputError(f"{point.label}: without data there is nothing to predict; give its step 'on'")
    return graph.add(make.of(point.arm).predict(point.state, point.network, point.data))


class Measuring:
    """Adds the probes that a study asks for to its graph.

    Args:
        study: What asks.
        graph: What they are added to.
        make: Makes them.
        places: All points by step, replicate and labels, in the order of the levels.
    """

    def __init__(self, study: Study, graph: Graph, make: Identities, places: Places) -> None:
        self.study = study
        self.graph = graph
        self.make = make
        self.places = places
        self.points = [point for group in places.values() for point in group]

    def single(self) -> None:
        """Of every point what is measured of it alone, among its ``probes``."""
        spec = self.study.spec
        measures = {name for name in spec.measure if isinstance(name, str)}
        moments = {name: at for name in sorted(measures) if (at := moment_of(name)) is not None}
        own = own_measures(spec, self.study.order, self.study.document)
        lines = lines_of_steps(spec, self.study.order)
        for point in self.points:
            if point.members:
                self._measure_ensemble(point, measures)
                continue
            if measures & _EVALUATED and point.data is not None:
                for part in ("test", *(["validation"] if point.data.validation else [])):
                    make = self.make.of(point.arm)
                    probe = make.evaluate(point.state, point.network, point.data, part, point.replicate)
                    point.probes[part] = self.graph.measure(probe)
            if "effective-density" in measures:
                probe = self.make.effective_density(point.state, point.network)
                point.probes["effective-density"] = self.graph.measure(probe)
            for name, read in _compared(point).items():
                if name in measures:
                    point.probes[name] = self.graph.measure(self.make.compare(name, *read))
            for name, moment in moments.items():
                if point.run is not None:
                    ends = state_at(point, moment, self.make, self.graph), point.state
                    point.probes[name] = self.graph.measure(self.make.compare("rank-correlation", *ends))
            for measure in own:
                measured = [point]
                if measure.against is not None:
                    measured += self._against(measure.against, point, lines)
                    if len(measured) == 1:
                        continue
                states = [one.state for one in measured]
                probe = add_probe(self.graph, measure.probe, states, measure.parameters)
                point.probes[measure.label] = probe

    def _measure_ensemble(self, point: Point, measures: Collection[str]) -> None:
        """What is measured of averaged predictions."""
        assert point.data is not None
        own, members = [point.state], [self._predicted(member) for member in point.members]
        asked = {}
        if not _EVALUATED.isdisjoint(measures):
            asked["test"] = ("evaluate-ensemble", own)
        if "ensemble-gain" in measures:
            asked["ensemble-gain"] = ("ensemble-gain", [*own, *members])
        for name, (probe, states) in asked.items():
            made = self.make.evaluate_ensemble(probe, states, point.network, point.data)
            point.probes[name] = self.graph.measure(made)

    def _against(self, step: str, point: Point, lines: Mapping[str, frozenset[str]]) -> list[Point]:
        """The one point of an earlier step that a measure compares with: of its level, or the only one."""
        names = [name for name in self.study.factors if name in self.study.reach[step]]
        if step not in lines[point.step] or any(name not in point.arm for name in names):
            return []
        found = list(self.places.get((step, point.replicate, tuple(point.arm[name] for name in names)), []))
        return [other for other in found if other.level == point.level] or (found if len(found) == 1 else [])

    def pairs(self) -> Iterator[Pair]:
        """Whose masks are compared."""
        if "mask-distance" in self.study.spec.measure:
            for a, b in _beside(self.points):
                yield Pair(a, b, self.graph.measure(self.make.compare("mask-distance", a.masked, b.masked)))

    def agreements(self) -> Iterator[Pair]:
        """Whose predictions of the same test images are compared."""
        if "agreement" not in self.study.spec.measure:
            return
        for a, b in _beside(self.points):
            if a.data is not None and b.data is not None and self._same_images(a.data, b.data):
                # Either order is the same.
                ends = sorted((self._predicted(a), self._predicted(b)), key=lambda state: state.key)
                yield Pair(a, b, self.graph.measure(self.make.compare("agreement", *ends)))

    def _predicted(self, point: Point) -> State:
        return predicted(point, self.make, self.graph)

    def _same_images(self, a: DataChoice, b: DataChoice) -> bool:
        return self.make.info(a).fingerprint == self.make.info(b).fingerprint

    def paths(self) -> Iterator[Pair]:
        """Arms of one step that began as one network, at equal level and replicate, pruned or not."""
        asked = self.study.spec.connectivity
        if asked is None:
            return
        over = asked.factors(self.study.factors, self.study.spec.vary)
        found = list(linked(self.points, over, self.graph))
        if not found:
            raise InputError(nothing_linked(over))
        looked_into: set[str] = set()
        for a, b in found:
            assert a.data is not None
            # Where one of the two holds pruned weights at values, both are evaluated by torch.
            network = a.network if a.network.engine.name == "torch" else b.network
            if network.sized not in looked_into:
                refuse_running_statistics(network, self.study.document.folder)
                looked_into.add(network.sized)
            probe = self.make.connect(a.state, b.state, network, a.data, asked.points)
            yield Pair(a, b, self.graph.measure(probe))


def _compared(point: Point) -> dict[str, tuple[State, ...]]:
    """The states that each measure of weights and masks reads at a point, as its probe has them."""
    start = (point.start,) if point.run is not None else ()
    found = {
        "mask-structure": (point.state,),
        "weight-magnitude": (point.state, point.initial),
        "changed-density": (point.state, point.initial, *start),
    }
    before = point.previous
    if before is not None:
        found |= dict.fromkeys(("weight-stability", "rank-correlation"), (before.state, point.state))
        if point.run is not None and before.run is not None:
            found["moving-stability"] = (before.state, point.state, before.start, point.start)
    return found


def _beside(points: Iterable[Point]) -> Iterator[tuple[Point, Point]]:
    """Arms of one step at equal level and replicate, where both were pruned; ensembles are not."""
    groups: dict[tuple[str, int, int], list[Point]] = {}
    for point in points:
        if point.level > 0 and not point.members:
            groups.setdefault((point.step, point.replicate, point.level), []).append(point)
    for group in groups.values():
        yield from itertools.combinations(group, 2)
