"""What goes wrong elsewhere: one test for each way in which a graph of experiments has been seen to lie.

Identity, files and queries. Each test is named by what used to go wrong.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pomona.core.errors import InputError, StoreError
from pomona.core.reference import Reference
from pomona.graph.blobs import pack
from pomona.graph.custom import Measure, Recipe, load_declared
from pomona.graph.growth import apply, measure
from pomona.graph.nodes import Graph, Probe, State
from pomona.graph.store import Store
from tests.users import HEAD, declare, own_modules, write

from .conftest import add, mean, run, tried

TWO = """
@pomona.recipe
def halve(state: pomona.Given, *, lr: float = 1.0) -> pomona.Made: ...

@pomona.recipe
def twice(state: pomona.Given, *, lr: float = 1.0) -> pomona.Made: ...
"""


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with own_modules():
        yield


def _imported(path: Path) -> set[str]:
    found = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    return {alias.name for node in found for alias in node.names} | {
        getattr(node, "module", None) or "" for node in found
    }


def rooted() -> tuple[Graph, State]:
    graph = Graph()
    return graph, graph.add(State("init", 1, {}))


def test_two_recipes_with_the_same_parameters_collide(tmp_path: Path) -> None:
    graph, root = rooted()
    halve = declare(tmp_path, TWO, "halve")
    twice = load_declared(Reference(halve.reference.path, "twice"), Recipe)
    assert apply(graph, halve, root, lr=0.1).key != apply(graph, twice, root, lr=0.1).key
    assert State("a", 1, {"x": 1}).key != State("b", 1, {"x": 1}).key


def test_floats_that_print_alike_collide(tmp_path: Path) -> None:
    graph, root = rooted()
    halve = declare(tmp_path, TWO, "halve")
    rates = (1e-9, 4e-9, 0.1, np.nextafter(0.1, 1), 1.0, 1 + 2.0**-52)
    assert len({apply(graph, halve, root, lr=float(lr)).key for lr in rates}) == len(rates)


def test_values_of_different_types_collide(tmp_path: Path) -> None:
    values: list[Any] = [1, "1", 1.0, True, "True", None, "None", [], {}, "", [1], (1, 1), "[1]"]
    assert len({State("init", 1, {"x": value}).key for value in values}) == len(values)
    text = "@pomona.recipe\ndef work(state: pomona.Given, *, x: int | str | bool) -> pomona.Made: ...\n"
    graph, root = rooted()
    work = declare(tmp_path, text)
    assert len({apply(graph, work, root, x=x).key for x in (1, "1", True, "True")}) == 4


def test_a_misspelt_parameter_is_hashed_as_nothing(tmp_path: Path) -> None:
    graph, root = rooted()
    halve = declare(tmp_path, TWO, "halve")
    with pytest.raises(InputError, match="unknown parameter 'lrr'; did you mean 'lr'"):
        apply(graph, halve, root, lrr=0.1)
    assert set(graph.states) == {root.key}


def test_a_changed_body_is_not_detected(tmp_path: Path) -> None:
    text = (
        HEAD
        + "from helper import by\n\n@pomona.recipe\ndef work(state: pomona.Given) -> pomona.Made:\n    return by(2)\n"
    )
    keys = []
    for body, helper in (("by(2)", "x"), ("by(3)", "x"), ("by(2)", "x + 1"), ("by( 2 )  # a comment", "x")):
        write(tmp_path, "helper.py", f"def by(x):\n    return {helper}\n")
        graph, root = rooted()
        work = declare(tmp_path, text.replace("by(2)", body).removeprefix(HEAD))
        keys.append(apply(graph, work, root).key)
    assert len(set(keys)) == 3
    assert keys[0] == keys[3]


def test_a_tag_changes_the_key_and_everything_is_computed_again(store: Store) -> None:
    graph = Graph()
    add(graph, 2, add(graph, 1))
    run(store, graph)
    before = len(tried(store))
    with store.ledger.transaction() as write_:
        write_.executemany("INSERT INTO tags VALUES (?, 'best')", [(key,) for key in graph.states])
    run(store, graph)
    assert len(tried(store)) == before


def test_every_node_stores_the_whole_data_set_again(store: Store) -> None:
    graph = Graph()
    state = add(graph, 0)
    for value in range(200):
        state = add(graph, value, state)
    run(store, graph)
    files = [path for path in (store.folder / "blobs").rglob("*") if path.is_file()]
    # Three numbers each, and a header: nothing of what they were made from.
    assert sum(path.stat().st_size for path in files) <= 201 * (len(pack({"w": np.zeros(3)})) + 8)


def test_a_cached_state_loads_its_tensors(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph()
    mean(graph, add(graph, 2, add(graph, 1)))
    run(store, graph)

    def read(*_: object) -> None:
        raise AssertionError("tensors were read")

    monkeypatch.setattr("pomona.graph.blobs.unpack", read)
    scheduler = run(store, graph)
    assert scheduler.tally.done == 0
    assert not scheduler.failures


def test_reading_a_store_runs_what_lies_in_it(tmp_path: Path) -> None:
    """What reads and writes a store knows no pickle, and foreign bytes are an error."""
    room = Path(inspect.getfile(Store)).parent
    assert [path.name for path in room.glob("*.py") if "pickle" in _imported(path)] == []
    with Store(tmp_path / "store") as store:
        path = store.blobs.path("ab" * 32)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
        with pytest.raises(StoreError):
            store.blobs.read("ab" * 32)
    assert not (tmp_path / "ran").exists()


def test_results_of_probes_are_thrown_away(store: Store) -> None:
    graph = Graph()
    probe = mean(graph, add(graph, 3))
    run(store, graph)
    run(store, graph)
    assert [name for name, _ in tried(store)] == ["add", "mean"]
    rows = store.ledger.rows("SELECT value FROM measurements WHERE probe = ?", [probe.key])
    assert 3.0 in [row["value"] for row in rows]


def test_only_trees_can_be_built(store: Store) -> None:
    graph = Graph()
    left, right = add(graph, 1), add(graph, 2)
    joined = add(graph, 0, left, right)
    assert joined.parents == (left.key, right.key)
    assert add(graph, 0, right, left) is not joined
    run(store, graph)
    assert store.weights(joined.key)["w"][0] == 3


def test_parameters_cannot_be_queried_without_loading_states(store: Store) -> None:
    graph = Graph()
    for value in range(5):
        add(graph, value)
    store.ledger.plan(graph.states.values(), [])
    sql = "SELECT key FROM states WHERE json_extract(params, '$.value') >= 3"
    found = {row["key"] for row in store.ledger.rows(sql)}
    assert found == {state.key for state in graph.states.values() if state.params["value"] >= 3}  # type: ignore[operator]


def test_a_second_root_overwrites_the_first(store: Store, tmp_path: Path) -> None:
    graph = Graph()
    roots = [graph.add(State("add", 1, {"value": value})) for value in (1, 2)]
    assert len(graph.states) == 2
    run(store, graph)
    other = Graph()
    other.add(State("add", 1, {"value": 3}))
    run(store, other)
    assert [store.weights(root.key)["w"][0] for root in roots] == [1, 2]
    text = "@pomona.probe\ndef work(state: pomona.Given) -> float: ...\n"
    probes = [measure(graph, declare(tmp_path, text, kind=Measure), root) for root in roots]
    assert len({probe.key for probe in probes}) == 2
    assert isinstance(probes[0], Probe)


def test_building_a_graph_imports_a_deep_learning_library(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", HEAD + TWO)
    code = (
        "import sys, mine, pomona; g = pomona.Graph(); from pomona.graph.nodes import State;"
        "pomona.apply(g, mine.halve, g.add(State('init', 1, {}))); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
