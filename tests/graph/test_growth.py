"""Graphs that grow by users' own work: keys, what is refused, and that nothing runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pomona.core.errors import InputError
from pomona.graph.custom import Measure, Recipe
from pomona.graph.growth import adopt, apply, measure, sources_of
from pomona.graph.nodes import Graph, State
from tests.users import HEAD, declare, own_modules, write

WORK = """
@pomona.recipe
def work(state: pomona.Given, *, bits: int = 8) -> pomona.Made:
    raise AssertionError("building runs nothing")

@pomona.recipe
def average(states: Sequence[pomona.Given]) -> pomona.Made:
    raise AssertionError("building runs nothing")

@pomona.probe
def sparsity(state: pomona.Given, *, layer: str | None = None) -> float:
    raise AssertionError("building runs nothing")
"""
NETWORK = {"model": {"name": "fc"}, "input_shape": [1, 8, 8], "classes": 10, "folder": "/a", "sources": {}}


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with own_modules():
        yield


@pytest.fixture
def work(tmp_path: Path) -> Recipe:
    return declare(tmp_path, WORK)


def rooted(value: int = 1) -> tuple[Graph, State]:
    graph = Graph()
    return graph, graph.add(State("init", 1, {"value": value}, how=NETWORK))


def test_key_of_a_users_state_is_golden(work: Recipe) -> None:
    """A change here makes every state of users' recipes be computed anew."""
    graph, root = rooted()
    state = apply(graph, work, root, bits=4)
    assert (state.recipe, state.version, state.parents) == ("work", 1, (root.key,))
    assert state.params == {"bits": 4, "source": work.identity["source"]}
    assert state.key == "89a1f68b497dcf02705254e8fc4467f81cc1055168a67761746d23ad1c0e806d"


def test_default_and_written_default_are_one_state(work: Recipe) -> None:
    graph, root = rooted()
    assert apply(graph, work, root) is apply(graph, work, root, bits=8)
    assert apply(graph, work, root) is not apply(graph, work, root, bits=4)


def test_key_does_not_hold_the_folder(tmp_path: Path) -> None:
    keys = []
    for name in ("a", "b"):
        graph, root = rooted()
        keys.append(apply(graph, declare(tmp_path / name, WORK), root).key)
    assert keys[0] == keys[1]


def test_order_of_parents_counts_and_a_sequence_is_its_states(work: Recipe, tmp_path: Path) -> None:
    average = declare(tmp_path, WORK, "average")
    graph, root = rooted()
    other = graph.add(State("init", 1, {"value": 2}))
    assert apply(graph, average, [root, other]) is apply(graph, average, root, other)
    assert apply(graph, average, [root, other]) is not apply(graph, average, [other, root])


def test_what_execution_needs_of_the_network_comes_along(work: Recipe, tmp_path: Path) -> None:
    graph, root = rooted()
    treated = graph.add(State("treat", 1, {}, (root.key,)))
    low = apply(graph, work, treated)
    assert {name: low.how[name] for name in NETWORK} == NETWORK
    assert low.how["function"]["name"] == "mine.py:work"
    assert low.how["function"]["folder"] == str(tmp_path.resolve())
    assert apply(graph, work, low).how is low.how
    assert apply(graph, work, treated, bits=3).how is low.how
    assert "model" not in apply(graph, work, graph.add(State("init", 1, {}))).how


def test_a_state_of_another_graph_has_to_be_taken_in(work: Recipe) -> None:
    source, root = rooted()
    first = apply(source, work, root)
    unrelated = apply(source, work, root, bits=2)
    graph = Graph()
    with pytest.raises(
        InputError, match=r"state [0-9a-f]{12} \(work\) is not in this graph; take it in first"
    ):
        apply(graph, work, first)
    adopt(graph, source, first)
    assert set(graph.states) == {root.key, first.key}
    apply(graph, work, first)
    with pytest.raises(InputError, match=r"is not in the graph to take it from"):
        adopt(source, graph, unrelated)


def test_adopting_a_long_line_of_descent_does_not_recurse(work: Recipe) -> None:
    source, state = rooted()
    for _ in range(3000):
        state = apply(source, work, state)
    graph = Graph()
    adopt(graph, source, state, state)
    assert list(graph.states) == list(source.states)


def test_wrong_use_says_what_is_expected(work: Recipe, tmp_path: Path) -> None:
    graph, root = rooted()
    sparsity = declare(tmp_path, WORK, "sparsity", Measure)
    work = declare(tmp_path, WORK)
    for wrong, said in (
        (lambda: apply(graph, work, root, root), "work: takes 1 state (state), got 2"),
        (lambda: apply(graph, work), "work: takes 1 state (state), got 0"),
        (lambda: apply(graph, work, root, bit=3), "unknown parameter 'bit'; did you mean 'bits'?"),
        (lambda: apply(graph, work, "abc"), "work: expected states, got str"),
        (lambda: apply(graph, work, 5), "work: expected states, got int"),
        (lambda: apply(graph, sparsity, root), "apply: expected a function decorated with @pomona.recipe, got a probe"),
        (lambda: measure(graph, work, root), "measure: expected a function decorated with @pomona.probe, got a recipe"),
        (lambda: apply(graph, len, root), "got builtin_function_or_method"),
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            wrong()  # type: ignore[no-untyped-call]
        assert said in str(caught.value)
    assert set(graph.states) == {root.key}


def test_probes_are_measured_once_and_a_plain_probe_still_goes(tmp_path: Path) -> None:
    sparsity = declare(tmp_path, WORK, "sparsity", Measure)
    graph, root = rooted()
    probe = measure(graph, sparsity, root, layer="fc")
    assert measure(graph, sparsity, root, layer="fc") is probe
    assert probe.params == {"layer": "fc", "source": sparsity.identity["source"]}
    assert graph.measure(probe) is probe


def test_a_large_graph_is_built_without_running_or_reading_again(
    work: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, root = rooted()
    first = apply(graph, work, root)

    def read(path: Path, *_: object, **__: object) -> str:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(Path, "read_text", read)
    for bits in range(100_000):
        apply(graph, work, first, bits=bits + 9)
    assert len(graph.states) == 100_002
    assert len({id(state.how) for state in graph.states.values()}) == 2


def test_sources_of_a_graph_are_the_texts_behind_its_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "helper.py", "def aid():\n    'Doc.'\n    return 1  # one\n")
    write(tmp_path, "tables.csv", "1,2")
    text = (
        "import helper\n@pomona.recipe(depends_on=[helper.aid, 'tables.csv'])\n"
        "def work(state: pomona.Given, *, bits: int = 8) -> pomona.Made:\n    return bits\n"
    )
    work = declare(tmp_path, text)
    graph, root = rooted()
    for bits in range(3):
        apply(graph, work, root, bits=bits)
    graph.add(
        State("init", 1, {}, how={**NETWORK, "folder": str(tmp_path), "sources": {"helper.py:aid": "0" * 64}})
    )
    reads = []
    usual = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path, *a, **k: reads.append(path.name) or usual(path, *a, **k)
    )
    found = sources_of(graph)
    assert {hashlib.sha256(text.encode()).hexdigest() for text in found.values()} == set(found)
    digests = [work.identity["source"], work.identity["depends_on"]["helper.py:aid"]]  # type: ignore[index,call-overload]
    assert set(found) == set(digests)
    assert "return bits" in found[digests[0]]
    assert found[digests[1]] == "aid\ndef aid():\n    return 1\n\0"
    assert reads.count("mine.py") == 1


def test_sources_leave_out_what_is_no_longer_as_planned(work: Recipe, tmp_path: Path) -> None:
    graph, root = rooted()
    apply(graph, work, root)
    assert len(sources_of(graph)) == 1
    write(tmp_path, "mine.py", HEAD + WORK.replace("bits: int = 8", "bits: int = 9"))
    assert sources_of(graph) == {}
    (tmp_path / "mine.py").unlink()
    assert sources_of(graph) == {}
