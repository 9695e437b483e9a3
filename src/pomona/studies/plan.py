"""What a run would do: states to compute, cached and shared ones, and the time it would take."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pomona.graph.nodes import Graph, State
from pomona.graph.store import Store
from pomona.studies.calibrate import SECONDS, calibrate
from pomona.studies.engines import lacking
from pomona.studies.executors import engines_of, open_executor
from pomona.studies.points import Population
from pomona.studies.study import builds_on

# What a state or measurement takes beside its computation: reading, writing, syncing. Measured on two cores;
# the store says better where it has computed such a one.
EACH_SECONDS = 0.01
# What a run takes before the first and after the last, the report included.
START_SECONDS = 5.0


@dataclass(frozen=True)
class Pace:
    """What a store has already, and how fast the rest of it would go.

    Args:
        done: Keys of the states that it has.
        measured: Keys of the probes that it has.
        rates: Optimizer steps a second of one worker, by class of cost.
        durations: Mean seconds of what takes no optimizer steps, by class of cost.
        workers: How many work at the same time.
    """

    done: Collection[str]
    measured: Collection[str]
    rates: Mapping[str, float]
    durations: Mapping[str, float]
    workers: int

    def seconds(self, graph: Graph, probes: Collection[str], states: Collection[str]) -> float | None:
        """The wall time of some states and probes; None where a rate is not known.

        The longer of: all work shared out to the workers, and the longest line of descent.

        Args:
            graph: What they belong to.
            probes: Keys of the measurements.
            states: Keys of the states, each with what it descends from that is not there yet.
        """
        total = 0.0
        reached: dict[str, float] = {}
        # A graph holds parents before their children.
        for key, state in graph.states.items():
            if key not in states:
                continue
            own = 0.0
            if key not in self.done:
                if state.work_steps and state.cost not in self.rates:
                    return None
                own = self.durations.get(state.cost, EACH_SECONDS)
                if state.work_steps:
                    own = EACH_SECONDS + state.work_steps / self.rates[state.cost]
            total += own
            reached[key] = own + max((reached.get(parent, 0.0) for parent in state.parents), default=0.0)
        left = (graph.probes[key] for key in probes if key not in self.measured)
        total += sum(self.durations.get(probe.cost, EACH_SECONDS) for probe in left)
        return max(total / max(self.workers, 1), max(reached.values(), default=0.0))


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Args:
        states: States of the study.
        cached: Those that the store has.
        trainings: Trainings that would run.
        work_steps: Their optimizer steps, at most (an early stop may save some).
        shared: States that several arms or replicates use.
        trainings_saved: Trainings that sharing saves.
        from_others: Cached states that another study asked for too.
        measurements: Measurements that would be taken.
        seconds: Forecast of the wall time; None where an engine cannot compute here.
        source: Where the rates come from, or why an engine cannot compute here.
        rates: Optimizer steps a second of one worker, by class of cost.
        engines: Engine by network, with the reason where ``auto`` did not take the lane engine; one without a
            name where all networks have the same.
        pace: What the forecast is made with.
    """

    states: int
    cached: int
    trainings: int
    work_steps: int
    shared: int
    trainings_saved: int
    from_others: int
    measurements: int
    seconds: float | None
    source: str
    rates: Mapping[str, float]
    engines: Mapping[str, str]
    pace: Pace


def make_plan(population: Population, store: Store | None, workers: int, device: str = "cpu") -> Plan:
    """Survey a population against a store, or against none; nothing is written.

    Measures this machine's speed where no rate is on record.
    """
    graph = population.graph
    done = keys_done(store, "states")
    measured = keys_done(store, "probes")
    missing = [state for key, state in graph.states.items() if key not in done]
    trainings = [state for state in missing if state.work_steps]
    uses = _uses(population)
    to_measure = {key for key in graph.probes if key not in measured}
    engines_to_run = engines_of(graph, to_measure | {state.key for state in missing})
    reason = lacking(engines_to_run)
    rates, source = dict[str, float](), reason or ""
    if reason is None:
        rates, source = _rates(trainings, store, workers, device, engines_to_run)
    durations = store.ledger.durations() if store else {}
    pace = Pace(done, measured, rates, durations, workers)
    seconds = None if reason else pace.seconds(graph, graph.probes, graph.states)
    if seconds is not None and (missing or to_measure):
        seconds += START_SECONDS
    return Plan(
        states=len(graph.states),
        cached=len(graph.states) - len(missing),
        trainings=len(trainings),
        work_steps=sum(state.work_steps for state in trainings),
        shared=sum(count > 1 for count in uses.values()),
        trainings_saved=sum(c - 1 for key, c in uses.items() if graph.states[key].work_steps),
        from_others=len(_of_others(store, population.study.name) & done & set(graph.states)),
        measurements=len(to_measure),
        seconds=seconds,
        source=source,
        rates=rates,
        engines={name: engine.text for name, engine in population.engines().items()},
        pace=pace,
    )


def _uses(population: Population) -> Counter[str]:
    """In how many trajectories (a step, an arm and a replicate) each state is used."""
    last = {(p.step, p.replicate, tuple(p.arm.values())): p for p in population.points}
    steps = population.study.spec.steps
    followed = {other for step in steps.values() for other in builds_on(step).values()}
    counts: Counter[str] = Counter()
    for point in last.values():
        if point.step not in followed:
            counts.update(state.key for state in population.graph.ancestors(point.state.key))
    return counts


def keys_done(store: Store | None, table: str) -> set[str]:
    """Keys of the ``states`` or ``probes`` that a store has."""
    statuses = store.ledger.statuses(table) if store else {}
    return {key for key, status in statuses.items() if status == "done"}


def _of_others(store: Store | None, study: str) -> set[str]:
    if store is None:
        return set()
    rows = store.ledger.rows("SELECT DISTINCT state FROM labels WHERE study != ?", [study])
    return {row["state"] for row in rows}


def _rates(
    trainings: list[State], store: Store | None, workers: int, device: str, engines: set[str]
) -> tuple[dict[str, float], str]:
    """Rates by class of cost: those on record, the rest measured now."""
    needed = {state.cost: state for state in trainings}
    on_record = store.ledger.rates() if store else {}
    known = {cost: rate for cost, rate in on_record.items() if cost in needed}
    unknown = {cost: state for cost, state in needed.items() if cost not in known}
    if not needed:
        return {}, "nothing to train"
    if not unknown:
        return known, "rates measured in earlier runs of this store"
    size = max(workers, 1)
    with (
        tempfile.TemporaryDirectory(prefix="pomona-calibrate-") as folder,
        open_executor(size, Path(folder), engines) as executor,
    ):
        known |= calibrate(unknown, size, executor, folder, device)
    partly = "" if len(unknown) == len(needed) else "rates of earlier runs and "
    return known, f"{partly}a calibration of {SECONDS:g} seconds for each network, just now"
