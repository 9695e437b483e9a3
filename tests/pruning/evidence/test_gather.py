import random

import numpy as np
import pytest
import torch
from torch import nn

from pomona.core.errors import InputError, StateFailure
from pomona.core.streams import Stream
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.criterion import NETWORK_EVIDENCE
from pomona.pruning.evidence import Batch, gather
from pomona.pruning.granularity import parse_unit
from pomona.pruning.kinds import layer_kinds

from .networks import conv_net, examples, filled, masks_of, norm_net, state_of, transposed_net
from .test_activations import Tokens

ALL = sorted(NETWORK_EVIDENCE)
BY_WEIGHT = sorted(NETWORK_EVIDENCE - {"activation_mean", "activation_zeros", "inverse_blocks"})


def everything(network, masks, batch, names=ALL, **options):
    kinds = layer_kinds(network)
    units = dict.fromkeys(kinds, "channel-out")
    return gather(names, network, state_of(network), masks, kinds, batch, granularities=units, **options)


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("build", [conv_net, norm_net, transposed_net])
def test_every_criterion_scores_a_float32_network_from_what_is_gathered(name, build):
    network, masks, batch = build().float(), masks_of(build()), examples()
    criterion = CRITERIA[name]
    wanted = [n for n in criterion.needs if n != "initial"]
    found = everything(network, masks, Batch(batch.inputs.float(), batch.targets), wanted)
    unit = parse_unit("channel-out")
    for parameter, kind in layer_kinds(network).items():
        weight = network.get_parameter(parameter).detach() * masks[parameter]
        evidence = {"weight": weight, "initial": weight + 1, "mask": masks[parameter], "n": 2.0}
        evidence["stream"] = Stream("mask", 0, parameter)
        scores = criterion.score(evidence | {e: found[e][parameter] for e in found}, unit, kind)
        assert scores.shape == (weight.shape[1] * 2 if "transposed" in kind else weight.shape[0],)
        assert torch.isfinite(scores).all()
        assert len(scores.unique()) > 1


@pytest.mark.parametrize("build", [conv_net, norm_net])
def test_gathering_is_deterministic_and_in_shape(build):
    network, masks, batch = build(), masks_of(build()), examples()
    first, second = everything(network, masks, batch), everything(network, masks, batch)
    assert list(first) == ALL
    for name, found in first.items():
        assert list(found) == list(masks)
        for parameter, tensor in found.items():
            assert tensor.dtype == torch.float64
            assert not tensor.requires_grad
            assert torch.equal(tensor, second[name][parameter])
            if name in BY_WEIGHT:
                assert tensor.shape == masks[parameter].shape


def test_order_and_company_change_nothing():
    network, masks, batch = norm_net(), masks_of(norm_net()), examples()
    together = everything(network, masks, batch, ALL[::-1])
    assert list(together) == ALL[::-1]
    for name in ALL:
        alone = everything(network, masks, batch, [name])
        assert list(alone) == [name]
        for parameter in masks:
            assert torch.equal(alone[name][parameter], together[name][parameter])


@pytest.mark.parametrize("training", [True, False])
def test_the_network_and_all_random_state_are_left_as_they_were(training):
    network, masks, batch = norm_net(), masks_of(norm_net()), examples()
    network.train(training)
    network[1].eval()
    network[0].weight.grad = torch.ones_like(network[0].weight)
    before = state_of(network)
    modes = [module.training for module in network.modules()]
    given = [batch.inputs.clone(), batch.targets.clone(), *(mask.clone() for mask in masks.values())]
    random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with torch.no_grad():
        everything(network, masks, batch)
        assert not torch.is_grad_enabled()
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(network[0].weight.grad, torch.ones_like(network[0].weight))
    assert not any(module._forward_hooks for module in network.modules())
    assert all(
        torch.equal(x, y) for x, y in zip(given, [batch.inputs, batch.targets, *masks.values()], strict=True)
    )
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def test_the_network_is_left_as_it_was_where_gathering_fails():
    network, batch = filled(Tokens()).train(), Batch(torch.ones(3, 4, dtype=torch.int64), torch.arange(3))
    with pytest.raises(InputError, match="never called"):
        gather(["input_norm"], network, state_of(network), {}, {"attention.out_proj.weight": "linear"}, batch)
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


class Noisy(nn.Module):
    """Draws numbers in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(50, 3)

    def forward(self, x):
        x = x.flatten(1)
        return self.head(nn.functional.dropout(x + torch.rand(50, dtype=x.dtype), training=True))


def test_a_network_that_always_draws_numbers_gets_the_same_ones_and_leaves_the_global_ones():
    network, batch, state = filled(Noisy()), examples(), torch.get_rng_state()
    names = ["gradient", "hessian_gradient", "input_norm"]
    first = everything(network, {}, batch, names)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    second = everything(network, {}, batch, names)
    torch.set_rng_state(state)
    for name in names:
        assert torch.equal(first[name]["head.weight"], second[name]["head.weight"])


def test_layers_of_a_transformer_are_seen_and_its_fast_path_is_given_back():
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    network = filled(nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 3)))
    batch = examples(5, (3, 4))
    hidden = []
    layer.linear1.register_forward_pre_hook(lambda _, args: hidden.append(args[0].detach()))
    kinds = {"0.linear1.weight": "linear"}
    with torch.enable_grad():
        network.eval()(batch.inputs)
    expected = hidden[0].flatten(0, 1).norm(dim=0)
    before = torch.backends.mha.get_fastpath_enabled()
    found = gather(["input_norm"], network, state_of(network), {}, kinds, batch)["input_norm"]
    assert torch.backends.mha.get_fastpath_enabled() == before
    torch.testing.assert_close(found["0.linear1.weight"][0], expected, rtol=1e-10, atol=0)


def test_weights_and_buffers_that_are_given_count_not_those_of_the_network():
    network, masks, batch = norm_net(), masks_of(norm_net()), examples()
    expected = everything(network, masks, batch)
    state = state_of(network)
    other = norm_net()
    with torch.no_grad():
        for tensor in (*other.parameters(), *(b for b in other.buffers() if b.is_floating_point())):
            tensor.mul_(1.5)
    kinds = layer_kinds(network)
    units = dict.fromkeys(kinds, "channel-out")
    found = gather(ALL, other, state, masks, kinds, batch, granularities=units)
    assert all(torch.equal(found[n][p], expected[n][p]) for n in ALL for p in masks)


def test_values_under_the_mask_do_not_count():
    network, masks, batch = conv_net(), masks_of(conv_net()), examples()
    expected = everything(network, masks, batch)
    with torch.no_grad():
        for name, mask in masks.items():
            network.get_parameter(name).masked_fill_(~mask, float("nan"))
    found = everything(network, masks, batch)
    assert all(torch.equal(found[n][p], expected[n][p]) for n in ALL for p in masks)


def test_embeddings_and_attention_have_derivatives():
    network = filled(Tokens())
    batch = Batch(torch.arange(12).reshape(3, 4) % 9, torch.arange(3))
    found = everything(
        network, {}, batch, ["gradient", "hessian_gradient", "squared_gradient", "curvature", "flow"]
    )
    for tensors in found.values():
        assert set(tensors) == {
            "embedding.weight",
            "attention.in_proj_weight",
            "attention.out_proj.weight",
            "head.weight",
        }
        assert all(tensor.any() for tensor in tensors.values())


def test_unknown_evidence_names_the_nearest():
    with pytest.raises(InputError, match="unknown evidence 'gradients'; did you mean 'gradient'"):
        everything(conv_net(), {}, examples(), ["gradients"])


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (Batch(torch.zeros(0, 2, 5, 5), torch.zeros(0)), "at least one and as many targets, got 0 and 0"),
        (Batch(torch.zeros(3, 2, 5, 5), torch.zeros(2)), "got 3 and 2"),
        (
            Batch(torch.zeros(3, 1, 5, 5), torch.zeros(3)),
            r"cannot be evaluated on examples of shape \(1, 5, 5\): ",
        ),
    ],
)
def test_examples_that_do_not_fit_are_refused(batch, message):
    with pytest.raises(InputError, match=message):
        everything(conv_net().float(), {}, batch, ["gradient"])


def test_weights_that_do_not_fit_are_refused():
    network = conv_net()
    with pytest.raises(InputError, match=r"0\.weight: expected the network's shape"):
        gather(
            ["flow"],
            network,
            state_of(network) | {"0.weight": torch.ones(3)},
            {},
            {"0.weight": "conv"},
            examples(),
        )
    with pytest.raises(InputError, match=r"unknown prunable parameter '0\.wight'; did you mean '0\.weight'"):
        gather(["flow"], network, {"0.wight": torch.ones(3)}, {}, {"0.wight": "conv"}, examples())


def test_what_is_not_finite_is_a_diverged_state_and_is_named():
    network = conv_net()
    with torch.no_grad():
        network[6].weight[1, 2] = float("nan")
    with pytest.raises(StateFailure, match=r"gradient of .* is not finite at \["):
        everything(network, {}, examples(), ["gradient"])
    with pytest.raises(StateFailure, match="is not finite"):
        everything(network, {}, examples(), ["inverse_curvature"])


def test_curvature_of_another_loss_is_refused():
    with pytest.raises(InputError, match="that of cross-entropy"):
        everything(conv_net(), {}, examples(), ["curvature"], loss=nn.functional.nll_loss)
