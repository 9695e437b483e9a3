"""Have a graph computed on this machine: data fetched, engines checked, the run on record."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pomona.core.errors import InputError
from pomona.core.reference import importing
from pomona.data.choice import DataChoice
from pomona.data.dataset import load
from pomona.graph.environment import environment
from pomona.graph.nodes import Graph, Probe, State
from pomona.graph.pool import HereExecutor
from pomona.graph.scheduler import Manner, Scheduler, Tally
from pomona.graph.store import Store
from pomona.studies.engines import kernels_here, lacking
from pomona.studies.executors import engines_of, open_executor


def _ignore(tally: Tally) -> None:
    pass


@dataclass(frozen=True)
class Order:
    """What is to be computed, and how it is put on record.

    Args:
        graph: States and probes that are wanted; they are in the store's plan already.
        title: Name of the study, or of what is done.
        document: The study as it is run; may be empty.
        labels: What states are called, by key.
        manner: How to go about it.
    """

    graph: Graph
    title: str
    document: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    manner: Manner = field(default_factory=Manner)


def refuse_while_importing(what: str) -> None:
    """Refuse to compute from the top level of a user's file that is imported for its functions.

    Raises:
        InputError: Says where to put the call instead.
    """
    path = importing()
    if path is not None:
        raise InputError(
            f"{what} is called while {path.name} is imported, as every worker does; put what runs below "
            "if __name__ == '__main__':"
        )


def missing(graph: Graph, store: Store) -> set[str]:
    """States and probes of a graph that are not done; all of them are in the store's plan."""
    return store.ledger.unfinished().keys() & {*graph.states, *graph.probes}


def drive(
    order: Order,
    store: Store,
    workers: int | None = None,
    device: str = "cpu",
    on_change: Callable[[Tally], None] = _ignore,
    report: Callable[[str], None] | None = None,
    started: Callable[[Scheduler], None] = lambda scheduler: None,
) -> Scheduler:
    """Compute what is missing of a graph.

    Args:
        order: What.
        store: Where results are kept.
        workers: Threads or processes; one per core by default. 0 computes in this process. Threads where all
            trainings and evaluations to do are of the lane engine.
        device: ``cpu`` or ``cuda``.
        on_change: Told how far it is.
        report: Told about data that has to be fetched.
        started: Given the scheduler before it begins.

    Raises:
        KeyboardInterrupt: As it came; what was finished is kept, and the same call goes on from there.
        InputError: An engine cannot compute on this machine (before anything is computed).
        DataError: A data set cannot be had.
        StoreError: Results cannot be kept.
    """
    size = os.cpu_count() or 1 if workers is None else workers
    if size < 0:
        raise InputError(f"expected 0 workers or more, got {size}")
    to_do = missing(order.graph, store) | {*order.manner.restore, *order.manner.verify}
    engines = engines_of(order.graph, to_do)
    reason = lacking(engines)
    if reason is not None:
        raise InputError(f"{order.title}: nothing was computed: {reason}")
    if to_do:
        _fetch(order.graph, to_do, report)
    number = store.ledger.start_run(
        order.title, order.document, environment(kernels_here(), size), " ".join(sys.argv), size
    )
    outcome = "failed"
    try:
        with open_executor(size, store.folder / "logs", engines) as executor:
            scheduler = Scheduler(
                store, order.graph, executor, number, device, order.labels, on_change, order.manner
            )
            started(scheduler)
            if isinstance(executor, HereExecutor):
                executor.on_progress = lambda progress: scheduler.note(0, progress)
            scheduler.execute()
        outcome = "done"
    except KeyboardInterrupt:
        outcome = "interrupted"
        raise
    finally:
        store.ledger.end_run(number, outcome)
    return scheduler


def _fetch(graph: Graph, keys: set[str], report: Callable[[str], None] | None) -> None:
    """Have every data set in the cache before workers ask for it."""
    wanted: dict[tuple[str, str], None] = {}
    nodes: list[State | Probe] = [*graph.states.values(), *graph.probes.values()]
    for node in nodes:
        if node.key in keys and "dataset" in node.how:
            choice = DataChoice.model_validate(node.how["dataset"])
            wanted[choice.name, node.how["folder"]] = None
    for name, folder in wanted:
        load(name, Path(folder), report)
