import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from pomona.core.streams import Stream
from pomona.pruning.criteria.magnitudes import lamp, lamp_unit, magnitude, norm, norm_unit
from pomona.pruning.granularity import parse_unit

from ..networks import normal
from .tensors import scores


def layer_with(weight):
    layer = nn.Module()
    layer.register_parameter("weight", nn.Parameter(weight.clone()))
    return layer


def lowest_are_pruned(found, count):
    kept = torch.ones(len(found), dtype=torch.bool)
    kept[found.argsort(stable=True)[:count]] = False
    return kept


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16]),
    share=st.floats(0, 1),
    index=st.integers(0, 9999),
)
def test_lowest_magnitudes_are_those_of_torch(shape, dtype, share, index):
    # Distinct values, also in float16.
    order = torch.from_numpy(Stream("mask", index).permutation(math.prod(shape)))
    weight = ((order + 1) * (1 - 2 * (order % 2))).reshape(shape).to(dtype) / 4
    count = round(share * weight.numel())
    layer = layer_with(weight)
    torch_prune.l1_unstructured(layer, "weight", amount=count)
    for name in ("magnitude", "large-final"):
        found = scores(name, {"weight": weight, "mask": torch.ones(shape, dtype=torch.bool)})
        assert torch.equal(lowest_are_pruned(found, count).reshape(shape), layer.weight_mask.bool())


@pytest.mark.parametrize("n", [1, 2, math.inf, -math.inf])
@pytest.mark.parametrize(("unit", "axis"), [("channel-out", 0), ("channel-in", 1)])
@pytest.mark.parametrize("shape", [(16, 6, 3, 3), (10, 84)], ids=str)
def test_lowest_norms_are_those_of_torch(shape, unit, axis, n):
    weight = normal(shape)
    count = shape[axis] // 2
    layer = layer_with(weight)
    torch_prune.ln_structured(layer, "weight", amount=count, n=n, dim=axis)
    evidence = {"weight": weight, "mask": torch.ones_like(weight, dtype=torch.bool), "n": n}
    found = scores("norm", evidence, parse_unit(unit), "conv" if len(shape) == 4 else "linear")
    kept = layer.weight_mask.bool().movedim(axis, 0).flatten(1).all(dim=1)
    assert torch.equal(lowest_are_pruned(found, count), kept)


@pytest.mark.parametrize("n", [1, 2, 3, 0.5, 7.5, math.inf, -math.inf])
def test_norm_is_the_norm_of_torch(n):
    rows = normal((16, 54)).double()
    expected = torch.linalg.vector_norm(rows, ord=n, dim=1)
    found = norm_unit(rows, torch.ones_like(rows, dtype=torch.bool), n)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_norm_does_not_lose_small_weights_in_high_powers():
    rows = torch.tensor([[0.001], [0.003], [0.002]], dtype=torch.float64)
    found = norm_unit(rows, torch.ones_like(rows, dtype=torch.bool), 400.0)
    torch.testing.assert_close(found, rows[:, 0], rtol=1e-9, atol=0)


def test_norm_adds_in_one_order():
    rows = normal((4, 1000)).double()
    expected = []
    for row in rows.abs().numpy():
        total = 0.0
        for value in row:
            total += float(value)
        expected.append(total)
    mask = torch.ones_like(rows, dtype=torch.bool)
    assert norm_unit(rows, mask, 1.0).tolist() == expected
    # A channel's magnitude is its norm 1, to the last bit.
    unit = parse_unit("channel-out")
    assert scores("magnitude", {"weight": rows, "mask": mask}, unit).tolist() == expected


def test_norm_leaves_pruned_weights_out():
    rows = torch.tensor([[3.0, -1.0], [2.0, 5.0], [4.0, 4.0]], dtype=torch.float64)
    mask = torch.tensor([[True, False], [True, True], [False, False]])
    assert norm_unit(rows, mask, 1.0).tolist() == [3, 7, 0]
    assert norm_unit(rows, mask, -math.inf).tolist() == [3, 2, 0]
    assert norm_unit(rows, mask, math.inf).tolist() == [3, 5, 0]


def test_any_norm_of_a_single_weight_is_its_magnitude():
    weight = normal((8, 5))
    mask = torch.ones_like(weight, dtype=torch.bool)
    assert torch.equal(norm(weight, mask, -math.inf), magnitude(weight))
    assert torch.equal(magnitude(weight), weight.abs())


def test_lamp_by_hand():
    weight = torch.tensor([[3.0, -1.0], [2.0, 9.0]])
    mask = torch.tensor([[True, True], [True, False]])
    assert lamp(weight, mask).tolist() == [[1.0, 1 / 14], [4 / 13, 0.0]]
    # Rows of squared norm 10 and 4.
    assert lamp_unit(weight.double(), mask).tolist() == [1.0, 4 / 14]


def test_lamp_parts_equal_weights_by_their_index():
    weight = torch.tensor([2.0, -2.0, 2.0])
    found = lamp(weight, torch.ones(3, dtype=torch.bool))
    assert found.tolist() == [1 / 3, 1 / 2, 1.0]


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=40), data=st.data())
def test_lamp_orders_a_layer_as_magnitudes_do(values, data):
    weight = torch.tensor(values, dtype=torch.float64)
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    found = lamp(weight, mask)[mask]
    expected = weight.abs()[mask].argsort(stable=True)
    assert (found[expected].diff() >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()
    if mask.any() and weight[mask].any():
        assert found.max() == 1
