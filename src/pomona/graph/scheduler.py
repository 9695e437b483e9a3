"""Runs what a graph still needs: longest remaining path first, each result committed as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from pomona.core.errors import FailureKind, StoreWriteError
from pomona.graph.jobs import Failed, Job, Outcome, Stored
from pomona.graph.ledger import Attempt
from pomona.graph.nodes import SNAPSHOT, Graph, Probe, State
from pomona.graph.pool import Event, Executor, Progress
from pomona.graph.store import Store
from pomona.graph.tally import Failure, Tally
from pomona.graph.waiting import Waiting

__all__ = ["Failure", "Scheduler", "Tally"]

# These end the same way at every try. The others may not (a file that was missing is there now, a user's
# package is installed), and are tried again by the next run.
LASTING: tuple[FailureKind, ...] = ("diverged", "layer collapse")
_TRIES_AFTER_LOSS = 3


class Scheduler:
    """One run of a graph against a store.

    Args:
        store: Where results go and what is known comes from.
        graph: States and probes, all of them wanted.
        executor: Where jobs run.
        run: Number of the run in the ledger.
        device: ``cpu`` or ``cuda``, passed to every job.
        labels: What a state is called in the progress, by key.
        on_change: Called with the tally after every event, and about ten times a second.
    """

    def __init__(
        self,
        store: Store,
        graph: Graph,
        executor: Executor,
        run: int,
        device: str = "cpu",
        labels: Mapping[str, str] | None = None,
        on_change: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        self.store = store
        self.graph = graph
        self.executor = executor
        self.run_number = run
        self.device = device
        self.labels = labels or {}
        self.on_change = on_change
        self.tally = Tally()
        self.failures: list[Failure] = []
        self._outputs: dict[str, dict[str, str]] = {}
        self._facts: dict[str, Mapping[str, object]] = {}
        self._running: dict[int, tuple[str, float]] = {}
        self._losses: dict[str, int] = {}
        self._survey()

    def execute(self) -> None:
        """Compute everything that is missing; a failure stops only what descends from it.

        Raises:
            KeyboardInterrupt: As it came, after the running jobs have written their checkpoints.
            StoreError: The store cannot take results any more; running jobs are asked to stop.
        """
        try:
            while self._running or self._waiting.ready:
                self._dispatch()
                for event in self.executor.poll(0.1):
                    self._take(event)
                self.on_change(self.tally)
        finally:
            # Results that arrive while stopping are finished work and are kept.
            for event in self.executor.stop(1.5):
                if isinstance(event.what, Outcome):
                    self._take(event)

    def note(self, worker: int, progress: Progress) -> None:
        """How far a running job is, where it is not said through the executor's events."""
        if worker in self._running:
            self._note_progress(worker, progress)
            self.on_change(self.tally)

    def _survey(self) -> None:
        """Find what is missing, what it waits for, and how much work lies behind it."""
        ledger, graph = self.store.ledger, self.graph
        status = {**ledger.statuses("states"), **ledger.statuses("probes")}
        wanted = (*graph.states, *graph.probes)
        done = {key for key in wanted if status.get(key) == "done"}
        failed = {key: _last_failure(self.store, key) for key in wanted if status.get(key) == "failed"}
        again = {key for key, (kind, _) in failed.items() if kind not in LASTING}
        ledger.reopen(again)
        lasting = {key: how for key, how in failed.items() if key not in again}

        missing = [key for key in wanted if key not in done and key not in lasting]
        needs = {key: [parent for parent in self._before(key) if parent not in done] for key in missing}
        self._waiting = Waiting(needs, {key: 1.0 + self._work(key) for key in missing})
        known = [key for key in graph.states if key in done]
        for key, outputs in ledger.outputs(known).items():
            self._outputs[key] = {name: output.digest for name, output in outputs.items()}
        self._facts.update(ledger.facts(known))

        tally = self.tally
        tally.states, tally.cached = len(graph.states), len(known)
        tally.probes = sum(key in needs for key in graph.probes)
        tally.work_steps = sum(self._work(key) for key in needs)
        for key, (kind, reason) in lasting.items():
            self._give_up(key, kind, reason)

    def _before(self, key: str) -> tuple[str, ...]:
        state = self.graph.states.get(key)
        return state.parents if state else self.graph.probes[key].states

    def _work(self, key: str) -> int:
        state = self.graph.states.get(key)
        return state.work_steps if state else 0

    def _dispatch(self) -> None:
        idle = [w for w in range(self.executor.size) if w not in self._running]
        for worker in idle:
            if not self._waiting.ready:
                return
            key = self._waiting.take()
            self._running[worker] = (key, time.time())
            self._note_progress(worker, Progress(0, 1))
            self.executor.submit(worker, self._job(key))

    def _job(self, key: str) -> Job:
        node: State | Probe = self.graph.states.get(key) or self.graph.probes[key]
        deep = isinstance(node, State) and node.recipe == SNAPSHOT
        return Job(
            node=key,
            name=node.recipe if isinstance(node, State) else node.name,
            params=node.params,
            how=node.how,
            states=tuple(self._stored(parent, deep) for parent in self._before(key)),
            store=str(self.store.folder),
            device=self.device,
            snapshots=tuple(str(s.params["at"]) for s in self._snapshots(key)),
        )

    def _stored(self, key: str, deep: bool) -> Stored:
        state = self.graph.states[key]
        return Stored(
            key=key,
            recipe=state.recipe,
            params=state.params,
            how=state.how,
            outputs=self._outputs.get(key, {}),
            facts=self._facts.get(key, {}),
            parents=tuple(self._stored(parent, False) for parent in state.parents) if deep else (),
        )

    def _snapshots(self, key: str) -> list[State]:
        """The states that are outputs of this one's run and are still missing."""
        children = [self.graph.states[c] for c in self._waiting.children(key) if c in self.graph.states]
        return [child for child in children if child.recipe == SNAPSHOT]

    def _take(self, event: Event) -> None:
        if event.worker not in self._running:
            return  # an idle worker ended; the next job starts another
        key, started = self._running[event.worker]
        if isinstance(event.what, Progress):
            self._note_progress(event.worker, event.what)
            return
        del self._running[event.worker]
        self.tally.idle(event.worker)
        if isinstance(event.what, Outcome):
            self._finish(key, event, event.what, started)
        elif isinstance(event.what, Failed):
            self._fail(key, event, event.what, started)
        else:
            self._waiting.put_back(key)

    def _note_progress(self, worker: int, progress: Progress) -> None:
        key = self._running[worker][0]
        self.tally.at(worker, self._label(key), progress.done / max(progress.total, 1), self._work(key))

    def _finish(self, key: str, event: Event, outcome: Outcome, started: float) -> None:
        attempt = self._attempt(key, event.worker, started, outcome)
        ledger = self.store.ledger
        if key in self.graph.probes:
            ledger.commit_probe(key, outcome.measurements, attempt, self.run_number)
            self.tally.probes_done += 1
            self._waiting.finish(key)
            return
        for snapshot in self._snapshots(key):
            outputs = outcome.snapshots.get(str(snapshot.params["at"]))
            if outputs is None:
                early = Failed("bad input", f"the training stopped before {snapshot.params['at']}")
                missed = self._attempt(snapshot.key, event.worker, started, early)
                ledger.commit_failure(missed, self.run_number, final=True)
                self._give_up(snapshot.key, early.kind, early.reason)
                continue
            ledger.commit_state(snapshot.key, outputs, {}, None, self.run_number)
            self._close(snapshot.key, {o.name: o.digest for o in outputs}, {})
        ledger.commit_state(key, outcome.outputs, outcome.facts, attempt, self.run_number)
        self._close(key, {o.name: o.digest for o in outcome.outputs}, outcome.facts)
        self.store.files.drop_checkpoint(key)

    def _close(self, key: str, outputs: dict[str, str], facts: Mapping[str, object]) -> None:
        """A state is done: its children wait for one less."""
        self._outputs[key], self._facts[key] = outputs, facts
        self.tally.done += 1
        self.tally.steps_finished += self._work(key)
        self._waiting.finish(key)

    def _fail(self, key: str, event: Event, failed: Failed, started: float) -> None:
        if failed.store_full:
            raise StoreWriteError(failed.reason)
        lost = failed.kind == "lost worker"
        self._losses[key] = self._losses.get(key, 0) + lost
        final = not lost or self._losses[key] >= _TRIES_AFTER_LOSS
        attempt = self._attempt(key, event.worker, started, failed)
        self.store.ledger.commit_failure(attempt, self.run_number, final)
        if final:
            self._give_up(key, failed.kind, failed.reason)
        else:
            self._waiting.put_back(key)

    def _give_up(self, key: str, kind: FailureKind, reason: str) -> None:
        """Record a failure and take everything that descends from it off the list."""
        lost = self._waiting.drop(key)
        self.tally.work_steps -= sum(self._work(gone) for gone in lost)
        blocked = sum(gone in self.graph.states for gone in lost if gone != key)
        self.tally.failed += key in self.graph.states
        self.tally.blocked += blocked
        self.failures.append(Failure(key, self._label(key), kind, reason, blocked))

    def _label(self, key: str) -> str:
        probe = self.graph.probes.get(key)
        if probe is not None:
            return f"{probe.name} of {self._label(probe.states[0])}"
        return self.labels.get(key, f"{self.graph.states[key].recipe} {key[:12]}")

    def _attempt(self, key: str, worker: int, started: float, ended: Outcome | Failed) -> Attempt:
        node: State | Probe = self.graph.states.get(key) or self.graph.probes[key]
        failed = ended if isinstance(ended, Failed) else None
        return Attempt(
            node=key,
            worker=str(worker),
            started_at=started,
            seconds=time.time() - started,
            status="failed" if failed else "done",
            kind=failed.kind if failed else None,
            reason=failed.reason if failed else None,
            traceback=failed.traceback if failed else None,
            work_steps=ended.steps_taken if isinstance(ended, Outcome) else 0,
            cost=node.cost,
        )


def _last_failure(store: Store, key: str) -> tuple[FailureKind, str]:
    rows = store.ledger.rows(
        "SELECT kind, reason FROM attempts WHERE node = ? AND status = 'failed' ORDER BY id DESC LIMIT 1",
        [key],
    )
    return (rows[0]["kind"], rows[0]["reason"]) if rows else ("error", "no attempt is on record")
