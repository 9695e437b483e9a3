"""The battery: every criterion of the catalogue, at every granularity that it has a meaning for."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.pruning.criteria import CRITERIA
from pomona.pruning.criterion import NETWORK_EVIDENCE
from pomona.pruning.granularity import parse_unit, rows_of

from .criteria.oracles import BY_UNIT, WHOLE
from .criteria.tensors import OTHER, POSITIVE, SIGNED, evidence_for, has_meaning, scores

# Shape and kind; in groups, transposed and with an axis that no block of 2 x 3 fits.
LAYERS = [
    ((6, 4, 3, 3), "conv"),
    ((6, 2, 3, 3), "conv groups=2"),
    ((4, 3, 2), "conv"),
    ((4, 3, 3, 3), "conv-transposed groups=2"),
    ((10, 21), "linear"),
    ((1, 1), "linear"),
]
UNITS = [parse_unit(x) for x in ("weight", "channel-in", "channel-out", "kernel", "block-2x3", "2:4")]
CASES = [
    pytest.param(name, shape, kind, id=f"{name}-{kind}{shape}") for name in CRITERIA for shape, kind in LAYERS
]
WEIGHTS = [name for name in CRITERIA if has_meaning(name, UNITS[0])]


def units_of(name):
    return [unit for unit in UNITS if has_meaning(name, unit)]


@pytest.mark.parametrize(("name", "shape", "kind"), CASES)
def test_every_criterion_is_a_pure_function_to_one_score_a_unit(name, shape, kind):
    for unit in units_of(name):
        evidence = evidence_for(shape, unit, kind)
        given_tensors = {key: x.clone() for key, x in evidence.items() if isinstance(x, torch.Tensor)}
        before = torch.get_rng_state()
        found = scores(name, evidence, unit, kind)
        assert found.shape == (len(rows_of(evidence["mask"], unit, kind)),)
        assert found.dtype == torch.float64 or (str(unit) == "weight" and found.dtype == torch.float32)
        assert found.device == evidence["weight"].device
        assert torch.isfinite(found).all()
        assert torch.equal(found, scores(name, evidence, unit, kind))
        assert all(torch.equal(evidence[key], x) for key, x in given_tensors.items())
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "shape", "kind"), [case for case in CASES if case.values[0] in BY_UNIT])
def test_every_criterion_is_its_formula_over_the_kept_weights(name, shape, kind):
    for unit in units_of(name):
        evidence = evidence_for(shape, unit, kind, dtype=torch.float64)
        mask = rows_of(evidence["mask"], unit, kind)
        rows = {key: rows_of(evidence[key], unit, kind) for key in (*SIGNED, *POSITIVE)}
        units = [{key: x[i][mask[i]].tolist() for key, x in rows.items()} for i in range(len(mask))]
        layer = {key: evidence[key][evidence["mask"]].tolist() for key in rows}
        layer["units"] = [members["weight"] for members in units]
        kept = mask.any(dim=1)
        expected = torch.tensor([BY_UNIT[name](members, layer) for members in units], dtype=torch.float64)
        torch.testing.assert_close(
            scores(name, evidence, unit, kind)[kept], expected[kept], rtol=1e-11, atol=1e-13
        )


def test_every_criterion_has_a_formula_of_its_own_in_the_tests():
    assert {*BY_UNIT, *WHOLE} == set(CRITERIA)


@pytest.mark.parametrize("name", CRITERIA)
def test_every_record_says_what_it_is_and_takes_exactly_its_evidence(name):
    criterion = CRITERIA[name]
    assert criterion.name == name == name.lower()
    assert criterion.formula
    assert criterion.source
    assert criterion.oracle
    functions = [f for f in (criterion.function, criterion.unit) if f is not None]
    assert functions
    for function in functions:
        assert list(inspect.signature(function).parameters) == list(criterion.evidence)
        assert function.__doc__
    assert (criterion.function is None) == bool(criterion.only)
    if criterion.update is not None:
        taken = ["weight", "before", "after", *criterion.update_evidence]
        assert list(inspect.signature(criterion.update).parameters) == taken
    assert set(criterion.evidence) <= {"weight", "initial", "mask", "n", "stream", *NETWORK_EVIDENCE}


def test_evidence_of_the_network_is_all_used_and_all_tested():
    used = {name for criterion in CRITERIA.values() for name in criterion.evidence}
    assert used | {"inverse_blocks"} >= NETWORK_EVIDENCE
    assert used <= {*SIGNED, *POSITIVE, *OTHER}


@pytest.mark.parametrize(("name", "shape", "kind"), CASES)
@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_scores_scale_by_the_declared_degree(name, shape, kind, factor):
    for unit in units_of(name):
        criterion = CRITERIA[name]
        assert criterion.degree is not None
        evidence = evidence_for(shape, unit, kind, dtype=torch.float64)
        scaled = evidence | {key: evidence[key] * factor for key in ("weight", "initial")}
        expected = scores(name, evidence, unit, kind) * factor**criterion.degree
        torch.testing.assert_close(scores(name, scaled, unit, kind), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("name", "shape", "kind"), CASES)
def test_what_is_pruned_counts_for_nothing(name, shape, kind):
    for unit in units_of(name):
        evidence = evidence_for(shape, unit, kind)
        other = evidence_for(shape, unit, kind, index=1)
        mixed = dict(evidence)
        for key in (*SIGNED, *POSITIVE):
            mixed[key] = torch.where(evidence["mask"], evidence[key], other[key])
        kept = rows_of(evidence["mask"], unit, kind).any(dim=1)
        assert torch.equal(scores(name, evidence, unit, kind)[kept], scores(name, mixed, unit, kind)[kept])


@pytest.mark.parametrize("name", [name for name in WEIGHTS if "stream" not in CRITERIA[name].evidence])
def test_moved_weights_take_their_scores_along(name):
    evidence = evidence_for((7, 9))
    order = torch.from_numpy(evidence["stream"].permutation(63))
    moved = {
        key: x.reshape(-1)[order].reshape(x.shape) if isinstance(x, torch.Tensor) else x
        for key, x in evidence.items()
    }
    kept = moved["mask"].reshape(-1)
    assert torch.equal(scores(name, moved)[kept], scores(name, evidence)[order][kept])


@pytest.mark.parametrize("name", [name for name in CRITERIA if "stream" not in CRITERIA[name].evidence])
def test_moved_channels_take_their_scores_along(name):
    unit = parse_unit("channel-out")
    evidence = evidence_for((8, 3, 2, 2), unit, "conv")
    order = torch.from_numpy(evidence["stream"].permutation(8))
    moved = {key: x[order] if isinstance(x, torch.Tensor) else x for key, x in evidence.items()}
    found = scores(name, moved, unit, "conv")
    torch.testing.assert_close(found, scores(name, evidence, unit, "conv")[order], rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("shape", [(0, 5), (1,)])
def test_every_criterion_takes_no_weight_and_one(name, shape):
    found = scores(name, evidence_for(shape))
    assert found.shape == (shape[0],)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("mask", [True, False])
def test_every_criterion_is_finite_on_a_layer_of_zeros(name, mask):
    evidence = evidence_for((3, 4))
    zeros = {key: torch.zeros_like(evidence[key]) for key in ("weight", "initial", *SIGNED)}
    given_mask = torch.full((3, 4), mask)
    for unit in units_of(name):
        found = scores(name, evidence_for((3, 4), unit) | zeros | {"mask": given_mask}, unit)
        assert torch.isfinite(found).all()


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(set(WEIGHTS) - {"random"})),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    index=st.integers(0, 99),
)
def test_single_weights_of_groups_have_the_scores_of_weights(name, shape, dtype, index):
    evidence = evidence_for(shape, dtype=dtype, index=index)
    groups = scores(name, evidence, parse_unit("1:2"), "conv")
    kept = evidence["mask"].reshape(-1)
    torch.testing.assert_close(groups[kept], scores(name, evidence)[kept].double(), rtol=1e-6, atol=1e-6)
