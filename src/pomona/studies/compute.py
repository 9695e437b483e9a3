"""Compute a graph that was built in Python, and read what it gave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError
from pomona.graph.growth import sources_of
from pomona.graph.nodes import Graph, Probe, State
from pomona.graph.scheduler import Failure, Tally
from pomona.graph.store import DEFAULT_STORE, Store
from pomona.studies.drive import Order, drive, refuse_while_importing
from pomona.studies.run import check_device


class Computed:
    """What a store holds for a graph.

    Args:
        graph: The states and probes.
        store: The store it was computed with.
        failures: What failed in this run, and why.
    """

    def __init__(self, graph: Graph, store: Store, failures: list[Failure]) -> None:
        self.graph = graph
        self.store = store
        self.failures = failures

    def weights(self, state: State) -> dict[str, NDArray[Any]]:
        """Weights, biases and buffers of a state by name."""
        return self.store.weights(state.key)

    def masks(self, state: State) -> dict[str, NDArray[np.bool_]]:
        """Masks of a state by the name of the weight."""
        return self.store.masks(state.key)[0]

    def facts(self, state: State) -> dict[str, Any]:
        """What the recipe said of a state, and what is known of its masks."""
        return self.store.ledger.facts([state.key])[state.key]

    def values(self, probe: Probe) -> dict[tuple[str, str], float | None]:
        """The numbers of a probe by quantity and layer; the layer is empty where there is none.

        Raises:
            InputError: It was not measured (says why).
        """
        sql = "SELECT quantity, layer, value FROM measurements WHERE probe = ?"
        rows = self.store.ledger.rows(sql, [probe.key])
        if not rows:
            nodes = {probe.key, *(state.key for key in probe.states for state in self.graph.ancestors(key))}
            why = next((failure.reason for failure in self.failures if failure.node in nodes), "not computed")
            raise InputError(f"{probe.name} was not measured: {why}")
        return {(row["quantity"], row["layer"]): row["value"] for row in rows}

    def value(self, probe: Probe, quantity: str | None = None, layer: str = "") -> float | None:
        """One number of a probe.

        Args:
            probe: Which.
            quantity: Its own name by default.
            layer: Empty for a number of the whole.

        Raises:
            InputError: It was not measured, or has no such number (says which it has).
        """
        found, asked = self.values(probe), (quantity or probe.name, layer)
        if asked not in found:
            there = ", ".join(f"{name}{f' of {of}' if of else ''}" for name, of in found)
            raise InputError(f"{probe.name} has no {' of '.join(filter(None, asked))}; it has {there}")
        return found[asked]


def compute(
    graph: Graph,
    store: Store | Path | str = DEFAULT_STORE,
    workers: int | None = None,
    device: str = "cpu",
    on_change: Callable[[Tally], None] = lambda tally: None,
    *,
    title: str = "graph",
) -> Computed:
    """Compute what a store lacks of a graph. What it has already is not computed again.

    Args:
        graph: States and probes, all of them wanted.
        store: The store or its folder.
        workers: Threads or processes; one per core by default. 0 computes in this process.
        device: ``cpu`` or ``cuda``.
        on_change: Told how far it is, about ten times a second.
        title: What the run is called on record.

    Raises:
        KeyboardInterrupt: As it came; what was finished is kept, and the same call goes on from there.
        InputError: An engine cannot compute on this machine, or a user's file calls this when it is imported.
        StoreError: Results cannot be kept.
    """
    refuse_while_importing("compute")
    check_device(device)
    opened = store if isinstance(store, Store) else Store(store)
    opened.ledger.keep_sources(sources_of(graph))
    opened.ledger.plan(graph.states.values(), graph.probes.values())
    scheduler = drive(Order(graph, title), opened, workers, device, on_change)
    return Computed(graph, opened, scheduler.failures)
