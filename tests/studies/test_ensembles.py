"""Predictions as states, ensembles of them, and the measures that read them, against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pomona.core.errors import InputError, ProblemsError
from pomona.graph.store import Store
from pomona.studies.expand import expand
from pomona.studies.hypotheses.rows import selected
from pomona.studies.hypotheses.spec import Regression
from pomona.studies.modules import load_module
from pomona.studies.points import Point
from pomona.studies.registration.register import register
from pomona.studies.results import Results
from pomona.studies.run import Run, run
from pomona.studies.study import parse_study

TEXT = """
study: together
let:
  data: {d: {name: digits, validation: 100}}
  train: {t: {optimizer: {sgd: {lr: 0.1, momentum: 0.9}}, batch_size: 64, duration: 40it}}
replicates: 3
vary: {order: 2}
factors:
  method: [l1-unstructured, random-unstructured, l1-structured]
  treatment: [rewind, finetune]
where: ["treatment == rewind or method != l1-structured", "order == 0 or method == l1-unstructured"]
steps:
  dense:  {init: {name: fc, options: {hidden: 12-8}}, on: d, train: t}
  ticket: {from: dense, repeat: 2, prune: {method: $method, amount: 50%}, treat: $treatment, on: d, train: t}
  every:  {ensemble: {of: ticket, over: method}}
  two:    {ensemble: {of: ticket, over: method, members: [random-unstructured, l1-unstructured]}}
  orders: {ensemble: {of: ticket, over: order}}
  seeds:  {ensemble: {of: ticket, over: replicate}}
measure: [accuracy, loss, class-accuracy, density, agreement, ensemble-gain]
"""

DATA = """
import numpy as np


def made(seed):
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (80, 1, 8, 8), dtype=np.uint8), np.arange(80) % 10


def one():
    return *made(0), *made(1)


def other():
    return *made(0), *made(2)
"""
WIDE = """
from torch import nn


def wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 300))
"""


@pytest.fixture(scope="module", params=["lanes", "torch"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    store = Store(tmp_path_factory.mktemp("together") / "store")
    study = parse_study(f"{TEXT}engine: {request.param}\n")
    run(study, store=store, workers=0)
    return Results(study, store)


def predicted(results: Results, point: Point) -> tuple[np.ndarray, np.ndarray]:
    """Classes and probabilities that the store keeps of a state."""
    graph, store = results.population.graph, results.store
    key = next(
        (
            state.key
            for state in graph.states.values()
            if state.recipe == "predict" and state.parents == (point.state.key,)
        ),
        point.state.key,
    )
    sql = "SELECT digest FROM outputs WHERE state = ? AND name = 'predictions'"
    found = store.files.read_predictions(store.ledger.rows(sql, [key])[0]["digest"])
    return found["class"], found["probabilities"]


def digits_seen() -> tuple[torch.Tensor, np.ndarray]:
    """The test images as the networks see them, and their labels."""
    from pomona.data.choice import DataChoice
    from pomona.data.dataset import load

    data = load("digits", Path.cwd())
    mean, sd = DataChoice(name="digits").pixel_mean_sd(data.info)
    images = torch.tensor(data.test_images).float().reshape(len(data.test_labels), 1, 8, 8) / 255
    return (images - mean[0]) / sd[0], data.test_labels


def of_step(results: Results, step: str) -> list[Point]:
    return [point for point in results.population.points if point.step == step]


def test_predictions_are_what_the_network_says(results: Results) -> None:
    images, labels = digits_seen()
    point = next(p for p in of_step(results, "ticket") if p.level == 2)
    with torch.no_grad():
        logits = load_module(point.state.key, results.store)(images)
    classes, probabilities = predicted(results, point)
    assert classes.dtype == np.uint8
    assert probabilities.dtype == np.float16
    assert np.abs(probabilities - torch.softmax(logits, 1).numpy()).max() < 1e-3
    assert (classes == logits.argmax(1).numpy()).mean() > 0.995
    # Counted right and wrong exactly as its evaluation does.
    found = results.measured(point.probes["test"])["accuracy", "", -1]
    assert (classes == labels).mean() == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("step", ["every", "two", "orders", "seeds"])
def test_ensemble_is_the_mean_of_its_members(results: Results, step: str) -> None:
    _, labels = digits_seen()
    points = of_step(results, step)
    assert points
    for point in points:
        kept = [predicted(results, member) for member in point.members]
        mean = np.mean([p.astype(np.float64) for _, p in kept], axis=0)
        classes, probabilities = predicted(results, point)
        assert np.abs(probabilities - mean).max() < 1e-3
        clear = np.diff(np.sort(mean, axis=1)[:, -2:], axis=1)[:, 0] > 1e-6
        assert (classes == mean.argmax(1))[clear].all()
        found = results.measured(point.probes["test"])
        assert found["accuracy", "", -1] == pytest.approx((classes == labels).mean(), abs=1e-12)
        right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
        assert found["loss", "", -1] == (pytest.approx(-np.log(right).mean()) if right.all() else None)
        own = classes[labels == 3]
        assert found["class-accuracy", "", 3] == pytest.approx((own == 3).mean(), abs=1e-12)
        alone = [(c == labels).mean() for c, _ in kept]
        gain = results.measured(point.probes["ensemble-gain"])
        accuracy = found["accuracy", "", -1]
        assert gain["over-mean", "", -1] == pytest.approx(accuracy - np.mean(alone), abs=1e-12)
        assert gain["over-best", "", -1] == pytest.approx(accuracy - max(alone), abs=1e-12)
        assert gain["members-mean", "", -1] == pytest.approx(np.mean(alone), abs=1e-12)
        assert gain["best-member", "", -1] == max(alone)


def test_which_members(results: Results) -> None:
    """All labels or those that are named, in every arm that has them; level 0 of all methods is one network."""
    every = of_step(results, "every")
    assert {(p.replicate, p.level, p.arm["treatment"], p.arm["order"]) for p in every} == {
        (r, level, "rewind", "0") for r in range(3) for level in (1, 2)
    }
    assert [member.arm["method"] for member in every[0].members] == [
        *("l1-unstructured", "random-unstructured", "l1-structured")
    ]
    two = of_step(results, "two")
    assert {(p.arm["treatment"], p.arm["order"]) for p in two} == {("rewind", "0"), ("finetune", "0")}
    orders = of_step(results, "orders")
    # Level 0 has a network for each order.
    assert {(p.arm["method"], p.level) for p in orders} == {("l1-unstructured", level) for level in (0, 1, 2)}
    seeds = of_step(results, "seeds")
    assert {p.replicate for p in seeds} == {0}
    assert {len(p.members) for p in seeds} == {3}


def test_an_ensemble_keeps_all_weights_of_its_members(results: Results) -> None:
    for point in [*of_step(results, "every"), *of_step(results, "seeds")]:
        own = [results.density(member) for member in point.members]
        assert results.density(point) == pytest.approx(sum(filter(None, own)))


def test_order_of_members_makes_no_difference() -> None:
    one, other = (
        expand(
            parse_study(
                TEXT.replace("members: [random-unstructured, l1-unstructured]", f"members: [{names}]")
            )
        )
        for names in ("random-unstructured, l1-unstructured", "l1-unstructured, random-unstructured")
    )
    keys = [{p.state.key for p in found.points if p.step == "two"} for found in (one, other)]
    assert keys[0] == keys[1] != set()


def test_agreement_is_counted(results: Results) -> None:
    pairs = results.population.agreements
    # Rewinding has three methods, finetuning two, and one of them each in another order: 7 arms.
    assert len(pairs) == 3 * 2 * (7 * 6 // 2)
    for pair in pairs:
        a, b = predicted(results, pair.a)[0], predicted(results, pair.b)[0]
        found = results.measured(pair.probe)
        raw = (a == b).mean()
        chance = sum((a == c).mean() * (b == c).mean() for c in range(10))
        assert found["agreement", "", -1] == pytest.approx(raw, abs=1e-12)
        assert found["kappa", "", -1] == pytest.approx((raw - chance) / (1 - chance), abs=1e-12)


def test_a_second_run_has_nothing_to_compute(results: Results) -> None:
    again = Run(results.study, results.store)
    assert again.missing() == 0


CONTRAST = """
hypotheses:
  - claim: Together they know more.
    contrast: {a: %s, fix: {treatment: rewind, order: 0}}
    of: {match: level, value: 2, %s}
    test: {paired-t: greater}
"""


@pytest.mark.parametrize(
    ("arms", "of", "said"),
    [
        (
            "{step: ticket, method: l1-unstructured}, value: 0",
            "measure: ensemble-gain, quantity: over-best",
            "step 'ticket' is none",
        ),
        (
            "{step: two}, value: 0",
            "measure: weight-magnitude, quantity: weight-magnitude",
            "weight-magnitude is of networks",
        ),
        ("{step: two}, value: 0", "measure: accuracy, part: validation", "there is no validation part of it"),
        (
            "{step: seeds, method: l1-unstructured}, value: 0",
            "measure: accuracy",
            "without replicates nothing is tested of it",
        ),
    ],
)
def test_claims_that_an_ensemble_cannot_answer_are_refused(arms: str, of: str, said: str) -> None:
    text = TEXT.replace("ensemble-gain]", "ensemble-gain, weight-magnitude]")
    with pytest.raises(ProblemsError) as caught:
        parse_study(text + CONTRAST % (arms, of))
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_effective_density_is_no_place_of_an_ensemble() -> None:
    text = TEXT.replace("ensemble-gain]", "ensemble-gain, effective-density]")
    claim = CONTRAST % ("{step: two}, value: 0", "measure: accuracy")
    claim = claim.replace("match: level, value: 2", "match: effective-density, value: 50%")
    with pytest.raises(ProblemsError, match="has no effective density: write 'match: density'"):
        parse_study(text + claim)


def test_members_see_the_same_images(tmp_path: Path) -> None:
    """Predictions of other images are no predictions to be averaged."""
    (tmp_path / "mine.py").write_text(DATA)
    text = TEXT.replace(
        "d: {name: digits, validation: 100}", "d: {name: 'mine.py:one'}, e: {name: 'mine.py:other'}"
    )
    text = text.replace("treatment: [rewind, finetune]", "treatment: [rewind]\n  set: {one: d, other: e}")
    text = text.replace("on: d", "on: $set").replace("{of: ticket, over: order}", "{of: ticket, over: set}")
    text = text.replace("$treatment", "rewind").replace("  treatment: [rewind]\n", "")
    text = text.replace('"treatment == rewind or method != l1-structured", ', "")
    with pytest.raises(
        InputError, match=r"step 'orders' averages predictions of the same test images, and its members see"
    ):
        expand(parse_study(text, "study.yaml", tmp_path))


def test_pilots_are_in_no_ensemble_of_replicates() -> None:
    text = f"{TEXT}registration: {{pilot: 1}}\n"
    seeds = [point for point in expand(parse_study(text)).points if point.step == "seeds"]
    assert {point.replicate for point in seeds} == {1}
    assert {member.replicate for point in seeds for member in point.members} == {1, 2}


def test_a_head_of_more_outputs_keeps_the_classes_only(tmp_path: Path) -> None:
    text = TEXT.replace("{name: fc, options: {hidden: 12-8}}", "'mine.py:wide'").replace(
        "replicates: 3", "replicates: 1"
    )
    (tmp_path / "mine.py").write_text(WIDE)
    store = Store(tmp_path / "store")
    study = parse_study(
        text.replace("  seeds:  {ensemble: {of: ticket, over: replicate}}\n", ""), "s.yaml", tmp_path
    )
    run(study, store=store, workers=0)
    found = Results(study, store)
    assert not found.lost()
    classes, probabilities = predicted(found, of_step(found, "two")[0])
    assert probabilities.shape == (len(classes), 10)


def test_a_regression_over_states_takes_networks_unless_it_names_steps(results: Results) -> None:
    for where, steps in ((None, {"dense", "ticket"}), ("step == two", {"two"})):
        model = Regression(rows="state", formula="accuracy ~ density", term="density", where=where)
        assert {point.step for point in selected(results.population, model)} == steps


def test_points_that_are_not_there_are_said(results: Results) -> None:
    with pytest.raises(
        InputError, match=r"step 'seeds' joins all replicates: .* as replicate 0; got replicate 1"
    ):
        results.point(step="seeds", replicate=1, method="l1-unstructured", treatment="rewind", order="0")
    text = TEXT.replace('"treatment == rewind or method != l1-structured"', "method != l1-structured")
    study = parse_study(text)
    with pytest.raises(
        InputError, match="step 'every' has no state in this study: no arm has all of its members"
    ):
        Results(study, results.store).point(step="every")


def test_results_take_the_last_step_of_networks(results: Results) -> None:
    arm = {"method": "l1-unstructured", "treatment": "rewind", "order": "0"}
    assert results.point(level=1, **arm).step == "ticket"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("over: order}", "over: orde}", "unknown factor of step 'ticket' 'orde'; did you mean 'order'?"),
        (
            "members: [random-unstructured, l1-unstructured]",
            "members: [l1-unstructured, l1-structure]",
            "unknown label of factor 'method' 'l1-structure'; did you mean 'l1-structured'?",
        ),
        (
            "members: [random-unstructured, l1-unstructured]",
            "members: [l1-unstructured]",
            "expected two or more different members, got l1-unstructured",
        ),
        ("{of: ticket, over: replicate}", "{of: tickets, over: replicate}", "unknown step 'tickets'"),
        ("{of: ticket, over: replicate}", "{of: two, over: replicate}", "'two' is an ensemble"),
        (
            "{of: ticket, over: replicate}",
            "{of: dense, over: method}",
            "unknown factor of step 'dense' 'method'",
        ),
        (
            "{ensemble: {of: ticket, over: replicate}}",
            "{ensemble: {of: ticket, over: replicate}, on: d}",
            "goes alone: leave 'on' out",
        ),
        (
            "{of: ticket, over: replicate}",
            "{of: ticket, over: replicate, members: [1, 2]}",
            "joins all of them: leave 'members' out",
        ),
    ],
)
def test_faults_are_said(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(ProblemsError) as caught:
        parse_study(TEXT.replace(old, new))
    assert any(said in problem for problem in caught.value.problems), caught.value.problems


def test_blinded_results_have_no_ensemble_of_the_arms_under_codes(tmp_path: Path) -> None:
    """The mean of its members' accuracies, beside the accuracies of all arms, would tell who they are."""
    claim = CONTRAST % ("{method: l1-unstructured}, b: {method: random-unstructured}", "measure: accuracy")
    answers = dict.fromkeys(
        ("question", "sample_size", "exclusions", "missing_data", "transformations", "exploratory"), "none"
    )
    text = TEXT + claim + f"registration: {{blind: [method], {str(answers)[1:-1]}}}\n"
    study, store = parse_study(text.replace("replicates: 3", "replicates: 2")), Store(tmp_path / "store")
    register(study, store)
    hidden = run(study, store=store, workers=0)
    assert hidden.blind is not None
    steps = {point.step for point in hidden.population.points}
    assert steps == {"dense", "ticket", "orders", "seeds"}
    assert {"every", "two"}.isdisjoint(hidden.frame()["step"])
    assert list(hidden.study.order) == ["dense", "ticket", "orders", "seeds"]
    assert len(hidden.population.agreements) == len(expand(study).agreements) > 0
