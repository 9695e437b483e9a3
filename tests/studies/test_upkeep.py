"""What a store keeps of a study, what it computes again, and that the bits are the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pomona.core.errors import InputError, ProblemsError
from pomona.graph.store import Store
from pomona.studies.results import Results
from pomona.studies.run import run
from pomona.studies.upkeep import broken_files, restore, verify
from tests.studies.conftest import SMALL, small_study


def keeping(policy: str, engine: str = "auto") -> str:
    return f"{SMALL}keep: {policy}\nengine: {engine}\n"


def kept(store: Store) -> set[str]:
    rows = store.ledger.rows("SELECT state FROM outputs WHERE name = 'weights' AND dropped_at IS NULL")
    found = {row["state"] for row in rows}
    outputs = store.ledger.outputs(found)
    assert all(store.blobs.check(outputs[state]["weights"].digest) is None for state in found)
    return found


def digests(store: Store) -> dict[tuple[str, str], str]:
    return {(r["state"], r["name"]): r["digest"] for r in store.ledger.rows("SELECT * FROM outputs")}


@pytest.mark.parametrize("engine", ["torch", "lanes"])
def test_a_study_keeps_the_weights_of_its_last_level_only(engine: str, tmp_path: Path) -> None:
    study = small_study(keeping("last-level", engine))
    results = run(study, store=tmp_path / "store", workers=0)
    store = results.store
    # The last of dense is level 0, and of the tickets level 3.
    assert kept(store) == {
        p.state.key for p in results.population.points if p.level == 3 or p.step == "dense"
    }
    assert results.lost() == []
    # What nothing needed any more was gone before the end, and measured all the same.
    assert results.frame().query("quantity == 'weight-stability'").shape[0] > 0
    # A level more goes on from the last one, whose weights are there.
    before = digests(store)
    deeper = run(
        small_study(keeping("last-level", engine).replace("repeat: 3", "repeat: 4")), store=store, workers=0
    )
    assert before.items() <= digests(store).items()
    assert kept(store) == {p.state.key for p in deeper.population.points if p.level == 4 or p.step == "dense"}
    trained = store.ledger.rows(
        "SELECT COUNT(*) AS n FROM attempts a JOIN states s ON s.key = a.node WHERE s.recipe = 'train'"
    )[0]["n"]
    assert trained == store.ledger.rows("SELECT COUNT(*) AS n FROM states WHERE recipe = 'train'")[0]["n"]


def test_a_policy_leaves_the_states_of_other_studies_alone(tmp_path: Path) -> None:
    first = run(small_study(SMALL), store=tmp_path / "store", workers=0)
    everything = kept(first.store)
    run(small_study(keeping("none").replace("study: small", "study: other")), store=first.store, workers=0)
    labelled = {point.state.key for point in first.population.points}
    assert labelled <= kept(first.store) < everything


def test_a_query_decides_in_the_end_what_is_kept(tmp_path: Path) -> None:
    text = keeping('"accuracy.test >= 0 and level == 2 and method == l1-structured"')
    results = run(small_study(text), store=tmp_path / "store", workers=0)
    wanted = {
        p.state.key for p in results.population.points if p.level == 2 and "l1-structured" in p.arm.values()
    }
    assert wanted
    assert kept(results.store) == wanted


def test_a_policy_that_is_none_is_a_fault_of_the_study() -> None:
    with pytest.raises(ProblemsError, match="unknown policy 'last-levels'; did you mean 'last-level'"):
        small_study(keeping("last-levels"))


@pytest.mark.parametrize("workers", [0, 2])
def test_weights_that_were_let_go_come_back_bit_for_bit(
    workers: int, small_store: Path, tmp_path: Path
) -> None:
    results = run(small_study(keeping("none")), store=tmp_path / "store", workers=workers)
    store = results.store
    assert kept(store) == set()
    point = results.point(level=2, replicate=1, method="l1-unstructured", treatment="late")
    assert restore([point.state.key[:16]], store, workers=workers) == []
    with Store(small_store, create=False) as whole:
        expected = whole.weights(point.state.key)
        assert digests(whole) == digests(store)
    found = store.weights(point.state.key)
    assert all((found[name] == expected[name]).all() for name in expected)
    # As a module too, which reads the same file.
    results.module(level=2, replicate=1, method="l1-unstructured", treatment="late")


def test_what_is_not_done_cannot_be_restored(small_store: Path) -> None:
    with Store(small_store, create=False) as store, pytest.raises(InputError, match="no state in"):
        restore(["ffffffffffff"], store)


def test_verify_computes_a_sample_again_and_leaves_the_store_as_it_is(small_store: Path) -> None:
    with Store(small_store, create=False) as store:
        before = digests(store), kept(store), sorted(store.folder.rglob("*.safetensors"))
        done = sum(len(store.ledger.statuses(table)) for table in ("states", "probes"))
        found = verify(store, 0.1, workers=0)
        assert done / 10 <= len(found) <= done / 10 + 2
        assert {verdict.text for verdict in found} == {"the same bits"}
        assert (digests(store), kept(store), sorted(store.folder.rglob("*.safetensors"))) == before
        assert verify(store, 0.0) == []
        with pytest.raises(InputError, match=r"expected a number from 0 to 1, got 1\.5"):
            verify(store, 1.5)


def test_verify_restores_what_it_needs_and_lets_it_go_again(tmp_path: Path) -> None:
    results = run(small_study(keeping("last-level")), store=tmp_path / "store", workers=0)
    before = kept(results.store)
    found = verify(results.store, 0.2, workers=0)
    assert {verdict.text for verdict in found} == {"the same bits"}
    assert kept(results.store) == before


def test_verify_tells_other_bits(tmp_path: Path) -> None:
    """A ledger that claims other bits than the recipe gives is found, tensor by tensor."""
    results = run(small_study(), store=tmp_path / "store", workers=0)
    key = results.point(level=1, method="l1-unstructured", treatment="rewind").state.key
    tensors = dict(results.store.ledger.outputs([key])[key]["weights"].tensors)
    name = next(iter(tensors))
    with results.store.ledger.transaction() as write:
        tensors[name] = "0" * 64
        sql = "UPDATE outputs SET digest = ?, tensors = ? WHERE state = ? AND name = 'weights'"
        write.execute(sql, ("0" * 64, json.dumps(tensors), key))
    wrong = [v for v in verify(results.store, 1.0, workers=0) if not v.same]
    assert [verdict.text for verdict in wrong if verdict.node == key] == [
        f"other bits on the same software and hardware: weights of {name}"
    ]
    # What descends from it cannot read its file any more, and says why.
    assert all("its files are gone" in v.text or v.node == key for v in wrong)


def test_broken_files_are_found_removed_and_computed_again(tmp_path: Path) -> None:
    results = run(small_study(), store=tmp_path / "store", workers=0)
    store = results.store
    before = digests(store)
    key = results.point(level=3, method="l1-structured").state.key
    path = store.blobs.path(before[key, "weights"])
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes([content[100] ^ 4]) + content[101:])
    faults = broken_files(store)
    assert len(faults) == 1
    assert before[key, "weights"][:12] in faults[0]
    assert not path.exists()
    assert Results(small_study(), store).lost() == []
    run(small_study(), store=store, workers=0)
    assert path.read_bytes() == content
    assert broken_files(store) == []
    assert digests(store) == before
