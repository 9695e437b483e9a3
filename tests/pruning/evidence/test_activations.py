import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pomona.core.errors import InputError
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.evidence import Batch, gather
from pomona.pruning.granularity import parse_unit
from pomona.pruning.kinds import layer_kinds

from .networks import conv_net, drawn, examples, filled, masked, masks_of, norm_net, state_of, transposed_net


def gathered(names, network, masks, batch, granularity=None):
    kinds = layer_kinds(network)
    units = dict.fromkeys(kinds, granularity) if granularity else None
    return gather(names, network, state_of(network), masks, kinds, batch, granularities=units)


def seen(network, masks, batch):
    """Input and output of each layer that has a prunable weight, by parameter; the layers in a row."""
    twin, weights = masked(network, masks)
    found, x = {}, batch.inputs
    with torch.no_grad():
        for place, layer in enumerate(twin):
            # A later layer may write into it.
            given, x = x.clone(), layer(x)
            if f"{place}.weight" in weights:
                found[f"{place}.weight"] = (layer, given, x.clone())
    return found


def squares_of_conv(layer, x, shape):
    """Sum of squares of the inputs that each weight multiplies: a loop over places and weights."""
    (s, p), size = (layer.stride[0], layer.padding[0]), layer.kernel_size[0]
    outputs, inputs = shape[0] // layer.groups, shape[1]
    padded = F.pad(x, (p, p, p, p))
    found = torch.zeros(shape, dtype=torch.float64)
    places = [(padded.shape[d] - size) // s + 1 for d in (2, 3)]
    for o, i, a, b in itertools.product(*(range(n) for n in shape)):
        channel = o // outputs * inputs + i
        for u, v in itertools.product(*(range(n) for n in places)):
            found[o, i, a, b] += (padded[:, channel, u * s + a, v * s + b] ** 2).sum()
    return found


def squares_of_transposed(layer, x, shape, output):
    (s, p), outputs = (layer.stride[0], layer.padding[0]), shape[1]
    found = torch.zeros(shape, dtype=torch.float64)
    for i, o, a, b in itertools.product(*(range(n) for n in shape)):
        assert o < outputs
        for u, v in itertools.product(range(x.shape[2]), range(x.shape[3])):
            if 0 <= u * s - p + a < output.shape[2] and 0 <= v * s - p + b < output.shape[3]:
                found[i, o, a, b] += (x[:, i, u, v] ** 2).sum()
    return found


@pytest.mark.parametrize("build", [conv_net, norm_net, transposed_net])
def test_wanda_is_the_weight_times_the_norm_of_what_it_multiplies(build):
    network, batch = build(), examples()
    masks = masks_of(network)
    found = gathered(["input_norm"], network, masks, batch)["input_norm"]
    weights = masked(network, masks)[1]
    for name, (layer, x, z) in seen(network, masks, batch).items():
        shape = weights[name].shape
        if isinstance(layer, nn.ConvTranspose2d):
            squares = squares_of_transposed(layer, x, shape, z)
        elif isinstance(layer, nn.Conv2d):
            squares = squares_of_conv(layer, x, shape)
        else:
            squares = torch.stack([sum(row**2 for row in x)] * shape[0])
        weight = weights[name].detach()
        scores = CRITERIA["wanda"].score({"weight": weight, "input_norm": found[name]})
        expected = weight.abs() * squares.sqrt()
        torch.testing.assert_close(scores.reshape(shape), expected, rtol=1e-11, atol=1e-15)


def test_input_norm_is_the_same_for_all_outputs_of_a_group():
    network = conv_net().float()
    batch = Batch(examples(200).inputs.float(), examples(200).targets)
    found = gathered(["input_norm"], network, {}, batch)["input_norm"]["2.weight"]
    for group in found.split(3):
        assert all(torch.equal(output, group[0]) for output in group)
    assert not torch.equal(found[0], found[3])


@pytest.mark.parametrize("build", [conv_net, norm_net, transposed_net])
@pytest.mark.parametrize("granularity", ["channel-in", "channel-out"])
def test_activation_and_apoz_are_counted_one_place_after_the_other(build, granularity):
    network, batch = build(), examples()
    masks = masks_of(network)
    kinds = layer_kinds(network)
    found = gathered(["activation_mean", "activation_zeros"], network, masks, batch, granularity)
    silent = 0
    for name, (_, x, z) in seen(network, masks, batch).items():
        values = z if granularity == "channel-out" else x
        means, zeros = [], []
        for channel in range(values.shape[1]):
            entries = values[:, channel].flatten().tolist()
            if granularity == "channel-out":
                entries = [max(entry, 0.0) for entry in entries]
            means.append(sum(abs(entry) for entry in entries) / len(entries))
            zeros.append(sum(entry == 0 for entry in entries) / len(entries))
        silent += sum(zeros)
        evidence = {e: found[e][name] for e in found} | {"mask": masks[name]}
        unit = parse_unit(granularity)
        activation = CRITERIA["activation"].score(evidence, unit, kinds[name])
        apoz = CRITERIA["apoz"].score(evidence, unit, kinds[name])
        torch.testing.assert_close(activation, torch.tensor(means, dtype=torch.float64), rtol=1e-12, atol=0)
        torch.testing.assert_close(apoz, -torch.tensor(zeros, dtype=torch.float64), rtol=1e-12, atol=0)
    assert silent > 0


def test_more_examples_than_a_piece_are_all_counted():
    network, batch = conv_net(), examples(300)
    found = gathered(["activation_mean", "input_norm"], network, {}, batch, "channel-out")
    z = seen(network, {}, batch)["0.weight"][2].clamp_min(0)
    torch.testing.assert_close(
        found["activation_mean"]["0.weight"], z.mean(dim=(0, 2, 3)), rtol=1e-12, atol=0
    )
    x = seen(network, {}, batch)["8.weight"][1]
    torch.testing.assert_close(found["input_norm"]["8.weight"][0], x.norm(dim=0), rtol=1e-12, atol=0)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.relu(self.first(input=x)))


def test_a_tied_weight_sees_the_inputs_of_all_its_layers():
    network = filled(Tied())
    batch = Batch(drawn((5, 4), "x"), torch.arange(5) % 4)
    found = gathered(["input_norm"], network, {}, batch)["input_norm"]
    hidden = torch.relu(network.first(batch.inputs)).detach()
    expected = (batch.inputs**2 + hidden**2).sum(dim=0).sqrt()
    assert list(found) == ["first.weight"]
    torch.testing.assert_close(found["first.weight"][2], expected, rtol=1e-12, atol=0)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.embedding(x)
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        (
            "embedding.weight",
            "criterion wanda: expected the weight of a linear or convolution layer, got 'embedding.weight' of Embedding",
        ),
        (
            "attention.in_proj_weight",
            "criterion wanda: expected .* got 'attention.in_proj_weight' of MultiheadAttention",
        ),
        (
            "attention.out_proj.weight",
            "criterion wanda: layer 'attention.out_proj' is never called by itself",
        ),
    ],
)
def test_layers_whose_inputs_cannot_be_seen_are_refused_by_name(parameter, message):
    network = filled(Tokens())
    batch = Batch(torch.arange(12).reshape(3, 4) % 9, torch.arange(3))
    kinds = {parameter: layer_kinds(network)[parameter]}
    with pytest.raises(InputError, match=message):
        gather(["input_norm"], network, state_of(network), {}, kinds, batch)
    found = gather(["input_norm"], network, state_of(network), {}, {"head.weight": "linear"}, batch)
    assert found["input_norm"]["head.weight"].shape == (3, 4)


@pytest.mark.parametrize("granularity", [None, "weight", "block-2x2"])
def test_activations_need_channels(granularity):
    with pytest.raises(InputError, match=r"channel-in or channel-out for '0\.weight', got"):
        gathered(["activation_mean"], conv_net(), {}, examples(), granularity)
