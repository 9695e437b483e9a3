from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import InputError, StoreError
from pomona.graph.ledger import Measurement
from pomona.graph.nodes import Graph, Probe
from pomona.graph.states import States
from pomona.graph.store import Store
from pomona.graph.tags import tag

from .conftest import add, attempt, run
from .orchard import Plain, grow


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, Plain]]]:
    folder = tmp_path_factory.mktemp("orchard") / "store"
    found = grow(folder)
    with Store(folder) as store:
        yield store, found


def test_all_states_are_in_order_and_as_they_were_planned(grown: tuple[Store, dict[str, Plain]]) -> None:
    store, plain = grown
    states = list(States(store))
    assert [(s.distance, s.key) for s in states] == sorted((p.distance, k) for k, p in plain.items())
    for state in states:
        wanted = plain[state.key]
        assert (state.recipe, state.version, state.status) == (wanted.state.recipe, 1, wanted.status)
        assert state.params == wanted.state.params
        assert state.parents == wanted.state.parents
        assert set(state.tags) == wanted.tags
        assert len(state.places) == len({repr(place) for place in wanted.places})
        assert state.density == (wanted.kept[0] / 12 if wanted.kept else None)


def test_nothing_is_read_until_it_is_asked_for(grown: tuple[Store, dict[str, Plain]]) -> None:
    store, _ = grown
    asked: list[str] = []
    store.ledger.connection.set_trace_callback(asked.append)
    try:
        states = States(store, "recipe == nobody-asked")
        assert asked == []
        with pytest.raises(InputError, match="unknown recipe"):
            len(states)
        assert asked
    finally:
        store.ledger.connection.set_trace_callback(None)


def test_number_of_reads_does_not_grow_with_the_states(grown: tuple[Store, dict[str, Plain]]) -> None:
    store, _ = grown
    asked: list[str] = []
    counts = []
    for states in (States(store)[:2], States(store)):
        len(states)
        store.ledger.connection.set_trace_callback(asked.append)
        list(states)
        store.ledger.connection.set_trace_callback(None)
        counts.append(len(asked))
        asked.clear()
    assert counts[0] == counts[1]


def test_slices_and_places(grown: tuple[Store, dict[str, Plain]]) -> None:
    store, _ = grown
    states = States(store)
    assert states[3:9:2].keys() == states.keys()[3:9:2]
    assert states[-1].key == states.keys()[-1]
    assert [state.key for state in reversed(states)] == states.keys()[::-1]
    with pytest.raises(IndexError):
        states[len(states)]


def test_first_place_is_the_step_that_made_it(store: Store) -> None:
    state = add(Graph(), 1.0)
    store.ledger.plan([state], [])
    store.ledger.label("s", [(state.key, "alone", 0, 0, {"method": "l1"}), (state.key, "base", 2, 0, {})])
    assert States(store)[0].what == "base replicate 2 level 0"


def test_frame_has_a_row_a_state_and_what_was_measured(store: Store) -> None:
    graph = Graph()
    a = add(graph, 1.0)
    b = add(graph, 2.0, a)
    run(store, graph)
    for states, value in (((b.key,), 3.0), ((a.key, b.key), 4.0)):
        probe = Probe("look", 1, {}, states)
        store.ledger.plan([], [probe])
        rows = [
            Measurement("mean", value),
            Measurement("mean", 5.0, class_=1),
            Measurement("mean", 6.0, "fc"),
        ]
        store.ledger.commit_probe(probe.key, rows, attempt(probe.key), 1)
    store.ledger.label("s", [(b.key, "ticket", 1, 2, {"method": "l1", "status": "x"})])
    tag(store.ledger, [b.key], "keep")
    frame = States(store).frame()
    assert frame.key.tolist() == [a.key, b.key]
    row = frame.iloc[1]
    assert (row.study, row["step"], row.replicate, row.level, row.method) == ("s", "ticket", 1, 2, "l1")
    assert (row.status, row["arm.status"], row.tags, row.distance) == ("done", "x", "keep", 1)
    # The mean of both states is of neither alone.
    assert row["mean"] == 3.0
    assert math.isnan(frame["mean"].iloc[0])
    assert States(store, "level == 7").frame().empty


def test_frame_tells_the_parts_apart(grown: tuple[Store, dict[str, Plain]]) -> None:
    store, _ = grown
    columns = States(store).frame().columns
    assert {"accuracy", "accuracy.validation", "arm.level", "level", "density"} <= set(columns)
    assert "class-accuracy" not in columns


def test_tensors_are_read_only_when_asked_for(store: Store) -> None:
    graph = Graph()
    a = add(graph, 1.5)
    run(store, graph)
    state = States(store)[0]
    assert [float(np.asarray(array).ravel()[0]) for array in state.weights().values()] == [1.5]
    for path in Path(store.folder, "blobs").glob("*/*"):
        path.unlink()
    assert States(store).keys() == [a.key]
    assert next(iter(States(store))).facts is not None
    with pytest.raises(StoreError):
        States(store)[0].weights()


def test_damage_is_named(store: Store) -> None:
    state = add(Graph(), 1.0)
    store.ledger.plan([state], [])
    with store.ledger.transaction() as write:
        write.execute("UPDATE states SET params = '{', facts = '[]'")
    for read in (lambda: States(store)[0].params, lambda: States(store)[0].facts):
        with pytest.raises(
            StoreError, match=f"is damaged: (parameters|facts) of {state.key[:12]} cannot be read"
        ):
            read()
    with pytest.raises(StoreError, match="parameters of a state cannot be read"):
        States(store, "params.value == 1").keys()
