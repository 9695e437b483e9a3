from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp

from . import driving
from .nets import Net, draw, examples, linear

# Bytes from which the first layer makes logits: their differences are exact in float32.
LEVELS = {
    "far apart": [48, 208],
    "equal": [128],
    "next to each other": [127, 128, 129],
    "anything": list(range(256)),
}


def copies(outputs: int, *, scale: float = 1.0, shift: float = -128.0) -> Net:
    """A network whose logits are its pixels: byte * scale + shift."""
    op = linear(outputs, bias=False)
    weight = np.eye(outputs, dtype=np.float32)
    numbers = {"scale": np.array([scale], np.float32), "shift": np.array([shift], np.float32)}
    return Net((1, 1, outputs), (op,), {0: weight}, {}, **numbers)


def drawn(levels: list[int], count: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    images = generator.choice(np.array(levels, np.uint8), (count, 1, 1, outputs))
    return images, generator.integers(0, outputs, count).astype(np.uint8), np.arange(count)


def losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    return logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]


@pytest.mark.parametrize("scale", [1.0, 0.01, 1e30])
@pytest.mark.parametrize("outputs", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("levels", LEVELS)
def test_loss_sum_is_that_of_float64(levels, outputs, scale):
    net = copies(outputs, scale=scale, shift=-128 * scale)
    images, labels, indices = drawn(LEVELS[levels], 50, outputs)
    for variant in driving.variants():
        network = driving.load(net, variant)
        logits = network.logits(images, indices)
        found = network.evaluate(images, labels, indices, driving.never)[1]
        expected = losses(logits, labels).sum()
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("outputs", [2, 10])
def test_loss_of_each_example_is_that_of_float64(outputs):
    # Also where it is next to nothing: e to -80 is 1e-35, below that what is left of 1 in float64.
    net = copies(outputs)
    images, labels, _ = drawn(LEVELS["anything"], 200, outputs)
    labels[:100] = images[:100].reshape(100, outputs).argmax(1)
    network = driving.load(net)
    expected = losses(network.logits(images, np.arange(200)), labels)
    found = [network.evaluate(images, labels, np.array([i]), driving.never)[1] for i in range(200)]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("outputs", [2, 3, 10])
@pytest.mark.parametrize("levels", LEVELS)
def test_loss_gradient_is_that_of_float64(levels, outputs):
    net = replace(copies(outputs), ops=(linear(outputs),), biases={0: np.zeros(outputs, np.float32)})
    images, labels, _ = drawn(LEVELS[levels], 60, outputs)
    for variant in driving.variants():
        network = driving.load(net, variant)
        for i in range(60):
            bias = network.gradients(images, labels, np.array([i]), 0)[0][1]
            logits = images[i].reshape(-1).astype(np.float64)
            expected = np.exp(logits - logsumexp(logits))
            others = np.arange(outputs) != labels[i]
            # Below e to -87 there is nothing.
            np.testing.assert_allclose(bias[others], expected[others], rtol=2e-6, atol=1.7e-38)
            np.testing.assert_allclose(bias[labels[i]], expected[labels[i]] - 1, rtol=2e-6, atol=1.2e-7)


def test_loss_gradient_is_the_mean_over_the_batch():
    net = draw((1, 3, 3), [linear(6, relu=True), linear(4)])
    data = examples(net, 45)
    network = driving.load(net)
    whole = network.gradients(data.images, data.labels, np.arange(45), 0)[1][0]
    each = [network.gradients(data.images, data.labels, np.array([i]), 0)[1][0] for i in range(45)]
    np.testing.assert_allclose(whole, np.mean(each, axis=0, dtype=np.float64), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("huge", [1e20, 3e38, -3e38])
def test_loss_of_one_huge_logit(huge):
    net = replace(copies(3), ops=(linear(3),), biases={0: np.array([0, huge, 0], np.float32)})
    images, labels, indices = drawn(LEVELS["anything"], 40, 3)
    network = driving.load(net)
    predictions, found = network.evaluate(images, labels, indices, driving.never)
    logits = network.logits(images, indices)
    assert found == pytest.approx(losses(logits, labels).sum(), rel=1e-6)
    np.testing.assert_array_equal(predictions, logits.argmax(1))
    weight, bias = network.gradients(images, labels, indices, 0)[0]
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()


@pytest.mark.parametrize("outputs", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("levels", ["equal", "next to each other", "far apart"])
def test_predictions_are_the_first_of_the_largest(levels, outputs):
    images, labels, indices = drawn(LEVELS[levels], 70, outputs)
    network = driving.load(copies(outputs))
    predictions = network.evaluate(images, labels, indices, driving.never)[0]
    assert predictions.dtype == np.int64
    np.testing.assert_array_equal(predictions, images.reshape(70, outputs).argmax(1))


@pytest.mark.parametrize("count", [0, 1, 32, 33, 1023, 1024, 1025, 2100])
def test_evaluate_takes_the_indices_in_their_order(count):
    net = draw((1, 3, 3), [linear(7, relu=True), linear(5)], density=0.7)
    data = examples(net, 90)
    indices = np.random.default_rng(2).integers(0, 90, count)
    results = []
    for variant in driving.variants():
        network = driving.load(net, variant)
        logits = network.logits(data.images, indices)
        assert logits.shape == (count, 5)
        np.testing.assert_array_equal(logits, network.logits(data.images, np.arange(90))[indices])
        predictions, loss = network.evaluate(data.images, data.labels, indices, driving.never)
        np.testing.assert_array_equal(predictions, logits.argmax(1) if count else np.empty(0))
        assert loss == pytest.approx(losses(logits, data.labels[indices]).sum(), rel=1e-6)
        results.append(loss)
    assert len(set(results)) == 1


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_evaluate_of_what_is_not_finite_has_no_loss(number):
    net = draw((1, 2, 2), [linear(3)])
    net.biases[0][1] = number
    data = examples(net, 40)
    predictions, loss = driving.load(net).evaluate(data.images, data.labels, np.arange(40), driving.never)
    assert np.isnan(loss)
    assert ((predictions >= 0) & (predictions < 3)).all()
