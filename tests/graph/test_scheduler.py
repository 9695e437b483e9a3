from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import StoreError, StoreWriteError
from pomona.graph.blobs import tensor_digest
from pomona.graph.jobs import Failed
from pomona.graph.nodes import Graph, Probe, State
from pomona.graph.pool import Event, LocalPool
from pomona.graph.scheduler import LASTING, Scheduler
from pomona.graph.store import Store
from pomona.graph.tally import Tally
from tests.graph.conftest import add, attempt, make, mean, prepare, run, snapshot, train, tried


def population(graph: Graph) -> tuple[list[State], list[Probe]]:
    """Two lineages from one root, a snapshot, a join of both ends, probes on several of them."""
    root = add(graph, 1)
    states, probes = [root], []
    ends = []
    for lineage in range(2):
        run_state = train(graph, 3 + lineage, root)
        early = snapshot(graph, 2, run_state)
        end = add(graph, 10 * lineage, run_state, early)
        states += [run_state, early, end]
        ends.append(end)
        probes.append(mean(graph, end))
    states.append(add(graph, 0, *ends))
    probes.append(mean(graph, *ends))
    return states, probes


def check(scheduler: Scheduler, store: Store) -> None:
    """What holds at the end of every run."""
    tally = scheduler.tally
    assert tally.done + tally.cached + tally.failed + tally.blocked == tally.states
    assert tally.steps_done == tally.work_steps
    assert tally.workers == {}
    statuses = store.ledger.statuses("states")
    assert sum(statuses[key] == "done" for key in scheduler.graph.states) == tally.done + tally.cached


def statuses(store: Store, *nodes: State | Probe) -> list[str]:
    found = {**store.ledger.statuses("states"), **store.ledger.statuses("probes")}
    return [found[node.key] for node in nodes]


@pytest.mark.parametrize("workers", [0, 2])
def test_run_computes_every_state_after_its_parents_and_every_probe(store: Store, workers: int) -> None:
    graph = Graph()
    states, probes = population(graph)
    scheduler = run(store, graph, workers)
    check(scheduler, store)
    assert scheduler.failures == []
    assert (scheduler.tally.done, scheduler.tally.cached) == (8, 0)
    assert (scheduler.tally.probes, scheduler.tally.probes_done) == (3, 3)
    assert scheduler.tally.work_steps == 7
    assert set(statuses(store, *states, *probes)) == {"done"}
    # 1 + 3 steps, and 1 + 2 of its snapshot; 1 + 4 and 1 + 2 and 10; both ends together.
    expected = [1, 4, 3, 7, 5, 3, 18, 25]
    assert [store.weights(state.key)["w"][0] for state in states] == expected
    order = [key for _, key in tried(store)]
    assert sorted(order) == sorted(
        n.key for n in (*states, *probes) if getattr(n, "recipe", "") != "snapshot"
    )
    for state in graph.states.values():
        if state.key in order:
            assert all(order.index(p) < order.index(state.key) for p in state.parents if p in order)
    rows = store.ledger.rows(
        "SELECT class, value, layer FROM measurements WHERE probe = ? ORDER BY class", [probes[-1].key]
    )
    assert [tuple(row) for row in rows] == [(-1, None, "fc"), (0, 7.0, ""), (1, 18.0, "")]


def test_run_gives_the_same_bits_with_any_number_of_workers(tmp_path: Path) -> None:
    found = []
    for workers in (0, 1, 2):
        graph = Graph()
        population(graph)
        with Store(tmp_path / str(workers)) as store:
            run(store, graph, workers)
            rows = store.ledger.rows("SELECT state, name, digest, tensors FROM outputs ORDER BY state, name")
            rows += store.ledger.rows("SELECT probe, class, value FROM measurements ORDER BY probe, class")
            rows += store.ledger.rows("SELECT key, facts FROM states ORDER BY key")
            found.append([tuple(row) for row in rows])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_run_again_executes_nothing(store: Store, workers: int) -> None:
    graph = Graph()
    population(graph)
    run(store, graph, workers)
    before = tried(store)
    scheduler = run(store, graph, workers)
    check(scheduler, store)
    assert tried(store) == before
    assert (scheduler.tally.done, scheduler.tally.cached, scheduler.tally.probes) == (0, 8, 0)


def test_run_of_a_larger_graph_executes_what_is_new(store: Store) -> None:
    graph = Graph()
    states, _ = population(graph)
    run(store, graph)
    before = len(tried(store))
    more = add(graph, 100, states[-1])
    probe = mean(graph, more)
    scheduler = run(store, graph)
    check(scheduler, store)
    assert tried(store)[before:] == [("add", more.key), ("mean", probe.key)]
    assert scheduler.tally.cached == 8
    assert store.weights(more.key)["w"][0] == 125


def test_run_hands_over_definitions_and_outputs(store: Store) -> None:
    graph = Graph()
    root = add(graph, 1)
    found = make(graph, "nothing", {}, root, root)
    empty = make(graph, "nothing", {"after": 1}, found)
    run(store, graph)
    digest = store.ledger.outputs([root.key])[root.key]["weights"].digest
    assert store.ledger.facts([found.key])[found.key] == {"parents": [{"weights": digest}] * 2}
    assert store.ledger.facts([empty.key])[empty.key] == {"parents": [{}]}
    # What is found in the store must do as well as what was computed a moment ago.
    later = make(graph, "nothing", {"after": 2}, found)
    assert run(store, graph).failures == []
    assert store.ledger.facts([later.key])[later.key] == {"parents": [{}]}


@pytest.mark.parametrize("workers", [0, 2])
def test_run_a_failure_stops_only_what_descends_from_it(store: Store, workers: int) -> None:
    graph = Graph()
    root = add(graph, 1)
    bad = make(graph, "fail", {"kind": "diverged"}, root, work_steps=50)
    child = train(graph, 7, bad)
    early = snapshot(graph, 2, child)
    grandchild = add(graph, 1, early)
    blocked = [child, early, grandchild, add(graph, 3, grandchild, root)]
    lost = [mean(graph, bad), mean(graph, root, grandchild)]
    good = [train(graph, 5, root), add(graph, 2, root)]
    good.append(add(graph, 4, *good))
    kept = mean(graph, good[-1])
    scheduler = run(store, graph, workers)
    check(scheduler, store)
    tally = scheduler.tally
    assert (tally.done, tally.failed, tally.blocked, tally.work_steps) == (4, 1, 4, 5)
    assert statuses(store, root, *good, kept) == ["done"] * 5
    assert statuses(store, bad, *blocked, *lost) == ["failed"] + ["planned"] * 6
    (failure,) = scheduler.failures
    assert (failure.node, failure.kind, failure.blocked) == (bad.key, "diverged", 4)
    assert failure.reason == "it diverged at step 3"
    assert failure.label == f"fail {bad.key[:12]}"


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("diverged", "diverged"),
        ("layer collapse", "layer collapse"),
        ("out of memory", "out of memory"),
        ("memory", "out of memory"),
        ("bad input", "bad input"),
        ("data", "error"),
        ("bug", "error"),
    ],
)
def test_run_records_the_kind_of_a_failure_and_tries_again_only_what_may_change(
    store: Store, cause: str, kind: str
) -> None:
    graph = Graph()
    bad = make(graph, "fail", {"kind": cause})
    child = add(graph, 1, bad)
    assert run(store, graph).failures[0].kind == kind
    rows = store.ledger.rows("SELECT kind, status, node FROM attempts")
    assert [tuple(row) for row in rows] == [(kind, "failed", bad.key)]
    (store.folder / "mended").touch()
    again = run(store, graph)
    check(again, store)
    if kind in LASTING:
        assert len(tried(store)) == 1
        assert (again.tally.failed, again.tally.blocked, again.tally.done) == (1, 1, 0)
        assert (again.failures[0].kind, again.failures[0].blocked) == (kind, 1)
    else:
        assert [key for _, key in tried(store)] == [bad.key, bad.key, child.key]
        assert (again.tally.failed, again.tally.done) == (0, 2)


def test_run_several_lasting_failures_block_what_they_share_once(store: Store) -> None:
    graph = Graph()
    first, second = (make(graph, "fail", {"kind": "diverged", "n": n}) for n in range(2))
    shared = add(graph, 1, first, second)
    add(graph, 2, shared)
    for _ in range(2):
        scheduler = run(store, graph)
        check(scheduler, store)
        assert (scheduler.tally.failed, scheduler.tally.blocked) == (2, 2)
        assert sorted(failure.blocked for failure in scheduler.failures) == [0, 2]


def test_run_a_failed_probe_is_reported_and_blocks_nothing(store: Store) -> None:
    graph = Graph()
    root = add(graph, 1)
    bad = graph.measure(Probe("fail", 1, {"kind": "diverged"}, (root.key,)))
    good = mean(graph, root)
    for _ in range(2):
        scheduler = run(store, graph)
        check(scheduler, store)
        assert statuses(store, root, bad, good) == ["done", "failed", "done"]
        (failure,) = scheduler.failures
        assert (failure.label, failure.blocked) == (f"fail of add {root.key[:12]}", 0)
        assert scheduler.tally.failed == 0
    assert len(tried(store)) == 3


def test_run_leaves_the_failures_of_other_studies_alone(store: Store) -> None:
    theirs = State("fail", 1, {"kind": "bug"})
    store.ledger.plan([theirs], [])
    store.ledger.commit_failure(attempt(theirs.key, "failed", kind="error", reason="x"), 1, final=True)
    graph = Graph()
    add(graph, 1)
    run(store, graph)
    assert statuses(store, theirs) == ["failed"]


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_run_a_lost_worker_is_replaced_and_its_job_done(store: Store, how: str) -> None:
    graph = Graph()
    fragile = make(graph, "die", {"how": how, "times": 2}, work_steps=9)
    add(graph, 1, fragile)
    others = [add(graph, 10 + i) for i in range(3)]
    scheduler = run(store, graph, workers=2)
    check(scheduler, store)
    assert scheduler.failures == []
    assert set(statuses(store, fragile, *others)) == {"done"}
    rows = store.ledger.rows("SELECT status, kind FROM attempts WHERE node = ? ORDER BY id", [fragile.key])
    assert [tuple(row) for row in rows] == [("failed", "lost worker")] * 2 + [("done", None)]


def test_run_a_job_that_always_loses_its_worker_fails_after_three_tries(store: Store) -> None:
    graph = Graph()
    deadly = make(graph, "die", {"how": "kill", "times": 4})
    child = add(graph, 1, deadly)
    scheduler = run(store, graph, workers=1)
    check(scheduler, store)
    (failure,) = scheduler.failures
    assert (failure.kind, failure.blocked) == ("lost worker", 1)
    assert "was killed by signal 9; its log: " in failure.reason
    assert len(tried(store)) == 3
    again = run(store, graph, workers=1)
    check(again, store)
    assert statuses(store, deadly, child) == ["done", "done"]
    assert len(tried(store)) == 6


@pytest.mark.parametrize("workers", [0, 1])
def test_run_what_a_job_prints_does_no_harm(
    store: Store, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        graph = Graph()
        noisy = make(graph, "chatter", {})
        add(graph, 1, noisy)
        if workers:
            scheduler = run(store, graph, workers)
            assert scheduler.failures == []
            assert scheduler.tally.done == 2


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("what", ["nan", "set"])
def test_run_a_result_that_cannot_be_kept_is_a_failure(store: Store, what: str, workers: int) -> None:
    graph = Graph()
    odd = make(graph, "odd", {"what": what})
    other = add(graph, 1)
    scheduler = run(store, graph, workers)
    check(scheduler, store)
    assert statuses(store, odd, other) == ["failed", "done"]
    assert scheduler.failures[0].reason.startswith("what odd found cannot be kept: ")


@pytest.mark.parametrize("workers", [0, 2])
def test_run_a_full_store_ends_it_and_what_was_finished_is_kept(store: Store, workers: int) -> None:
    graph = Graph()
    root = add(graph, 1)
    full = make(graph, "fail", {"kind": "store"}, root)
    after = add(graph, 3, full)
    with pytest.raises(StoreWriteError, match="the disk is full: x could not be written"):
        run(store, graph, workers)
    assert statuses(store, root, full, after) == ["done", "planned", "planned"]
    (store.folder / "mended").touch()
    scheduler = run(store, graph, workers)
    check(scheduler, store)
    assert statuses(store, root, full, after) == ["done"] * 3


def test_run_a_ledger_that_cannot_be_written_ends_it_and_its_processes(store: Store) -> None:
    graph = Graph()
    root = add(graph, 1)
    scheduler, executor = prepare(store, graph, workers=1)
    assert isinstance(executor, LocalPool)
    store.ledger.connection.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError, match="readonly"):
        scheduler.execute()
    assert executor.processes == {}
    store.ledger.connection.execute("PRAGMA query_only = 0")
    assert statuses(store, root) == ["planned"]


@pytest.mark.parametrize("workers", [0, 1])
def test_run_leaves_the_snapshots_that_are_asked_for(store: Store, workers: int) -> None:
    graph = Graph()
    root = add(graph, 1)
    long = train(graph, 6, root)
    early, late = snapshot(graph, 2, long), snapshot(graph, 5, long)
    child = add(graph, 0, early)
    scheduler = run(store, graph, workers)
    check(scheduler, store)
    assert sorted(name for name, _ in tried(store)) == ["add", "add", "train"]
    found = [store.weights(state.key)["w"][0] for state in (long, early, late, child)]
    assert found == [7, 3, 6, 3]
    assert scheduler.tally.done == 5


@pytest.mark.parametrize("workers", [0, 1])
def test_run_a_snapshot_asked_for_later_is_a_job_with_the_definition_of_its_run(
    store: Store, workers: int
) -> None:
    graph = Graph()
    root = add(graph, 1)
    long = train(graph, 6, root)
    run(store, graph, workers)
    early = snapshot(graph, 2, long)
    before = len(tried(store))
    scheduler = run(store, graph, workers)
    check(scheduler, store)
    assert scheduler.failures == []
    assert tried(store)[before:] == [("snapshot", early.key)]
    assert store.weights(early.key)["w"][0] == 3


def test_run_a_snapshot_that_the_run_did_not_reach_fails_alone(store: Store) -> None:
    graph = Graph()
    root = add(graph, 1)
    stopped = train(graph, 6, root, stop=3)
    early, late = snapshot(graph, 2, stopped), snapshot(graph, 5, stopped)
    blocked, good = add(graph, 0, late), add(graph, 0, stopped)
    scheduler = run(store, graph)
    check(scheduler, store)
    assert statuses(store, stopped, early, good, late, blocked) == ["done"] * 3 + ["failed", "planned"]
    (failure,) = scheduler.failures
    assert (failure.node, failure.kind) == (late.key, "bad input")
    assert failure.reason == "the training stopped before 5it"


def test_run_the_longest_path_comes_first(store: Store) -> None:
    graph = Graph()
    short = add(graph, 1)
    heavy = train(graph, 3, add(graph, 2))
    chain = [add(graph, 3)]
    for i in range(6):
        chain.append(add(graph, i, chain[-1]))
    run(store, graph)
    order = [key for _, key in tried(store)]
    assert order[0] == chain[0].key
    # Of equal paths the one that was declared first.
    assert order[-2:] == [short.key, chain[-1].key]
    assert order.index(heavy.parents[0]) < order.index(chain[-3].key)


def test_run_takes_the_same_course_every_time(tmp_path: Path) -> None:
    orders = []
    for turn in range(2):
        graph = Graph()
        for i in range(20):
            add(graph, i)
        with Store(tmp_path / str(turn)) as store:
            run(store, graph)
            orders.append(tried(store))
    assert orders[0] == orders[1] == [("add", key) for key in graph.states]


def test_run_interrupted_keeps_what_is_finished_and_goes_on_from_there(store: Store) -> None:
    graph = Graph()
    done = [add(graph, i) for i in range(3)]
    waiting = make(graph, "wait", {})
    after = add(graph, 1, waiting)

    def interrupt(tally: Tally) -> None:
        if tally.done == 3 and list(store.folder.glob("pid-*")):
            raise KeyboardInterrupt

    scheduler, executor = prepare(store, graph, 2, interrupt)
    assert isinstance(executor, LocalPool)
    with pytest.raises(KeyboardInterrupt):
        scheduler.execute()
    assert executor.processes == {}
    assert statuses(store, *done, waiting, after) == ["done"] * 3 + ["planned"] * 2
    assert store.ledger.rows("SELECT * FROM attempts WHERE node = ?", [waiting.key]) == []
    assert store.files.read_checkpoint(waiting.key) is not None
    (store.folder / "go").touch()
    again = run(store, graph, 2)
    check(again, store)
    assert (again.tally.cached, again.tally.done) == (3, 2)
    assert store.ledger.facts([waiting.key])[waiting.key] == {"interrupted": 1}
    # A finished state needs its checkpoint no longer.
    assert list((store.folder / "checkpoints").iterdir()) == []


def test_run_interrupted_keeps_what_finishes_while_it_stops(store: Store) -> None:
    graph = Graph()
    hurried = make(graph, "wait", {"hurry": True})
    after = add(graph, 1, hurried)

    def interrupt(tally: Tally) -> None:
        if list(store.folder.glob("pid-*")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, graph, 1, interrupt)
    assert statuses(store, hurried, after) == ["done", "planned"]


def test_run_interrupted_in_this_process_goes_on_from_there(store: Store) -> None:
    graph = Graph()
    chain = [add(graph, 0)]
    for i in range(4):
        chain.append(add(graph, i, chain[-1]))

    def interrupt(tally: Tally) -> None:
        if tally.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, graph, 0, interrupt)
    assert statuses(store, *chain) == ["done"] * 2 + ["planned"] * 3
    scheduler = run(store, graph)
    check(scheduler, store)
    assert (scheduler.tally.cached, scheduler.tally.done) == (2, 3)
    assert len(tried(store)) == 5


def test_run_survives_a_worker_that_is_killed_from_outside(store: Store) -> None:
    graph = Graph()
    waiting = make(graph, "wait", {}, work_steps=10)
    killed: list[int] = []

    def kill(tally: Tally) -> None:
        file = store.folder / f"pid-{waiting.key}"
        if not killed and file.exists() and file.read_text():
            killed.append(int(file.read_text()))
            os.kill(killed[0], signal.SIGKILL)
            (store.folder / "go").touch()

    scheduler = run(store, graph, 1, kill)
    check(scheduler, store)
    assert len(killed) == 1
    assert scheduler.tally.done == 1
    assert len(tried(store)) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_run_tells_its_progress(store: Store, workers: int) -> None:
    graph = Graph()
    root = add(graph, 1)
    run_state = train(graph, 4, root)
    seen: list[tuple[float, dict[int, tuple[str, float]]]] = []
    scheduler = run(store, graph, workers, lambda tally: seen.append((tally.steps_done, dict(tally.workers))))
    check(scheduler, store)
    steps = [done for done, _ in seen]
    assert steps == sorted(steps)
    assert steps[-1] == 4
    if not workers:
        assert {1.0, 2.0, 3.0, 4.0} <= set(steps)
        assert {0: (f"train {run_state.key[:12]}", 0.5)} in [at for _, at in seen]


def test_scheduler_counts_progress_once_whatever_becomes_of_the_job(store: Store) -> None:
    """Progress of a lost try is taken back; that of a finished one is not counted twice."""
    graph = Graph()
    waiting = make(graph, "wait", {}, work_steps=10)
    other = add(graph, 1, work_steps=4)
    seen: list[float] = []

    def note(tally: Tally) -> None:
        seen.append(tally.steps_done)
        if tally.steps_done == 5 + 4:
            (store.folder / "go").touch()

    scheduler = run(store, graph, 2, note)
    check(scheduler, store)
    assert max(seen) <= 14
    assert seen[-1] == 14
    assert statuses(store, waiting, other) == ["done", "done"]


def test_scheduler_a_word_of_an_idle_worker_is_passed_over(store: Store) -> None:
    graph = Graph()
    add(graph, 1)
    scheduler, _ = prepare(store, graph)
    scheduler._take(Event(0, Failed("lost worker", "idle")))
    assert scheduler.tally.failed == 0
    scheduler.execute()
    check(scheduler, store)


def test_scheduler_labels_are_used_where_there_are_any(store: Store) -> None:
    graph = Graph()
    bad = make(graph, "fail", {"kind": "diverged"})
    good = add(graph, 1)
    store.ledger.plan(graph.states.values(), [])
    executor = prepare(store, graph)[1]
    scheduler = Scheduler(store, graph, executor, 1, labels={bad.key: "dense replicate 3"})
    scheduler.execute()
    assert scheduler.failures[0].label == "dense replicate 3"
    assert statuses(store, good) == ["done"]


def test_run_stored_tensors_are_described_in_the_ledger(store: Store) -> None:
    graph = Graph()
    root = add(graph, 2)
    run(store, graph)
    output = store.ledger.outputs([root.key])[root.key]["weights"]
    assert output.tensors == {"w": tensor_digest(np.full(3, 2.0))}
    assert output == store.files.describe("weights", output.digest)


def test_run_attempts_carry_what_a_forecast_needs(store: Store) -> None:
    graph = Graph()
    train(graph, 6, add(graph, 1))
    run(store, graph)
    rows = store.ledger.rows("SELECT work_steps, cost, status, run FROM attempts WHERE cost = 'train'")
    assert [tuple(row) for row in rows] == [(6, "train", "done", 1)]
    assert set(store.ledger.rates()) == {"train"}
