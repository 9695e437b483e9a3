"""Runs what a graph still needs: longest remaining path first, each result committed as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pomona.core.errors import FailureKind, StoreWriteError
from pomona.graph.jobs import Failed, Job, Outcome, Stored
from pomona.graph.ledger import Attempt
from pomona.graph.nodes import SNAPSHOT, Graph, Probe, State
from pomona.graph.pool import Event, Executor, Progress
from pomona.graph.store import Store

# These end the same way at every try; the others may not, and are tried again by the next run.
LASTING: tuple[FailureKind, ...] = ("diverged", "layer collapse", "bad input")
_TRIES_AFTER_LOSS = 3


@dataclass
class Tally:
    """How far a run is. Counts are of states; probes are counted apart."""

    states: int = 0
    cached: int = 0
    done: int = 0
    failed: int = 0
    blocked: int = 0
    probes: int = 0
    probes_done: int = 0
    work_steps: int = 0
    steps_done: float = 0.0
    started: float = field(default_factory=time.monotonic)
    workers: dict[int, tuple[str, float]] = field(default_factory=dict)

    @property
    def steps_per_second(self) -> float:
        """Optimizer steps a second of all workers since the start."""
        return self.steps_done / max(time.monotonic() - self.started, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Forecast from the rate so far; None before there is one."""
        if self.steps_done <= 0:
            return None
        return (self.work_steps - self.steps_done) / self.steps_per_second


@dataclass(frozen=True)
class Failure:
    """A state or probe that failed, and how many descendants wait for it in vain."""

    node: str
    label: str
    kind: FailureKind
    reason: str
    blocked: int


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
            while self._running or self._ready:
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
            self._note_progress(worker, self._running[worker][0], progress)
            self.on_change(self.tally)

    def _survey(self) -> None:
        """Find what is missing, what it waits for, and how much work lies behind it."""
        state_status = self.store.ledger.statuses("states")
        probe_status = self.store.ledger.statuses("probes")
        done = {k for k, s in state_status.items() if s == "done"}
        done |= {k for k, s in probe_status.items() if s == "done"}
        again = _retried(self.store, [*state_status.items(), *probe_status.items()])
        self.store.ledger.reopen(again)
        failed = {k for k, s in (*state_status.items(), *probe_status.items()) if s == "failed"} - again

        self._waits: dict[str, set[str]] = {}
        self._children: dict[str, list[str]] = {}
        for key in (*self.graph.states, *self.graph.probes):
            if key in done or key in failed:
                continue
            missing = {parent for parent in self._before(key) if parent not in done}
            self._waits[key] = missing
            for parent in missing:
                self._children.setdefault(parent, []).append(key)
        self._behind = self._work_behind()
        self._ready = {key for key, missing in self._waits.items() if not missing}
        known = [k for k in self.graph.states if k in done]
        for key, outputs in self.store.ledger.outputs(known).items():
            self._outputs[key] = {name: output.digest for name, output in outputs.items()}
        self._facts.update(self.store.ledger.facts(known))
        self._count(done, failed)

    def _count(self, done: set[str], failed: set[str]) -> None:
        tally = self.tally
        tally.states = len(self.graph.states)
        tally.cached = sum(key in done for key in self.graph.states)
        tally.probes = sum(key in self._waits for key in self.graph.probes)
        tally.work_steps = sum(s.work_steps for k, s in self.graph.states.items() if k in self._waits)
        for key in failed:
            if key in self.graph.states or key in self.graph.probes:
                kind, reason = _last_failure(self.store, key)
                self._give_up(key, kind, reason)

    def _work_behind(self) -> dict[str, float]:
        behind: dict[str, float] = {}
        for key in reversed(list(self._waits)):
            state = self.graph.states.get(key)
            own = 1.0 + (state.work_steps if state else 0)
            behind[key] = own + max((behind[child] for child in self._children.get(key, ())), default=0.0)
        return behind

    def _before(self, key: str) -> tuple[str, ...]:
        state = self.graph.states.get(key)
        return state.parents if state else self.graph.probes[key].states

    def _dispatch(self) -> None:
        idle = [w for w in range(self.executor.size) if w not in self._running]
        for worker in idle:
            if not self._ready:
                return
            key = max(self._ready, key=lambda k: self._behind[k])
            self._ready.discard(key)
            self._running[worker] = (key, time.time())
            self.tally.workers[worker] = (self._label(key), 0.0)
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
            outputs=self._outputs[key],
            facts=self._facts.get(key, {}),
            parents=tuple(self._stored(parent, False) for parent in state.parents) if deep else (),
        )

    def _snapshots(self, key: str) -> list[State]:
        """The states that are outputs of this one's run and are still missing."""
        children = [self.graph.states[c] for c in self._children.get(key, ()) if c in self.graph.states]
        return [child for child in children if child.recipe == SNAPSHOT and child.key in self._waits]

    def _take(self, event: Event) -> None:
        if event.worker not in self._running:
            return  # an idle worker ended; the next job starts another
        key, started = self._running[event.worker]
        if isinstance(event.what, Progress):
            self._note_progress(event.worker, key, event.what)
            return
        del self._running[event.worker]
        self._note_progress(event.worker, key, Progress(0, 1))
        self.tally.workers.pop(event.worker, None)
        if isinstance(event.what, Outcome):
            self._finish(key, event, event.what, started)
        elif isinstance(event.what, Failed):
            self._fail(key, event, event.what, started)
        else:
            self._ready.add(key)

    def _note_progress(self, worker: int, key: str, progress: Progress) -> None:
        state = self.graph.states.get(key)
        label, before = self.tally.workers.get(worker, (self._label(key), 0.0))
        share = progress.done / max(progress.total, 1)
        if state is not None:
            self.tally.steps_done += (share - before) * state.work_steps
        self.tally.workers[worker] = (label, share)

    def _finish(self, key: str, event: Event, outcome: Outcome, started: float) -> None:
        attempt = self._attempt(key, event.worker, started, "done")
        ledger = self.store.ledger
        if key in self.graph.probes:
            ledger.commit_probe(key, outcome.measurements, attempt, self.run_number)
            self.tally.probes_done += 1
            del self._waits[key]
            return
        for snapshot in self._snapshots(key):
            outputs = outcome.snapshots.get(str(snapshot.params["at"]))
            if outputs is None:
                early = Failed("bad input", f"the training stopped before {snapshot.params['at']}")
                missed = self._attempt(snapshot.key, event.worker, started, "failed", early)
                ledger.commit_failure(missed, self.run_number, final=True)
                self._give_up(snapshot.key, early.kind, early.reason)
                continue
            ledger.commit_state(snapshot.key, outputs, {}, None, self.run_number)
            self._close(snapshot.key, {o.name: o.digest for o in outputs}, {})
        ledger.commit_state(key, outcome.outputs, outcome.facts, attempt, self.run_number)
        self.tally.steps_done += self.graph.states[key].work_steps
        self._close(key, {o.name: o.digest for o in outcome.outputs}, outcome.facts)
        self.store.files.drop_checkpoint(key)

    def _close(self, key: str, outputs: dict[str, str], facts: Mapping[str, object]) -> None:
        """A state is done: its children wait for one less."""
        self._outputs[key], self._facts[key] = outputs, facts
        self.tally.done += 1
        del self._waits[key]
        self._ready.discard(key)
        for child in self._children.get(key, ()):
            if child in self._waits:
                self._waits[child].discard(key)
                if not self._waits[child] and not self._is_running(child):
                    self._ready.add(child)

    def _fail(self, key: str, event: Event, failed: Failed, started: float) -> None:
        if failed.store_full:
            raise StoreWriteError(failed.reason)
        lost = failed.kind == "lost worker"
        self._losses[key] = self._losses.get(key, 0) + lost
        final = not lost or self._losses[key] >= _TRIES_AFTER_LOSS
        attempt = self._attempt(key, event.worker, started, "failed", failed)
        self.store.ledger.commit_failure(attempt, self.run_number, final)
        if final:
            self._give_up(key, failed.kind, failed.reason)
        else:
            self._ready.add(key)

    def _give_up(self, key: str, kind: FailureKind, reason: str) -> None:
        """Record a failure and take everything that descends from it off the list."""
        lost = {key, *self._descendants(key)}
        for gone in lost:
            self._waits.pop(gone, None)
            self._ready.discard(gone)
            state = self.graph.states.get(gone)
            self.tally.work_steps -= state.work_steps if state and gone != key else 0
        states = sum(gone in self.graph.states for gone in lost)
        own = key in self.graph.states
        self.tally.failed += own
        self.tally.blocked += states - own
        self.failures.append(Failure(key, self._label(key), kind, reason, states - own))

    def _descendants(self, key: str) -> set[str]:
        found: set[str] = set()
        waiting = [key]
        while waiting:
            parent = waiting.pop()
            new = [c for c in self._waits if parent in self._before(c) and c not in found]
            found.update(new)
            waiting += new
        return found

    def _is_running(self, key: str) -> bool:
        return any(running == key for running, _ in self._running.values())

    def _label(self, key: str) -> str:
        probe = self.graph.probes.get(key)
        if probe is not None:
            return f"{probe.name} of {self._label(probe.states[0])}"
        return self.labels.get(key, f"{self.graph.states[key].recipe} {key[:12]}")

    def _attempt(
        self, key: str, worker: int, started: float, status: str, failed: Failed | None = None
    ) -> Attempt:
        node: State | Probe = self.graph.states.get(key) or self.graph.probes[key]
        return Attempt(
            node=key,
            worker=str(worker),
            started_at=started,
            seconds=time.time() - started,
            status=status,
            kind=failed.kind if failed else None,
            reason=failed.reason if failed else None,
            traceback=failed.traceback if failed else None,
            work_steps=node.work_steps if isinstance(node, State) else 0,
            cost=node.cost,
        )


def _retried(store: Store, statuses: Iterable[tuple[str, str]]) -> set[str]:
    """Failed nodes whose last failure need not come again."""
    failed = [key for key, status in statuses if status == "failed"]
    return {key for key in failed if _last_failure(store, key)[0] not in LASTING}


def _last_failure(store: Store, key: str) -> tuple[FailureKind, str]:
    rows = store.ledger.rows(
        "SELECT kind, reason FROM attempts WHERE node = ? AND status = 'failed' ORDER BY id DESC LIMIT 1",
        [key],
    )
    return (rows[0]["kind"], rows[0]["reason"]) if rows else ("error", "no attempt is on record")
