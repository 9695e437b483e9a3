"""Defects that other pruning code is known for, each held against ours.

Those of ``torch.nn.utils.prune`` are in ``test_module.py`` and ``test_holding.py``; an unseeded initialisation, a
shuffle that changes nothing and controls whose survivors are dead in ``test_controls.py``.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pomona.core.streams import Stream
from pomona.models.build import initial_weights
from pomona.models.choice import ModelChoice
from pomona.pruning.counts import units
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.evidence import Batch, gather
from pomona.pruning.kinds import layer_kinds
from pomona.pruning.masks import apply_masks
from pomona.pruning.method import METHODS, Method
from pomona.pruning.prune import prune

ONE = {"w": "linear"}


def test_openlth_prunes_one_weight_too_many_a_level():
    weights, masks = {"w": torch.linspace(0.1, 1, 1000).reshape(10, 100)}, {}
    kept = []
    for _ in range(4):
        masks = prune(weights, masks, ONE, METHODS["global-unstructured"], 0.2).masks
        kept.append(int(masks["w"].sum()))
    assert kept == [800, 640, 512, 410]  # not 799, 638, 509, 406


def test_openlth_prunes_eight_of_ten_equal_weights():
    found = prune({"w": torch.ones(2, 5)}, {}, ONE, METHODS["global-unstructured"], 0.2)
    assert int(found.masks["w"].sum()) == 8
    assert found.audit.layers[0].ties_cut == 2


def test_openlth_initialises_without_a_seed():
    choice = ModelChoice(name="lenet")
    one, same, other = (initial_weights(choice, (1, 28, 28), 10, seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one if one[name].numel() > 1)


def test_synaptic_flow_prunes_too_much_where_scores_tie():
    scores = {"w": torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0, 2.0]])}
    chosen = Method(criterion="magnitude")
    assert int(prune(scores, {}, ONE, chosen, density=0.5).masks["w"].sum()) == 3


def test_synaptic_flow_revives_weights_between_its_rounds():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3))
    kinds = layer_kinds(network)
    weights = dict(network.state_dict())
    seen: list[dict[str, torch.Tensor]] = []

    def evidence(names, masks):
        seen.append(dict(masks))
        return gather(names, network, weights, masks, kinds, Batch(torch.ones(1, 6), torch.zeros(1).long()))

    found = prune(weights, {}, kinds, METHODS["synflow"], density=0.05, evidence=evidence)
    assert len(seen) == 100
    for before, after in zip(seen, [*seen[1:], found.masks], strict=True):
        assert not any((after[name] & ~before[name]).any() for name in kinds)
    total = sum(mask.numel() for mask in found.masks.values())
    assert sum(int(mask.sum()) for mask in found.masks.values()) == round(0.05 * total)


def test_synaptic_flow_keeps_the_batch_statistics_of_its_passes():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3))
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kinds = layer_kinds(network)
    batch = Batch(torch.randn(20, 6, generator=torch.Generator().manual_seed(1)), torch.zeros(20).long())
    for criterion in ("synflow", "snip", "grasp"):
        rounds = 5
        chosen = Method(criterion=criterion, scope="global", rounds=rounds)

        def evidence(names, masks):
            return gather(names, network, weights, masks, kinds, batch)

        prune(weights, {}, kinds, chosen, density=0.2, evidence=evidence)
        now = network.state_dict()
        assert all(torch.equal(now[name], tensor) for name, tensor in weights.items())


def test_shrinkbench_keeps_everything_where_the_threshold_is_zero():
    weight = torch.zeros(10, 10)
    weight[0, 0] = 1.0
    found = prune({"w": weight}, {}, ONE, METHODS["l1-unstructured"], 0.5)
    assert int(found.masks["w"].sum()) == 50
    assert bool(found.masks["w"][0, 0])


def test_a_kept_weight_that_is_zero_stays_kept():
    # Code that takes `w != 0` for the mask prunes it from then on.
    weights, mask = {"w": torch.tensor([[0.0, 1.0, 2.0, 3.0]])}, torch.tensor([[True, True, True, False]])
    found = prune(weights, {"w": mask}, ONE, METHODS["random-unstructured"], 0.0, stream=_stream)
    assert torch.equal(found.masks["w"], mask)
    assert torch.equal(apply_masks(weights, found.masks)["w"], torch.tensor([[0.0, 1.0, 2.0, 0.0]]))


def test_the_sanity_checks_budget_counts_layers_that_are_not_pruned():
    weights = {"conv": torch.randn(4, 2, 3, 3), "fc": torch.randn(100, 100)}
    kinds = {"conv": "conv", "fc": "linear"}
    chosen = Method(criterion="magnitude", scope="global", layers="conv")
    found = prune(weights, {}, kinds, chosen, density=0.25)
    assert int(found.masks["conv"].sum()) == units(0.25, 72)
    assert bool(found.masks["fc"].all())


@pytest.mark.parametrize("name", ["small-final", "magnitude-increase", "large-final-same-sign"])
def test_signed_scores_are_not_taken_for_their_size(name):
    initial = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    weight = torch.tensor([[-9.0, 0.5, 2.0, 1.0]])
    scores = {
        "small-final": [-9.0, -0.5, -2.0, -1.0],
        "magnitude-increase": [8.0, -0.5, 1.0, 0.0],
        "large-final-same-sign": [-9.0, 0.5, 2.0, 1.0],
    }[name]
    assert (
        CRITERIA[name].score({"weight": weight, "initial": initial, "mask": weight != 0}).tolist() == scores
    )
    found = prune(
        {"w": weight},
        {},
        ONE,
        Method(criterion=name),
        0.25,
        evidence=lambda _, __: {"initial": {"w": initial}},
    )
    lowest = min(range(4), key=scores.__getitem__)
    assert found.masks["w"].reshape(-1).tolist() == [i != lowest for i in range(4)]


def _stream(parameter: str) -> Stream:
    return Stream("mask", 0, parameter, 1)
