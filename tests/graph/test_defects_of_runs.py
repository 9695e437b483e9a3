"""What goes wrong elsewhere while a graph is computed: one test for each way, named by what used to go wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import InputError
from pomona.graph.nodes import Graph, State
from pomona.graph.pool import LocalPool
from pomona.graph.store import Store
from pomona.graph.tags import tag
from pomona.graph.threads import ThreadPool
from tests.graph.conftest import ROOT, add, make, run, tried

Pool = type[LocalPool | ThreadPool]


def weights(store: Store, state: State) -> float:
    return float(store.weights(state.key)["w"][0])


@pytest.mark.parametrize(("workers", "pool"), [(0, LocalPool), (2, LocalPool), (2, ThreadPool)])
def test_a_function_that_changes_its_parameters_disables_the_cache(
    store: Store, workers: int, pool: Pool
) -> None:
    graph = Graph()
    root = add(graph, 1)
    state = make(graph, "scribble", {"value": 2.0}, root)
    child = make(graph, "scribble", {"value": 4.0}, state)
    run(store, graph, workers, pool=pool)
    assert (weights(store, state), weights(store, child)) == (3, 7)
    assert root.params == {"value": 1}
    assert state.params == {"value": 2.0}
    assert store.ledger.state(state.key) == state
    assert run(store, graph, workers, pool=pool).tally.cached == 3
    assert len(tried(store)) == 3


@pytest.mark.parametrize("pool", [LocalPool, ThreadPool])
def test_children_at_work_together_take_their_parents_tensors_from_one_another(
    store: Store, pool: Pool
) -> None:
    graph = Graph()
    root = add(graph, 1)
    children = [make(graph, "scribble", {"value": float(value)}, root) for value in range(20)]
    assert run(store, graph, 2, pool=pool).failures == []
    assert [weights(store, child) for child in children] == [1.0 + value for value in range(20)]
    assert weights(store, root) == 1


@pytest.mark.parametrize(("workers", "pool"), [(0, LocalPool), (2, LocalPool), (2, ThreadPool)])
def test_a_relative_path_is_another_one_for_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, pool: Pool
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    graph = Graph()
    child = add(graph, 2, add(graph, 1))
    with Store("relative") as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert run(store, graph, workers, pool=pool).failures == []
        assert weights(store, child) == 3
    assert (tmp_path / "relative" / "ledger.sqlite").is_file()
    assert list((tmp_path / "elsewhere").iterdir()) == []


RUNNER = """
import sys
from pomona.graph.nodes import Graph
from pomona.graph.store import Store
from tests.graph.conftest import add, make, run
graph = Graph()
dying = make(graph, "die", {"how": "kill", "times": int(sys.argv[2])}, add(graph, 1))
last = add(graph, 2, dying)
for value in range(30):
    last = add(graph, value, last)
with Store(sys.argv[1]) as store:
    run(store, graph)
"""


def runner(store: Store, deaths: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", RUNNER, str(store.folder), str(deaths)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_crash_while_saving_wedges_the_node_for_ever(store: Store) -> None:
    assert runner(store, deaths=1).wait() == -9
    assert set(store.ledger.statuses("states").values()) == {"planned", "done"}
    assert runner(store, deaths=1).wait() == 0
    assert set(store.ledger.statuses("states").values()) == {"done"}
    attempts = store.ledger.rows("SELECT kind, reason FROM attempts WHERE status = 'failed'")
    assert [row["kind"] for row in attempts] == ["lost worker"]


def test_a_crash_between_a_state_and_its_index_loses_the_node(store: Store) -> None:
    """The file is there and the ledger does not know of it."""
    left = store.files.write_weights({"w": np.ones(3)})
    before = store.blobs.path(left.digest).stat().st_mtime_ns
    graph = Graph()
    state = add(graph, 1)
    assert run(store, graph).tally.done == 1
    assert store.ledger.outputs([state.key])[state.key]["weights"] == left
    assert store.blobs.path(left.digest).stat().st_mtime_ns == before


def test_one_failure_stops_unrelated_branches(store: Store) -> None:
    graph = Graph()
    root = add(graph, 0)
    bad = make(graph, "fail", {"kind": "bug"}, root)
    lost = add(graph, 1, bad)
    branches = [add(graph, value, root) for value in range(2, 6)]
    found = run(store, graph)
    assert [(f.node, f.blocked) for f in found.failures] == [(bad.key, 1)]
    statuses = store.ledger.statuses("states")
    assert {statuses[state.key] for state in branches} == {"done"}
    assert statuses[lost.key] == "planned"
    kept = store.ledger.rows("SELECT reason, traceback FROM attempts WHERE node = ?", [bad.key])[0]
    assert kept["reason"] == "ZeroDivisionError: by zero"
    assert "toy_entry.py" in kept["traceback"]


def test_three_processes_on_one_folder_run_a_node_three_times(store: Store) -> None:
    processes = [runner(store, deaths=0) for _ in range(3)]
    assert [process.wait() for process in processes] == [0] * 3
    assert len(tried(store)) == len(set(tried(store))) == 33


def test_tags_leak_on_exceptions(store: Store) -> None:
    graph = Graph()
    good = add(graph, 1)
    bad = make(graph, "fail", {"kind": "bug"})
    store.ledger.plan(graph.states.values(), [])
    with pytest.raises(InputError):
        tag(store.ledger, [good.key, "f" * 64], "chosen")
    assert store.ledger.rows("SELECT * FROM tags") == []
    tag(store.ledger, [bad.key], "suspect")
    later = add(graph, 2)
    run(store, graph)
    assert [tuple(row) for row in store.ledger.rows("SELECT * FROM tags")] == [(bad.key, "suspect")]
    assert later.key not in {row["state"] for row in store.ledger.rows("SELECT state FROM tags")}
