from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, hypergeom

from pomona.core.errors import InputError, StateFailure
from pomona.core.streams import Stream
from pomona.pruning.control_evidence import (
    ControlEvidence,
    Controlled,
    LayerEvidence,
    checked,
    values_evidence,
    zero_survivors,
)
from pomona.pruning.controls import CONTROLS, random_mask, rearrange, shuffle_weights
from pomona.pruning.granularity import groups_of_inputs, parse_unit, rows_of
from pomona.pruning.treatments import Treatment, treat

from .networks import KINDS, LENET, lenet_state, lenet_weights

FUNCTIONS = {
    "rearrange": lambda weights, masks, stream_of: rearrange(masks, KINDS, {}, stream_of),
    "rearrange by channel": lambda weights, masks, stream_of: rearrange(
        masks, KINDS, dict.fromkeys(masks, "channel-out"), stream_of
    ),
    "random-mask": lambda weights, masks, stream_of: random_mask(masks, stream_of),
    "shuffle-weights": shuffle_weights,
}


GOLDEN = {
    "weight": [[1, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]],
    "channel-in": [[1, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]],
    "channel-out": [[1, 0, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0]],
    "block-2x2": [[0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]],
    "1:2": [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]],
}
GOLDEN_SHUFFLE = [[2, 1, 0, 4], [3, 0, 0, 0], [0, 0, 0, 0]]


def streams(index: int = 0, level: int = 1):
    return lambda name: Stream("control", index, name, level)


def attempted(control: Callable[[], Controlled]) -> Controlled | str:
    """What a control gives, or why it failed: masks of a property test can be too small to change."""
    try:
        return control()
    except (InputError, StateFailure) as error:
        return str(error)


def masks_of(density: float = 0.4, index: int = 0) -> dict[str, torch.Tensor]:
    found = {}
    for name, shape in LENET.items():
        uniform = Stream("mask", index, name).uniform(int(np.prod(shape)))
        found[name] = torch.from_numpy(uniform < density).reshape(shape)
    return found


def by_channel(axis: int) -> dict[str, torch.Tensor]:
    """Every second channel of each layer is kept, along an axis of the weight."""
    found = {}
    for name, shape in LENET.items():
        kept = (torch.arange(shape[axis]) % 2 == 0).reshape(
            [-1 if d == axis else 1 for d in range(len(shape))]
        )
        found[name] = kept.expand(shape).clone()
    return found


def test_catalogue_describes_every_control():
    assert all(c.name == name and c.formula and c.source for name, c in CONTROLS.items())
    assert {name: c.touches for name, c in CONTROLS.items()} == {
        "rearrange": "mask",
        "random-mask": "mask",
        "shuffle-weights": "weights",
        "reinit": "weights",
        "invert": "score",
        "random-labels": "data",
        "random-pixels": "data",
        "fewer-examples": "data",
    }
    assert [name for name, c in CONTROLS.items() if not c.random] == ["invert"]


@pytest.mark.parametrize("control", FUNCTIONS)
def test_every_control_bites_keeps_the_counts_and_changes_no_input(control):
    weights, masks = lenet_state(1), masks_of()
    copies = [{name: x.clone() for name, x in given.items()} for given in (weights, masks)]
    found = FUNCTIONS[control](weights, masks, streams())
    given = weights if control == "shuffle-weights" else masks
    assert list(found.tensors) == list(given)
    assert found.evidence.control == control.split()[0]
    assert found.evidence.fixed == ()
    for layer in found.evidence.layers:
        before, after = given[layer.parameter], found.tensors[layer.parameter]
        assert layer.changed == int((before != after).sum()) > 0
        assert layer.kept_before == layer.kept_after == int(masks[layer.parameter].sum())
    for name, tensor in given.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert found.tensors[name].shape == tensor.shape
        assert found.tensors[name].data_ptr() != tensor.data_ptr()
    for now, copy in zip((weights, masks), copies, strict=True):
        assert all(torch.equal(now[name], x) for name, x in copy.items())


@pytest.mark.parametrize("control", FUNCTIONS)
def test_every_control_follows_its_stream_alone(control):
    before = random.getstate(), np.random.get_state()[1].tobytes(), torch.random.get_rng_state()
    weights, masks = lenet_weights(1), masks_of()
    first, again, other = (FUNCTIONS[control](weights, masks, streams(index)).tensors for index in (0, 0, 1))
    for name in KINDS:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
    after = random.getstate(), np.random.get_state()[1].tobytes(), torch.random.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


@pytest.mark.parametrize("control", FUNCTIONS)
@pytest.mark.parametrize("filled", [True, False])
def test_every_control_that_cannot_bite_is_refused(control, filled):
    masks = {name: torch.full(shape, filled) for name, shape in LENET.items()}
    weights = {name: torch.full(shape, 0.5) for name, shape in LENET.items()}
    with pytest.raises(
        InputError, match=f"control '{control.split()[0]}' can change nothing: .* 5 layers"
    ) as caught:
        FUNCTIONS[control](weights, masks, streams())
    assert ("surviving values that differ" in str(caught.value)) == (control == "shuffle-weights")


@pytest.mark.parametrize("control", FUNCTIONS)
def test_every_control_without_masks_is_refused(control):
    with pytest.raises(InputError, match="can change nothing: there are no masks"):
        FUNCTIONS[control](lenet_weights(), {}, streams())


@pytest.mark.parametrize("control", FUNCTIONS)
def test_every_control_says_where_nothing_could_change(control):
    masks = masks_of()
    masks["fc2.weight"] = torch.ones(LENET["fc2.weight"], dtype=torch.bool)
    masks["conv1.weight"] = torch.zeros(LENET["conv1.weight"], dtype=torch.bool)
    weights = lenet_weights(1)
    weights["fc2.weight"] = torch.full(LENET["fc2.weight"], 0.5)
    evidence = FUNCTIONS[control](weights, masks, streams()).evidence
    assert evidence.fixed == ("conv1.weight", "fc2.weight")
    assert evidence.changed == sum(layer.changed for layer in evidence.layers) > 0


def test_control_with_masks_that_do_not_fit_says_which():
    with pytest.raises(InputError, match=r"mask of 'a': expected bool"):
        random_mask({"a": torch.ones(2)}, streams())
    with pytest.raises(InputError, match="unknown masked parameter 'b'"):
        shuffle_weights({"a": torch.ones(2)}, {"b": torch.ones(2, dtype=torch.bool)}, streams())
    with pytest.raises(InputError, match="unknown masked parameter 'fc9"):
        rearrange(masks_of(), KINDS, {"fc9.weight": "weight"}, streams())
    with pytest.raises(InputError, match="unknown granularity 'chanel-in'; did you mean 'channel-in'"):
        rearrange(masks_of(), KINDS, {"fc1.weight": "chanel-in"}, streams())
    with pytest.raises(InputError, match="unknown prunable parameter 'conv1"):
        rearrange(masks_of(), {}, {}, streams())


def test_a_control_that_changed_a_count_fails_and_names_the_layer():
    layers = (LayerEvidence("fc1.weight", "weight", True, 7, 100, 99),)
    message = r"control 'rearrange': fc1\.weight keeps 99 weights instead of 100"
    with pytest.raises(StateFailure, match=message) as caught:
        checked(ControlEvidence("rearrange", layers))
    assert caught.value.kind == "error"


def test_a_shuffle_that_changes_nothing_fails():
    """Synaptic-Flow's `shuffle()` permutes a copy: the masks stay as they are, and nobody notices."""
    layers = (LayerEvidence("fc1.weight", "weight", True, 0, 100, 100),)
    with pytest.raises(StateFailure, match="control 'rearrange' changed nothing, although it could"):
        checked(ControlEvidence("rearrange", layers))
    weights = lenet_weights(1)
    with pytest.raises(StateFailure, match="control 'reinit' changed nothing, although it could"):
        values_evidence("reinit", weights, weights, masks_of())


def test_reinit_evidence_is_of_the_survivors():
    evidence = values_evidence("reinit", lenet_weights(1), lenet_weights(2), masks_of())
    assert evidence.fixed == ()
    assert all(layer.changed == layer.kept_before == layer.kept_after for layer in evidence.layers)


def test_survivors_of_a_controls_mask_do_not_start_at_zero():
    """OpenLTH's control puts a random mask on weights that the old mask made zero: at a density of 20.5 %
    79.5 % of its survivors start at zero. Ours goes on the weights that are rewound to."""
    initial, masks = lenet_state(1), masks_of(0.205)
    for control in (random_mask(masks, streams()), rearrange(masks, KINDS, {}, streams())):
        rewound = treat(Treatment(name="rewind"), lenet_state(2), control.tensors, initial, KINDS)
        assert set(zero_survivors(rewound, control.tensors).values()) == {0}
        pruned = treat(Treatment(name="rewind"), lenet_state(2), masks, initial, KINDS)
        theirs = zero_survivors(pruned, control.tensors)["fc1.weight"]
        assert theirs / int(masks["fc1.weight"].sum()) == pytest.approx(0.795, abs=0.02)


def test_rearrange_changes_as_many_places_as_chance_has_it():
    """Of n weights with k kept, each of the k is pruned now with the chance (n - k) / n, and another is kept."""
    masks = masks_of(0.4)
    for layer in rearrange(masks, KINDS, {}, streams()).evidence.layers:
        n, k = masks[layer.parameter].numel(), layer.kept_before
        low, high = hypergeom(n, k, n - k).interval(0.9999)
        assert 2 * low <= layer.changed <= 2 * high


@pytest.mark.parametrize("axis", [0, 1])
def test_rearrange_by_channel_moves_whole_channels(axis):
    masks = by_channel(axis)
    unit = "channel-out" if axis == 0 else "channel-in"
    found = rearrange(masks, KINDS, dict.fromkeys(masks, unit), streams())
    for name, mask in masks.items():
        others = [d for d in range(mask.dim()) if d != axis]
        after = found.tensors[name]
        assert torch.equal(after.amax(others), after.amin(others))
        assert int(after.amax(others).sum()) == int(mask.amax(others).sum())
    # conv1 has a single input channel: there is nothing to move it to.
    assert found.evidence.fixed == (("conv1.weight",) if axis == 1 else ())
    assert found.evidence.layers[1].unit == unit


def test_random_mask_of_a_structured_mask_has_no_structure():
    masks = by_channel(1)
    found = random_mask(masks, streams()).tensors["fc1.weight"]
    columns = found.sum(0)
    assert int(found.sum()) == int(masks["fc1.weight"].sum())
    assert 0 < int(columns.min()) <= int(columns.max()) < 120


@pytest.mark.parametrize(
    ("unit", "kind", "shape"),
    [
        ("kernel", "conv", (6, 5, 3, 3)),
        ("channel-in", "conv groups=2", (6, 4, 3, 3)),
        ("channel-out", "conv-transposed groups=2", (6, 4, 3, 3)),
        ("block-4x3", "linear", (10, 11)),
        ("block-2x2", "conv", (5, 7, 3, 3)),
        ("channel-out", "embedding", (9, 4)),
    ],
)
def test_rearrange_moves_units_with_the_pattern_that_they_have(unit, kind, shape):
    """A weight-wise mask within units: the rows of each shape are the same rows in another order."""
    mask = torch.from_numpy(Stream("mask", 5, unit).uniform(int(np.prod(shape))) < 0.5).reshape(shape)
    after = rearrange({"w": mask}, {"w": kind}, {"w": unit}, streams()).tensors["w"]
    parsed = parse_unit(unit)
    shapes = rows_of(torch.ones(shape, dtype=torch.bool), parsed, kind).tolist()
    before_rows, after_rows = (rows_of(m, parsed, kind).tolist() for m in (mask, after))
    assert sorted(zip(shapes, before_rows, strict=True)) == sorted(zip(shapes, after_rows, strict=True))
    assert before_rows != after_rows


def test_rearrange_of_n_of_m_stays_n_of_m():
    scores = torch.from_numpy(Stream("mask", 1).uniform(8 * 10)).reshape(8, 10)
    group = groups_of_inputs(scores, parse_unit("2:4"), "linear")
    mask = torch.zeros(8, 10, dtype=torch.bool)
    for number in group.unique():
        places = (group == number).nonzero()
        kept = places[scores[group == number].argsort()[: len(places) // 2]]
        mask[kept[:, 0], kept[:, 1]] = True
    after = rearrange({"w": mask}, {"w": "linear"}, {"w": "2:4"}, streams()).tensors["w"]
    counts = [int(after[group == number].sum()) for number in group.unique()]
    assert counts == [int(mask[group == number].sum()) for number in group.unique()]
    assert not torch.equal(mask, after)


def test_rearrange_of_equal_groups_cannot_bite():
    mask = torch.tensor([[1, 1, 0, 0, 0, 0, 0, 0]] * 9, dtype=torch.bool)
    assert rearrange({"w": mask}, {"w": "linear"}, {"w": "2:4"}, streams()).evidence.fixed == ()
    full = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0]], dtype=torch.bool)
    with pytest.raises(InputError, match="can change nothing"):
        rearrange({"w": full}, {"w": "linear"}, {"w": "2:4"}, streams())


def test_controls_never_change():
    """Stored states hang on these values."""
    masks = {"w": torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)}
    weights = {"w": torch.tensor([[1.0, 2, 0, 3], [4, 0, 0, 0], [0, 0, 0, 0]])}

    def rows(controlled) -> list[list[int]]:
        return controlled.tensors["w"].int().tolist()

    for unit, expected in GOLDEN.items():
        assert rows(rearrange(masks, {"w": "linear"}, {"w": unit}, streams())) == expected
    assert rows(random_mask(masks, streams())) == GOLDEN["weight"]
    assert rows(shuffle_weights(weights, masks, streams())) == GOLDEN_SHUFFLE


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 2**20),
    st.sampled_from(["weight", "channel-in", "channel-out", "kernel", "block-2x3", "2:4"]),
)
def test_rearrange_keeps_exact_counts_of_any_mask(outputs, inputs, seed, unit):
    uniform = Stream("mask", seed).uniform(outputs * inputs)
    masks = {"w": torch.from_numpy(uniform < 0.5).reshape(outputs, inputs)}
    found = attempted(lambda: rearrange(masks, {"w": "linear"}, {"w": unit}, streams(seed)))
    if isinstance(found, str):
        assert "can change nothing" in found or "although it could" in found
    else:
        assert int(found.tensors["w"].sum()) == int(masks["w"].sum())
        assert found.evidence.changed == int((found.tensors["w"] != masks["w"]).sum()) > 0


@given(
    st.lists(st.tuples(st.floats(-9, 9, width=32), st.booleans()), min_size=1, max_size=30),
    st.integers(0, 99),
)
def test_shuffle_keeps_the_multiset_of_surviving_values(rows, seed):
    weights = {"w": torch.tensor([row[0] for row in rows])}
    masks = {"w": torch.tensor([row[1] for row in rows])}
    controlled = attempted(lambda: shuffle_weights(weights, masks, streams(seed)))
    if isinstance(controlled, str):
        assert "can change nothing" in controlled or "although it could" in controlled
        return
    found = controlled.tensors["w"]
    kept = masks["w"]
    assert torch.equal(found[~kept], weights["w"][~kept])
    assert torch.equal(found[kept].sort().values, weights["w"][kept].sort().values)


@pytest.mark.parametrize(("unit", "units"), [("weight", 12), ("channel-in", 4), ("channel-out", 3)])
def test_rearranged_units_lie_everywhere_as_often(unit, units):
    mask = torch.zeros(3, 4, dtype=torch.bool)
    first = {"weight": mask[0, :1], "channel-in": mask[:, 0], "channel-out": mask[0]}[unit]
    first[:] = True
    seen = torch.zeros(3, 4)
    for seed in range(1200):
        try:
            seen += rearrange({"w": mask}, {"w": "linear"}, {"w": unit}, streams(seed)).tensors["w"]
        except StateFailure:
            # The unit came to lie where it was.
            seen += mask
    counts = {"weight": seen.reshape(-1), "channel-in": seen[0], "channel-out": seen[:, 0]}[unit]
    assert len(counts) == units
    assert chisquare(counts.numpy()).pvalue > 0.01
