"""Run a study: plan it into the ledger, compute what is missing, say how it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pomona.core.errors import InputError
from pomona.graph.growth import sources_of
from pomona.graph.retention import ALL, LAST_LEVEL, NONE, kept_states
from pomona.graph.scheduler import Failure, Manner, Scheduler, Tally
from pomona.graph.store import DEFAULT_STORE, Store
from pomona.studies.blinding.blinded import shown
from pomona.studies.drive import Order, drive, missing, refuse_while_importing
from pomona.studies.expand import expand
from pomona.studies.points import Population
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
        # What may be seen of it; refused before anything is planned where that is nothing.
        self.results = shown(Results(study, store, self.population))
        store.ledger.keep_sources(sources_of(graph))
        store.ledger.plan(graph.states.values(), graph.probes.values())
        store.ledger.label(study.name, _labels(self.population))
        self.failures: list[Failure] = []
        self.repairs: list[str] = []
        self.tally = Tally()

    def missing(self) -> int:
        """How many states and probes are not there yet."""
        return len(missing(self.population.graph, self.store))

    def execute(
        self,
        workers: int | None = None,
        on_change: Callable[[Tally], None] = lambda tally: None,
        report: Callable[[str], None] | None = None,
        *,
        fail_fast: bool = False,
        retry_failed: bool = False,
    ) -> Results:
        """Compute what is missing.

        Args:
            workers: Threads or processes; one per core by default. 0 computes in this process. Threads where
                all trainings and evaluations that are missing are of the lane engine.
            on_change: Told how far it is.
            report: Told about data that has to be fetched.
            fail_fast: Stop at the first failure; else a failure stops only what descends from it.
            retry_failed: Try again also what would end the same way: divergence and layer collapse.

        Raises:
            KeyboardInterrupt: As it came; what was finished is kept, and the same call goes on from there.
            InputError: An engine cannot compute on this machine (before anything is computed).
            DataError: A data set cannot be had.
            StoreError: Results cannot be kept.
        """
        study, store = self.study, self.store
        policy = study.spec.keep
        during = policy in (ALL, LAST_LEVEL, NONE)
        # A query is asked now too: names that it gets wrong are said before anything is computed.
        kept = self._kept(policy)
        manner = Manner(fail_fast, retry_failed, kept if during else None)
        labels = self.results.population.labels()
        order = Order(self.population.graph, study.name, study.text(), labels, manner)
        drive(order, store, workers, self.device, on_change, report, self._started)
        if not during:
            self._let_go(policy)
        return shown(Results(study, store, self.population))

    def _let_go(self, policy: str) -> None:
        """What a query asks for is known in the end. If it is of something never measured, all is kept."""
        try:
            kept = self._kept(policy) or set()
        except InputError as error:
            self.repairs.append(f"nothing: all weights were kept, since keep cannot be asked: {error}")
            return
        self.store.let_go([key for key in self.population.graph.states if key not in kept])

    def _started(self, scheduler: Scheduler) -> None:
        self.tally, self.failures, self.repairs = scheduler.tally, scheduler.failures, scheduler.repairs

    def _last_level(self) -> set[str]:
        """Of each step, replicate and arm the last state of the study as it is now; it may have had more."""
        last = {(p.step, p.replicate, tuple(p.arm.values())): p for p in self.population.points}
        return {point.state.key for point in last.values()}

    def _kept(self, policy: str) -> set[str] | None:
        """States whose weights stay; also those that another study speaks of, which may keep them."""
        kept = self._last_level() if policy == LAST_LEVEL else kept_states(self.store, policy)
        if kept is None:
            return None
        rows = self.store.ledger.rows("SELECT DISTINCT state FROM labels WHERE study != ?", [self.study.name])
        return kept | {row["state"] for row in rows}


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
        InputError: A user's file calls this when it is imported.
        KeyboardInterrupt: As it came; what was finished is kept.
    """
    refuse_while_importing("run")
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
