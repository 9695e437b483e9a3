"""Weights go into modules and come out; a tied parameter goes once."""

import pytest
import torch
from torch import nn

from pomona.core.errors import ProblemsError
from pomona.training.placing import place, taken

CPU = torch.device("cpu")


def tied():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    return module


def test_a_tied_parameter_comes_out_once_and_goes_in_for_both_names():
    module, other = tied(), tied()
    weights = taken(module)
    assert list(weights) == ["0.weight", "0.bias", "1.bias"]
    place(other, weights, CPU)
    assert other[1].weight is other[0].weight
    assert torch.equal(other[1].weight, module[0].weight)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in taken(other).items())


def test_weights_that_have_both_names_go_in_where_they_agree():
    module = tied()
    weights = {name: tensor.clone() + 1 for name, tensor in module.state_dict().items()}
    place(module, weights, CPU)
    assert torch.equal(module[0].weight, weights["1.weight"])
    before = module[0].weight.detach().clone()
    with pytest.raises(ProblemsError, match=r"1\.weight: one tensor with 0\.weight, but other values"):
        place(module, {**weights, "1.weight": weights["1.weight"] + 1}, CPU)
    assert torch.equal(module[0].weight, before)


def test_the_first_name_must_be_there():
    module = tied()
    weights = dict(module.state_dict())
    del weights["0.weight"]
    with pytest.raises(ProblemsError, match=r"missing 0\.weight"):
        place(module, weights, CPU)


def test_a_layer_under_two_names_goes_once():
    layer = nn.Linear(2, 2)
    module = nn.Sequential(layer, nn.ReLU(), layer)
    assert list(taken(module)) == ["0.weight", "0.bias"]
    place(module, {"0.weight": torch.eye(2), "0.bias": torch.ones(2)}, CPU)
    assert torch.equal(module[2].weight, torch.eye(2))
