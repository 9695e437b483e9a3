"""Identity and sharing. The golden keys guard every store there is: a change here recomputes all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest

from pomona.core.canonical import digest
from pomona.core.errors import InputError
from pomona.core.schema import Late
from pomona.studies.document import parse_document
from pomona.studies.expand import expand
from pomona.studies.points import Population
from pomona.studies.study import check_study, load_study, parse_study
from pomona.training.config import Train

from .conftest import SMALL, small_study


def by_recipe(population: Population) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for state in population.graph.states.values():
        found.setdefault(state.recipe, []).append(state.key)
    return found


@pytest.mark.parametrize(("written", "engine"), [("torch", "torch"), ("lanes", "lanes"), ("auto", "lanes")])
def test_keys_of_the_library_study_are_golden(written: str, engine: str) -> None:
    population = expand(load_study("iterative-pruning", "quick", [f"engine={written}"]))
    golden = GOLDEN[engine]
    points = {(p.step, p.replicate, p.level, p.arm.get("method")): p for p in population.points}
    dense = points["dense", 0, 0, None]
    assert dense.start.key == golden["init"]
    assert dense.state.key == golden["dense"]
    for method in ("l1-unstructured", "l1-structured", "random-unstructured"):
        point = points["ticket", 1, 2, method]
        assert [point.masked.key, point.start.key, point.state.key] == golden[method], method
    assert points["ticket", 1, 2, "l1-unstructured"].probes["test"].key == golden["evaluate"]


def test_quick_study_has_the_states_it_should() -> None:
    population = expand(load_study("iterative-pruning", "quick"))
    counts = {recipe: len(keys) for recipe, keys in by_recipe(population).items()}
    pruned = 3 * 8 * 12
    # An ensemble of all methods, one of three, two of two at each level; one over the replicates of each method,
    # of level 0 one for all.
    ensembles = 3 * 4 * 12 + 8 * 12 + 1
    assert counts == {
        **{"init": 3, "train": 3 + pruned, "prune": pruned, "treat": pruned},
        **{"predict": 3 + pruned, "ensemble": ensembles},
    }
    assert sum(s.work_steps for s in population.graph.states.values()) == 291 * 1875
    assert len(population.points) == 3 + 3 * 8 * 13 + 3 * 4 * 12 + 8 * 13


def test_full_study_is_the_size_of_its_arms() -> None:
    population = expand(load_study("iterative-pruning"))
    # The paper's: 8 methods rewound, 4 of them finetuned, sigma-signed and signed: 20 arms of 20 levels and one
    # dense run, 2,005 in all. Ours: two methods in another order, one from another start, late, rescaled, at
    # another rate and with one epoch a level; dense runs of another order, another start and one epoch.
    paper, ours = 5 * (1 + 20 * 20), 5 * (3 + 7 * 20)
    assert (paper, paper + ours) == (2005, 2720)
    assert len(by_recipe(population)["train"]) == paper + ours


def test_dense_run_is_shared_by_all_arms() -> None:
    population = expand(small_study())
    dense = {p.state.key for p in population.points if p.step == "dense"}
    first = {p.state.key for p in population.points if p.step == "ticket" and p.level == 0}
    assert dense == first
    assert len(dense) == 2


def test_more_replicates_and_levels_keep_every_key() -> None:
    small = expand(small_study())
    more = expand(
        parse_study(SMALL.replace("replicates: 2", "replicates: 3").replace("repeat: 3", "repeat: 5"))
    )
    assert set(small.graph.states) < set(more.graph.states)
    assert set(small.graph.probes) < set(more.graph.probes)


def test_name_of_study_arms_and_steps_are_in_no_key() -> None:
    text = SMALL.replace("study: small", "study: other").replace("late:", "reset:")
    text = text.replace("dense", "base").replace("ticket", "pruned").replace("treatment", "weights-then")
    assert set(expand(parse_study(text)).graph.states) == set(expand(small_study()).graph.states)


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("lr: 0.1", "lr: 0.1000000001", {"init"}),
        ("amount: 20%", "amount: 21%", {"init", "dense"}),
        ("momentum: 0.9", "momentum: 0.8", {"init"}),
        ("validation: 100", "validation: 101", {"init"}),
        ("hidden: 30-20", "hidden: 30-21", set()),
        ("batch_size: 32", "batch_size: 31", {"init"}),
    ],
)
def test_a_changed_hyperparameter_changes_only_what_descends_from_it(
    old: str, new: str, kept: set[str]
) -> None:
    text = SMALL.replace("{method: $method}", "{method: $method, amount: 20%}")
    before, after = expand(parse_study(text)), expand(parse_study(text.replace(old, new)))
    shared = set(before.graph.states) & set(after.graph.states)
    dense = {p.state.key for p in before.points if p.step == "dense"}
    init = {p.start.key for p in before.points if p.step == "dense"}
    expected = (init if "init" in kept else set()) | (dense if "dense" in kept else set())
    # The snapshot that late resetting goes back to is a moment of the dense run.
    moments = (
        {k for k, s in before.graph.states.items() if s.recipe == "snapshot"} if "dense" in kept else set()
    )
    assert shared == expected | moments


def test_written_forms_of_the_same_value_share_keys() -> None:
    text = SMALL.replace("{method: $method}", "{method: $method, amount: 20%}")
    for old, new in (
        ("amount: 20%", "amount: 0.2"),
        ("lr: 0.1", "lr: 1e-1"),
        ("init: {name: fc", "init: {distribution: torch, name: fc"),
    ):
        assert set(expand(parse_study(text.replace(old, new))).graph.states) == set(
            expand(parse_study(text)).graph.states
        ), new


def test_a_field_added_with_its_old_behaviour_changes_no_key() -> None:
    class TrainLater(Train):
        label_smoothing: Annotated[float, Late(0.0)] = 0.0

    fields = {"optimizer": {"sgd": {"lr": 0.1}}, "batch_size": 32, "duration": "2ep"}
    old, later = Train.model_validate(fields), TrainLater.model_validate(fields)
    assert digest(old.identity()) == digest(later.identity())
    used = TrainLater.model_validate({**fields, "label_smoothing": 0.1})
    assert digest(used.identity()) != digest(old.identity())


def test_a_key_holds_only_the_seeds_it_consumes() -> None:
    population = expand(small_study())
    seeds = {}
    for state in population.graph.states.values():
        seeds.setdefault(state.recipe, set()).add(tuple(sorted(state.params.get("seeds", {}))))  # type: ignore[arg-type]
    assert seeds["init"] == {("init",)}
    assert seeds["train"] == {("order", "split")}
    assert seeds["prune"] == {(), ("mask",)}
    assert seeds["treat"] == {()}


def test_a_held_stream_is_shared_by_the_replicates() -> None:
    held = expand(parse_study(SMALL.replace("replicates: 2", "replicates: 2\nhold: {init: 0}")))
    assert len(by_recipe(held)["init"]) == 1
    assert len({p.state.key for p in held.points if p.step == "dense"}) == 2


def test_device_is_another_engine_and_nothing_else() -> None:
    cpu, cuda = expand(small_study()), expand(small_study(), "cuda")
    assert set(by_recipe(cpu)["init"]) == set(by_recipe(cuda)["init"])
    assert not set(by_recipe(cpu)["train"]) & set(by_recipe(cuda)["train"])


def test_rewinding_late_goes_back_to_a_snapshot_of_the_dense_run() -> None:
    population = expand(small_study())
    late = [p for p in population.points if p.arm.get("treatment") == "late" and p.level == 2]
    dense = {p.replicate: p.state.key for p in population.points if p.step == "dense"}
    for point in late:
        target = population.graph.states[point.start.parents[1]]
        assert target.recipe == "snapshot"
        assert target.parents == (dense[point.replicate],)


def test_the_key_of_a_run_does_not_depend_on_its_snapshots() -> None:
    without = expand(parse_study(SMALL.replace(", late: {rewind: 20it}", "")))
    assert set(without.graph.states) < set(expand(small_study()).graph.states)


SELECTORS = """
study: selectors
let: {train: {t: {optimizer: {sgd: {lr: 0.1}}, batch_size: 32, duration: 1ep}}}
factors: {task: [digits, twice], kind: [l1-unstructured, random-unstructured]}
steps:
  base: {init: fc, on: digits, train: t}
  ticket: {from: base, repeat: 2, prune: {method: $kind}, treat: rewind, on: digits, train: t}
  super: {weights: base@0, mask: {score: base, method: $kind, levels: 3}, on: digits, train: none}
  later: {weights: base@10it, mask: {of: ticket, level: 2}, on: digits, train: t}
  other: {init: fc, mask: {of: ticket, kind: random-unstructured}, on: digits, train: t}
  agreed: {init: fc, mask: {of: ticket, over: kind, join: all}, on: digits, train: t}
where: [task == digits]
"""


def test_selectors_reach_levels_moments_bound_factors_and_joins() -> None:
    text = SELECTORS.replace("task: [digits, twice], ", "").replace("where: [task == digits]\n", "")
    population = expand(parse_study(text))
    points: dict[str, list] = {}
    for point in population.points:
        points.setdefault(point.step, []).append(point)
    supers = points["super"]
    assert [p.level for p in supers] == [1, 2, 3, 1, 2, 3]
    assert all(p.state.recipe == "treat" and p.run is None for p in supers)
    assert {p.start.parents[1] for p in supers} == {points["base"][0].start.key}
    # A mask found by pruning one state again and again, without training in between.
    chain = [population.graph.states[supers[2].masked.parents[0]].recipe, supers[2].masked.recipe]
    assert chain == ["prune", "prune"]
    assert {population.graph.states[p.start.parents[1]].recipe for p in points["later"]} == {"snapshot"}
    assert [p.level for p in points["later"]] == [2, 2]
    ticket = {(p.arm["kind"], p.level): p for p in points["ticket"]}
    assert [p.masked.key for p in points["other"]] == [
        ticket["random-unstructured", level].masked.key for level in (1, 2)
    ]
    assert [p.masked.recipe for p in points["agreed"]] == ["join", "join"]
    wanted = tuple(ticket[kind, 2].masked.key for kind in ("l1-unstructured", "random-unstructured"))
    assert points["agreed"][1].masked.parents == wanted


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weights: base@10it", "weights: base@9ep", "there is no step 9ep in a training of 1ep"),
        ("level: 2}", "level: 7}", "step 'ticket' has no level 7; it ends at 2"),
    ],
)
def test_selector_that_finds_nothing_says_what_there_is(old: str, new: str, message: str) -> None:
    text = SELECTORS.replace("task: [digits, twice], ", "").replace("where: [task == digits]\n", "")
    with pytest.raises(InputError, match=message):
        expand(parse_study(text.replace(old, new)))


def test_users_model_is_known_by_its_source_and_not_by_its_place(tmp_path: Path) -> None:
    keys = []
    for folder, source in (
        ("a", "import torch\ndef net():\n    return torch.nn.Conv2d(1, 10, 8)\n"),
        ("b", "import torch\n\n# a comment\ndef net():\n    'doc'\n    return torch.nn.Conv2d(1,  10, 8)\n"),
        ("c", "import torch\ndef net():\n    return torch.nn.Conv2d(1, 11, 8)\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(source)
        text = SMALL.replace("{name: fc, options: {hidden: 30-20}}", "mine.py:net")
        study = check_study(parse_document(text, "s.yaml", tmp_path / folder))
        keys.append(set(expand(study).graph.states))
    assert keys[0] == keys[1]
    assert not keys[0] & keys[2]


DROPPING = """
from torch import nn
def net(drop=0.5):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(drop))
"""


@pytest.mark.parametrize(
    ("model", "engine", "draws"),
    [
        ("mine.py:net", "auto", True),
        ("{name: 'mine.py:net', options: {drop: 0.0}}", "auto", False),
        # Of what torch runs it is not known.
        ("{name: 'mine.py:net', options: {drop: 0.0}}", "torch", True),
    ],
)
def test_dropout_seed_counts_where_a_users_network_may_draw(
    model: str, engine: str, draws: bool, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(DROPPING)
    text = SMALL.replace("{name: fc, options: {hidden: 30-20}}", model) + f"engine: {engine}\n"
    population = expand(check_study(parse_document(text, "s.yaml", tmp_path)))
    train = next(s for s in population.graph.states.values() if s.recipe == "train")
    assert train.params["seeds"] == {"order": 0, "split": 0, **({"dropout": 0} if draws else {})}


def test_expansion_imports_no_torch() -> None:
    code = (
        "import sys; from pomona.studies.study import load_study; from pomona.studies.expand import expand;"
        "expand(load_study('iterative-pruning', 'quick')); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pretrained_start_has_no_seed_and_is_shared_by_the_replicates(tmp_path: Path) -> None:
    (tmp_path / "start.safetensors").write_bytes(b"one")
    text = SMALL.replace(
        "options: {hidden: 30-20}", "options: {hidden: 30-20}, weights: {file: start.safetensors}"
    )
    first = expand(check_study(parse_document(text, "s.yaml", tmp_path)))
    assert len(by_recipe(first)["init"]) == 1
    assert len(by_recipe(first)["train"]) == len(by_recipe(expand(small_study()))["train"])
    (tmp_path / "start.safetensors").write_bytes(b"two")
    second = expand(check_study(parse_document(text, "s.yaml", tmp_path)))
    assert not set(by_recipe(first)["init"]) & set(by_recipe(second)["init"])


def test_test_accuracy_does_not_depend_on_how_much_is_held_back() -> None:
    probes = []
    for text in (SMALL, SMALL.replace("validation: 100", "validation: 200")):
        population = expand(parse_study(text))
        point = population.points[0]
        probes.append((point.probes["test"].params, point.probes["validation"].params))
    assert probes[0][0] == probes[1][0]
    assert probes[0][1] != probes[1][1]


GOLDEN: dict[str, dict[str, object]] = {
    "torch": {
        "init": "d865c8e0e6b64c5e0ec7709c0ee1ae0527b98331ce330cf625adfc2dca2373ba",
        "dense": "c215099a1749628a0ee2f54f09e692b93f9fbabac394ff7b3af17404fc0370ad",
        "evaluate": "2bf7d5f9f1c129f8c3c831e5e5149d5aa02d4be0944d68ed9ef97ff21c0d7064",
        "l1-unstructured": [
            "ec29329fe2fd3a33055200f9e207a47201f08720d01156753f3c0f198b7b6b6a",
            "d9cab200c439b9b09decb79e5b2c8e3e939ac2f6e196c4c3e44b4a48108166be",
            "9c123aa5b772c64bbfdc556a8e9b4612e90f56a8d04599b1343602e1cff29d18",
        ],
        "l1-structured": [
            "c3f89a6e1672171480f24659a8a9ce0ea2d9e1f4b5f6706cb79b196572a064ad",
            "01a1c01231ac13113b4faaf62a111a266d215aa186d8b768854e2627acf0bdca",
            "2b6121431d7c9c9c3d045c18e9366dc4e5f19e6d7c1f1bc34f6a182fd8c39afb",
        ],
        "random-unstructured": [
            "6656b85938c3b768ad535ac4a0ecc612ace170436e4165212b70570b8d2ddff0",
            "1c79f4f788e6341368be900bbd71f8b4924ca16c328408f0cdb661e1d327384c",
            "0395c72a5f21fe8b3191a8ef53d37fad384fe1ec87e05e2c188c0d48ab6b1cd5",
        ],
    },
    "lanes": {
        "init": "d865c8e0e6b64c5e0ec7709c0ee1ae0527b98331ce330cf625adfc2dca2373ba",
        "dense": "ec6031f63b915ded39a5107baeebbf185455c9685d21f4c29aee6a565f998e02",
        "evaluate": "5dad43a8f0d0212607cfd544d322d6a29f962de9f6ff7b0ce41909e81b104ac8",
        "l1-unstructured": [
            "36aee2403bea253298626ee8b733ae16f25dce80ccfa91989055d4b7af4ae4fd",
            "22c3698752fd8847061e91175c2cedc7b11aee0d9762257fe1e5171b53cd3deb",
            "a571230b18950a1400f4d1c8791e56461d5d8b6ff8a9a4c1d40b2ed3320854a1",
        ],
        "l1-structured": [
            "f66f27b40c550e28aa1b8768487d9c74a6f0e88bc3fd312263edb899a4499cf1",
            "87bca38a9bb8c65d8a3406e6b66208611415b68697facb1d6a652bdeb7c6e843",
            "ef67e58a993b3cf118793fc7fd4285a6831f3dd6e4b30e7306ec4c882f1ef706",
        ],
        "random-unstructured": [
            "3a0aca760f513020964479c4f3703acf5abfef6db0bc2eccae22ab33daf79957",
            "3a13645b877cb76a32b23bfc5a6b9c5c7987ca04c3d2c665fe00663fdb859707",
            "fca001a7e336e4c512adc42b1abc2dd6220bca78acf3afe89d875392a6d4051d",
        ],
    },
}
