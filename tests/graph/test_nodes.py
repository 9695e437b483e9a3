from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.canonical import canonical
from pomona.core.errors import InputError
from pomona.core.step import Step
from pomona.graph.ledger import Output
from pomona.graph.nodes import Graph, Probe, State, from_json, to_json

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.builds(Step, st.integers(0, 10**6), st.sampled_from(["ep", "it"]))
)
names = st.text(max_size=5).filter(lambda name: name != "$step")
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_json_round_trip_keeps_every_type(value: Any) -> None:
    back = from_json(to_json(value))
    assert canonical(back) == canonical(value)


def test_json_is_plain_sorted_and_one_line() -> None:
    text = to_json({"b": [Step(3, "ep"), (1,)], "a": "x\ny"})
    assert text == '{"a":"x\\ny","b":[{"$step":"3ep"},[1]]}'
    assert json.loads(text)["a"] == "x\ny"


def test_json_of_a_record_is_its_fields_with_their_types() -> None:
    output = Output("weights", "ab", 3, {"w": "cd"})
    assert from_json(to_json([output])) == [
        {"name": "weights", "digest": "ab", "size_bytes": 3, "tensors": {"w": "cd"}, "dropped": False}
    ]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (math.nan, ValueError, "not JSON compliant"),
        (math.inf, ValueError, "not JSON compliant"),
        ({1, 2}, TypeError, "set has no form in JSON"),
        (Output, TypeError, "type has no form in JSON"),
    ],
)
def test_json_refuses(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        to_json({"x": value})


def test_state_key_is_made_of_recipe_version_params_and_parents_alone() -> None:
    state = State("train", 1, {"lr": 0.1}, ("p",), how={"path": "/a"}, work_steps=5, cost="x")
    assert State("train", 1, {"lr": 0.1}, ("p",)).key == state.key
    assert State("train", 1, {"lr": 0.1}, ("p",)) == state
    others = [
        State("prune", 1, {"lr": 0.1}, ("p",)),
        State("train", 2, {"lr": 0.1}, ("p",)),
        State("train", 1, {"lr": 0.2}, ("p",)),
        State("train", 1, {"lr": 0.1}, ("q",)),
    ]
    assert len({state.key, *(other.key for other in others)}) == 5


def test_probe_key_does_not_depend_on_how() -> None:
    probe = Probe("accuracy", 1, {"part": "test"}, ("s",), how={"path": "/a"})
    assert Probe("accuracy", 1, {"part": "test"}, ("s",)).key == probe.key
    assert State("accuracy", 1, {"part": "test"}, ("s",)).key != probe.key


def test_graph_gives_back_what_is_there_already() -> None:
    graph = Graph()
    first = graph.add(State("init", 1, {}, how={"path": "/a"}))
    assert graph.add(State("init", 1, {}, how={"path": "/b"})) is first
    probe = graph.measure(Probe("accuracy", 1, {}, (first.key,)))
    assert graph.measure(Probe("accuracy", 1, {}, (first.key,))) is probe
    assert (len(graph.states), len(graph.probes)) == (1, 1)


def test_graph_refuses_what_descends_from_nothing() -> None:
    graph = Graph()
    orphan = State("train", 1, {}, ("f" * 64,))
    with pytest.raises(InputError, match=rf"state {orphan.key[:12]} \(train\): parent f{{12}} is not here"):
        graph.add(orphan)
    with pytest.raises(InputError, match=r"probe accuracy: state f{12} is not in the graph"):
        graph.measure(Probe("accuracy", 1, {}, ("f" * 64,)))
    assert not graph.states
    assert not graph.probes


def test_graph_ancestors_come_nearest_first_each_once() -> None:
    graph = Graph()
    root = graph.add(State("init", 1, {}))
    left, right = (graph.add(State("train", 1, {"side": side}, (root.key,))) for side in ("l", "r"))
    end = graph.add(State("join", 1, {}, (left.key, right.key)))
    graph.add(State("unrelated", 1, {}, (root.key,)))
    assert list(graph.ancestors(end.key)) == [end, left, right, root]
    assert list(graph.ancestors(root.key)) == [root]


def test_graph_ancestors_of_a_ladder_are_visited_once_each() -> None:
    graph = Graph()
    pair = [graph.add(State("init", 1, {"i": i})) for i in range(2)]
    for level in range(200):
        pair = [
            graph.add(State("join", 1, {"i": i, "level": level}, (pair[0].key, pair[1].key)))
            for i in range(2)
        ]
    found = [state.key for state in graph.ancestors(pair[0].key)]
    assert len(found) == len(set(found)) == 401
