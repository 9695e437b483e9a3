"""Evaluation by the lane engine."""

import numpy as np
import pytest
import torch
from torch import nn

from pomona.core.errors import InputError, StateFailure
from pomona.training.evaluate import evaluate
from pomona.training.lanes.trace import Unsupported

from .conftest import Double, Net


@pytest.mark.parametrize("density", [1.0, 0.5, 0.02])
@pytest.mark.parametrize("indices", [None, np.arange(1700, 1600, -1)])
def test_evaluate_agrees_with_torch_whatever_the_kernels(
    digits, start, masks_of, force, built, density, indices
):
    weights = dict(start)
    for name, mask in masks_of(density).items():
        weights[name] = weights[name] * mask
    exact = evaluate(Double(), weights, digits, indices, 10)
    found = {}
    for kernels in ("auto", "dense", "sparse"):
        force(kernels)
        found[kernels] = evaluate(Net(0.5), weights, digits, indices, 10, engine="lanes")
    for one in found.values():
        assert one.correct.tolist() == exact.correct.tolist()
        assert one.count.tolist() == exact.count.tolist()
        assert one.correct.dtype == one.count.dtype == np.int64
        assert one.loss_sum == found["auto"].loss_sum
    assert found["auto"].loss == pytest.approx(exact.loss, rel=1e-5)


def test_evaluate_of_weights_that_are_not_finite_has_no_loss(digits, start, built):
    weights = {**start, "fc1.bias": torch.full((24,), float("nan"))}
    found = evaluate(Net(), weights, digits, None, 10, engine="lanes")
    assert np.isnan(found.loss)
    assert found.count.sum() == 1797


def test_evaluate_says_what_is_wrong(digits, start, built):
    with pytest.raises(InputError, match="no example to evaluate on"):
        evaluate(Net(), start, digits, np.arange(0), 10, engine="lanes")
    with pytest.raises(StateFailure, match="expected one for each of 11 classes or more"):
        evaluate(Net(), start, digits, None, 11, engine="lanes")
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(Unsupported, match="BatchNorm"):
        evaluate(module, module.state_dict(), digits, None, 10, engine="lanes")
