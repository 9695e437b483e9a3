from dataclasses import replace

import numpy as np
import pytest

from . import driving, philox
from .checking import check, check_training
from .nets import Net, avgpool, conv, draw, dropout, examples, linear, maxpool, relu


def units_kept(shape, p, *, seed, place, batch, op=0, instruction_set=None):
    """What dropout on the image keeps of one example, as a factor by unit.

    All other images are black, so the weight gradient behind the dropout is that of this example alone.
    """
    units = int(np.prod(shape))
    ops = [*[relu()] * op, dropout(p), linear(2)]
    weights, biases = {op + 1: np.zeros((2, units), np.float32)}, {op + 1: np.zeros(2, np.float32)}
    channels = {"scale": np.ones(shape[0], np.float32), "shift": np.zeros(shape[0], np.float32)}
    net = Net(shape, tuple(ops), weights, biases, **channels)
    images = np.zeros((batch, *shape), np.uint8)
    images[place] = 1
    variant = (instruction_set or driving.variants()[0][0], "dense")
    found = driving.load(net, variant).gradients(images, np.ones(batch, np.uint8), np.arange(batch), seed)
    # The gradient for the first logit is 1/2 everywhere.
    return found[op + 1][0][0].reshape(-1) * 2 * batch


def test_philox_gives_the_known_answers():
    # kat_vectors of Random123, which the paper's authors publish.
    for counter, key, expected in (
        ([0] * 4, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ):
        assert philox.words(np.array(counter, np.uint64), key).tolist() == expected


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_dropout_draws_the_known_answer(place):
    # A unit is dropped where its word is below p * 2^32: two probabilities tell the word.
    word = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8][place]
    given = {"seed": 0, "place": place, "batch": 4}
    assert units_kept((1, 1, 1), word / 2**32, **given) > 0
    assert units_kept((1, 1, 1), (word + 1) / 2**32, **given) == 0


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1, 0x0123456789ABCDEF])
@pytest.mark.parametrize("op", [0, 3])
def test_dropout_draws_the_words_of_philox(seed, op):
    drawn = philox.dropout_words(seed, op, units=6, examples=70)
    for place, unit in ((0, 0), (1, 5), (6, 2), (31, 1), (32, 3), (63, 4), (69, 0)):
        word = int(drawn[place, unit])
        given = {"seed": seed, "place": place, "batch": 70, "op": op}
        assert units_kept((2, 1, 3), word / 2**32, **given)[unit] > 0
        assert units_kept((2, 1, 3), (word + 1) / 2**32, **given)[unit] == 0


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_dropout_keeps_its_share_and_scales_the_rest(p):
    units = 4000
    found = units_kept((1, 40, 100), p, seed=77, place=5, batch=8)
    kept = found > 0
    # Four deviations of a binomial count.
    assert abs(kept.sum() - (1 - p) * units) < 4 * np.sqrt(units * p * (1 - p))
    np.testing.assert_allclose(found[kept], 1 / (1 - p), rtol=1e-6)
    np.testing.assert_array_equal(kept, philox.kept(77, 0, units, 6, p)[5])


@pytest.mark.parametrize("batch", [9, 31, 32, 33, 40, 100])
def test_dropout_of_an_example_does_not_depend_on_the_batch(batch):
    given = {"seed": 3, "place": 8}
    expected = units_kept((1, 5, 7), 0.5, **given, batch=9) > 0
    assert expected.any()
    assert not expected.all()
    np.testing.assert_array_equal(units_kept((1, 5, 7), 0.5, **given, batch=batch) > 0, expected)


def test_dropout_differs_by_seed_op_and_place():
    given = {"shape": (1, 8, 8), "p": 0.5, "batch": 40}
    masks = [
        units_kept(**given, seed=seed, op=op, place=place) > 0
        for seed, op, place in (
            (1, 0, 0),
            (2, 0, 0),
            (2**32 + 1, 0, 0),
            (1, 1, 0),
            (1, 0, 1),
            (1, 0, 4),
            (1, 0, 32),
        )
    ]
    for i, mask in enumerate(masks):
        assert not any(np.array_equal(mask, other) for other in masks[:i])


@pytest.mark.parametrize("size", [1, 31, 32, 33, 60, 100])
def test_dropout_of_any_batch(size):
    ops = [conv(4, 3, relu=True), dropout(0.3), linear(12, relu=True), dropout(0.5), linear(3)]
    check(draw((1, 6, 6), ops, density=0.6), size)


@pytest.mark.parametrize(
    "ops",
    [
        [dropout(0.2), linear(5, relu=True), linear(3)],
        [conv(3, 2), dropout(0.4), relu(), linear(3)],
        [conv(3, 2), relu(), dropout(0.4), maxpool(2), linear(3)],
        [conv(3, 2, relu=True, pool=2), dropout(0.4), conv(4, 2), linear(3)],
        [conv(3, 2, relu=True), dropout(0.4), dropout(0.2), avgpool(2), linear(3)],
        [linear(9, relu=True), linear(6), dropout(0.5)],
    ],
    ids=str,
)
def test_dropout_between_any_two(ops):
    check(draw((2, 6, 6), ops), 33)


def test_dropout_of_pruned_units():
    net = draw((1, 5, 5), [linear(30, relu=True), dropout(0.5), linear(4)])
    mask = np.ones((4, 30), bool)
    mask[:, 5:20] = False
    check(net.pruned({2: mask}), 40)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_dropout_takes_a_seed_for_each_step(optimizer):
    ops = [linear(12, relu=True), dropout(0.4), linear(3)]
    check_training(draw((1, 4, 4), ops, density=0.7), optimizer, 40)


def test_dropout_is_off_without_training():
    ops = [linear(12, relu=True), dropout(0.4), linear(3)]
    net = draw((1, 4, 4), ops)
    weights = {0: net.weights[0], 1: net.weights[2]}
    biases = {0: net.biases[0], 1: net.biases[2]}
    plain = replace(net, ops=(ops[0], ops[2]), weights=weights, biases=biases)
    data, indices = examples(net, 50), np.arange(50)
    for variant in driving.variants():
        network, without = driving.load(net, variant), driving.load(plain, variant)
        network.gradients(data.images, data.labels, indices, 1)
        expected = without.logits(data.images, indices)
        np.testing.assert_array_equal(network.logits(data.images, indices), expected)
        given = (data.images, data.labels, indices, driving.never)
        assert network.evaluate(*given)[1] == without.evaluate(*given)[1]


@pytest.mark.parametrize("p", [1, 1.5, -0.1, float("nan"), float("inf")])
def test_dropout_refuses_what_is_no_probability(refused, p):
    refused((1, 2, 2), [dropout(p), linear(2)], "dropout: p is .*, expected 0 <= p < 1")
