import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pomona.core.errors import InputError
from pomona.pruning import obs
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.evidence import gather
from pomona.pruning.kinds import layer_kinds

from .networks import conv_net, examples, filled, masked, masks_of, norm_net, state_of, transposed_net


def gathered(names, network, masks, batch):
    return gather(names, network, state_of(network), masks, layer_kinds(network), batch)


def hessian_of(network, masks, batch, name):
    """The full Hessian of the mean loss by one layer's weights, at the masked weights."""
    twin, weights = masked(network, masks)
    shape = weights[name].shape

    def loss(flat):
        outputs = torch.func.functional_call(twin, {name: flat.reshape(shape)}, (batch.inputs,))
        return F.cross_entropy(outputs, batch.targets)

    return torch.autograd.functional.hessian(loss, weights[name].detach().flatten())


@pytest.mark.parametrize("build", [conv_net, transposed_net])
def test_obd_is_the_second_difference_of_the_loss(build):
    network, batch = build(), examples()
    masks = masks_of(network)
    twin, weights = masked(network, masks)
    curvature = gathered(["curvature"], network, masks, batch)["curvature"]
    step = 1e-4

    def loss():
        with torch.no_grad():
            return float(F.cross_entropy(twin(batch.inputs), batch.targets))

    middle = loss()
    for name, weight in weights.items():
        base = weight.detach().clone()
        found = CRITERIA["obd"].score({"weight": base, "curvature": curvature[name]})
        expected = torch.zeros(base.numel(), dtype=torch.float64)
        for i in range(base.numel()):
            ends = []
            for sign in (1, -1):
                changed = base.flatten().clone()
                changed[i] += sign * step
                weight.data = changed.reshape(base.shape)
                ends.append(loss())
            weight.data = base
            expected[i] = base.flatten()[i] ** 2 * (ends[0] - 2 * middle + ends[1]) / step**2 / 2
        assert expected.max() > 5e-5
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("build", [conv_net, norm_net, transposed_net])
def test_curvature_is_the_diagonal_of_the_hessian(build):
    network, batch = build(), examples()
    masks = masks_of(network)
    found = gathered(["curvature"], network, masks, batch)["curvature"]
    for name in masks:
        expected = hessian_of(network, masks, batch, name).diagonal()
        torch.testing.assert_close(found[name].flatten(), expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("block", [512, 17])
def test_obs_is_the_brute_force_inverse_of_the_kept_weights(block, monkeypatch):
    monkeypatch.setattr(obs, "BLOCK", block)
    network, batch = conv_net(), examples(40)
    masks = masks_of(network)
    found = gathered(["inverse_curvature", "inverse_blocks"], network, masks, batch)
    weights = masked(network, masks)[1]
    for name, mask in masks.items():
        hessian, kept = hessian_of(network, masks, batch, name), mask.flatten()
        damping = 0.01 * hessian.diagonal()[kept].mean()
        evidence = {"weight": weights[name].detach(), "inverse_curvature": found["inverse_curvature"][name]}
        scores = CRITERIA["obs"].score(evidence)
        for start in range(0, len(kept), block):
            at = torch.arange(start, min(start + block, len(kept)))
            at = at[kept[at]]
            inverse = torch.linalg.inv(hessian[at][:, at] + damping * torch.eye(len(at), dtype=torch.float64))
            expected = weights[name].detach().flatten()[at] ** 2 / (2 * inverse.diagonal())
            torch.testing.assert_close(scores[at], expected, rtol=1e-8, atol=1e-14)


def test_obs_alone_and_with_its_blocks_are_the_same():
    network, batch = conv_net(), examples()
    masks = masks_of(network)
    alone = gathered(["inverse_curvature"], network, masks, batch)["inverse_curvature"]
    both = gathered(["inverse_blocks", "inverse_curvature"], network, masks, batch)
    for name, found in alone.items():
        assert torch.equal(found, both["inverse_curvature"][name])
        assert (found > 0).all()


def test_update_of_the_survivors_lowers_the_loss_of_a_prune():
    network, batch = conv_net(), examples(60)
    masks = masks_of(network)
    blocks = gathered(["inverse_blocks"], network, masks, batch)["inverse_blocks"]
    name = "6.weight"
    weight = masked(network, masks)[1][name].detach().clone()
    hessian = hessian_of(network, masks, batch, name)
    after = masks[name].clone()
    after[weight.abs() < 0.4] = False
    moved = CRITERIA["obs"].update(weight, masks[name], after, blocks[name])
    plain, better = (x.flatten() - weight.flatten() for x in (weight * after, moved))
    assert better @ hessian @ better < 0.9 * (plain @ hessian @ plain)


def test_a_layer_without_curvature_costs_next_to_nothing():
    network = filled(nn.Sequential(nn.Flatten(), nn.Linear(50, 4), nn.ReLU(), nn.Linear(4, 3)))
    with torch.no_grad():
        network[1].bias.fill_(-100.0)
    batch = examples()
    found = gathered(["inverse_curvature"], network, {}, batch)["inverse_curvature"]
    for name in found:
        weight = network.get_parameter(name).detach()
        scores = CRITERIA["obs"].score({"weight": weight, "inverse_curvature": found[name]})
        assert torch.isfinite(scores).all()
        assert scores.max() < 1e-20


def test_many_classes_are_taken_some_at_a_time(monkeypatch):
    network, batch = conv_net(), examples()
    whole = gathered(["curvature"], network, {}, batch)["curvature"]
    blocks = gathered(["inverse_curvature"], network, {}, batch)["inverse_curvature"]
    monkeypatch.setattr("pomona.pruning.evidence.per_example.ENTRIES", 500)
    pieces = gathered(["curvature"], network, {}, batch)["curvature"]
    in_pieces = gathered(["inverse_curvature"], network, {}, batch)["inverse_curvature"]
    for name in whole:
        torch.testing.assert_close(pieces[name], whole[name], rtol=1e-12, atol=1e-16)
        torch.testing.assert_close(in_pieces[name], blocks[name], rtol=1e-9, atol=0)


def test_blocks_that_need_too_much_memory_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr(obs, "LIMIT_BYTES", 1 << 14)
    network, batch = conv_net(), examples()
    for wanted in ("inverse_blocks", "inverse_curvature"):
        with pytest.raises(InputError, match=r"obs needs .* GiB for the inverse curvature of .*0\.weight"):
            gathered([wanted], network, {}, batch)


def test_curvature_needs_one_logit_a_class():
    network = filled(nn.Sequential(nn.Conv2d(2, 3, 3)))
    batch = examples()
    maps = type(batch)(batch.inputs, torch.zeros(7, 3, 3, dtype=torch.int64))
    with pytest.raises(
        InputError, match=r"one logit an example and class, got outputs of shape \(1, 3, 3, 3\)"
    ):
        gathered(["curvature"], network, {}, maps)
