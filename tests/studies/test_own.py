"""Users' recipes and probes in a study's YAML."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import ProblemsError
from pomona.graph.growth import sources_of
from pomona.studies.document import parse_document
from pomona.studies.expand import expand
from pomona.studies.plan import make_plan
from pomona.studies.points import Population
from pomona.studies.results import Results
from pomona.studies.run import run
from pomona.studies.study import Study, check_study
from tests.users import HEAD, own_modules, write

MINE = (
    HEAD
    + """
@pomona.recipe
def scaled(state: pomona.Given, *, by: float = 2.0) -> pomona.Made:
    return pomona.Made({name: array * by for name, array in state.weights.items()})

@pomona.recipe
def average(states: Sequence[pomona.Given]) -> pomona.Made:
    weights = {name: sum(state.weights[name] for state in states) / len(states) for name in states[0].weights}
    masks = {name: np.logical_or.reduce([state.masks[name] for state in states]) for name in states[0].masks}
    return pomona.Made(weights, masks)

@pomona.recipe
def mixed(a: pomona.Given, b: pomona.Given) -> pomona.Made:
    return pomona.Made(a.weights)

@pomona.probe
def norm(state: pomona.Given, *, layer: str = "fc1.weight") -> float:
    return float(np.abs(state.weights[layer]).sum())

@pomona.probe
def ratio(state: pomona.Given, before: pomona.Given) -> dict[str, dict[str, float]]:
    names = state.masks
    return {"ratio": {name: np.abs(state.weights[name]).sum() / np.abs(before.weights[name]).sum() for name in names}}
"""
)
STUDY = """
study: own
let: {train: {t: {optimizer: {sgd: {lr: 0.1}}, batch_size: 64, duration: 1ep}}}
replicates: 2
factors: {method: [l1-unstructured, random-unstructured], by: [2, 0.5]}
steps:
  dense: {init: {name: fc, options: {hidden: 6-4}}, on: digits, train: none}
  ticket: {from: dense, repeat: 2, prune: {method: $method, amount: 50%}}
  low: {from: ticket, apply: {recipe: 'mine.py:scaled', by: $by}}
  tuned: {from: low, apply: mine.py:scaled, on: digits, train: t}
  mean: {from: ticket, apply: {recipe: 'mine.py:average', over: method}}
measure: [accuracy, density, mine.py:norm, {probe: 'mine.py:norm', layer: fc2.weight}, {probe: 'mine.py:ratio', against: ticket}]
"""


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with own_modules():
        yield


def study(folder: Path, text: str = STUDY, mine: str = MINE) -> Study:
    write(folder, "mine.py", mine)
    return check_study(parse_document(text, "own.yaml", folder))


def points(population: Population, step: str) -> list[tuple[int, int, dict[str, str]]]:
    return [(p.replicate, p.level, dict(p.arm)) for p in population.points if p.step == step]


def test_a_recipe_is_applied_to_every_state_and_expands_by_what_it_reaches(tmp_path: Path) -> None:
    population = expand(study(tmp_path))
    assert len(points(population, "low")) == len(points(population, "tuned")) == 2 * 3 * 2 * 2
    assert points(population, "mean") == [(r, level, {}) for r in (0, 1) for level in (0, 1, 2)]
    by_place = {(p.step, p.replicate, p.level, *p.arm.values()): p for p in population.points}
    low = by_place["low", 1, 2, "l1-unstructured", "0.5"]
    ticket = by_place["ticket", 1, 2, "l1-unstructured"]
    assert low.state.parents == (ticket.state.key,)
    assert low.state.params["by"] == 0.5
    assert low.data is not None
    assert (
        low.previous is by_place["low", 1, 1, "l1-unstructured", "0.5"]
        or low.previous.state == by_place["low", 1, 1, "l1-unstructured", "0.5"].state
    )  # type: ignore[union-attr]
    both = [
        by_place["ticket", 1, 2, method].state.key for method in ("l1-unstructured", "random-unstructured")
    ]
    assert by_place["mean", 1, 2].state.parents == tuple(both)
    tuned = by_place["tuned", 0, 1, "l1-unstructured", "2"]
    assert tuned.run is tuned.state
    assert tuned.start.recipe == "scaled"
    assert set(tuned.probes) == {"test", "norm", "norm layer=fc2.weight", "ratio"}
    assert "ratio" not in ticket.probes


def test_keys_of_other_steps_do_not_change(tmp_path: Path) -> None:
    whole = expand(study(tmp_path))
    text = "\n".join(line for line in STUDY.splitlines() if "mine.py" not in line).replace(
        ", by: [2, 0.5]", ""
    )
    assert set(expand(study(tmp_path, text)).graph.states) < set(whole.graph.states)


def test_a_changed_helper_changes_only_what_descends_from_it(tmp_path: Path) -> None:
    before = {state.key: state.recipe for state in expand(study(tmp_path)).graph.states.values()}
    edited = MINE.replace("array * by", "array * by * 1")
    after = {state.key: state.recipe for state in expand(study(tmp_path, mine=edited)).graph.states.values()}
    gone = {recipe for key, recipe in before.items() if key not in after}
    assert gone == {"scaled", "train"}


def results(folder: Path, workers: int = 0) -> Results:
    return run(study(folder), store=folder / "store", workers=workers)


def test_results_hold_the_users_quantities(tmp_path: Path) -> None:
    found = results(tmp_path)
    assert not found.lost()
    frame = found.frame()
    own = frame[frame.quantity.isin(["norm", "ratio"])]
    assert set(zip(own.quantity, own.part, own.layer, strict=True)) == {
        ("norm", "", ""),
        ("norm", "layer=fc2.weight", ""),
        *(("ratio", "", f"fc{i}.weight") for i in (1, 2, 3)),
    }
    low = own[(own.step == "low") & (own.quantity == "ratio")]
    assert np.allclose(low.value, low.by.astype(float))
    assert len(low) == 2 * 3 * 2 * 2 * 3
    state = found.point(2, step="low", method="l1-unstructured", by="2")
    weights = found.store.weights(state.state.key)
    value = own[(own.state == state.state.key) & (own.part == "layer=fc2.weight")].value.iloc[0]
    assert value == pytest.approx(np.abs(weights["fc2.weight"]).sum(), rel=1e-6)
    assert set(frame[frame.quantity == "accuracy"].step) == {"dense", "ticket", "low", "tuned", "mean"}
    assert found.density(state) == pytest.approx(0.25, abs=0.01)


def test_summary_finds_a_users_quantity_and_each_of_its_uses(tmp_path: Path) -> None:
    found = results(tmp_path)
    ratio = found.summary("ratio", layer="fc1.weight").query("step == 'low' and by == '0.5'")
    assert np.allclose(ratio["mean"], 0.5)
    first, second = found.summary("norm"), found.summary("norm", part="layer=fc2.weight")
    assert (first["n"] == 2).all()
    assert (second["n"] == 2).all()
    assert not np.allclose(first["mean"], second["mean"])
    assert (found.summary("ratio").query("step == 'ticket'")["failures"] == 0).all()


def test_a_failed_probe_is_missing_in_the_summary(tmp_path: Path) -> None:
    broken = MINE.replace(
        "    return float(", "    if (state.masks[layer].mean() < .4): raise ValueError\n    return float("
    )
    found = run(study(tmp_path, mine=broken), store=tmp_path / "store", workers=0)
    assert (found.summary("norm").query("level == 0")["failures"] == 0).all()
    table = found.summary("norm").query("step == 'low' and by == '2'")
    assert set(table[table.level == 2]["failures"]) == {2}


def test_plan_counts_the_users_work(tmp_path: Path) -> None:
    population = expand(study(tmp_path))
    found = make_plan(population, None, 1)
    assert found.states == len(population.graph.states)
    assert found.measurements == len(population.graph.probes)
    assert sum(probe.name == "norm" for probe in population.graph.probes.values()) > 100


def test_sources_of_a_study_are_all_it_names(tmp_path: Path) -> None:
    found = sources_of(expand(study(tmp_path)).graph)
    assert sorted(text.split("\n")[0] for text in found.values()) == ["average", "norm", "ratio", "scaled"]


FAULTS = [
    ("mine.py:scaled', by", "mine.py:scald', by", "line 9, steps.low.apply: {folder}/mine.py: unknown name 'scald'; did you mean 'scaled'?"),
    ("mine.py:scaled', by: $by", "mine.py:scaled', be: $by", "steps.low.apply.be: unknown key 'be'; did you mean 'by'? Known: by"),
    ("by: [2, 0.5]", "by: [2, x]", "steps.low.apply.by: expected a number, got 'x'"),
    ("mine.py:scaled', by", "mine.py:norm', by", "steps.low.apply: mine.py:norm is not a recipe: write @pomona.recipe above its def"),
    ("recipe: 'mine.py:scaled'", "recipe: scaled", "expected a recipe of yours as 'mine.py:name', got 'scaled'"),
    ("mine.py:average', over: method", "mine.py:mixed'", "mine.py:mixed: takes 2 states (a, b), got 1; 'over' gives it the states of all labels"),
    ("over: method", "over: methd", "over: unknown factor 'methd'; did you mean 'method'?"),
    ("from: low, apply: mine.py:scaled", "from: low, apply: mine.py:scaled, repeat: 2", "'apply' goes without 'prune' and 'repeat'"),
    ("low: {from: ticket", "low: {init: fc", "'apply' needs 'from': the step whose states it is given"),
    (", apply: mine.py:scaled", "", "'from' needs 'prune': {{method: ..., amount: 20%}}, or 'apply'"),
    ("density, mine.py:norm", "density, mine.py:nrm", "measure.2: {folder}/mine.py: unknown name 'nrm'; did you mean 'norm'?"),
    ("density, mine.py:norm", "densty, mine.py:norm", "unknown measure 'densty'; did you mean 'density'?"),
    ("density, mine.py:norm", "density, mine.py:scaled", "measure.2: mine.py:scaled is not a probe: write @pomona.probe above its def"),
    ("layer: fc2.weight", "lair: fc2.weight", "measure.3.lair: unknown key 'lair'; did you mean 'layer'? Known: layer"),
    ("layer: fc2.weight", "layer: 3", "measure.3.layer: expected text, got 3"),
    (", against: ticket", "", "mine.py:ratio: takes 2 states (state, before), got 1; 'against' names the step"),
    ("against: ticket", "against: tickt", "against: unknown step 'tickt'; did you mean 'ticket'?"),
    ("against: ticket", "against: mean", "against: no step builds on 'mean', so there is nothing to measure"),
    ("layer: fc2.weight", "layer: fc2.weight}, {probe: 'mine.py:norm', layer: fc2.weight", "'norm layer=fc2.weight' is measured more than once"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), FAULTS)
def test_faults_are_told_before_anything_is_computed(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert old in STUDY
    with pytest.raises(ProblemsError) as caught:
        study(tmp_path, STUDY.replace(old, new))
    text = str(caught.value)
    assert said.format(folder=tmp_path.resolve()) in text
    assert "own.yaml" in text


def test_all_faults_are_told_together(tmp_path: Path) -> None:
    text = (
        STUDY.replace("by: $by", "be: $by")
        .replace("layer: fc2.weight", "lair: a")
        .replace("lr: 0.1", "lr: -1")
    )
    with pytest.raises(ProblemsError) as caught:
        study(tmp_path, text)
    assert len(caught.value.problems) == 3


def test_checking_a_study_prints_nothing_and_imports_no_torch(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", MINE + "print('noise')\n")
    write(tmp_path, "own.yaml", STUDY)
    code = (
        "import sys; from pomona.studies.study import load_study; from pomona.studies.expand import expand;"
        "expand(load_study('own.yaml')); assert 'torch' not in sys.modules"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout == ""
