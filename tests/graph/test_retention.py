from __future__ import annotations

import os
import time

import numpy as np
import pytest

from pomona.core.errors import InputError, StoreError
from pomona.graph.leases import Leases
from pomona.graph.nodes import Graph, State
from pomona.graph.retention import Freed, check_policy, collect, kept_states
from pomona.graph.store import Store
from tests.graph.conftest import add, run


@pytest.fixture
def levels(store: Store) -> list[State]:
    """Two arms of three levels on one root; each state is labelled."""
    graph = Graph()
    root = add(graph, 1)
    found = [root]
    rows = []
    for arm in ("a", "b"):
        state = root
        rows.append((root.key, "ticket", 0, 0, {"method": arm}))
        for level in (1, 2):
            state = add(graph, level + 10 * (arm == "b"), state)
            found.append(state)
            rows.append((state.key, "ticket", 0, level, {"method": arm}))
    run(store, graph)
    store.ledger.label("study", rows)
    return found


def kept(store: Store, levels: list[State]) -> list[bool]:
    outputs = store.ledger.outputs([state.key for state in levels])
    files = [store.blobs.path(outputs[state.key]["weights"].digest).exists() for state in levels]
    assert files == [not outputs[state.key]["weights"].dropped for state in levels]
    return files


@pytest.mark.parametrize(
    ("policy", "stay"),
    [
        ("all", [True] * 5),
        ("last-level", [False, False, True, False, True]),
        ("none", [False] * 5),
        ("level == 1 and method == b", [False, False, False, True, False]),
    ],
)
def test_weights_that_a_policy_does_not_keep_go(
    store: Store, levels: list[State], policy: str, stay: list[bool]
) -> None:
    sizes = [
        os.stat(store.blobs.path(o["weights"].digest)).st_size
        for o in store.ledger.outputs(s.key for s in levels).values()
    ]
    would = collect(store, policy, dry_run=True)
    assert kept(store, levels) == [True] * 5
    freed = collect(store, policy)
    assert (
        freed == would == Freed(stay.count(False), stay.count(False), 0, 0, 0, sizes[0] * stay.count(False))
    )
    assert kept(store, levels) == stay
    assert set(store.ledger.statuses("states").values()) == {"done"}
    assert collect(store, policy) == Freed(0, 0, 0, 0, 0, 0)


def test_what_nothing_refers_to_goes(store: Store, levels: list[State]) -> None:
    orphan = store.blobs.write({"w": np.full(3, 77.0)})
    store.files.write_checkpoint(levels[0].key, {}, {"step": 1})
    draft = store.folder / "tmp" / "half"
    draft.write_bytes(b"12345")
    os.utime(draft, (time.time() - 3600,) * 2)
    (store.folder / "blobs" / "notes.txt").write_text("mine")
    freed = collect(store)
    assert (freed.states, freed.orphans, freed.checkpoints, freed.drafts) == (0, 1, 1, 1)
    assert not store.blobs.path(orphan.digest).exists()
    assert list(store.files.checkpoints.iterdir()) == []
    assert not draft.exists()
    assert (store.folder / "blobs" / "notes.txt").exists()
    assert kept(store, levels) == [True] * 5
    events = store.ledger.rows("SELECT kind, text FROM events")
    assert [row["kind"] for row in events] == ["freed"]
    assert f"{freed.size_bytes:,} bytes" in events[0]["text"]


def test_the_checkpoint_of_an_unfinished_state_stays(store: Store) -> None:
    graph = Graph()
    state = add(graph, 1)
    store.ledger.plan(graph.states.values(), [])
    store.files.write_checkpoint(state.key, {}, {"step": 1})
    assert collect(store).checkpoints == 0
    assert store.files.read_checkpoint(state.key) is not None


def test_nothing_is_freed_while_a_run_is_under_way(store: Store, levels: list[State]) -> None:
    with Leases(store.folder, store.ledger.path, 7):
        with pytest.raises(StoreError, match=f"run 7 of process {os.getpid()} is under way"):
            collect(store, "none")
        assert collect(store, "none", dry_run=True).states == 5
    assert kept(store, levels) == [True] * 5


@pytest.mark.parametrize("policy", ["last-levels", "accuracy >", "nonne", ""])
def test_what_is_no_policy_is_refused(store: Store, policy: str) -> None:
    with pytest.raises(InputError, match="expected all, last-level, none or a query"):
        check_policy(policy)
    with pytest.raises(InputError):
        kept_states(store, policy)
