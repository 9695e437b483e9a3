"""Runs what a graph still needs: longest remaining path first, each result committed as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from pomona.core.errors import FailureKind, StoreWriteError
from pomona.graph.again import Verdict, again, compare, node_of, purpose_of
from pomona.graph.jobs import Failed, Job, Outcome, Stored
from pomona.graph.leases import Leases
from pomona.graph.ledger import Attempt
from pomona.graph.nodes import SNAPSHOT, Graph, Probe, State
from pomona.graph.pool import Event, Executor, Progress
from pomona.graph.repair import clear_away, damaged_states
from pomona.graph.store import Store
from pomona.graph.tally import Failure, Tally
from pomona.graph.uses import Uses
from pomona.graph.waiting import Waiting

__all__ = ["Failure", "Manner", "Scheduler", "Tally"]

# These end the same way at every try. The others may not (a file that was missing is there now, a user's
# package is installed), and are tried again by the next run.
LASTING: tuple[FailureKind, ...] = ("diverged", "layer collapse", "stopped")
_TRIES_AFTER_LOSS = 3
# How many nodes are asked for at once where other processes have the first.
_WIDTH = 32
# Between two looks at what other processes compute.
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Manner:
    """How a run goes about its work.

    Args:
        fail_fast: Stop at the first failure; else a failure stops only what descends from it.
        retry_failed: Try again also what would end the same way: divergence and layer collapse.
        keep: States whose weights stay; those of others go as soon as nothing of the graph needs them. None
            keeps all.
        restore: States whose weights have to be on disk in the end.
        verify: States and probes that are done and are computed once more, to compare the bits.
        scratch: Folder for what that writes.
    """

    fail_fast: bool = False
    retry_failed: bool = False
    keep: AbstractSet[str] | None = None
    restore: tuple[str, ...] = ()
    verify: tuple[str, ...] = ()
    scratch: Path | None = None


class Scheduler:
    """One run of a graph against a store.

    Other processes may run on the same store: each state is computed by one of them.

    Args:
        store: Where results go and what is known comes from.
        graph: States and probes, all of them wanted.
        executor: Where jobs run.
        run: Number of the run in the ledger.
        device: ``cpu`` or ``cuda``, passed to every job.
        labels: What a state is called in the progress, by key.
        on_change: Called with the tally after every event, and about ten times a second.
        manner: How to go about it.
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
        manner: Manner | None = None,
    ) -> None:
        self.store = store
        self.graph = graph
        self.executor = executor
        self.run_number = run
        self.device = device
        self.labels = labels or {}
        self.on_change = on_change
        self.manner = manner or Manner()
        self.tally = Tally()
        self.failures: list[Failure] = []
        self.repairs: list[str] = []
        self.verdicts: list[Verdict] = []
        self.restored: list[str] = []
        self._outputs: dict[str, dict[str, str]] = {}
        self._facts: dict[str, Mapping[str, object]] = {}
        self._running: dict[int, tuple[str, float]] = {}
        self._losses: dict[str, int] = {}
        self._elsewhere: set[str] = set()
        self._looked = 0.0
        self._owner = 0
        self._after_commit: list[Callable[[], object]] = []
        self._uses = Uses()
        cleared = clear_away(store)
        if cleared:
            self._say("swept", cleared)
        self._survey(damaged_states(store, graph))

    def execute(self) -> None:
        """Compute everything that is missing.

        Raises:
            KeyboardInterrupt: As it came, after the running jobs have written their checkpoints.
            StoreError: The store cannot take results any more; running jobs are asked to stop.
        """
        with Leases(self.store.folder, self.store.ledger.path, self.run_number) as leases:
            self._owner = leases.owner
            try:
                self._let_go(self.graph.states)
                while self._running or self._waiting.ready or self._elsewhere:
                    if self.failures and self.manner.fail_fast:
                        break
                    self._dispatch(leases)
                    if not self._running:
                        time.sleep(_LOOK_SECONDS / 4)
                    self._take_all(self.executor.poll(0.1))
                    self.on_change(self.tally)
            finally:
                # Results that arrive while stopping are finished work and are kept.
                said = self.executor.stop(1.5)
                self._take_all([event for event in said if isinstance(event.what, Outcome)])

    def note(self, worker: int, progress: Progress) -> None:
        """How far a running job is, where it is not said through the executor's events."""
        if worker in self._running:
            self._note_progress(worker, progress)
            self.on_change(self.tally)

    def _survey(self, damaged: list[str]) -> None:
        """Find what is missing, what it waits for, and how much work lies behind it."""
        ledger, graph = self.store.ledger, self.graph
        status = ledger.unfinished()
        wanted = (*graph.states, *graph.probes)
        done = {key for key in wanted if key not in status}
        failed = {key: _last_failure(self.store, key) for key in wanted if status.get(key) == "failed"}
        tries = {key for key, (kind, _) in failed.items() if self.manner.retry_failed or kind not in LASTING}
        ledger.reopen(tries)
        lasting = {key: how for key, how in failed.items() if key not in tries}

        missing = [key for key in wanted if key not in done and key not in lasting]
        needs = {key: [parent for parent in self._before(key) if parent not in done] for key in missing}
        self._waiting = Waiting(needs, {key: 1.0 + self._work(key) for key in missing})
        for key in missing:
            self._uses.begin(self._before(key))

        tally = self.tally
        tally.states, tally.cached = len(graph.states), sum(key in done for key in graph.states)
        tally.probes = sum(key in needs for key in graph.probes)
        tally.work_steps = sum(self._work(key) for key in needs)
        for key in dict.fromkeys((*damaged, *self.manner.restore)):
            if key in done:
                self._do_again(again("restore", key))
        for key in missing:
            for parent in self._before(key):
                if again("restore", parent) in self._waiting:
                    self._waiting.hold(key, again("restore", parent))
        for key in self.manner.verify:
            self._do_again(again("verify", key))
        for key, (kind, reason) in lasting.items():
            self._give_up(key, kind, reason)

    def _do_again(self, key: str) -> None:
        if key not in self._waiting:
            self._waiting.add(key)
            self.tally.work_steps += self._work(key)
            self._uses.begin(self._before(key))

    def _node(self, key: str) -> State | Probe:
        node = node_of(key)
        return self.graph.states.get(node) or self.graph.probes[node]

    def _before(self, key: str) -> tuple[str, ...]:
        node = self._node(key)
        return node.parents if isinstance(node, State) else node.states

    def _work(self, key: str) -> int:
        node = self._node(key)
        return node.work_steps if isinstance(node, State) else 0

    def _dispatch(self, leases: Leases) -> None:
        """Give every idle worker a job, as far as there are any that no other process has."""
        if self._elsewhere and time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            for key in self._elsewhere:
                self._waiting.put_back(key)
            self._elsewhere.clear()
        for worker in range(self.executor.size):
            if worker in self._running:
                continue
            claimed = self._claimed(leases, worker)
            if claimed is None:
                return
            self._running[worker] = (claimed, time.time())
            self._note_progress(worker, Progress(0, 1))
            self.executor.submit(worker, self._job(claimed))

    def _claimed(self, leases: Leases, worker: int) -> str | None:
        """The next node that is ours to compute; what other processes have or have ended is sorted out."""
        width = 1
        while self._waiting.ready:
            wanted: dict[str, str] = {}
            while self._waiting.ready and len(wanted) < width:
                key = self._waiting.take()
                if node_of(key) in wanted:
                    self._waiting.put_back(key)  # once to restore and once to verify
                    break
                wanted[node_of(key)] = key
            repeated = {node for node, key in wanted.items() if purpose_of(key) is not None}
            claim = leases.claim(list(wanted), str(worker), repeated)
            self._elsewhere |= {wanted[node] for node in claim.held}
            for node in claim.ended:
                self._take_over(wanted[node])
            for node, key in wanted.items():
                if node not in (claim.mine, *claim.held, *claim.ended):
                    self._waiting.put_back(key)
            if claim.mine is None:
                width = _WIDTH
                continue
            key = wanted[claim.mine]
            if purpose_of(key) == "restore" and self._is_whole(claim.mine):
                # Another process has restored it, or its file is that of another state.
                leases.release(claim.mine)
                self.store.ledger.keep_outputs(claim.mine)
                self._restored(key)
                continue
            return key
        return None

    def _take_over(self, key: str) -> None:
        """Another process has ended it meanwhile."""
        table = "probes" if key in self.graph.probes else "states"
        row = self.store.ledger.rows(f"SELECT status FROM {table} WHERE key = ?", [key])[0]
        if row["status"] == "failed":
            self._give_up(key, *_last_failure(self.store, key))
            return
        if key in self.graph.probes:
            self.tally.probes_done += 1
        else:
            self.tally.elsewhere += 1
            self.tally.work_steps -= self._work(key)
        self._waiting.finish(key)
        self._end([key])

    def _job(self, key: str) -> Job:
        node = self._node(key)
        deep = isinstance(node, State) and node.recipe == SNAPSHOT
        verified = purpose_of(key) == "verify"
        return Job(
            node=node.key,
            name=node.recipe if isinstance(node, State) else node.name,
            params=node.params,
            how=node.how,
            states=tuple(self._stored(parent, deep) for parent in self._before(key)),
            store=str(self.store.folder),
            device=self.device,
            snapshots=tuple(str(s.params["at"]) for s in self._snapshots(key)),
            scratch=str(self.manner.scratch) if verified else "",
        )

    def _stored(self, key: str, deep: bool) -> Stored:
        state = self.graph.states[key]
        if key not in self._outputs:
            known = self.store.ledger.outputs([key]).get(key, {})
            self._outputs[key] = {name: output.digest for name, output in known.items()}
            self._facts[key] = self.store.ledger.facts([key])[key]
        return Stored(
            key=key,
            recipe=state.recipe,
            params=state.params,
            how=state.how,
            outputs=self._outputs[key],
            facts=self._facts[key],
            parents=tuple(self._stored(parent, False) for parent in state.parents) if deep else (),
        )

    def _snapshots(self, key: str) -> list[State]:
        """The states that are outputs of this one's run and are still missing."""
        children = [self.graph.states[c] for c in self._waiting.children(key) if c in self.graph.states]
        return [child for child in children if child.recipe == SNAPSHOT]

    def _take_all(self, events: Sequence[Event]) -> None:
        """Commit what several events bring in one transaction: the disk is waited for once."""
        full = ""
        if events:
            try:
                with self.store.ledger.transaction():
                    for event in events:
                        full = self._take(event) or full
            except BaseException:
                self._after_commit.clear()  # it was not committed
                raise
        # A checkpoint may go once the state that it is of is safe, a file once nothing counts on it.
        after, self._after_commit = self._after_commit, []
        for action in after:
            action()
        if full:
            raise StoreWriteError(full)

    def _take(self, event: Event) -> str:
        """Note an event; gives the reason if the store can take no more results."""
        if event.worker not in self._running:
            return ""  # an idle worker ended; the next job starts another
        key, started = self._running[event.worker]
        if isinstance(event.what, Progress):
            self._note_progress(event.worker, event.what)
            return ""
        del self._running[event.worker]
        self.tally.idle(event.worker)
        if isinstance(event.what, Outcome):
            self._finish(key, event, event.what, started)
        elif isinstance(event.what, Failed):
            if event.what.store_full:
                return event.what.reason
            self._fail(key, event, event.what, started)
        else:
            self._waiting.put_back(key)
        return ""

    def _note_progress(self, worker: int, progress: Progress) -> None:
        key = self._running[worker][0]
        self.tally.at(worker, self._label(key), progress.done / max(progress.total, 1), self._work(key))

    def _finish(self, key: str, event: Event, outcome: Outcome, started: float) -> None:
        attempt = self._attempt(key, event.worker, started, outcome)
        ledger = self.store.ledger
        if purpose_of(key) is not None:
            self._finish_again(key, outcome, attempt)
            return
        if key in self.graph.probes:
            ledger.commit_probe(key, outcome.measurements, attempt, self.run_number)
            self.tally.probes_done += 1
            self._waiting.finish(key)
            self._end([key])
            return
        left = [*outcome.outputs, *(o for found in outcome.snapshots.values() for o in found)]
        if not all(self.store.blobs.path(output.digest).exists() for output in left):
            # Another process has let go of a file that was there already when this one would have written it.
            self._losses[key] = self._losses.get(key, 0) + 1
            if self._losses[key] < _TRIES_AFTER_LOSS:
                ledger.release(key, self._owner)
                self._waiting.put_back(key)
            else:
                gone = Failed("error", "files that it had written were removed before they could be kept")
                ledger.commit_failure(self._attempt(key, event.worker, started, gone), self.run_number, True)
                self._give_up(key, gone.kind, gone.reason)
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
        first = ledger.commit_state(key, outcome.outputs, outcome.facts, attempt, self.run_number)
        self._close(key, {o.name: o.digest for o in outcome.outputs}, outcome.facts)
        if not first:
            # Another process was thought dead, or this one was: what is on record counts.
            del self._outputs[key], self._facts[key]
        self._after_commit.append(lambda: self.store.files.drop_checkpoint(key))

    def _close(self, key: str, outputs: dict[str, str], facts: Mapping[str, object]) -> None:
        """A state is done: its children wait for one less."""
        self._outputs[key], self._facts[key] = outputs, facts
        self.tally.done += 1
        self.tally.steps_finished += self._work(key)
        self._waiting.finish(key)
        self._end([key])

    def _finish_again(self, key: str, outcome: Outcome, attempt: Attempt) -> None:
        """A second computation has ended: keep its files if they are the same, say so if they are not."""
        node = node_of(key)
        verdict = compare(self.store.ledger, node, outcome, self._environment())
        if purpose_of(key) == "verify":
            self._judge(key, verdict)
        elif verdict.same:
            left = self.store.ledger.outputs([node]).get(node, {}).values()
            self.store.ledger.commit_restored(node, attempt, self.run_number)
            self.restored.append(node)
            self._restored(key)
            if not any(output.dropped for output in left):
                text = f"{self._label(node)}: files that were gone were computed again, bit for bit"
                self._say("repaired", text, node)
        else:
            reason = f"its files are gone and computing it again gave {verdict.text}"
            failed = self._attempt(key, int(attempt.worker), attempt.started_at, Failed("error", reason))
            self.store.ledger.commit_failure(failed, self.run_number, final=False)
            self._give_up(key, "error", reason)

    def _restored(self, key: str) -> None:
        self.tally.restored += 1
        self.tally.steps_finished += self._work(key)
        self._waiting.finish(key)
        self._end([key])

    def _judge(self, key: str, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.store.ledger.release(verdict.node, self._owner)
        if not verdict.same:
            self.store.ledger.note("verified", verdict.text, verdict.node, self.run_number)
        self.tally.verified += 1
        self.tally.steps_finished += self._work(key)
        self._waiting.finish(key)
        self._end([key])

    def _environment(self) -> str:
        sql = "SELECT document FROM environments WHERE digest = (SELECT environment FROM runs WHERE id = ?)"
        rows = self.store.ledger.rows(sql, [self.run_number])
        return str(rows[0]["document"])

    def _is_whole(self, state: str) -> bool:
        """Whether all files of a state are there and what their names say."""
        found = self.store.ledger.outputs([state]).get(state, {}).values()
        return all(self.store.blobs.check(output.digest) is None for output in found)

    def _fail(self, key: str, event: Event, failed: Failed, started: float) -> None:
        if failed.lost and self._restore_first(key, failed.lost):
            return
        if purpose_of(key) == "verify":
            self._judge(key, Verdict(node_of(key), failed=failed.reason))
            return
        lost = failed.kind == "lost worker"
        self._losses[key] = self._losses.get(key, 0) + lost
        final = not lost or self._losses[key] >= _TRIES_AFTER_LOSS
        attempt = self._attempt(key, event.worker, started, failed)
        # What is done stays done, also where its files could not be made again.
        first = purpose_of(key) is None
        self.store.ledger.commit_failure(attempt, self.run_number, final and first)
        if final:
            self._give_up(key, failed.kind, failed.reason)
        else:
            self._waiting.put_back(key)

    def _restore_first(self, key: str, digest: str) -> bool:
        """Let a node wait for the file that it lacks; says whether the state that left it is known."""
        line = [*self._before(key)]
        line += [before for parent in line for before in self.graph.states[parent].parents]
        owner = next((state for state in line if digest in self._outputs.get(state, {}).values()), None)
        lost = f"{key} {digest}"  # a node may lack as many files as it has parents
        tries = self._losses.get(lost, 0) + 1
        if owner is None or tries > _TRIES_AFTER_LOSS:
            return False
        self._losses[lost] = tries
        self.store.ledger.release(node_of(key), self._owner)
        before = again("restore", owner)
        self._do_again(before)
        self._waiting.hold(key, before)
        return True

    def _give_up(self, key: str, kind: FailureKind, reason: str) -> None:
        """Record a failure and take everything that descends from it off the list."""
        lost = self._waiting.drop(key)
        self.tally.work_steps -= sum(self._work(gone) for gone in lost)
        blocked = sum(gone in self.graph.states for gone in lost if gone != key)
        self.tally.failed += key in self.graph.states
        self.tally.blocked += blocked
        self.failures.append(Failure(key, self._label(key), kind, reason, blocked))
        self._end(lost)

    def _end(self, keys: Iterable[str]) -> None:
        """Nodes that need no file any more: what nothing else needs may go."""
        idle = [state for key in keys for state in self._uses.end(node_of(key), self._before(key))]
        self._after_commit.append(lambda: self._let_go(idle))

    def _let_go(self, states: Iterable[str]) -> None:
        keep = self.manner.keep
        if keep is None:
            return
        unused = [
            state
            for state in states
            if state in self.graph.states
            and state not in keep
            and self._uses.idle(state)
            and again("restore", state) not in self._waiting
        ]
        if unused:
            self.store.let_go(unused)

    def _say(self, kind: str, text: str, node: str | None = None) -> None:
        self.repairs.append(text)
        self.store.ledger.note(kind, text, node, self.run_number)

    def _label(self, key: str) -> str:
        key = node_of(key)
        probe = self.graph.probes.get(key)
        if probe is not None:
            return f"{probe.name} of {self._label(probe.states[0])}"
        return self.labels.get(key, f"{self.graph.states[key].recipe} {key[:12]}")

    def _attempt(self, key: str, worker: int, started: float, ended: Outcome | Failed) -> Attempt:
        node = self._node(key)
        failed = ended if isinstance(ended, Failed) else None
        return Attempt(
            node=node.key,
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
