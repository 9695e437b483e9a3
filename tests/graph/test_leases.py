from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from pomona.graph import leases as module
from pomona.graph.leases import Leases, living_runs, sweep_owners
from pomona.graph.nodes import Graph
from pomona.graph.store import Store
from tests.graph.conftest import ROOT, add, attempt, make, mean, run, tried, wait_for


@pytest.fixture
def graph(store: Store) -> Graph:
    graph = Graph()
    root = add(graph, 0)
    for value in range(1, 4):
        add(graph, value, root)
    mean(graph, root)
    store.ledger.plan(graph.states.values(), graph.probes.values())
    return graph


def open_leases(store: Store, run_number: int = 1) -> Leases:
    return Leases(store.folder, store.ledger.path, run_number)


def test_a_lease_is_one_owners_until_it_is_given_back(store: Store, graph: Graph) -> None:
    nodes = [*graph.states, *graph.probes]
    with open_leases(store) as mine, open_leases(store) as theirs:
        assert mine.claim(nodes, "0").mine == nodes[0]
        found = theirs.claim(nodes, "0")
        assert (found.mine, found.held, found.ended) == (nodes[1], (nodes[0],), ())
        mine.release(nodes[0])
        assert theirs.claim(nodes[:1], "0").mine == nodes[0]
        for node in nodes[2:]:
            assert mine.claim([node], "1").mine == node
        # Its own too: nobody computes a node twice at the same time.
        assert theirs.claim(nodes, "0").held == tuple(nodes)
    assert store.ledger.rows("SELECT * FROM leases") == []
    assert store.ledger.rows("SELECT * FROM owners") == []
    assert list((store.folder / "owners").iterdir()) == []


def test_what_ended_meanwhile_is_said_and_a_commit_ends_the_lease(store: Store, graph: Graph) -> None:
    done, failed, open_ = list(graph.states)[:3]
    with open_leases(store) as mine, open_leases(store) as theirs:
        assert mine.claim([done], "0").mine == done
        assert mine.claim([failed], "1").mine == failed
        store.ledger.commit_state(done, [], {}, attempt(done), 1)
        store.ledger.commit_failure(attempt(failed, "failed", kind="error", reason="x"), 1, final=True)
        assert store.ledger.rows("SELECT * FROM leases") == []
        found = theirs.claim([done, failed, open_], "0")
        assert (found.mine, found.ended) == (open_, (done, failed))
        # To restore what it left, a state that is done can be claimed all the same.
        assert theirs.claim([done], "0", {done}).mine == done


def test_a_second_commit_changes_nothing_of_the_first(store: Store, graph: Graph) -> None:
    key = next(iter(graph.states))
    output = store.files.write_weights({})
    store.ledger.commit_state(key, [output], {"first": True}, attempt(key), 1)
    store.ledger.commit_state(key, [], {"first": False}, attempt(key), 2)
    assert store.ledger.facts([key])[key] == {"first": True}
    assert store.ledger.outputs([key])[key] == {"weights": output}
    assert len(store.ledger.rows("SELECT * FROM attempts WHERE node = ?", [key])) == 2


HOLDER = """
import sys, time
from pathlib import Path
from pomona.graph.leases import Leases
folder = Path(sys.argv[1])
held = Leases(folder, folder / "ledger.sqlite", int(sys.argv[2]))
assert held.claim([sys.argv[3]], "5").mine == sys.argv[3]
print("held", flush=True)
time.sleep(600)
"""


def holder(store: Store, run_number: int, node: str) -> subprocess.Popen[str]:
    """Another process that holds a lease."""
    command = [sys.executable, "-c", HOLDER, str(store.folder), str(run_number), node]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_lease_of_a_process_that_dies_is_free_at_once_and_its_attempt_on_record(
    store: Store, graph: Graph
) -> None:
    node = next(iter(graph.states))
    number = store.ledger.start_run("toy", "", ("d", "{}"), "test", 1)
    process = holder(store, number, node)
    with open_leases(store) as mine:
        assert mine.claim([node], "0").held == (node,)
        assert living_runs(store.folder, store.ledger)[0] == (number, process.pid)
        process.kill()
        process.wait()
        assert mine.claim([node], "0").mine == node
    lost = store.ledger.rows("SELECT * FROM attempts")
    assert [(row["node"], row["run"], row["worker"], row["kind"]) for row in lost] == [
        (node, number, "5", "lost worker")
    ]
    assert f"process {process.pid} ended" in lost[0]["reason"]
    sweep_owners(store.folder, store.ledger)
    assert store.ledger.rows("SELECT * FROM owners") == []
    assert list((store.folder / "owners").iterdir()) == []
    ended = store.ledger.rows("SELECT outcome, ended_at FROM runs WHERE id = ?", [number])[0]
    assert ended["outcome"] == "lost"
    assert ended["ended_at"] is not None


def test_the_lease_of_a_process_that_stands_still_expires(
    store: Store, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = next(iter(graph.states))
    process = holder(store, 1, node)
    try:
        with open_leases(store) as mine:
            process.send_signal(signal.SIGSTOP)
            assert mine.claim([node], "0").held == (node,)
            monkeypatch.setattr(module, "EXPIRY_SECONDS", 0.2)
            time.sleep(0.3)  # stopped, it cannot say that it lives
            assert mine.claim([node], "0").mine == node
    finally:
        process.kill()
        process.wait()


def test_a_living_process_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    with open_leases(store):
        first = store.ledger.rows("SELECT beat_at FROM owners")[0][0]
        wait_for(lambda: store.ledger.rows("SELECT beat_at FROM owners")[0][0] > first, "a heartbeat")


def test_an_owner_that_left_its_leases_keeps_its_number(store: Store, graph: Graph) -> None:
    """A new owner must not come into leases of one that died."""
    node = next(iter(graph.states))
    process = holder(store, 1, node)
    process.kill()
    process.wait()
    sweep_owners(store.folder, store.ledger)
    with open_leases(store) as mine:
        assert mine.owner != store.ledger.rows("SELECT owner FROM leases")[0][0]
        assert mine.claim([node], "0").mine == node


RUNNER = """
import sys
from pathlib import Path
from pomona.graph.nodes import Graph
from pomona.graph.store import Store
from tests.graph.conftest import add, run
graph = Graph()
for lineage in range(int(sys.argv[2])):
    state = add(graph, lineage)
    for level in range(9):
        state = add(graph, level, state)
with Store(sys.argv[1]) as store:
    found = run(store, graph)
    tally = found.tally
    assert tally.done + tally.cached + tally.elsewhere == len(graph.states), tally
    assert not found.failures
"""


def test_four_processes_compute_each_state_once(store: Store) -> None:
    command = [sys.executable, "-c", RUNNER, str(store.folder), "20"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen(command, env=environment) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    found = tried(store)
    assert len(found) == len(set(found)) == 200


def test_what_another_process_fails_fails_here_too(store: Store) -> None:
    graph = Graph()
    bad = make(graph, "fail", {"kind": "diverged"})
    add(graph, 1, bad)
    with Store(store.folder) as other:
        first = run(other, graph)
    second = run(store, graph)
    assert [(f.node, f.kind, f.blocked) for f in first.failures] == [(bad.key, "diverged", 1)]
    assert [(f.node, f.kind, f.blocked) for f in second.failures] == [(bad.key, "diverged", 1)]
    assert len(tried(store)) == 1


def test_states_that_another_process_finishes_meanwhile_are_taken_over(store: Store) -> None:
    """The other one works while this one waits for a job of its own."""
    graph = Graph()
    slow = make(graph, "wait", {"n": 0})
    rest = [add(graph, 1, slow)]
    for value in range(5):
        rest.append(add(graph, value, rest[-1]))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = (
        "import sys; from pomona.graph.store import Store; from pomona.graph.nodes import Graph;"
        "from tests.graph.conftest import *\n"
        "graph = Graph(); slow = make(graph, 'wait', {'n': 0}); last = add(graph, 1, slow)\n"
        "for value in range(5): last = add(graph, value, last)\n"
        "with Store(sys.argv[1]) as store: run(store, graph)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(store.folder)], env=environment)
    wait_for(lambda: ("wait", slow.key) in tried(store), "the other process to begin")
    (store.folder / "go").touch()
    found = run(store, graph)
    assert other.wait() == 0
    assert found.tally.done + found.tally.elsewhere + found.tally.cached == len(graph.states)
    names = tried(store)
    assert len(names) == len(set(names)) == len(graph.states)


def test_a_reader_stops_no_writer_and_sees_what_was_there_when_it_began(store: Store) -> None:
    graph = Graph()
    states = [add(graph, 0)]
    for value in range(1, 5):
        states.append(add(graph, value, states[-1]))
    store.ledger.plan(graph.states.values(), graph.probes.values())
    with Store(store.folder, create=False) as reader:
        reader.ledger.connection.execute("BEGIN")
        assert set(reader.ledger.statuses("states").values()) == {"planned"}
        assert run(store, graph).tally.done == 5
        assert set(reader.ledger.statuses("states").values()) == {"planned"}
        reader.ledger.connection.execute("COMMIT")
        assert set(reader.ledger.statuses("states").values()) == {"done"}
