"""The audit of states that every kind of recipe made, with what is on record of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import save_file

from pomona.core.errors import InputError, StoreError
from pomona.core.reference import Reference
from pomona.graph import tags
from pomona.graph.custom import Recipe, load_declared
from pomona.graph.growth import apply
from pomona.graph.store import Store
from pomona.models.build import initial_weights
from pomona.models.choice import ModelChoice
from pomona.studies.audit_findings import findings
from pomona.studies.audits import audit
from pomona.studies.compute import compute
from pomona.studies.expand import expand
from pomona.studies.imported import import_checkpoint
from pomona.studies.run import Run
from pomona.studies.study import parse_study
from tests.users import declare, own_modules, write

STUDY = """
study: audited
let:
  data: {d: {name: digits, validation: 100}}
  train: {t: {optimizer: {sgd: {lr: 0.1}}, batch_size: 100, duration: 12it}}
factors:
  method:
    weights: l1-unstructured
    channels: l1-structured
    pooled: {criterion: magnitude, granularity: weight, scope: global}
    drawn: random-unstructured
steps:
  start: {init: {name: fc, options: {hidden: 20-12}}, on: d, train: none}
  low: {weights: start, mask: {score: start, method: $method, amount: 50%, levels: 3}, on: d, train: none}
  moved: {weights: start, mask: {score: start, method: $method, amount: 50%, levels: 3, control: rearrange}, on: d,
    train: none}
  groups: {weights: start, mask: {score: start, method: {criterion: magnitude, granularity: "2:4"}}, on: d, train: none}
measure: [density]
"""


class Ran:
    """A study that was run, and its states."""

    def __init__(self, text: str, folder: Path) -> None:
        self.store = Store(folder / "store")
        self.run = Run(parse_study(text, folder=folder), self.store, "cpu")
        self.run.execute(0)

    def key(self, step: str, level: int = 0, method: str = "") -> str:
        (point,) = (
            point
            for point in self.run.population.points
            if (point.step, point.level, point.arm.get("method", "")) == (step, level, method)
        )
        return point.state.key

    def made(self, recipe: str, key: str) -> str:
        """The nearest first parent that a recipe made."""
        states = self.run.population.graph.states
        while states[key].recipe != recipe:
            key = states[key].parents[0]
        return key


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    found = Ran(STUDY, tmp_path_factory.mktemp("audited"))
    yield found
    found.store.close()


@pytest.mark.parametrize("method", ["weights", "channels", "pooled", "drawn"])
def test_what_was_asked_and_done_is_joined_with_what_is(ran: Ran, method: str) -> None:
    key = ran.key("low", 3, method)
    found = audit(key, ran.store)
    prune = ran.made("prune", key)
    record = ran.store.ledger.facts([prune])[prune]["audit"]
    assert (found.maker, found.maker_recipe, found.recipe) == (prune, "prune", "treat")
    assert (found.origin, found.origin_recipe) == (ran.key("start"), "init")
    assert (found.requested, found.achieved) == (record["requested"], record["achieved"])
    masks = ran.store.masks(key)[0]
    for layer, asked in zip(found.layers, record["layers"], strict=True):
        assert layer.mask.parameter == asked["parameter"]
        assert layer.mask.kept == asked["kept_weights"] == masks[layer.mask.parameter].sum()
        assert (layer.requested, layer.achieved) == (asked["requested"], asked["achieved"])
        assert layer.unit == ("channel-in" if method == "channels" else "weight")
        assert layer.pooled == (method == "pooled")
        assert layer.mask.revived == 0
        # It was rewound and not trained.
        assert layer.mask.unchanged == layer.mask.kept
        assert layer.mask.wiring is not None
    assert found.masks.density == sum(int(m.sum()) for m in masks.values()) / found.masks.total
    assert found.notes == ()
    assert any("they were not trained" in line for line in findings(found))


def test_structured_pruning_is_said_in_channels(ran: Ran) -> None:
    said = findings(audit(ran.key("low", 3, "channels"), ran.store))
    assert "fc1 keeps 8 of 64 inputs" in said
    # A half of five is rounded to two, so that three are left.
    assert "fc2 keeps 3 of 20 inputs" in said
    assert "fc1: 17 of 20 outputs reach no output of the network" in said


def test_a_control_is_audited_with_its_evidence(ran: Ran) -> None:
    key = ran.key("moved", 3, "weights")
    plain, moved = audit(ran.key("low", 3, "weights"), ran.store), audit(key, ran.store)
    assert (moved.maker_recipe, moved.maker) == ("control", ran.made("control", key))
    assert moved.control is not None
    assert moved.control["control"] == "rearrange"
    for layer, before, evidence in zip(moved.layers, plain.layers, moved.control["layers"], strict=True):
        assert layer.mask.kept == before.mask.kept
        # What a layer gets back it has lost elsewhere.
        assert 2 * (layer.mask.revived or 0) == evidence["changed"] > 0
        assert layer.requested is None
    assert any("which the control may do" in line for line in findings(moved))


def test_groups_are_audited(ran: Ran) -> None:
    found = audit(ran.key("groups", 1), ran.store)
    assert [layer.unit for layer in found.layers] == ["2:4"] * 3
    assert found.masks.density == 0.5
    assert found.layers[0].achieved == 640


def test_an_untrained_dense_state_has_nothing_to_say(ran: Ran) -> None:
    found = audit(ran.key("start"), ran.store)
    assert (found.maker, found.maker_recipe) == (found.key, "init")
    assert found.masks.density == found.masks.effective_density == 1
    assert found.masks.changed_density is None
    assert findings(found) == []


def test_a_key_may_be_cut_short_or_be_a_tag(ran: Ran) -> None:
    key = ran.key("low", 3, "weights")
    tags.tag(ran.store.ledger, [key], "mine")
    tags.tag(ran.store.ledger, [key, ran.key("start")], "both")
    assert audit(key[:20], ran.store.folder).key == audit("mine", ran.store).key == key
    with pytest.raises(InputError, match="2 states have the tag 'both'"):
        audit("both", ran.store)
    with pytest.raises(InputError, match=r"no state in .* has a key that begins with 'nobody'"):
        audit("nobody", ran.store)


def test_what_cannot_be_audited_is_said(ran: Ran, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store in"):
        audit("3fa1", tmp_path / "nowhere")
    with Store(tmp_path / "planned") as planned:
        planned.ledger.plan(ran.run.population.graph.states.values(), [])
        with pytest.raises(StoreError, match="has no masks: it is planned"):
            audit(ran.key("start"), planned)


def test_weights_that_were_let_go_leave_the_rest(tmp_path: Path) -> None:
    ran = Ran(STUDY, tmp_path)
    key = ran.key("low", 2, "weights")
    whole = audit(key, ran.store)
    ran.store.let_go([ran.key("start")])
    without_first = audit(key, ran.store)
    assert without_first.masks.changed_density is None
    assert without_first.masks.effective_density == whole.masks.effective_density
    assert any(note.startswith("first values: the weights of state") for note in without_first.notes)
    ran.store.let_go([key])
    bare = audit(key, ran.store)
    assert bare.masks.effective_density is None
    assert [layer.mask.kept for layer in bare.layers] == [layer.mask.kept for layer in whole.layers]
    assert [layer.achieved for layer in bare.layers] == [layer.achieved for layer in whole.layers]
    assert any("pomona restore" in note for note in bare.notes)


def test_only_weights_that_learned_count_as_changed(tmp_path: Path) -> None:
    text = STUDY.replace(
        "measure:", "  learned: {weights: start, mask: {of: low}, on: d, train: t}\nmeasure:"
    )
    ran = Ran(text, tmp_path)
    key = ran.key("learned", 3, "weights")
    found = audit(key, ran.store)
    now, first = ran.store.weights(key), ran.store.weights(ran.key("start"))
    masks = ran.store.masks(key)[0]
    changed = sum(int((mask & (now[name] != first[name])).sum()) for name, mask in masks.items())
    assert found.maker_recipe == "prune"
    assert found.masks.changed_density == changed / found.masks.total
    assert 0 < found.masks.changed_density <= (found.masks.effective_density or 0) < found.masks.density


OTHERS = """
  signs: {from: dense, repeat: 1, prune: {method: $method, amount: 50%}, treat: sigma-sign, on: d, train: none}
  late: {from: dense, repeat: 1, prune: {method: $method, amount: 50%}, treat: {rewind: 6it}, on: d, train: none}
  kept: {from: dense, repeat: 1, prune: {method: $method, amount: 50%}, treat: finetune, on: d, train: none}
  fresh: {weights: start, mask: {score: start, method: $method, amount: 50%, control: reinit}, on: d, train: none}
  shrunk: {init: {name: fc, options: {hidden: 20-12}}, on: d, train: t,
    during: {method: $method, to: 30%, end: 9it, every: 3it}}
  frozen: {from: dense, repeat: 1, prune: {method: {criterion: magnitude, granularity: channel-in, pruned: freeze},
    amount: 90%}, treat: finetune, on: d, train: none}
  agreed: {weights: start, mask: {of: low, level: 1, over: method, join: any}, on: d, train: none}
"""


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    dense = "  dense: {init: {name: fc, options: {hidden: 20-12}}, on: d, train: t}"
    text = STUDY.replace("measure:", f"{dense}{OTHERS}measure:")
    found = Ran(text, tmp_path_factory.mktemp("others"))
    yield found
    found.store.close()


@pytest.mark.parametrize(
    ("step", "origin"), [("signs", "treat"), ("late", "init"), ("kept", "init"), ("fresh", "init")]
)
def test_first_values_are_those_that_a_treatment_gave_or_the_untrained_ones(
    others: Ran, step: str, origin: str
) -> None:
    key = others.key(step, 1, "weights")
    found = audit(key, others.store)
    assert (found.maker_recipe, found.origin_recipe) == ("prune", origin)
    assert found.origin is not None
    if step == "signs":
        # Nothing was trained since the treatment, so there is nothing to compare.
        assert (found.origin, found.masks.changed_density) == (key, None)
        return
    now, first = others.store.weights(key), others.store.weights(found.origin)
    same = {n: int((m & (now[n] == first[n])).sum()) for n, m in others.store.masks(key)[0].items()}
    assert [layer.mask.unchanged for layer in found.layers] == list(same.values())
    assert (sum(same.values()) == found.masks.kept) == (step == "fresh")
    assert (found.origin != others.key("start")) == (step == "fresh")


def test_masks_that_shrank_in_training_are_audited(others: Ran) -> None:
    key = others.key("shrunk", 0, "weights")
    found = audit(key, others.store)
    assert (found.maker, found.maker_recipe, found.requested) == (key, "train", None)
    assert found.masks.density == pytest.approx(0.3, abs=1e-3)
    assert [(layer.unit, layer.mask.revived) for layer in found.layers] == [("weight", 0)] * 3


def test_pruned_weights_that_are_held_at_values_connect(others: Ran) -> None:
    key = others.key("frozen", 1)
    found = audit(key, others.store)
    masks, weights = others.store.masks(key)[0], others.store.weights(key)
    held = sum(int((weights[name][~mask] != 0).sum()) for name, mask in masks.items())
    assert found.notes == (
        f"{held:,} pruned weights are held at values that are not zero, so that they connect too",
    )
    # Of every ten inputs one is left, and still every unit hears from all of them.
    assert found.masks.effective_density == found.masks.density < 0.11
    assert all(layer.mask.wiring and layer.mask.wiring.without_input == 0 for layer in found.layers)


def test_a_consensus_is_within_what_any_of_its_masks_keeps(others: Ran) -> None:
    found = audit(others.key("agreed", 1), others.store)
    assert found.maker_recipe == "join"
    assert found.masks.density > 0.5
    assert [layer.mask.revived for layer in found.layers] == [0, 0, 0]


OWN = """
@pomona.recipe
def work(state: pomona.Given) -> pomona.Made:
    masks = {name: mask.copy() for name, mask in state.masks.items()}
    masks["fc1.weight"][:3] = False
    return pomona.Made({name: array * masks.get(name, 1) for name, array in state.weights.items()}, masks)

@pomona.recipe
def half(state: pomona.Given) -> pomona.Made:
    return pomona.Made({name: array / 2 for name, array in state.weights.items()})
"""


def test_states_of_users_recipes_are_audited(tmp_path: Path) -> None:
    with own_modules():
        cut = declare(tmp_path, OWN)
        halved = load_declared(Reference(tmp_path / "mine.py", "half"), Recipe)
        text = PLAIN.replace("INIT", "{name: fc, options: {hidden: 6-4}}")
        population = expand(parse_study(text))
        graph = population.graph
        (dense,) = (point.state for point in population.points)
        made = apply(graph, halved, apply(graph, cut, dense))
        computed = compute(graph, Store(tmp_path / "store"), workers=0)
        found = audit(made.key, computed.store)
    assert (found.recipe, found.maker_recipe, found.maker) == ("half", "work", made.parents[0])
    first = found.layers[0]
    assert (first.mask.empty_outputs, first.mask.revived, first.unit, first.achieved) == (3, 0, None, None)
    assert first.mask.wiring is not None
    assert (first.mask.wiring.without_input, first.mask.wiring.emitting) == (3, 3)
    assert first.mask.unchanged == 0
    said = findings(found)
    assert "fc1: 3 of 6 outputs have no live input; all still emit a constant, their bias or shift" in said


PLAIN = """
study: plain
steps:
  start: {init: INIT, on: digits, train: none}
measure: [density]
"""


def test_imported_masks_are_audited(tmp_path: Path) -> None:
    choice = ModelChoice(name="fc", options={"hidden": "6-4"})
    weights = initial_weights(choice, (1, 8, 8), 10, 0)
    weights["fc2.weight"][:, 2] = 0
    weights["fc3.weight"][:] = 0
    save_file(weights, tmp_path / "theirs.safetensors")
    imported = import_checkpoint(
        tmp_path / "theirs.safetensors",
        {"name": "fc", "options": {"hidden": "6-4"}},
        zeros=True,
        input_shape=(1, 8, 8),
        classes=10,
        store=tmp_path / "store",
    )
    found = audit(imported.state.key, imported.computed.store)
    assert (found.maker_recipe, found.origin, found.requested) == ("import", None, None)
    assert [layer.mask.revived for layer in found.layers] == [None, None, None]
    said = findings(found)
    assert "fc2 keeps 5 of 6 inputs" in said
    assert "fc3 is collapsed: it keeps none of its 40 weights" in said
    assert "the network is cut: no kept weight lies on a path from the input to the output" in said


NET = """
from torch import nn

class net(nn.Module):
    def __init__(self, input_shape, classes):
        super().__init__()
        self.up = nn.ConvTranspose2d(1, 4, 3, groups=1)
        self.down = nn.Conv2d(4, 6, 3, groups=2)
        self.head = nn.Linear(6 * 64, classes)

    def forward(self, x):
        return self.head(self.down(self.up(x).relu()).flatten(1))
"""


def test_a_network_that_is_not_understood_is_counted_all_the_same(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", NET)
    text = PLAIN.replace("INIT", "mine.py:net").replace(
        "measure",
        "  low: {weights: start, mask: {score: start, method: {criterion: magnitude, granularity: channel-in,"
        " layers: [down]}, amount: 50%}, on: digits, train: none}\nmeasure",
    )
    with own_modules():
        ran = Ran(text, tmp_path)
        key = ran.key("low", 1)
        found = audit(key, ran.store)
        assert found.masks.effective_density is None
        (note,) = found.notes
        assert "module 'up' (ConvTranspose2d) is not understood" in note
        assert "down keeps 2 of 4 input channels" in findings(found)
        write(tmp_path, "mine.py", NET.replace("relu()", "tanh()"))
        other = audit(key, ran.store)
        assert other.notes[0].startswith("network: its source is another one now")
        assert [layer.mask.kept for layer in other.layers] == [layer.mask.kept for layer in found.layers]
