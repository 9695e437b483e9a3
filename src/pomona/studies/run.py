"""Run a study: plan it into the ledger, compute what is missing, say how it went."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pomona.core.errors import InputError
from pomona.data.choice import DataChoice
from pomona.data.dataset import load
from pomona.graph.environment import environment
from pomona.graph.pool import HereExecutor
from pomona.graph.scheduler import Failure, Scheduler, Tally
from pomona.graph.store import DEFAULT_STORE, Store
from pomona.studies.engines import kernels_here, lacking
from pomona.studies.executors import engines_of, open_executor
from pomona.studies.expand import Population, expand
from pomona.studies.results import Results
from pomona.studies.study import Study, load_study


class Run:
    """A study, expanded and written into a store's plan, ready to be executed.

    Args:
        study: A checked study.
        store: Where results are kept.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, study: Study, store: Store, device: str = "cpu") -> None:
        check_device(device)
        self.study = study
        self.store = store
        self.device = device
        self.population = expand(study, device)
        graph = self.population.graph
        store.ledger.plan(graph.states.values(), graph.probes.values())
        store.ledger.label(study.name, _labels(self.population))
        self.failures: list[Failure] = []
        self.tally = Tally()

    def missing(self) -> int:
        """How many states and probes are not there yet."""
        return len(self._missing())

    def _missing(self) -> set[str]:
        states, probes = self.store.ledger.statuses("states"), self.store.ledger.statuses("probes")
        graph = self.population.graph
        return {k for k in graph.states if states[k] != "done"} | {
            k for k in graph.probes if probes[k] != "done"
        }

    def execute(
        self,
        workers: int | None = None,
        on_change: Callable[[Tally], None] = lambda tally: None,
        report: Callable[[str], None] | None = None,
    ) -> Results:
        """Compute what is missing.

        Args:
            workers: Threads or processes; one per core by default. 0 computes in this process. Threads where
                all trainings and evaluations that are missing are of the lane engine.
            on_change: Told how far it is.
            report: Told about data that has to be fetched.

        Raises:
            KeyboardInterrupt: As it came; what was finished is kept, and the same call goes on from there.
            InputError: An engine cannot compute on this machine (before anything is computed).
            DataError: A data set cannot be had.
            StoreError: Results cannot be kept.
        """
        size = os.cpu_count() or 1 if workers is None else workers
        if size < 0:
            raise InputError(f"expected 0 workers or more, got {size}")
        missing = self._missing()
        engines = engines_of(self.population.graph, missing)
        reason = lacking(engines)
        if reason is not None:
            raise InputError(f"{self.study.name}: nothing was computed: {reason}")
        if missing:
            self._fetch(report)
        number = self.store.ledger.start_run(
            self.study.name, self.study.text(), environment(kernels_here()), " ".join(sys.argv), size
        )
        outcome = "failed"
        try:
            with open_executor(size, self.store.folder / "logs", engines) as executor:
                scheduler = Scheduler(
                    self.store,
                    self.population.graph,
                    executor,
                    number,
                    self.device,
                    self.population.labels(),
                    on_change,
                )
                self.tally, self.failures = scheduler.tally, scheduler.failures
                if isinstance(executor, HereExecutor):
                    executor.on_progress = lambda progress: scheduler.note(0, progress)
                scheduler.execute()
            outcome = "done"
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        finally:
            self.store.ledger.end_run(number, outcome)
        return Results(self.study, self.store, self.population)

    def _fetch(self, report: Callable[[str], None] | None) -> None:
        """Have every data set in the cache before workers ask for it."""
        named = [p.how["dataset"] for p in self.population.graph.probes.values() if "dataset" in p.how]
        named += [s.how["dataset"] for s in self.population.graph.states.values() if "dataset" in s.how]
        for name in {DataChoice.model_validate(choice).name: None for choice in named}:
            load(name, self.study.document.folder, report)


def run(
    study: Study | str | Path,
    preset: str | None = None,
    *,
    store: Store | Path | str = DEFAULT_STORE,
    workers: int | None = None,
    device: str = "cpu",
    changes: Sequence[str] | Mapping[str, Any] = (),
    on_change: Callable[[Tally], None] = lambda tally: None,
) -> Results:
    """Run a study to its end and give its results. What a store has already is not computed again.

    Args:
        study: A study, the name of one of the library, or the path of a YAML file.
        preset: One of its presets.
        store: Folder of the store.
        workers: Threads or processes; one per core by default. 0 computes in this process.
        device: ``cpu`` or ``cuda``.
        changes: Single values, as ``{"replicates": 3}`` or ``["replicates=3"]``.
        on_change: Told how far it is, about ten times a second.

    Raises:
        ProblemsError: The study has faults; all of them, before anything is computed.
        KeyboardInterrupt: As it came; what was finished is kept.
    """
    checked = study if isinstance(study, Study) else load_study(study, preset, changes)
    opened = store if isinstance(store, Store) else Store(store)
    return Run(checked, opened, device).execute(workers, on_change)


def _labels(population: Population) -> Iterator[tuple[str, str, int, int, Mapping[str, str]]]:
    for p in population.points:
        yield p.state.key, p.step, p.replicate, p.level, p.arm


def check_device(device: str) -> None:
    """Refuse a device that is not known or not there. Imports torch only for one that is not the CPU."""
    kind = device.split(":")[0]
    if kind not in ("cpu", "cuda"):
        raise InputError(f"unknown device {device!r}; expected 'cpu' or 'cuda'")
    if kind == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError(f"device {device!r}: this machine has no CUDA device that torch can use")
