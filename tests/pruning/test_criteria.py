import inspect
import math

import numpy as np
import pytest
import torch

from pomona.core.streams import Stream
from pomona.pruning.criteria import CRITERIA, channel_totals, magnitude, norm, random

from .networks import normal

SHAPES = [(6, 1, 3, 3), (16, 6, 3, 3), (10, 84), (1, 1), (3, 4, 5)]


def evidence_for(shape, axis, n=2.0):
    mask = torch.from_numpy(Stream("mask", 9).uniform(math.prod(shape))).reshape(shape) > 0.3
    mask.reshape(-1)[0] = True
    return {
        "weight": normal(shape),
        "mask": mask,
        "axis": axis,
        "n": n,
        "stream": Stream("mask", 1, "w", 2),
    }


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_every_criterion_is_a_pure_function_to_one_score_a_unit(name, shape, axis):
    evidence = evidence_for(shape, axis)
    given = {key: x.clone() for key, x in evidence.items() if isinstance(x, torch.Tensor)}
    before = torch.get_rng_state()
    scores = CRITERIA[name].score(evidence)
    again = CRITERIA[name].score(evidence)
    assert scores.shape == (shape if axis is None else (shape[axis],))
    assert scores.dtype == torch.float64 or (axis is None and scores.dtype == evidence["weight"].dtype)
    assert scores.device == evidence["weight"].device
    assert torch.isfinite(scores).all()
    assert torch.equal(scores, again)
    assert all(torch.equal(evidence[key], x) for key, x in given.items())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", CRITERIA)
def test_every_criterion_declares_exactly_the_evidence_it_takes(name):
    criterion = CRITERIA[name]
    assert criterion.name == name
    assert list(inspect.signature(criterion.function).parameters) == list(criterion.evidence)
    assert criterion.formula
    assert criterion.source


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("n", [1, 2, 3, 0.5, 7.5, math.inf, -math.inf])
def test_norm_is_the_norm_of_torch(axis, n):
    weight = normal((16, 6, 3, 3))
    rows = weight.double().movedim(axis, 0).reshape(weight.shape[axis], -1)
    expected = torch.linalg.vector_norm(rows, ord=n, dim=1)
    found = norm(weight, torch.ones_like(weight, dtype=torch.bool), axis, n)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_norm_does_not_lose_small_weights_in_high_powers():
    weight = torch.tensor([[0.001, 0.003, 0.002]])
    found = norm(weight, torch.ones_like(weight, dtype=torch.bool), 1, 400.0)
    torch.testing.assert_close(found, weight[0].double(), rtol=1e-9, atol=0)


def test_norm_adds_in_one_order():
    weight = normal((4, 1000))
    expected = []
    for row in weight.double().abs().numpy():
        total = 0.0
        for value in row:
            total += float(value)
        expected.append(total)
    found = norm(weight, torch.ones_like(weight, dtype=torch.bool), 0, 1.0)
    assert found.tolist() == expected


def test_norm_leaves_pruned_weights_out():
    weight = torch.tensor([[3.0, -1.0], [2.0, 5.0], [4.0, 4.0]])
    mask = torch.tensor([[True, False], [True, True], [False, False]])
    assert norm(weight, mask, 0, 1.0).tolist() == [3, 7, 0]
    assert norm(weight, mask, 0, -math.inf).tolist() == [3, 2, 0]
    assert norm(weight, mask, 0, math.inf).tolist() == [3, 5, 0]


def test_magnitude_of_a_channel_is_norm_1():
    weight = normal((8, 5))
    mask = torch.ones_like(weight, dtype=torch.bool)
    assert torch.equal(magnitude(weight, mask, 1), norm(weight, mask, 1, 1.0))
    assert torch.equal(magnitude(weight, mask, None), weight.abs())


def test_random_is_the_stream_and_ignores_the_weights():
    stream = Stream("mask", 3, "fc1.weight", 4)
    found = random(normal((10, 84)), None, stream)
    assert np.array_equal(found.numpy().ravel(), stream.uniform(840))
    assert torch.equal(random(torch.zeros(10, 84), None, stream), found)
    assert np.array_equal(random(normal((10, 84)), 1, stream).numpy(), stream.uniform(84))


def test_random_differs_by_level_replicate_and_parameter():
    weight = torch.zeros(5, 4)
    base = random(weight, None, Stream("mask", 0, "a", 1))
    others = [Stream("mask", 0, "a", 2), Stream("mask", 1, "a", 1), Stream("mask", 0, "b", 1)]
    assert all(not torch.equal(base, random(weight, None, other)) for other in others)


def test_channel_totals_keeps_signs_and_skips_what_is_pruned():
    scores = torch.tensor([[-1.0, 2.0], [-3.0, 4.0]])
    mask = torch.tensor([[True, True], [True, False]])
    assert channel_totals(scores, mask, 1).tolist() == [-4, 2]
