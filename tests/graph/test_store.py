from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import InputError, StoreError, StoreWriteError
from pomona.graph.blobs import tensor_digest
from pomona.graph.ledger import Output
from pomona.graph.nodes import Graph, State
from pomona.graph.store import Files, Store
from pomona.graph.tables import FORMAT
from pomona.graph.tags import tag
from tests.graph.conftest import add, run

KEY = "ab" * 32


def state_with_key(store: Store, key: str, recipe: str = "init") -> None:
    with store.ledger.transaction() as write:
        write.execute(
            "INSERT INTO states (key, recipe, version, params, how, planned_at) VALUES (?,?,1,'{}','{}',0)",
            (key, recipe),
        )


def test_store_opens_again_what_it_made(tmp_path: Path) -> None:
    with Store(tmp_path / "a" / "store") as store:
        store.ledger.plan([State("init", 1, {})], [])
    with Store(str(tmp_path / "a" / "store"), create=False) as again:
        assert len(again.ledger.statuses("states")) == 1


def test_store_is_not_made_where_none_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=rf"there is no store in {tmp_path}/none; run a study first, or name one"
    ):
        Store(tmp_path / "none", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", [".", "blobs"])
def test_store_in_a_folder_that_cannot_be_written(tmp_path: Path, where: str) -> None:
    """A file in the place of a folder stops everybody, the superuser too."""
    folder = tmp_path / "store"
    blocked = folder / where
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("a file")
    with pytest.raises(
        StoreError, match=rf"the store {folder} cannot be written: .* Name a folder that can be"
    ):
        Store(folder)


def test_store_of_a_newer_format_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.ledger.connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
        store.ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / "ledger.sqlite").read_bytes()
    for create in (True, False):
        with pytest.raises(StoreError) as caught:
            Store(tmp_path, create=create)
        assert f"store of format {FORMAT + 1}; this version of Pomona reads format {FORMAT}" in str(
            caught.value
        )
        assert "Nothing was changed" in str(caught.value)
    assert (tmp_path / "ledger.sqlite").read_bytes() == before


def test_store_with_a_broken_ledger_is_refused(store: Store) -> None:
    store.close()
    (store.folder / "ledger.sqlite").write_bytes(b"\0garbage" * 1000)
    with pytest.raises(StoreError, match="is not a readable ledger"):
        Store(store.folder)


def test_store_lets_go_of_the_ledger(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        connection = store.ledger.connection
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_find_by_the_beginning_of_a_key(store: Store) -> None:
    keys = ["ab" + "0" * 62, "abc" + "1" * 61, "abf" + "f" * 61, "ac" + "0" * 62]
    for key in keys:
        state_with_key(store, key)
    assert store.find("abc") == keys[1]
    assert store.find("ABC") == keys[1]
    assert store.find("abf") == keys[2]
    assert store.find("ac") == keys[3]
    assert store.find(keys[0]) == keys[0]


def test_find_nothing_says_so(store: Store) -> None:
    state_with_key(store, KEY)
    for prefix in ("ff", "xyz", KEY + "0", "%", "_b"):
        with pytest.raises(InputError) as caught:
            store.find(prefix)
        wanted = f"no state in {store.folder} has a key that begins with {prefix!r}, or it as a tag"
        assert str(caught.value) == wanted


def test_find_takes_a_tag_that_one_state_has(store: Store) -> None:
    state_with_key(store, KEY)
    tag(store.ledger, [KEY], "lth")
    assert store.find("lth") == KEY


def test_find_several_names_the_first_few(store: Store) -> None:
    for i in range(6):
        state_with_key(store, f"ab{i}" + "0" * 61, "train")
    with pytest.raises(InputError) as caught:
        store.find("ab")
    text = str(caught.value)
    assert text.startswith("several states have a key that begins with 'ab': ab0000000000 (train), ab10")
    assert text.count("(train)") == 4
    assert text.endswith("give more of it")


def test_weights_and_masks_of_a_finished_state(store: Store) -> None:
    state_with_key(store, KEY)
    weights = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "count": np.array(3)}
    masks = {"fc.weight": np.array([[True, False, True], [False, False, True]])}
    outputs = [store.files.write_weights(weights), store.files.write_masks(masks, {"fc.weight": "linear"})]
    store.ledger.commit_state(KEY, outputs, {}, None, 1)
    found = store.weights(KEY)
    assert found.keys() == weights.keys()
    assert all((found[name] == weights[name]).all() for name in weights)
    assert found["count"].shape == ()
    found_masks, kinds = store.masks(KEY)
    assert (found_masks["fc.weight"] == masks["fc.weight"]).all()
    assert kinds == {"fc.weight": "linear"}


def test_weights_of_a_state_that_has_none_say_why(store: Store) -> None:
    state_with_key(store, KEY)
    with pytest.raises(StoreError, match="state abababababab has no weights: it is planned"):
        store.weights(KEY)
    with pytest.raises(StoreError, match="state cccccccccccc has no masks: it is not in this store"):
        store.masks("c" * 64)


def test_files_describe_a_blob_as_it_was_written(store: Store) -> None:
    weights = {"w": np.arange(4.0), "norm.batches": np.array(7)}
    written = store.files.write_weights(weights)
    assert store.files.describe("weights", written.digest) == written
    assert written == Output(
        "weights", written.digest, written.size_bytes, {n: tensor_digest(a) for n, a in weights.items()}
    )


def checkpoint(files: Files, step: int) -> Path:
    before = set(files.checkpoints.iterdir())
    files.write_checkpoint(KEY, {"w": np.full(50, float(step))}, {"step": step})
    (new,) = set(files.checkpoints.iterdir()) - before
    return new


def test_checkpoint_the_last_one_counts(store: Store) -> None:
    assert store.files.read_checkpoint(KEY) is None
    checkpoint(store.files, 1)
    new = checkpoint(store.files, 2)
    assert list(store.files.checkpoints.iterdir()) == [new]
    found = store.files.read_checkpoint(KEY)
    assert found is not None
    assert found[1] == {"step": 2}
    assert (found[0]["w"] == 2).all()


def test_checkpoint_of_two_whole_ones_the_newer_counts(store: Store) -> None:
    """A crash between writing a checkpoint and dropping the one before leaves both."""
    for first, second in ((1, 2), (2, 1)):
        old = checkpoint(store.files, first)
        content = old.read_bytes()
        checkpoint(store.files, second)
        old.write_bytes(content)
        os.utime(old, (1000, 1000))
        found = store.files.read_checkpoint(KEY)
        assert found is not None
        assert found[1] == {"step": second}
        store.files.drop_checkpoint(KEY)


@pytest.mark.parametrize("harm", ["truncate", "flip", "empty"])
def test_checkpoint_that_is_not_whole_is_passed_over(store: Store, harm: str) -> None:
    """What a crash can leave: the last whole one beside one that is not."""
    old = checkpoint(store.files, 1)
    content = old.read_bytes()
    new = checkpoint(store.files, 2)
    old.write_bytes(content)
    os.utime(old, (1000, 1000))
    broken = bytearray(new.read_bytes())
    broken[-1] ^= 1
    new.write_bytes({"truncate": bytes(broken[:-9]), "flip": bytes(broken), "empty": b""}[harm])
    found = store.files.read_checkpoint(KEY)
    assert found is not None
    assert found[1] == {"step": 1}
    old.unlink()
    assert store.files.read_checkpoint(KEY) is None


def test_checkpoint_is_dropped_with_all_that_is_left_of_it(store: Store) -> None:
    checkpoint(store.files, 1)
    store.files.write_checkpoint("cd" * 32, {}, {"step": 9})
    store.files.drop_checkpoint(KEY)
    assert store.files.read_checkpoint(KEY) is None
    found = store.files.read_checkpoint("cd" * 32)
    assert found is not None
    assert found[1] == {"step": 9}
    store.files.drop_checkpoint(KEY)


def test_checkpoint_that_cannot_be_written_keeps_the_old_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(store.files, 1)
    with monkeypatch.context() as patch:
        patch.setattr(
            os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(StoreWriteError, match="the disk is full"):
            store.files.write_checkpoint(KEY, {}, {"step": 2})
    found = store.files.read_checkpoint(KEY)
    assert found is not None
    assert found[1] == {"step": 1}


def test_a_store_in_a_folder_that_cannot_be_written_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user's store, or one on a medium that is read-only."""
    graph = Graph()
    state = add(graph, 1)
    run(store, graph)
    monkeypatch.setattr("pomona.graph.ledger.os.access", lambda path, mode: False)
    with pytest.raises(StoreError, match="has not closed it; copy the store"):
        Store(store.folder, create=False)
    store.close()
    with Store(store.folder, create=False) as reader:
        assert reader.ledger.statuses("states") == {state.key: "done"}
        assert float(reader.weights(state.key)["w"][0]) == 1
        with pytest.raises(StoreError):
            reader.ledger.reopen([state.key])
