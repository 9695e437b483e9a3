"""Users' recipes and probes at work: in this process, in threads and in processes."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from pomona.core.errors import InputError
from pomona.core.reference import Reference
from pomona.graph.custom import Declared, Measure, Recipe, load_declared
from pomona.graph.growth import adopt, apply, measure
from pomona.graph.nodes import Graph, Probe, State
from pomona.graph.retention import collect, unrepeatable_states
from pomona.graph.store import Store
from pomona.graph.threads import ThreadPool
from pomona.studies import compute as computing
from pomona.studies.compute import Computed, compute
from pomona.studies.custom import _module
from pomona.studies.expand import expand
from pomona.studies.study import parse_study
from pomona.studies.upkeep import verify
from tests.users import HEAD, declare, own_modules, write

KIND = TypeVar("KIND", bound=Declared)
PRUNED = """
study: pruned
steps:
  dense: {init: {name: fc, options: {hidden: 6-4}}, on: digits, train: none}
  low: {weights: dense, mask: {score: dense, method: l1-unstructured, amount: 50%}, train: none}
"""
WORK = """
def scaled(weights, by):
    return {name: array * by for name, array in weights.items()}

@pomona.recipe
def work(state: pomona.Given, *, by: float = 2.0) -> pomona.Made:
    return pomona.Made(scaled(state.weights, by), facts={"by": by, "from": state.recipe})

@pomona.recipe
def average(states: Sequence[pomona.Given]) -> pomona.Made:
    weights = {name: sum(state.weights[name] for state in states) / len(states) for name in states[0].weights}
    masks = {name: np.logical_or.reduce([state.masks[name] for state in states]) for name in states[0].masks}
    return pomona.Made(weights, masks)

@pomona.recipe
def drawn(state: pomona.Given) -> pomona.Made:
    import random, torch
    noise = {name: np.random.normal(size=array.shape) + random.random() for name, array in state.weights.items()}
    noise = {name: array + torch.randn(array.shape).numpy() for name, array in noise.items()}
    return pomona.Made({name: noise[name] * state.masks.get(name, 1) for name in noise})

@pomona.probe
def norm(state: pomona.Given, *, layer: str = "fc1.weight") -> float:
    return float(np.abs(state.weights[layer]).sum())

@pomona.probe
def moved(state: pomona.Given, before: pomona.Given) -> dict[str, dict[str, float]]:
    ours, theirs = state.module(), before.module()
    return {"moved": {name: float((p - q).abs().max()) for (name, p), q in zip(ours.named_parameters(), theirs.parameters())}}
"""


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with own_modules():
        yield


def pruned() -> tuple[Graph, State]:
    """A graph with one pruned network that was never trained."""
    population = expand(parse_study(PRUNED))
    point = next(point for point in population.points if point.step == "low")
    graph = Graph()
    adopt(graph, population.graph, point.state)
    return graph, point.state


def ran(text: str, folder: Path, workers: int = 0) -> tuple[Computed, State]:
    """A recipe ``work`` of this text, on a pruned network."""
    graph, root = pruned()
    state = apply(graph, declare(folder, text), root)
    return compute(graph, folder / "store", workers), state


def whole(folder: Path, workers: int) -> tuple[Computed, list[State], list[Probe]]:
    """Every recipe and probe above, on a pruned network."""
    graph, root = pruned()
    declare(folder, WORK)
    work, average, drawn = (load(folder, name, Recipe) for name in ("work", "average", "drawn"))
    norm, moved = (load(folder, name, Measure) for name in ("norm", "moved"))
    first = apply(graph, work, root, by=0.5)
    mean = apply(graph, average, [first, root])
    noisy = apply(graph, drawn, mean)
    probes = [measure(graph, norm, noisy, layer="fc2.weight"), measure(graph, moved, first, root)]
    return compute(graph, folder / "store", workers), [first, mean, noisy], probes


def load(folder: Path, name: str, kind: type[KIND]) -> KIND:
    return load_declared(Reference((folder / "mine.py").resolve(), name), kind)


def bits(found: Computed, states: list[State]) -> list[bytes]:
    return [array.tobytes() for state in states for _, array in sorted(found.weights(state).items())]


def test_recipes_joins_and_probes_give_what_they_say(tmp_path: Path) -> None:
    found, (first, mean, noisy), (norm, moved) = whole(tmp_path, 0)
    assert not found.failures
    root = found.graph.states[first.parents[0]]
    before = found.weights(root)
    for name, array in found.weights(first).items():
        assert np.array_equal(array, before[name] * np.float32(0.5))
        assert np.array_equal(found.weights(mean)[name], (array + before[name]) / 2)
    assert found.facts(first)["by"] == 0.5
    assert found.facts(first)["from"] == "treat"
    assert found.facts(first)["kept"] == found.facts(root)["kept"]
    for name, mask in found.masks(noisy).items():
        assert not found.weights(noisy)[name][~mask].any()
        assert found.weights(noisy)[name][mask].all()
    assert found.value(norm) == pytest.approx(np.abs(found.weights(noisy)["fc2.weight"]).sum(), rel=1e-6)
    largest = np.abs(before["fc1.weight"]).max() / 2
    assert found.value(moved, layer="fc1.weight") == pytest.approx(largest)
    outputs = found.store.ledger.outputs([root.key, first.key])
    assert outputs[root.key]["masks"].digest == outputs[first.key]["masks"].digest


def test_the_same_bits_in_this_process_in_threads_and_in_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, states, probes = whole(tmp_path / "here", 0)
    other, _, _ = whole(tmp_path / "processes", 2)
    assert bits(found, states) == bits(other, states)
    assert [found.values(probe) for probe in probes] == [other.values(probe) for probe in probes]
    monkeypatch.setattr("pomona.studies.executors.LocalPool", ThreadPool)
    threads, _, _ = whole(tmp_path / "threads", 2)
    assert not threads.failures
    assert bits(found, states) == bits(threads, states)


def test_what_a_users_function_draws_comes_from_its_key_and_leaves_global_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index,union-attr]
    found, (*_, noisy), _ = whole(tmp_path / "a", 0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]
    assert before[2] == random.getstate()
    random.seed(5)
    again, _, _ = whole(tmp_path / "b", 0)
    assert bits(found, [noisy]) == bits(again, [noisy])


def test_a_second_call_computes_nothing_and_verification_finds_the_same_bits(tmp_path: Path) -> None:
    found, _, _ = whole(tmp_path, 0)
    attempts = len(found.store.ledger.rows("SELECT id FROM attempts"))
    again, _, _ = whole(tmp_path, 0)
    assert len(again.store.ledger.rows("SELECT id FROM attempts")) == attempts
    verdicts = verify(again.store, 1.0, workers=0)
    assert len(verdicts) == len(found.graph.states) + 2
    assert all(verdict.same for verdict in verdicts), [verdict.text for verdict in verdicts]


def test_the_texts_of_users_functions_are_kept(tmp_path: Path) -> None:
    found, (first, *_), _ = whole(tmp_path, 0)
    sources = {row["digest"]: row["text"] for row in found.store.ledger.rows("SELECT * FROM sources")}
    assert "def scaled(weights, by)" in sources[str(first.params["source"])]
    assert len(sources) == 5


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("raise KeyError('fc9')", "error", "mine.py:8: in work: KeyError: 'fc9'"),
        ("np.zeros(3) @ np.zeros(4)", "error", "mine.py:8: in work: ValueError: matmul"),
        ("return {}", "bad input", "mine.py:6: work: expected pomona.Made(weights=...)"),
        ("state.weights['fc1.weight'][0, 0] = np.nan; return pomona.Made(state.weights)", "diverged", "fc1.weight has values that are not finite"),
        ("state.weights['fc1.weight'][:] = 1; return pomona.Made(state.weights)", "error", "pruned weights of fc1.weight are not zero"),
        ("import sys; sys.exit(4)", "bad input", "the user's code called exit(4)"),
        ("raise MemoryError", "out of memory", "the machine has no more memory"),
        ("from pomona.core.errors import StateFailure; raise StateFailure('layer collapse', 'all gone')", "layer collapse", "all gone"),
    ],
)  # fmt: skip
def test_failures_are_data_with_their_place(body: str, kind: str, said: str, tmp_path: Path) -> None:
    found, state = ran(f"@pomona.recipe\ndef work(state: pomona.Given):\n    {body}\n", tmp_path)
    assert [(failure.node, failure.kind) for failure in found.failures] == [(state.key, kind)]
    assert said in found.failures[0].reason


def test_a_failure_keeps_its_traceback_and_stops_what_descends_from_it_alone(tmp_path: Path) -> None:
    text = WORK.replace("return {name: array * by", "return {name: array * (by / (by - 3))")
    graph, root = pruned()
    work = declare(tmp_path, text)
    wrong = apply(graph, work, root, by=3.0)
    below = apply(graph, work, wrong)
    right = apply(graph, work, root, by=4.0)
    norm = declare(tmp_path, text, "norm", Measure)
    probe = measure(graph, norm, below)
    found = compute(graph, tmp_path / "store", 0)
    assert [(failure.node, failure.kind, failure.blocked) for failure in found.failures] == [
        (wrong.key, "error", 1)
    ]
    reason, traceback = found.store.ledger.rows(
        "SELECT reason, traceback FROM attempts WHERE status = 'failed'"
    )[0]
    assert reason == "mine.py:8: in <dictcomp>: ZeroDivisionError: float division by zero"
    assert "return {name: array * (by / (by - 3))" in traceback
    assert found.weights(right)
    with pytest.raises(
        InputError, match=r"norm was not measured: mine\.py:8: in <dictcomp>: ZeroDivisionError"
    ):
        found.value(probe)


def test_a_value_that_is_not_there_says_which_are(tmp_path: Path) -> None:
    found, _, (norm, moved) = whole(tmp_path, 0)
    with pytest.raises(InputError, match=r"norm has no norm of fc7; it has norm$"):
        found.value(norm, layer="fc7")
    with pytest.raises(
        InputError, match=r"moved has no moved; it has moved of fc1\.bias, moved of fc1\.weight"
    ):
        found.value(moved)


def changed(folder: Path, change: Callable[[], object], text: str = WORK) -> str:
    """The reason of the failure where something changed between planning and computing."""
    graph, root = pruned()
    apply(graph, declare(folder, text), root)
    change()
    found = compute(graph, folder / "store", 0)
    return found.failures[0].reason


def test_a_file_that_changed_since_planning_is_not_run(tmp_path: Path) -> None:
    said = "changed since it was planned; import it anew, then run again"
    edited = HEAD + WORK.replace("* by for", "+ by for")
    assert changed(tmp_path, lambda: write(tmp_path, "mine.py", edited)) == f"mine.py:work {said}"
    assert changed(tmp_path, (tmp_path / "mine.py").unlink) == f"mine.py:work {said}"
    write(tmp_path, "tables.csv", "1")
    text = WORK.replace("@pomona.recipe\ndef work", "@pomona.recipe(depends_on=['tables.csv'])\ndef work")
    assert changed(tmp_path, lambda: write(tmp_path, "tables.csv", "2"), text) == f"tables.csv {said}"


def test_a_changed_comment_is_no_change(tmp_path: Path) -> None:
    graph, root = pruned()
    state = apply(graph, declare(tmp_path, WORK), root)
    write(tmp_path, "mine.py", HEAD + WORK.replace("def scaled", "# scales\ndef scaled"))
    assert compute(graph, tmp_path / "store", 0).weights(state)


def test_given_may_be_changed_in_place_without_harm(tmp_path: Path) -> None:
    text = (
        "@pomona.recipe\ndef work(state: pomona.Given):\n    state.masks['fc1.weight'][:] = True\n"
        "    state.weights['fc1.weight'] += 1\n    return pomona.Made(state.weights)\n"
    )
    found, state = ran(text, tmp_path)
    assert "pruned weights of fc1.weight are not zero" in found.failures[0].reason
    assert found.weights(found.graph.states[state.parents[0]])


def test_a_module_of_a_state_is_that_of_its_ancestors(tmp_path: Path) -> None:
    text = (
        "@pomona.probe\ndef work(state: pomona.Given):\n    return len(list(state.module().parameters()))\n"
    )
    graph, root = pruned()
    assert "model" not in root.how
    probe = measure(graph, declare(tmp_path, text, kind=Measure), root)
    assert compute(graph, tmp_path / "store", 0).value(probe) == 6
    with pytest.raises(InputError, match="no ancestor of this state says which network it is"):
        _module({}, {})


def test_a_script_without_a_guard_is_told_to_have_one(tmp_path: Path) -> None:
    script = HEAD + WORK + (
        "from pomona.studies.expand import expand\nfrom pomona.studies.study import parse_study\n"
        f"population = expand(parse_study({PRUNED!r}))\ngraph = pomona.Graph()\nroot = population.points[0].state\n"
        "pomona.adopt(graph, population.graph, root)\nstate = pomona.apply(graph, work, root)\n"
    )  # fmt: skip
    end = "found = pomona.compute(graph, 'store', {})\nprint(found.failures or found.facts(state)['by'])\n"
    for guard, workers, said in (("", 0, "put what runs below"), (None, 0, "2.0"), (None, 1, "2.0")):
        tail = end.format(workers)
        if guard is None:
            tail = "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in tail.splitlines())
        write(tmp_path, "mine.py", script + tail)
        found = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True)
        assert said in found.stdout, found.stderr


def test_compute_takes_a_store_or_its_folder(tmp_path: Path) -> None:
    graph, root = pruned()
    with Store(tmp_path / "store") as store:
        assert compute(graph, store, 0).weights(root)
        assert computing.compute(graph, tmp_path / "store", 0).masks(root)
        title = store.ledger.rows("SELECT DISTINCT study FROM runs")
        assert [row["study"] for row in title] == ["graph"]


def test_weights_that_cannot_be_made_again_are_not_freed(tmp_path: Path) -> None:
    """The function was edited, so what it once made is the only copy; what comes before it can go."""
    found, state = ran(WORK, tmp_path)
    child = apply(found.graph, load(tmp_path, "work", Recipe), state, by=3.0)
    compute(found.graph, found.store, 0)
    write(tmp_path, "mine.py", HEAD + WORK.replace("* by for", "+ by for"))
    assert unrepeatable_states(found.store) == {state.key, child.key}
    freed = collect(found.store, "none")
    assert freed.states == len(found.graph.states) - 2
    assert found.weights(state)
    assert found.weights(child)
    write(tmp_path, "mine.py", HEAD + WORK)
    assert collect(found.store, "none").states == 2
