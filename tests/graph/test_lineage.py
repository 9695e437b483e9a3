from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pomona.core.step import Step
from pomona.graph.differences import differences
from pomona.graph.fields import Field, differing, flat
from pomona.graph.lineage import Lineages
from pomona.graph.nodes import Graph, State
from pomona.graph.store import Store
from pomona.graph.why import explain, same_causes

from .conftest import add, attempt, run


def chain(graph: Graph, size: int, levels: int = 3, width: str = "a" * 64) -> list[State]:
    """Training, pruning and rewinding, as a study makes them."""
    start = graph.add(State("init", 1, {"model": {"source": width}}, how={"sources": {"mine.py:net": width}}))
    states = [start]
    for level in range(levels + 1):
        params = {"train": {"batch_size": size, "duration": Step(1, "ep")}}
        states.append(graph.add(State("train", 1, params, (states[-1].key,))))
        if level < levels:
            states.append(graph.add(State("prune", 1, {"amount": 0.2}, (states[-1].key,))))
            states.append(graph.add(State("treat", 1, {}, (states[-1].key, start.key))))
    return states


def plan(store: Store, *chains: list[State]) -> None:
    """Each at the same place of a study, one after the other."""
    for states in chains:
        store.ledger.plan(states, [])
        store.ledger.label("s", [(states[-1].key, "ticket", 0, 3, {"method": "l1"})])
        with store.ledger.transaction() as write:
            write.execute("UPDATE states SET planned_at = planned_at - 100")


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ({"x": 1}, {"x": 1}, []),
        ({"x": 1}, {"x": 1.0}, [Field("x", "1", "1.0")]),
        ({"x": 1}, {"x": True}, [Field("x", "1", "true")]),
        ({"x": {"y": None}}, {"x": {}}, [Field("x.y", "none", "nothing")]),
        ({"x": Step(1, "ep")}, {"x": "1ep"}, [Field("x", "1ep", "1ep")]),
        ({"x": [1, 2]}, {"x": [1, 2.5]}, [Field("x", "[1, 2]", "[1, 2.5]")]),
        ({"x": {"a": 1}}, {"x": 3}, [Field("x", "{a: 1}", "3")]),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, [Field("a", "1", "2"), Field("b", "1", "2")]),
    ],
)
def test_differing_fields(a: Any, b: Any, found: list[Field]) -> None:
    assert differing(a, b) == found


def test_flat_names_every_field() -> None:
    value = {"a": {"b": 1, "c": {}}, "d": [1]}
    assert flat(value) == {"a.b": "1", "a.c": "{}", "d": "[1]"}


def test_first_cause_is_the_one_that_the_others_descend_from(store: Store) -> None:
    graph = Graph()
    old, new = chain(graph, 32), chain(graph, 64)
    plan(store, old, new)
    lineages = Lineages(store.ledger, [old[-1].key, new[-1].key])
    partings = lineages.partings(old[-1].key, new[-1].key)
    # The first training, then the later ones: what only descends from them has no difference of its own.
    assert [(p.a.key, p.b.key) for p in partings] == [
        (a.key, b.key) for a, b in zip(old, new, strict=True) if a.recipe == "train"
    ]
    assert all(p.fields == (Field("params.train.batch_size", "32", "64"),) for p in partings)
    assert same_causes(partings) == [(0, 4)]


def test_changed_source_comes_first_with_its_text(store: Store) -> None:
    graph = Graph()
    old, new = chain(graph, 32, width="a" * 64), chain(graph, 64, width="b" * 64)
    plan(store, old, new)
    text = "net\ndef net():\n    return {}\n\0width\nWIDTH = 3\n\0"
    store.ledger.keep_sources({"a" * 64: text.format(1), "b" * 64: text.format(2)})
    other = explain(store, new[-1].key).others[0]
    assert [p.a.recipe for p in other.partings] == ["init", "train", "train", "train", "train"]
    (code,) = other.code[0]
    assert (code.path, code.name) == ("params.model.source", "mine.py:net")
    assert "-    return 1" in code.lines
    assert "+    return 2" in code.lines
    assert " def net():" in code.lines
    assert other.earlier
    assert not explain(store, old[-1].key).others[0].earlier


def test_text_that_is_not_on_record_is_no_error(store: Store) -> None:
    graph = Graph()
    old, new = chain(graph, 32, width="a" * 64), chain(graph, 32, width="b" * 64)
    plan(store, old, new)
    assert explain(store, new[-1].key).others[0].code[0][0].lines == ()


def test_long_lineage_is_walked(store: Store) -> None:
    graph = Graph()
    old, new = chain(graph, 32, levels=500), chain(graph, 64, levels=500)
    plan(store, old, new)
    partings = Lineages(store.ledger, [old[-1].key, new[-1].key]).partings(old[-1].key, new[-1].key)
    assert len(partings) == 501
    assert partings[0].a.key == old[1].key


def test_planned_state_says_what_it_waits_for_and_what_failed(store: Store) -> None:
    states = chain(Graph(), 32, levels=1)
    plan(store, states)
    (reason,) = explain(store, states[-1].key).reasons
    assert reason.startswith(f"it is planned and waits for {states[-2].key[:12]} (treat), and 3 more")
    assert explain(store, states[0].key).reasons[0].startswith("it is planned: nothing is in its way")
    failure = attempt(states[1].key, "failed", kind="diverged", reason="loss is NaN at step 3")
    store.ledger.commit_failure(failure, 1, final=True)
    (reason,) = explain(store, states[-1].key).reasons
    assert (
        reason
        == f"it descends from {states[1].key[:12]} (train), which failed: diverged: loss is NaN at step 3"
    )
    assert explain(store, states[1].key).reasons == ("it failed once: diverged: loss is NaN at step 3",)


def test_done_state_names_its_run_and_its_whole_identity(store: Store) -> None:
    graph = Graph()
    a = add(graph, 1.0)
    b = add(graph, 2.0, a)
    run(store, graph)
    found = explain(store, b.key)
    assert found.reasons[0].startswith("it is done: run 1 computed it in ")
    assert found.identity == {
        "recipe": "add",
        "version": "1",
        "params.value": "2.0",
        "parents[0]": f"{a.key[:12]} (add)",
    }
    assert found.others == ()


def test_only_the_latest_others_are_compared(store: Store) -> None:
    graph = Graph()
    plan(store, *(chain(graph, size) for size in (1, 2, 4, 8, 16)))
    last = chain(graph, 16)[-1].key
    found = explain(store, last)
    assert [other.partings[0].fields[0].a for other in found.others] == ["8", "4", "2"]
    assert found.left_out == 1


def test_differences_of_two_computed_states(store: Store) -> None:
    graph = Graph()
    root = add(graph, 1.0)
    a, b = add(graph, 2.0, root), add(graph, 5.0, root)
    run(store, graph)
    found = differences(store, a.key, b.key)
    assert found.fields == (Field("params.value", "2.0", "5.0"),)
    assert found.relation == f"their last common ancestor is {root.key[:12]} (add)"
    assert [(p.a.key, p.b.key) for p in found.partings] == [(a.key, b.key)]
    assert found.environment == ()
    assert not isinstance(found.tensors, str)
    one, other = store.weights(a.key), store.weights(b.key)
    for tensor in found.tensors:
        apart = np.abs(one[tensor.name].astype(float) - other[tensor.name])
        assert tensor.largest == apart.max() == 3.0
        assert tensor.distance == pytest.approx(np.sqrt((apart**2).sum()))
    assert len(found.tensors) + found.equal_tensors == len(one)


def test_equal_states_differ_in_nothing(store: Store) -> None:
    graph = Graph()
    a = add(graph, 1.0)
    run(store, graph)
    found = differences(store, a.key, a.key)
    assert found.relation == "they are the same state"
    assert (found.fields, found.partings, found.tensors, found.environment) == ((), (), (), ())


def test_equal_bits_under_two_keys_are_seen_without_files(store: Store) -> None:
    graph = Graph()
    a, b = add(graph, 3.0), add(graph, 1.0, add(graph, 2.0))
    run(store, graph)
    for path in (store.folder / "blobs").glob("*/*"):
        path.unlink()
    found = differences(store, a.key, b.key)
    assert (found.tensors, found.equal_tensors) == (
        (),
        len(store.ledger.outputs([a.key])[a.key]["weights"].tensors),
    )
    assert found.relation == "they have no common ancestor"


def test_weights_that_are_not_there_leave_the_rest(store: Store) -> None:
    graph = Graph()
    a, b = add(graph, 1.0), add(graph, 2.0)
    run(store, graph)
    store.ledger.drop_outputs([a.key])
    found = differences(store, a.key, b.key)
    assert not isinstance(found.tensors, str)
    assert all(tensor.distance is None and "let go" in tensor.reason for tensor in found.tensors)
    planned = add(Graph(), 9.0)
    store.ledger.plan([planned], [])
    assert differences(store, a.key, planned.key).tensors == f"{planned.key[:12]} has none"


def test_descent_is_said(store: Store) -> None:
    states = chain(Graph(), 32, levels=1)
    plan(store, states)
    found = differences(store, states[-1].key, states[1].key)
    assert found.relation == f"{states[-1].key[:12]} descends from {states[1].key[:12]}"
    assert isinstance(found.masks, str)
    assert found.environment is None


def test_state_without_a_place_is_compared_with_the_most_alike_before_it(store: Store) -> None:
    graph = Graph()
    old, new, far = chain(graph, 32), chain(graph, 64), chain(graph, 16, width="b" * 64)
    plan(store, far, old, new)
    prune = new[-3]
    found = explain(store, prune.key)
    assert prune.recipe == "prune"
    (other,) = found.others
    assert (other.state.key, other.place) == (old[-3].key, None)
    assert [p.a.recipe for p in other.partings] == ["train", "train", "train"]
    assert explain(store, far[-3].key).others == ()


def test_sources_of_users_recipes_have_their_names(store: Store) -> None:
    how = {
        "function": {
            "name": "mine.py:quantise",
            "folder": "/x",
            "source": "a" * 64,
            "depends_on": {
                "tables.csv": ["/x/tables.csv", "", "c" * 64],
                "helper": ["/x/more.py", "helper", "d" * 64],
            },
        }
    }
    state = State("quantise", 1, {"source": "a" * 64}, how=how)
    store.ledger.plan([state], [])
    assert Lineages(store.ledger, [state.key]).states[state.key].sources == {
        "a" * 64: "mine.py:quantise",
        "c" * 64: "tables.csv",
        "d" * 64: "more.py:helper",
    }
