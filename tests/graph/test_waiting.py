from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.graph.waiting import Waiting


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Up to twelve nodes, each with parents among the earlier ones."""
    count = draw(st.integers(1, 12))
    return {
        f"n{i:02}": [f"n{p:02}" for p in sorted(draw(st.sets(st.integers(0, i - 1), max_size=3)))]
        if i
        else []
        for i in range(count)
    }


def ones(needs: dict[str, list[str]]) -> dict[str, float]:
    return dict.fromkeys(needs, 1.0)


def below(needs: dict[str, list[str]], key: str) -> set[str]:
    found = {key}
    for child, parents in needs.items():
        if found & set(parents):
            found.add(child)
    return found


@given(graphs(), st.data())
def test_waiting_gives_every_node_once_and_parents_first(
    needs: dict[str, list[str]], data: st.DataObject
) -> None:
    waiting = Waiting(needs, ones(needs))
    running: list[str] = []
    done: list[str] = []
    while waiting.ready or running:
        if waiting.ready and (not running or data.draw(st.booleans())):
            running.append(waiting.take())
        else:
            key = running.pop(data.draw(st.integers(0, len(running) - 1)))
            waiting.finish(key)
            done.append(key)
    assert sorted(done) == sorted(needs)
    for key, parents in needs.items():
        assert all(done.index(parent) < done.index(key) for parent in parents)


@given(graphs(), st.data())
def test_waiting_drop_takes_a_node_and_all_that_descends_from_it(
    needs: dict[str, list[str]], data: st.DataObject
) -> None:
    waiting = Waiting(needs, ones(needs))
    gone: set[str] = set()
    for key in data.draw(st.lists(st.sampled_from(sorted(needs)), max_size=3)):
        assert set(waiting.drop(key)) == below(needs, key) - gone
        gone |= below(needs, key)
    assert {key for key in needs if key in waiting} == set(needs) - gone
    left = []
    while waiting.ready:
        left.append(waiting.take())
        waiting.finish(left[-1])
    assert sorted(left) == sorted(set(needs) - gone)


def test_waiting_drop_what_failed_before_takes_its_descendants() -> None:
    waiting = Waiting({"a": ["failed"], "b": ["a"], "c": []}, ones({"a": [], "b": [], "c": []}))
    assert sorted(waiting.drop("failed")) == ["a", "b"]
    assert waiting.take() == "c"
    assert not waiting.ready


def test_waiting_the_longest_path_comes_first() -> None:
    needs: dict[str, list[str]] = {"short": [], "long": [], "heavy": [], "l1": ["long"], "l2": ["l1"]}
    waiting = Waiting(needs, {"short": 1, "long": 1, "heavy": 2.5, "l1": 1, "l2": 1})
    assert [waiting.take() for _ in range(3)] == ["long", "heavy", "short"]


def test_waiting_equal_paths_come_in_the_order_given() -> None:
    needs: dict[str, list[str]] = {key: [] for key in "dacb"}
    waiting = Waiting(needs, ones(needs))
    assert [waiting.take() for _ in range(4)] == list("dacb")


def test_waiting_what_was_put_back_is_taken_again() -> None:
    waiting = Waiting({"a": [], "b": ["a"]}, {"a": 1, "b": 1})
    assert waiting.take() == "a"
    assert not waiting.ready
    waiting.put_back("a")
    waiting.put_back("a")
    assert waiting.take() == "a"
    assert not waiting.ready
    waiting.finish("a")
    assert waiting.take() == "b"


def test_waiting_what_is_finished_before_its_turn_is_not_given() -> None:
    """A snapshot is done with its run, although it never ran itself."""
    waiting = Waiting(
        {"run": [], "snapshot": ["run"], "after": ["snapshot"]},
        ones({"run": [], "snapshot": [], "after": []}),
    )
    assert waiting.children("run") == ["snapshot"]
    assert waiting.take() == "run"
    waiting.finish("snapshot")
    assert waiting.take() == "after"
    waiting.finish("run")
    assert not waiting.ready
    assert waiting.children("run") == []


@pytest.mark.parametrize("shape", ["chain", "wide"])
def test_waiting_of_many_nodes_is_worked_off(shape: str) -> None:
    count = 20_000
    needs = {f"n{i}": [f"n{i - 1}"] if shape == "chain" and i else [] for i in range(count)}
    waiting = Waiting(needs, ones(needs))
    for i in range(count):
        assert waiting.take() == f"n{i}"
        waiting.finish(f"n{i}")
    assert not waiting.ready
