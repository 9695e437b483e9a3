"""Random networks with random and structured masks, against the oracle."""

from itertools import cycle, pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from . import drawn, driving
from .checking import Undecided, check, check_training
from .driving import OPTIMIZERS
from .nets import avgpool, conv, draw, dropout, examples, linear, maxpool

random_networks = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

STACKS = {
    "LeNet": (
        (1, 14, 14),
        [
            conv(6, 3, relu=True, pool=2),
            conv(9, 3, relu=True, pool=2),
            linear(20, relu=True),
            linear(14, relu=True),
            linear(10),
        ],
    ),
    "FC": ((1, 9, 9), [linear(50, relu=True), linear(30, relu=True), linear(10)]),
    "VGG": (
        (3, 8, 8),
        [
            conv(8, 3, padding=1, relu=True),
            conv(8, 3, padding=1, relu=True, pool=2),
            conv(12, 3, padding=1, relu=True),
            maxpool(2),
            dropout(0.3),
            linear(16, relu=True),
            linear(5),
        ],
    ),
    "averages": (
        (2, 9, 9),
        [
            conv(7, 3, stride=2, padding=1),
            avgpool(2, 1, 1, include_pad=False),
            conv(6, 3, relu=True),
            linear(4),
        ],
    ),
}


@random_networks
@given(drawn.networks(), st.sampled_from(drawn.SIZES))
def test_any_network_has_the_gradients_of_torch(net, size):
    try:
        check(net, size)
    except Undecided as reason:
        event(type(reason).__name__)
        assume(False)


@settings(random_networks, max_examples=25)
@given(drawn.networks(), st.sampled_from((1, 5, 33)), st.sampled_from(list(OPTIMIZERS)))
def test_any_network_takes_the_steps_of_torch(net, size, optimizer):
    try:
        check_training(net, optimizer, size)
    except Undecided as reason:
        event(type(reason).__name__)
        assume(False)


@pytest.mark.parametrize("density", [1, 0.5, 0.1, 0.02])
@pytest.mark.parametrize("size", [1, 45, 64])
@pytest.mark.parametrize("name", STACKS)
def test_known_networks_at_any_density(name, size, density):
    shape, ops = STACKS[name]
    check(draw(shape, ops, seed=1, density=density), size)


@pytest.mark.parametrize("kind", drawn.MASKS)
@pytest.mark.parametrize("name", STACKS)
def test_masks_with_structure_in_every_layer(name, kind):
    shape, ops = STACKS[name]
    net, generator = draw(shape, ops, seed=1), np.random.default_rng(2)
    check(net.pruned({op: drawn.mask(kind, w.shape, generator) for op, w in net.weights.items()}), 45)


@pytest.mark.parametrize("name", STACKS)
def test_a_layer_that_is_pruned_away_leaves_its_bias(name):
    shape, ops = STACKS[name]
    net = draw(shape, ops, seed=1)
    for optimizer, (op, weight) in zip(cycle(("momentum", "decay", "adam")), net.weights.items()):
        check_training(net.pruned({op: np.zeros(weight.shape, bool)}), optimizer, 33, steps=5)


@pytest.mark.parametrize("optimizer", ["nesterov", "adam-decay"])
@pytest.mark.parametrize("name", STACKS)
def test_dead_units_of_every_layer(name, optimizer):
    # A third of the units have no input, another third are read by nothing.
    shape, ops = STACKS[name]
    net = draw(shape, ops, seed=3)
    masks = {op: np.ones(weight.shape, bool) for op, weight in net.weights.items()}
    layers = list(masks)
    for op, after in pairwise(layers):
        units = len(masks[op])
        masks[op][: units // 3] = False
        columns = masks[after].shape[1]
        masks[after][:, columns - columns // 3 :] = False
    check_training(net.pruned(masks), optimizer, 33, steps=5)


def test_masks_may_change():
    # Nothing of the masks before is left: not in the numbers, nor in gradients of what is no longer computed.
    net, generator = draw(*STACKS["LeNet"], seed=4), np.random.default_rng(5)
    data, batch = examples(net, 40), np.arange(40)
    for variant in driving.variants():
        used = driving.load(net, variant)
        used.gradients(data.images, data.labels, batch, 0)
        for kind in (*drawn.MASKS, "columns", "rows", "none"):
            masks = {op: drawn.mask(kind, w.shape, generator) for op, w in net.weights.items()}
            pruned = net.pruned(masks)
            used.set_masks(masks, variant[1])
            for op, weight in pruned.weights.items():
                used.set_weight(op, weight)
            found = driving.differentiate(used, pruned, data, batch)
            fresh = driving.differentiate(driving.load(pruned, variant), pruned, data, batch)
            found.assert_same_bits(fresh, (variant, kind))


@pytest.mark.parametrize("variant", ["dense", "sparse", "auto"])
def test_set_masks_zeroes_what_it_prunes(variant):
    net = draw(*STACKS["FC"])
    network = driving.load(net)
    mask = np.random.default_rng(0).random((50, 81)) < 0.3
    network.set_masks({0: mask}, variant)
    weight = network.weight(0)
    np.testing.assert_array_equal(weight, net.weights[0] * mask)
    assert not np.signbit(weight[~mask]).any()
    network.set_weight(0, net.weights[0])
    np.testing.assert_array_equal(network.weight(0), net.weights[0] * mask)
    np.testing.assert_array_equal(network.weight(1), net.weights[1])


def test_kernels_are_chosen_by_density():
    # By that of the rows and columns that are left: what is pruned with structure is still a dense matrix.
    net, generator = draw(*STACKS["LeNet"]), np.random.default_rng(0)
    network = driving.load(net)
    for kind in ("none", "one", "columns"):
        network.set_masks({op: drawn.mask(kind, w.shape, generator) for op, w in net.weights.items()})
        assert set(network.kernels().values()) == {"dense"}
    network.set_masks({2: drawn.mask("tenth", (20, 36), generator)})
    assert network.kernels() == {0: "dense", 1: "dense", 2: "sparse", 3: "dense", 4: "dense"}
    for forced in ("dense", "sparse"):
        network.set_masks({}, forced)
        assert network.kernels() == dict.fromkeys(net.weights, forced)
