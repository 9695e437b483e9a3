import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from pomona.core.streams import Stream
from pomona.models.build import initial_weights
from pomona.models.choice import ModelChoice

SHAPE = (1, 28, 28)


def _fans(weight):
    receptive = math.prod(weight.shape[2:])
    return weight.shape[1] * receptive, weight.shape[0] * receptive


def _weights(name="lenet", index=0, distribution="torch", shape=SHAPE):
    return initial_weights(ModelChoice(name=name, distribution=distribution), shape, 10, index)


def test_initial_torch_has_the_distribution_of_torch_nn():
    ours = _weights()
    layers = {
        "conv1": nn.Conv2d(1, 6, 3),
        "conv2": nn.Conv2d(6, 16, 3),
        "fc1": nn.Linear(400, 120),
        "fc2": nn.Linear(120, 84),
        "fc3": nn.Linear(84, 10),
    }
    for name, layer in layers.items():
        for part in ("weight", "bias"):
            values, theirs = ours[f"{name}.{part}"], getattr(layer, part)
            bound = 1 / math.sqrt(_fans(layer.weight)[0])
            assert values.shape == theirs.shape
            assert values.dtype == theirs.dtype
            assert values.abs().max() <= bound
            # torch's own layer has the same bound: a change of torch's default would show here.
            assert theirs.abs().max() <= bound
            if values.numel() > 500:
                se = bound / math.sqrt(3 * values.numel())
                assert abs(values.mean()) < 4 * se
                assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.06)
                assert values.std().item() == pytest.approx(theirs.std().item(), rel=0.1)
                assert values.abs().max() > 0.97 * bound


@pytest.mark.parametrize("distribution", ["glorot-normal", "glorot-uniform"])
def test_initial_glorot_has_the_variance_of_the_paper_and_zero_biases(distribution):
    ours = _weights("fc", distribution=distribution)
    for name, values in ours.items():
        if name.endswith("bias"):
            assert not values.any()
            continue
        wanted = math.sqrt(2 / sum(_fans(values)))
        assert values.std().item() == pytest.approx(wanted, rel=0.05)
        assert abs(values.mean().item()) < 4 * wanted / math.sqrt(values.numel())
        kurtosis = (((values - values.mean()) / values.std()) ** 4).mean().item()
        assert kurtosis == pytest.approx(3.0 if distribution == "glorot-normal" else 1.8, rel=0.15)


def test_initial_glorot_uniform_has_the_bounds_of_torch():
    weight = _weights("conv-2", distribution="glorot-uniform", shape=(3, 8, 8))["conv2.weight"]
    theirs = nn.init.xavier_uniform_(torch.empty_like(weight))
    bound = math.sqrt(6 / (64 * 9 + 64 * 9))
    for values in (weight, theirs):
        assert 0.999 * bound < values.abs().max() <= bound


def test_initial_vgg_is_that_of_torchvision():
    ours = _weights("vgg-11", distribution="vgg", shape=(3, 32, 32))
    for name, values in ours.items():
        if name.endswith("bias"):
            assert not values.any()
            continue
        # kaiming_normal_(mode="fan_out", nonlinearity="relu") for convolutions, normal_(0, 0.01) for the rest.
        wanted = 0.01
        if name.startswith("convs"):
            theirs = nn.init.kaiming_normal_(torch.empty_like(values), mode="fan_out", nonlinearity="relu")
            wanted = math.sqrt(2 / _fans(values)[1])
            assert theirs.std().item() == pytest.approx(wanted, rel=0.06)
        assert values.std().item() == pytest.approx(wanted, rel=0.06)
        assert abs(values.mean().item()) < 4 * wanted / math.sqrt(values.numel())
        kurtosis = (((values - values.mean()) / values.std()) ** 4).mean().item()
        assert kurtosis == pytest.approx(3.0, rel=0.15)


def test_initial_batch_norm_starts_at_one_and_zero():
    ours = initial_weights(ModelChoice(name="resnet-20", options={"width": 4}), (3, 8, 8), 10, 0)
    fresh = nn.BatchNorm2d(4).state_dict()
    for name, value in fresh.items():
        assert torch.equal(ours[f"bn.{name}"], value)
        assert ours[f"bn.{name}"].dtype == value.dtype


def test_initial_draws_each_tensor_from_the_stream_of_its_name():
    weight = _weights(index=3)["fc2.weight"]
    bound = 1 / math.sqrt(120)
    drawn = (2 * Stream("init", 3, parameter="fc2.weight").uniform(84 * 120) - 1) * bound
    assert np.array_equal(weight.numpy().ravel(), drawn.astype(np.float32))


def test_initial_same_seed_same_bits_other_seed_other_bits():
    first, again, other = _weights(index=0), _weights(index=0), _weights(index=1)
    assert list(first) == list(again)
    for name in first:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def test_initial_leaves_global_random_state_alone():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    _weights("conv-2", shape=(3, 8, 8))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])
