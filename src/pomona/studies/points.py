"""What a study speaks of: the states of its steps, arms, replicates and levels, and pairs of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from pomona.data.choice import DataChoice
from pomona.graph.nodes import Graph, Probe, State
from pomona.studies.engines import Engine
from pomona.studies.identity import Network
from pomona.studies.resolve import Arm
from pomona.studies.study import Study


@dataclass(frozen=True)
class Point:
    """A state as the study speaks of it: this step, this arm, this replicate, this level.

    Args:
        state: The state itself, trained where its step trains.
        masked: The state that its mask came from.
        start: The state that its own training started from.
        origin: The untrained state that rewinding goes back to.
        run: Its own training run; None where it was not trained.
        trunk: The training run that began at ``origin``; None where there was none.
        previous: The point one level before in its lineage.
        first: The state that holds the initial values of its survivors, where that is not ``origin``.
        held: Whether its pruned weights are held at values that need not be zero.
        members: Of an ensemble the points whose predictions it averages; its ``state`` has no weights.
        probes: What is measured of it alone, by measure (and part of the data).
    """

    step: str
    replicate: int
    level: int
    arm: Arm
    state: State
    masked: State
    start: State
    origin: State
    network: Network
    data: DataChoice | None = None
    run: State | None = None
    trunk: State | None = None
    previous: Point | None = None
    first: State | None = None
    held: bool = False
    members: tuple[Point, ...] = ()
    probes: dict[str, Probe] = field(default_factory=dict)

    @property
    def initial(self) -> State:
        """The state that holds the initial values of its survivors."""
        return self.first or self.origin

    @property
    def label(self) -> str:
        """What it is called in progress lines and messages."""
        arm = " ".join(self.arm.values())
        return f"{self.step}{f' {arm}' if arm else ''} replicate {self.replicate} level {self.level}"


@dataclass(frozen=True)
class Pair:
    """Two points that are compared, and the probe that does it."""

    a: Point
    b: Point
    probe: Probe


@dataclass
class Population:
    """All that a study asks for.

    Args:
        pairs: Whose masks are compared.
        agreements: Whose predictions are compared.
        paths: Which are the ends of a straight line that is walked.
    """

    study: Study
    graph: Graph
    points: list[Point]
    pairs: list[Pair]
    paths: list[Pair] = field(default_factory=list)
    agreements: list[Pair] = field(default_factory=list)

    def labels(self) -> dict[str, str]:
        """What every state is called, by key. The first point that a state belongs to names it."""
        names: dict[str, str] = {}
        for point in self.points:
            for state in (point.state, point.start, point.masked):
                names.setdefault(state.key, point.label)
        return names

    def engines(self) -> dict[str, Engine]:
        """The engine of each network that is trained or evaluated; where all agree, one without a name."""
        used = [p.network for p in self.points if p.run is not None or "test" in p.probes]
        found: dict[str, Engine] = {}
        for network in used:
            # One network may have two: where a method holds its pruned weights at values, and where not.
            held = found.get(network.sized, network.engine) != network.engine
            found[f"{network.sized}, pruned weights held" if held else network.sized] = network.engine
        distinct = set(found.values())
        return {"": distinct.pop()} if len(distinct) == 1 else found
