"""Every part of a prune as a study writes it: run on small networks, judged by the states it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pomona.core.errors import PomonaError, ProblemsError
from pomona.core.streams import Stream
from pomona.data.splits import split
from pomona.models.build import build
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.schedule import SCHEDULES, densities, density_at
from pomona.pruning.treatments import TREATMENTS
from pomona.studies import pruned as pruned_recipes
from pomona.studies.examples import training_part
from pomona.studies.expand import expand
from pomona.studies.run import Run
from pomona.studies.study import parse_study
from pomona.training.batches import Batches

HEAD = """
study: small
let:
  data:
    clean: {name: digits, validation: 300}
    labels: {name: digits, validation: 300, corrupt: {labels: 100%}}
    pixels: {name: digits, validation: 300, corrupt: {pixels: yes, labels: 50%}}
    half: {name: digits, validation: 300, corrupt: {examples: 50%}}
  train:
    short: {optimizer: {sgd: {lr: 0.1, momentum: 0.9, weight_decay: 1e-3}}, batch_size: 100, duration: 12it}
    late: {like: short, start: 4it}
steps:
  dense: {init: {name: fc, options: {hidden: 20-12}}, on: clean, train: short}
"""


class Ran:
    """A study that was run, and its states by step, arm and level."""

    def __init__(self, steps: str, folder: Path, factors: str = "") -> None:
        study = parse_study(HEAD + steps + factors, folder=folder)
        from pomona.graph.store import Store

        self.store = Store(folder / "store")
        self.run = Run(study, self.store, "cpu")
        self.results = self.run.execute(0)

    def points(self, step: str, **arm: str) -> list[Any]:
        return [
            point
            for point in self.run.population.points
            if point.step == step and all(point.arm.get(name) == label for name, label in arm.items())
        ]

    def weights(self, state: Any) -> dict[str, np.ndarray]:
        return self.store.weights(state.key)

    def masks(self, state: Any) -> dict[str, np.ndarray]:
        return self.store.masks(state.key)[0]

    def facts(self, state: Any) -> dict[str, Any]:
        return self.store.ledger.facts([state.key])[state.key]

    def density(self, state: Any) -> float:
        masks = self.masks(state).values()
        return sum(int(mask.sum()) for mask in masks) / sum(mask.size for mask in masks)


def assert_zero(ran: Ran, state: Any) -> None:
    weights = ran.weights(state)
    for name, mask in ran.masks(state).items():
        assert not weights[name][~mask].any()


PLAIN = [n for n, c in CRITERIA.items() if not c.only and n not in ("norm", "scores")]


@pytest.mark.parametrize("criterion", PLAIN)
def test_every_criterion_prunes_a_study_twice_to_its_counts(criterion, tmp_path):
    method = f"{{criterion: {criterion}, examples: 40}}" if CRITERIA[criterion].reads_data else criterion
    method = method if method.startswith("{") else f"{{criterion: {method}}}"
    ran = Ran(
        f"  low: {{from: dense, repeat: 2, prune: {{method: {method}, amount: 50%}}, treat: rewind, "
        "on: clean, train: short}\n",
        tmp_path,
    )
    assert not ran.run.failures
    dense, first, second = ran.points("low")
    for layer, mask in ran.masks(dense.state).items():
        once, twice = ran.masks(first.masked)[layer], ran.masks(second.masked)[layer]
        assert int(once.sum()) == mask.size - round(0.5 * mask.size)
        assert int(twice.sum()) == int(once.sum()) - round(0.5 * int(once.sum()))
        assert not (twice & ~once).any()
    assert_zero(ran, second.masked)
    assert_zero(ran, second.state)
    assert ran.facts(second.masked)["audit"]["requested"] == ran.facts(second.masked)["audit"]["achieved"]


def test_criteria_of_the_network_are_the_same_when_they_are_run_again(tmp_path):
    steps = "  low: {weights: dense@0, mask: {score: dense@0, method: $method, to: 10%}, on: clean, train: short}\n"
    factors = "factors: {method: [snip, grasp, synflow]}\nreplicates: 2\n"
    one, other = (Ran(steps, tmp_path / name, factors) for name in ("one", "other"))
    assert not one.run.failures
    for a, b in zip(one.points("low"), other.points("low"), strict=True):
        assert a.state.key == b.state.key
        assert all(
            np.array_equal(mask, other.masks(b.state)[name]) for name, mask in one.masks(a.state).items()
        )
        total = sum(mask.size for mask in one.masks(a.state).values())
        assert sum(int(mask.sum()) for mask in one.masks(a.state).values()) == round(0.1 * total)
    snips = [one.masks(point.state) for point in one.points("low", method="snip")]
    assert any((snips[0][name] != snips[1][name]).any() for name in snips[0])


def test_a_density_is_reached_in_levels_on_each_way_down(tmp_path):
    ran = Ran(
        "  low: {from: dense, repeat: 4, prune: {method: global-unstructured, to: 10%, schedule: $way}, "
        "on: clean, train: none}\n",
        tmp_path,
        "factors: {way: [exponential, cubic, linear]}\n",
    )
    for way in SCHEDULES:
        found = [ran.density(point.masked) for point in ran.points("low", way=way)[1:]]
        assert found == pytest.approx(densities(way, 0.1, 4), abs=0.001)


def test_densities_are_taken_over_from_another_step_level_by_level(tmp_path):
    ran = Ran(
        "  ticket: {from: dense, repeat: 2, prune: {method: global-unstructured, amount: 40%}, on: clean, "
        "train: short}\n"
        "  same: {from: dense, repeat: 2, prune: {method: random-unstructured, like: ticket}, on: clean, "
        "train: short}\n"
        "  once: {weights: dense@0, mask: {score: dense@0, method: snip-here, levels: 2, like: ticket}, "
        "on: clean, train: none}\n".replace("snip-here", "{criterion: snip, examples: 40}"),
        tmp_path,
    )
    assert not ran.run.failures
    for level in (1, 2):
        ticket = ran.masks(ran.points("ticket")[level].masked)
        others = [
            ran.masks(ran.points("same")[level].masked),
            ran.masks(ran.points("once")[level - 1].masked),
        ]
        for other in others:
            assert {n: int(m.sum()) for n, m in other.items()} == {n: int(m.sum()) for n, m in ticket.items()}
            assert any((other[name] != ticket[name]).any() for name in ticket)


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_every_treatment_leaves_what_it_says_under_the_mask(treatment, tmp_path):
    ran = Ran(
        f"  low: {{from: dense, repeat: 2, prune: {{method: l1-unstructured, amount: 50%}}, treat: {treatment}, "
        "on: clean, train: short}\n",
        tmp_path,
    )
    assert not ran.run.failures
    dense, first, _ = ran.points("low")
    start, origin, masks = ran.weights(first.start), ran.weights(dense.origin), ran.masks(first.start)
    assert_zero(ran, first.start)
    name, mask = "fc1.weight", masks["fc1.weight"]
    kept, init = start[name][mask], origin[name][mask]
    if treatment == "rewind":
        assert np.array_equal(kept, init)
    elif treatment == "finetune":
        assert np.array_equal(kept, ran.weights(dense.state)[name][mask])
    elif treatment == "reinit":
        assert (kept != init).mean() > 0.99
        assert np.abs(kept).max() <= np.abs(origin[name]).max() * 1.05
    elif treatment == "permute-survivors":
        assert np.array_equal(np.sort(kept), np.sort(init))
        assert not np.array_equal(kept, init)
    elif treatment == "sign":
        assert np.array_equal(kept, np.sign(init))
    else:
        assert not np.array_equal(kept, init)


def test_reinit_draws_anew_at_every_level_and_replicates_share_nothing(tmp_path):
    ran = Ran(
        "  low: {from: dense, repeat: 2, prune: {method: l1-unstructured}, treat: reinit, on: clean, train: none}\n",
        tmp_path,
        "replicates: 2\n",
    )
    drawn = [ran.weights(point.start)["fc3.weight"] for point in ran.points("low") if point.level]
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            both = (one != 0) & (other != 0)
            assert (one[both] != other[both]).all()


@pytest.mark.parametrize("pruned", ["freeze", "freeze-unless-shrunk"])
def test_frozen_weights_stay_where_they_began_through_training(pruned, tmp_path):
    ran = Ran(
        f"  low: {{from: dense, repeat: 2, prune: {{method: {{criterion: large-final, pruned: {pruned}}}, "
        "amount: 50%}, treat: rewind, on: clean, train: short}\n",
        tmp_path,
    )
    assert not ran.run.failures
    dense, first, second = ran.points("low")
    origin = ran.weights(dense.origin)
    for point in (first, second):
        for name, mask in ran.masks(point.masked).items():
            held = ran.weights(point.masked)[name][~mask]
            began = origin[name][~mask]
            assert np.array_equal(held[held != 0], began[held != 0])
            assert pruned == "freeze-unless-shrunk" or np.array_equal(held, began)
            assert held.any()
            for state in (point.start, point.state):
                assert np.array_equal(ran.weights(state)[name][~mask], held)
    assert "torch" in first.network.engine.text


@pytest.mark.parametrize("control", ["rearrange", "random-mask", "shuffle-weights", "reinit", "invert"])
def test_controls_change_one_thing_and_keep_the_counts(control, tmp_path):
    ran = Ran(
        "  check: {weights: dense@0, mask: {score: dense, method: $method, amount: 40%, levels: 2, "
        "control: $control}, on: clean, train: short}\n",
        tmp_path,
        f"factors: {{method: [l1-unstructured, l1-structured], control: [none, {control}]}}\n",
    )
    assert not ran.run.failures
    for method in ("l1-unstructured", "l1-structured"):
        plain = ran.points("check", method=method, control="none")[-1]
        other = ran.points("check", method=method, control=control)[-1]
        masks, controlled = ran.masks(plain.state), ran.masks(other.state)
        assert {n: int(m.sum()) for n, m in masks.items()} == {n: int(m.sum()) for n, m in controlled.items()}
        same_mask = all(np.array_equal(masks[name], controlled[name]) for name in masks)
        assert same_mask == (control in ("shuffle-weights", "reinit"))
        a, b = ran.weights(plain.start)["fc2.weight"], ran.weights(other.start)["fc2.weight"]
        assert not np.array_equal(a, b)
        if control == "rearrange":
            assert ran.facts(other.masked)["control"]["layers"]
            columns = controlled["fc1.weight"].any(axis=0)
            assert method == "l1-unstructured" or controlled["fc1.weight"][:, columns].all()


def test_a_controls_mask_on_weights_that_another_mask_pruned_is_a_failure(tmp_path):
    ran = Ran(
        "  low: {from: dense, repeat: 1, prune: {method: l1-unstructured, amount: 50%}, on: clean, train: none}\n"
        "  check: {weights: low, mask: {of: low, level: 1, control: rearrange}, on: clean, train: none}\n",
        tmp_path,
    )
    (failure,) = ran.run.failures
    assert "weights that the mask keeps were pruned by another mask, first in fc1.weight" in failure.reason


def test_weights_under_a_mask_that_keeps_what_theirs_pruned_are_a_failure(tmp_path):
    ran = Ran(
        "  a: {from: dense, repeat: 1, prune: {method: l1-unstructured, amount: 50%}, on: clean, train: none}\n"
        "  b: {from: dense, repeat: 1, prune: {method: random-unstructured, amount: 50%}, on: clean, train: none}\n"
        "  mixed: {weights: a, mask: {of: b, level: 1}, on: clean, train: none}\n"
        "  moved: {weights: a, mask: {of: b, level: 1}, map: {head: fresh}, on: clean, train: none}\n"
        "  same: {weights: a, mask: {of: a, level: 1}, on: clean, train: none}\n",
        tmp_path,
    )
    assert [failure.label.split()[0] for failure in ran.run.failures] == ["mixed", "moved"]
    assert all("were pruned by another mask" in failure.reason for failure in ran.run.failures)


def test_a_criterion_reads_images_that_train_and_others_at_each_level(tmp_path, monkeypatch):
    read: list[np.ndarray] = []
    gather = Batches.gather
    monkeypatch.setattr(
        pruned_recipes.Batches, "gather", lambda self, indices: read.append(indices) or gather(self, indices)
    )
    ran = Ran(
        "  low: {weights: dense@0, mask: {score: dense@0, method: {criterion: snip, examples: 60}, levels: 2}, "
        "on: clean, train: none}\n",
        tmp_path,
    )
    assert not ran.run.failures
    scored = [indices for indices in read if len(indices) == 60]
    held_back = set(split(1797 - 360, 300, Stream("split", 0))[1])
    assert len(scored) == 2
    assert all(len(set(indices)) == 60 and not held_back & set(indices) for indices in scored)
    assert set(scored[0]) != set(scored[1])


def test_a_stop_is_judged_on_the_images_held_back_from_training(tmp_path, monkeypatch):
    judged: list[np.ndarray] = []
    evaluate = pruned_recipes.evaluate

    def recorded(module, weights, examples, indices, classes):
        judged.append(indices)
        return evaluate(module, weights, examples, indices, classes)

    monkeypatch.setattr(pruned_recipes, "evaluate", recorded)
    Ran(
        "  low: {from: dense, repeat: 1, prune: {method: {criterion: snip, examples: 40}, "
        "stop: val-accuracy < 1%}, on: clean, train: none}\n",
        tmp_path,
    )
    assert np.array_equal(judged[0], split(1797 - 360, 300, Stream("split", 0))[1])


def test_level_one_reads_the_data_of_the_state_that_is_pruned():
    steps = (
        "  scout: {init: {name: fc, options: {hidden: 20-12}}, on: $findset, train: short}\n"
        "  low: {from: scout, repeat: 2, prune: {method: {criterion: snip, examples: 40}}, on: clean, train: short}\n"
    )
    points = expand(parse_study(HEAD + steps + "factors: {findset: [clean, labels]}\n")).points
    for level, same in ((1, False), (2, True)):
        data = [
            dict(graph_of(point)["data"]) for point in points if point.step == "low" and point.level == level
        ]
        assert (data[0] == data[1]) == same


def graph_of(point: Any) -> dict[str, Any]:
    return dict(point.masked.params)


def test_criteria_compare_with_what_the_survivors_began_at(tmp_path):
    ran = Ran(
        "  low: {from: dense, repeat: 2, prune: {method: {criterion: movement}, amount: 50%}, treat: reinit, "
        "on: clean, train: short}\n",
        tmp_path,
    )
    _, first, second = ran.points("low")
    began, ended = ran.weights(first.start), ran.weights(first.state)
    for name, mask in ran.masks(first.state).items():
        moved = np.abs(ended[name] - began[name])[mask]
        kept = ran.masks(second.masked)[name][mask]
        assert moved[kept].min() >= moved[~kept].max()


def test_random_masks_of_other_declarations_are_independent(tmp_path):
    ran = Ran(
        "  low: {weights: dense@0, mask: {score: dense@0, method: $method, to: 30%}, on: clean, train: none}\n"
        "  plain: {weights: dense@0, mask: {score: dense@0, method: random-unstructured, amount: 70%}, "
        "on: clean, train: none}\n",
        tmp_path,
        "factors: {method: [random-erk, random-unstructured]}\n",
    )
    masks = [ran.masks(point.state)["fc1.weight"] for point in (*ran.points("low"), *ran.points("plain"))]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            expected = one.mean() * other.mean()
            assert abs((one & other).mean() - expected) < 4 * np.sqrt(expected / one.size)


def test_controls_of_weights_and_scores_leave_evidence(tmp_path):
    ran = Ran(
        "  check: {weights: dense@0, mask: {score: dense, method: l1-unstructured, amount: 40%, "
        "control: $control}, on: clean, train: none}\n",
        tmp_path,
        "factors: {control: [shuffle-weights, reinit, invert, rearrange]}\n",
    )
    assert not ran.run.failures
    for point in ran.points("check"):
        control = point.arm["control"]
        state = point.masked if control in ("invert", "rearrange") else point.start
        found = ran.facts(state)["control"]
        assert found["control"] == control
        assert sum(layer["changed"] for layer in found["layers"]) > 0
        assert all(layer["kept_before"] == layer["kept_after"] for layer in found["layers"])


def test_reinit_at_level_zero_and_of_a_given_start_is_a_new_draw(tmp_path):
    ran = Ran("", tmp_path / "first")
    start = ran.points("dense")[0].start
    save_file(
        {name: torch.from_numpy(a.copy()) for name, a in ran.weights(start).items()},
        tmp_path / "s.safetensors",
    )
    ran = Ran(
        "  given: {init: {name: fc, options: {hidden: 20-12}, weights: {file: s.safetensors}}, on: clean, train: short}\n"
        "  gradual: {init: {name: fc, options: {hidden: 20-12}}, on: clean, train: short, "
        "during: {method: l1-unstructured, to: 20%, end: 9it, every: 3it}}\n"
        "  a: {weights: gradual@0, mask: {of: gradual, control: reinit}, on: clean, train: none}\n"
        "  b: {from: given, repeat: 1, prune: {method: l1-unstructured}, treat: reinit, on: clean, train: none}\n",
        tmp_path,
    )
    assert not ran.run.failures
    for step in ("a", "b"):
        point = ran.points(step)[-1]
        origin = ran.weights(ran.points("gradual")[0].start)["fc2.weight"]
        drawn = ran.weights(point.start)["fc2.weight"]
        assert (drawn[drawn != 0] != origin[drawn != 0]).all()


def test_evidence_of_frozen_networks_is_that_of_the_network_that_runs(tmp_path):
    ran = Ran(
        "  low: {from: dense, repeat: 2, prune: {method: {criterion: snip, examples: 40, pruned: freeze}, "
        "amount: 60%}, treat: rewind, on: clean, train: short}\n",
        tmp_path,
    )
    _, first, second = ran.points("low")
    weights = {name: torch.from_numpy(a.copy()) for name, a in ran.weights(first.state).items()}
    module = build(first.network.choice, (1, 8, 8), 10)
    module.load_state_dict(weights)
    examples = training_part(second.masked.how, second.masked.params)
    drawn = Stream("mask", 0, "examples", 2).permutation(len(examples.distinct))[:40]
    inputs, labels = Batches(examples.examples, torch.device("cpu")).gather(examples.distinct[drawn])
    torch.nn.functional.cross_entropy(module(inputs), labels).backward()
    for name, parameter in module.named_parameters():
        if name not in ran.masks(second.masked):
            continue
        before, after = ran.masks(first.masked)[name], ran.masks(second.masked)[name]
        score = (parameter * parameter.grad).abs().detach().numpy()
        gone = before & ~after
        assert score[after].min() >= score[gone].max() - 1e-9


@pytest.mark.parametrize("schedule", ["cubic", "linear"])
def test_during_follows_its_schedule_from_begin_to_end(schedule, tmp_path):
    ran = Ran(
        "  gradual: {init: {name: fc, options: {hidden: 20-12}}, on: clean, train: short, during: {method: "
        f"global-unstructured, to: 10%, schedule: {schedule}, begin: 2it, end: 10it, every: 2it}}}}\n"
        + "".join(
            f"  at{k}: {{weights: gradual@{k}it, mask: {{score: gradual@{k}it, method: l1-unstructured, amount: 0%}}, "
            "on: clean, train: none}\n"
            for k in (2, 5, 7, 9, 11)
        ),
        tmp_path,
    )
    assert not ran.run.failures
    # A moment is taken before what is pruned at it: at 5it two prunings are done (begin keeps all).
    for k, last in ((2, 2), (5, 4), (7, 6), (9, 8), (11, 10)):
        wanted = density_at(schedule, 0.1, (last - 2) / 8)
        assert ran.density(ran.points(f"at{k}")[0].masked) == pytest.approx(wanted, abs=0.002)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            "  low: {weights: dense@0, mask: {score: dense, method: {criterion: magnitude, pruned: freeze}, "
            "control: rearrange}, on: clean, train: short}\n",
            "a control of masks moves masks of which pruned weights are held",
        ),
        (
            "  low: {from: dense, repeat: 2, prune: {method: {criterion: magnitude, pruned: freeze}}, treat: sign, "
            "on: clean, train: short}\n",
            "sign gives the survivors other initial values",
        ),
        (
            "  low: {weights: dense@0, mask: {score: dense, method: snip, control: shuffle-weights}, "
            "map: {head: fresh}, on: clean, train: short}\n",
            "'map' and the control 'shuffle-weights' do not go together",
        ),
        (
            "  low: {weights: dense@0, mask: {of: dense, amount: 10%}, on: clean, train: short}\n",
            "'amount' goes with 'score'",
        ),
        ("  low: {init: {name: fc}, repeat: 5, on: clean, train: short}\n", "'repeat' goes with 'prune'"),
        (
            "  low: {init: {name: fc}, on: clean, train: short, during: {method: {criterion: movement}, to: 10%, "
            "end: 9it, every: 2it}}\n",
            "compares with the untrained weights",
        ),
        (
            "  low: {init: {name: fc}, on: clean, train: short, during: {method: {criterion: obs}, to: 10%, "
            "end: 9it, every: 2it}}\n",
            "moves the surviving weights",
        ),
        (
            "  low: {init: {name: fc}, on: clean, train: late, during: {method: l1-unstructured, to: 10%, "
            "begin: 2it, end: 9it, every: 2it}}\n",
            "begin: 2it lies before start: 4it",
        ),
        (
            "  low: {from: dense, repeat: 1, prune: {method: snip, on: digits}, on: clean, train: short}\n",
            "the criterion would read what is held back",
        ),
        (
            "  low: {from: dense, repeat: 1, prune: {method: {criterion: obs, rounds: 2}}, on: clean, train: short}\n",
            "rounds: obs moves the surviving weights",
        ),
    ],
)
def test_combinations_that_cannot_be_are_said_before_anything_is_computed(steps, message):
    with pytest.raises(PomonaError, match=message):
        expand(parse_study(HEAD + steps))


def test_data_controls_touch_the_training_part_of_what_finds_the_mask(tmp_path):
    ran = Ran(
        "  scout: {init: {name: fc, options: {hidden: 20-12}}, on: $findset, train: short}\n"
        "  check: {weights: scout@0, mask: {score: scout, method: l1-unstructured, amount: 50%}, on: clean, "
        "train: short}\n",
        tmp_path,
        "factors: {findset: [clean, labels, pixels, half]}\n",
    )
    assert not ran.run.failures
    facts = {
        name: ran.facts(ran.points("scout", findset=name)[0].state) for name in ("labels", "pixels", "half")
    }
    assert facts["labels"]["corruption"]["labels_drawn"] == facts["labels"]["corruption"]["examples"]
    assert facts["pixels"]["corruption"]["images_changed"] > 0
    assert facts["half"]["corruption"]["examples"] == round(facts["half"]["corruption"]["before"] / 2)
    steps = {ran.facts(point.state)["steps"] for point in ran.points("scout")}
    assert steps == {12}
    assert all("corruption" not in ran.facts(point.state) for point in ran.points("check"))
    clean = ran.points("scout", findset="clean")[0].probes
    # Test and validation parts are the same ones for all.
    for name in ("labels", "pixels", "half"):
        other = ran.points("scout", findset=name)[0].probes
        for part in ("test", "validation"):
            assert dict(other[part].params) == dict(clean[part].params)


def test_pruning_during_training_ends_at_its_density(tmp_path):
    ran = Ran(
        "  gradual: {init: {name: fc, options: {hidden: 20-12}}, on: clean, train: short, "
        "during: {method: $method, to: 20%, begin: 2it, end: 9it, every: 2it}}\n"
        "  moment: {weights: gradual@6it, mask: {of: gradual}, train: none}\n",
        tmp_path,
        "factors: {method: [global-unstructured, snip, random-unstructured]}\n",
    )
    assert not ran.run.failures
    for point in ran.points("gradual"):
        assert ran.density(point.state) == pytest.approx(0.2, abs=0.002)
        assert_zero(ran, point.state)
        assert point.masked is point.state


def test_a_training_that_starts_late_takes_the_steps_that_are_left(tmp_path):
    ran = Ran(
        "  low: {from: dense, repeat: 1, prune: {method: l1-unstructured}, treat: {rewind: 4it}, on: clean, "
        "train: late}\n",
        tmp_path,
    )
    assert not ran.run.failures
    _dense, late = ran.points("low")
    assert ran.facts(late.state)["steps"] == 8
    assert late.run.work_steps == 8


def test_a_lineage_ends_where_its_stop_says(tmp_path):
    ran = Ran(
        "  low: {from: dense, repeat: 6, prune: {method: random-unstructured, amount: 70%, "
        "stop: ['val-accuracy < .99', layer-collapse]}, on: clean, train: short}\n",
        tmp_path,
    )
    assert {failure.kind for failure in ran.run.failures} == {"stopped"}
    assert "val-accuracy < 0.99: it is" in ran.run.failures[0].reason


@pytest.mark.parametrize("unit", ["channel-in", "channel-out", "kernel", "block-2x3", "2:4"])
def test_every_granularity_removes_whole_units(unit, tmp_path):
    amount = "" if unit == "2:4" else ", amount: 30%"
    ran = Ran(
        f"  low: {{from: dense, repeat: 2, prune: {{method: {{criterion: magnitude, granularity: {unit}}}{amount}}}, "
        "on: clean, train: short}\n",
        tmp_path,
    )
    assert not ran.run.failures
    mask = ran.masks(ran.points("low")[1].state)["fc2.weight"]
    if unit == "2:4":
        assert all(mask[:, i : i + 4].sum(axis=1).max() <= 2 for i in range(0, mask.shape[1], 4))
    elif unit.startswith("channel"):
        lines = mask if unit == "channel-out" else mask.T
        assert set(lines.mean(axis=1)) <= {0.0, 1.0}
    assert ran.facts(ran.points("low")[1].masked)["granularity"]["fc2.weight"] == unit


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("prune: {method: {criterion: snipp}}", "unknown criterion 'snipp'; did you mean 'snip'"),
        (
            "prune: {method: {criterion: apoz}}",
            "the criterion 'apoz' scores channel-in or channel-out, got granu",
        ),
        ("prune: {method: snip, to: 10%, amount: 20%}", "give 'amount' .* or 'to' .*, not both"),
        ("prune: {method: snip, schedule: cubic}", "it goes with 'to', the density at the last level"),
        ("prune: {method: snip, to: 10%, schedule: cubik}", "unknown schedule 'cubik'; did you mean 'cubic'"),
        (
            "prune: {method: l1-unstructured, on: clean}",
            "the criterion 'magnitude' reads no data; leave it out",
        ),
        ("prune: {method: {criterion: magnitude, examples: 10}}", "'magnitude' reads no data; leave it out"),
        (
            "prune: {method: {criterion: snip, examples: 5000}}",
            "examples: 5000 are read by snip, and digits trains",
        ),
        (
            "prune: {method: snip, on: mnist}",
            "on: its network is made for images and classes as those of digits",
        ),
        ("prune: {method: snip, stop: 'accuracy < .5'}", "expected a stop as 'val-accuracy < .5'"),
        (
            "prune: {method: {criterion: snip, allocation: erd}}",
            "unknown allocation 'erd'; did you mean 'erk'",
        ),
        (
            "prune: {method: {criterion: snip, allocation: erk, scope: global}}",
            "allocation 'erk' says how much each layer keeps, scope 'global' leaves",
        ),
        (
            "prune: {method: {criterion: snip, granularity: '2:4'}, amount: 20%}",
            "granularity '2:4' says how much goes: leave 'amount' out",
        ),
        ("prune: {method: snip, to: 0%}", "expected a target density above 0"),
        ("prune: {method: l1-unstructured, like: dens}", "unknown step 'dens'; did you mean 'dense'"),
        ("prune: {method: snip, like: dense}", "'like' says what each layer is left: leave scope"),
        ("prune: {method: l1-unstructured, like: dense, to: 10%}", "leave 'to' out"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_computed(steps, message):
    with pytest.raises(ProblemsError, match=message):
        parse_study(HEAD + f"  low: {{from: dense, repeat: 2, {steps}, on: clean, train: short}}\n")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("mask: {score: dense, method: snip, control: shuffle}", "unknown control 'shuffle'; did you mean"),
        ("mask: {score: dense, method: snip, control: random-labels}", "it is one of the data"),
        ("mask: {of: dense, control: invert}", "goes with 'score'"),
    ],
)
def test_controls_that_cannot_be_are_refused(steps, message):
    with pytest.raises(ProblemsError, match=message):
        parse_study(HEAD + f"  check: {{weights: dense@0, {steps}, on: clean, train: short}}\n")


def test_during_needs_a_training_that_is_long_enough():
    text = "  g: {init: {name: fc}, on: clean, train: short, during: {method: snip, to: 10%, end: 99it, every: 2it}}\n"
    with pytest.raises(ProblemsError, match="there is no step 99it in a training of 12it"):
        parse_study(HEAD + text)
    text = "  g: {init: {name: fc}, on: clean, during: {method: snip, to: 10%, end: 9it, every: 2it}}\n"
    with pytest.raises(ProblemsError, match="'during' needs 'train'"):
        parse_study(HEAD + text)


def test_output_channels_leave_the_classes_alone_unless_their_layer_is_named(tmp_path):
    ran = Ran(
        "  low: {from: dense, repeat: 1, prune: {method: {criterion: magnitude, granularity: channel-out, "
        "layers: $layers}, amount: 50%}, on: clean, train: none}\n",
        tmp_path,
        "factors: {layers: [all, linear, fc3]}\n",
    )
    for point in ran.points("low"):
        if point.level:
            kept = ran.masks(point.masked)["fc3.weight"].any(axis=1).sum()
            assert kept == (5 if point.arm["layers"] == "fc3" else 10)


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        ("{method: l1-unstructured, amount: {con: 10%, linear: 20%}}", "unknown layer 'con'"),
        ("{method: l1-unstructured, amount: {conv: 10%, linear: 20%}}", "unknown layer 'conv'"),
        ("{method: l1-unstructured, amount: {fc1: 10%}}", "nothing is given for layer 'fc2'"),
        ("{method: {criterion: magnitude, layers: fc9}}", "unknown layer 'fc9'; did you mean"),
        (
            "{method: global-unstructured, amount: {fc1: 10%, default: 20%}}",
            "takes one fraction, got 0.1, 0.2",
        ),
        (
            "{method: {criterion: magnitude, granularity: {conv: weight}}}",
            "says nothing about layers of kind 'linear'",
        ),
    ],
)
def test_layers_that_the_network_has_not_are_said_before_anything_is_computed(prune, message):
    text = HEAD + f"  low: {{from: dense, repeat: 2, prune: {prune}, on: clean, train: short}}\n"
    with pytest.raises(PomonaError, match=message):
        expand(parse_study(text))
