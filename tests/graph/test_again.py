"""Files that are gone, weights that were let go, and states computed again to compare their bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import StoreError
from pomona.graph.again import changes
from pomona.graph.nodes import Graph, State
from pomona.graph.pool import HereExecutor
from pomona.graph.scheduler import Manner, Scheduler
from pomona.graph.store import Store
from tests.graph.conftest import ENTRY, add, make, mean, run, snapshot, train, tried


def again(store: Store, graph: Graph, manner: Manner, environment: str = "{}") -> Scheduler:
    number = store.ledger.start_run("toy", "", (str(hash(environment)), environment), "test", 0)
    store.ledger.plan(graph.states.values(), graph.probes.values())
    scheduler = Scheduler(store, graph, HereExecutor(ENTRY), number, manner=manner)
    scheduler.execute()
    return scheduler


def chain(graph: Graph, length: int = 4) -> list[State]:
    states = [add(graph, 1)]
    for value in range(1, length):
        states.append(add(graph, value, states[-1]))
    return states


def blob(store: Store, state: State) -> Path:
    return store.blobs.path(store.ledger.outputs([state.key])[state.key]["weights"].digest)


def there(store: Store, states: list[State]) -> list[bool]:
    return [blob(store, state).exists() for state in states]


@pytest.mark.parametrize("damage", ["removed", "truncated"])
def test_the_next_run_computes_files_again_that_are_gone(store: Store, damage: str) -> None:
    graph = Graph()
    states = chain(graph)
    run(store, graph)
    before = blob(store, states[2]).read_bytes()
    if damage == "removed":
        blob(store, states[2]).unlink()
    else:
        blob(store, states[2]).write_bytes(before[:-1])
    found = run(store, graph)
    assert blob(store, states[2]).read_bytes() == before
    assert (found.tally.cached, found.tally.restored, found.tally.done, found.failures) == (4, 1, 0, [])
    assert len(found.repairs) == 1
    assert "computed again, bit for bit" in found.repairs[0]
    assert [row["kind"] for row in store.ledger.rows("SELECT kind FROM events")] == ["repaired"]
    assert [node for _, node in tried(store)] == [state.key for state in (*states, states[2])]
    assert run(store, graph).repairs == []


def test_a_flipped_bit_is_found_when_a_child_reads_and_repaired_first(store: Store) -> None:
    graph = Graph()
    states = chain(graph)
    run(store, graph)
    before = blob(store, states[3]).read_bytes()
    broken = bytearray(before)
    broken[-1] ^= 1
    blob(store, states[3]).write_bytes(broken)
    child = add(graph, 7, states[3])
    found = run(store, graph)
    assert found.failures == []
    assert blob(store, states[3]).read_bytes() == before
    assert float(store.weights(child.key)["w"][0]) == 1 + 1 + 2 + 3 + 7
    # The attempt that met the broken file is no failure of the child's.
    assert [row["status"] for row in store.ledger.rows("SELECT status FROM attempts")] == ["done"] * 6


def test_a_whole_line_of_files_that_are_gone_is_computed_from_its_root(store: Store) -> None:
    graph = Graph()
    states = chain(graph)
    run(store, graph)
    for state in states:
        blob(store, state).unlink()
    child = add(graph, 7, states[3])
    found = run(store, graph)
    assert found.failures == []
    assert found.tally.restored == 4
    assert all(there(store, [*states, child]))


def test_a_file_that_comes_out_other_than_it_was_is_a_failure_that_says_so(store: Store) -> None:
    graph = Graph()
    states = chain(graph, 2)
    run(store, graph)
    # As if the state had been computed by something that gives other bits.
    left = store.files.write_weights({"w": np.full(3, 99.0)})
    with store.ledger.transaction() as write:
        sql = "UPDATE outputs SET digest = ?, tensors = ? WHERE state = ?"
        write.execute(sql, (left.digest, json.dumps(dict(left.tensors)), states[1].key))
    store.blobs.path(left.digest).unlink()
    child = add(graph, 5, states[1])
    found = run(store, graph)
    assert [(f.blocked, f.kind) for f in found.failures] == [(1, "error")]
    assert (
        "computing it again gave other bits on the same software and hardware: weights of w"
        in found.failures[0].reason
    )
    assert store.ledger.statuses("states")[states[1].key] == "done"
    assert store.ledger.statuses("states")[child.key] == "planned"


def test_weights_go_as_soon_as_nothing_needs_them_and_come_back_when_something_does(store: Store) -> None:
    graph = Graph()
    states = chain(graph)
    probe = mean(graph, states[1])
    found = again(store, graph, Manner(keep={states[3].key}))
    assert found.failures == []
    assert there(store, states) == [False, False, False, True]
    assert store.ledger.statuses("probes") == {probe.key: "done"}
    assert store.ledger.outputs([states[0].key])[states[0].key]["weights"].dropped
    with pytest.raises(StoreError, match=f"let go; 'pomona restore {states[0].key[:12]}'"):
        store.weights(states[0].key)
    # A run of the same again computes nothing.
    tries = len(tried(store))
    assert again(store, graph, Manner(keep={states[3].key})).tally.restored == 0
    assert run(store, graph).tally.restored == 0
    assert len(tried(store)) == tries
    # A new child needs what is gone: the line is computed again, and let go again.
    child = add(graph, 8, states[2])
    found = again(store, graph, Manner(keep={states[3].key, child.key}))
    assert (found.failures, found.tally.restored, found.tally.done) == ([], 3, 1)
    assert there(store, [*states, child]) == [False, False, False, True, True]
    assert float(store.weights(child.key)["w"][0]) == 1 + 1 + 2 + 8


def test_restore_brings_weights_back(store: Store) -> None:
    graph = Graph()
    states = chain(graph)
    again(store, graph, Manner(keep=set()))
    assert there(store, states) == [False] * 4
    found = again(store, store.graph([states[2].key]), Manner(restore=(states[2].key,)))
    assert found.failures == []
    assert there(store, states) == [True, True, True, False]
    assert not store.ledger.outputs([states[2].key])[states[2].key]["weights"].dropped
    assert float(store.weights(states[2].key)["w"][0]) == 4


def test_snapshots_are_let_go_and_restored_too(store: Store) -> None:
    graph = Graph()
    root = add(graph, 1)
    trained = train(graph, 5, root)
    early = snapshot(graph, 2, trained)
    end = add(graph, 0, early, trained)
    again(store, graph, Manner(keep=set()))
    assert there(store, [root, trained, early, end]) == [False] * 4
    found = again(store, graph, Manner(restore=(early.key, end.key)))
    assert found.failures == []
    assert float(store.weights(early.key)["w"][0]) == 3
    assert float(store.weights(end.key)["w"][0]) == 9


def test_a_file_that_two_states_have_stays_while_one_is_kept(store: Store) -> None:
    graph = Graph()
    root = add(graph, 1)
    same = [add(graph, 0, root), make(graph, "add", {"value": 0, "name": "other"}, root)]
    again(store, graph, Manner(keep={same[0].key}))
    assert blob(store, same[0]) == blob(store, same[1])
    assert blob(store, same[1]).exists()
    again(store, graph, Manner(keep=set()))
    assert not blob(store, same[1]).exists()


def test_verify_compares_bits_and_changes_nothing(store: Store, tmp_path: Path) -> None:
    graph = Graph()
    states = chain(graph)
    probe = mean(graph, states[3])
    again(store, graph, Manner())
    files = sorted(path for path in store.folder.rglob("*.safetensors"))
    found = again(store, graph, Manner(verify=(states[2].key, probe.key), scratch=tmp_path / "scratch"))
    assert [(verdict.same, verdict.text) for verdict in found.verdicts] == [(True, "the same bits")] * 2
    assert found.tally.verified == 2
    assert len(list((tmp_path / "scratch").rglob("*.safetensors"))) == 1
    assert sorted(path for path in store.folder.rglob("*.safetensors")) == files
    assert store.ledger.rows("SELECT * FROM events") == []


def test_verify_names_what_differs_and_what_else_does(store: Store, tmp_path: Path) -> None:
    graph = Graph()
    states = chain(graph, 2)
    probe = mean(graph, states[1])
    again(store, graph, Manner(), json.dumps({"processor": {"model": "A"}, "cores": 2}))
    with store.ledger.transaction() as write:
        write.execute("UPDATE measurements SET value = 7 WHERE quantity = 'mean'")
        write.execute(
            "UPDATE outputs SET digest = ?, tensors = ? WHERE state = ?",
            ("f" * 64, '{"w":"0"}', states[0].key),
        )
    environment = json.dumps({"processor": {"model": "B"}, "cores": 2})
    manner = Manner(verify=(states[0].key, probe.key), scratch=tmp_path / "scratch")
    found = {verdict.node: verdict.text for verdict in again(store, graph, manner, environment).verdicts}
    assert found[states[0].key] == "other bits (processor model: A, now B): weights of w"
    noted = store.ledger.rows("SELECT node, text FROM events WHERE kind = 'verified'")
    assert {row["node"]: row["text"] for row in noted} == found
    assert found[probe.key] == "other bits (processor model: A, now B): mean 0: 7.0, now 2.0"


def test_verify_of_what_fails_now_says_why(store: Store, tmp_path: Path) -> None:
    graph = Graph()
    state = make(graph, "fail", {"kind": "bad input"})
    (store.folder / "mended").touch()
    again(store, graph, Manner())
    (store.folder / "mended").unlink()
    found = again(store, graph, Manner(verify=(state.key,), scratch=tmp_path / "scratch"))
    assert found.verdicts[0].text == "could not be computed again: the file is wrong"
    assert store.ledger.statuses("states")[state.key] == "done"


def test_fail_fast_stops_at_the_first_failure(store: Store) -> None:
    graph = Graph()
    make(graph, "fail", {"kind": "diverged"}, work_steps=10)
    others = chain(graph)
    found = again(store, graph, Manner(fail_fast=True))
    assert [failure.kind for failure in found.failures] == ["diverged"]
    assert found.tally.done == 0
    assert again(store, graph, Manner()).tally.done == len(others)


def test_retry_failed_tries_also_what_lasts(store: Store) -> None:
    graph = Graph()
    make(graph, "fail", {"kind": "diverged"})
    assert len(run(store, graph).failures) == 1
    (store.folder / "mended").touch()
    assert len(run(store, graph).failures) == 1
    assert again(store, graph, Manner(retry_failed=True)).failures == []


def test_changes_of_environments_are_named_by_field() -> None:
    before = {"a": {"x": 1, "y": [1, 2]}, "b": None}
    assert changes(before, {"a": {"x": 2, "y": [1, 2]}, "c": "z" * 80}) == [
        "a x: 1, now 2",
        f"c: None, now {'z' * 57}...",
    ]


def test_a_probe_of_many_states_that_were_let_go_restores_all_of_them(store: Store) -> None:
    graph = Graph()
    root = add(graph, 1)
    states = [add(graph, value, root) for value in range(2, 9)]
    again(store, graph, Manner(keep=set()))
    probe = mean(graph, *states)
    found = again(store, graph, Manner(keep=set()))
    assert found.failures == []
    assert store.ledger.statuses("probes") == {probe.key: "done"}
    assert not any(there(store, states))


def test_what_is_done_is_not_opened_again(store: Store) -> None:
    graph = Graph()
    state = add(graph, 1)
    run(store, graph)
    store.ledger.reopen([state.key])
    assert store.ledger.statuses("states") == {state.key: "done"}


def test_a_store_that_is_removed_while_a_run_goes_on_ends_it(store: Store) -> None:
    graph = Graph()
    chain(graph)

    def remove(tally: object) -> None:
        (store.folder / "ledger.sqlite").unlink(missing_ok=True)

    with pytest.raises(StoreError, match="was removed or replaced"):
        run(store, graph, on_change=remove)
