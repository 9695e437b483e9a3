import random
from math import sqrt
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import chisquare

from pomona.core.errors import InputError
from pomona.core.schema import Part
from pomona.core.step import Step
from pomona.core.streams import Stream
from pomona.pruning.survivors import permuted
from pomona.pruning.treatments import TREATMENTS, Treatment, treat

from .networks import KINDS, LENET, lenet_state

RANDOM = [name for name, rule in TREATMENTS.items() if rule.random]


def streams(index: int = 0, level: int = 1):
    return lambda name: Stream("treatment", index, name, level)


def treated(name, weights, masks, target, kinds, index=0, **fields):
    """As `treat`, with a stream whether or not the treatment draws."""
    return treat(Treatment(name=name, **fields), weights, masks, target, kinds, stream_of=streams(index))


class Holder(Part):
    treat: Treatment


def read(written) -> Treatment:
    return Holder(treat=written).treat


def random_masks(level: int = 1) -> dict[str, torch.Tensor]:
    """About half of the weights of every layer."""
    uniform = {
        name: Stream("mask", 0, name, level).uniform(int(np.prod(shape))) for name, shape in LENET.items()
    }
    return {name: torch.from_numpy(uniform[name] < 0.5).reshape(shape) for name, shape in LENET.items()}


@pytest.fixture(scope="module")
def masks():
    return random_masks()


@pytest.mark.parametrize(
    ("written", "name", "to"),
    [
        ("rewind", "rewind", Step(0, "it")),
        ("finetune", "finetune", Step(0, "it")),
        ("sigma-sign", "sigma-sign", Step(0, "it")),
        ({"rewind": "500it"}, "rewind", Step(500, "it")),
        ({"rewind": "2ep"}, "rewind", Step(2, "ep")),
        ({"rewind": "init"}, "rewind", Step(0, "it")),
        ({"rewind": "0ep"}, "rewind", Step(0, "it")),
        ({"sigma-sign": "1ep"}, "sigma-sign", Step(1, "ep")),
        ({"name": "rewind", "to": "500it"}, "rewind", Step(500, "it")),
    ],
)
def test_treatment_is_read_in_every_form(written, name, to):
    found = read(written)
    assert (found.name, found.to) == (name, to)
    assert Treatment.model_validate_json(found.model_dump_json()) == found if found.needs_target else True


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("rewnd", "unknown treatment 'rewnd'; did you mean 'rewind'"),
        ({"rewnd": "500it"}, "unknown treatment 'rewnd'"),
        ({"rewind": 500}, "expected epochs as '30ep' or iterations as '500it', got 500"),
        ({"rewind": "500it", "finetune": "1it"}, "expected a treatment as a name or as {name: step}"),
        ({"finetune": "500it"}, "'finetune' keeps the trained weights and takes no step, got '500it'"),
        ({"name": "rewind", "step": "500it"}, "step"),
        (3, "Treatment"),
        ({"reinit": "500it"}, "'reinit' draws new weights and takes no step, got '500it'"),
        ({"name": "rewind", "fan": "out"}, "'rewind' looks at no fan, got fan: out"),
        ({"name": "rescale-fan", "fan": "both"}, "'in' or 'out'"),
        ({"name": ["rewind"]}, "unknown treatment ['rewind']"),
    ],
)
def test_treatment_that_cannot_be_read_says_why(written, message):
    with pytest.raises(ValidationError) as caught:
        read(written)
    assert message in str(caught.value)


def test_schema_offers_every_treatment_and_the_step_of_those_that_take_one():
    names, rewound, fields = Holder.model_json_schema()["$defs"]["Treatment"]["anyOf"]
    assert names["enum"] == list(TREATMENTS)
    steps = [name for name in TREATMENTS if name not in ("finetune", "reinit")]
    assert list(rewound["properties"]) == steps
    assert fields["properties"]["fan"]["enum"] == ["in", "out"]


def test_catalogue_says_what_each_treatment_needs():
    assert list(get_args(Treatment.model_fields["name"].annotation)) == list(TREATMENTS)
    assert all(rule.name == name and rule.formula and rule.source for name, rule in TREATMENTS.items())
    needs = {name: rule.target for name, rule in TREATMENTS.items() if rule.target != "step"}
    assert needs == {"finetune": "none", "reinit": "fresh"}
    assert [name for name in TREATMENTS if not Treatment(name=name).needs_target] == ["finetune"]
    assert RANDOM == ["random-sign", "permute-init", "permute-survivors"]


def test_identity_of_a_treatment_leaves_out_the_fan_that_it_always_had():
    assert read("rewind").identity() == {"name": "rewind", "to": Step(0, "it")}
    assert "fan" not in read("rescale-fan").identity()
    assert read({"name": "rescale-fan", "fan": "out"}).identity()["fan"] == "out"


def test_treatment_says_what_it_rewinds_to():
    assert str(read({"rewind": "500it"})) == "rewind to 500it"
    assert str(read("finetune")) == "finetune"
    assert str(read({"name": "rescale-fan", "to": "2ep", "fan": "out"})) == "rescale-fan out to 2ep"


@pytest.mark.parametrize("name", TREATMENTS)
def test_every_treatment_has_exact_zeros_and_changes_no_input(name, masks):
    trained, target = lenet_state(1), lenet_state(2)
    kept = [{key: x.clone() for key, x in state.items()} for state in (trained, target)]
    found = treated(name, trained, masks, target, KINDS)
    assert list(found) == list(trained)
    for key, mask in masks.items():
        assert (found[key][~mask].view(torch.int32) == 0).all()
        assert (found[key][mask] != 0).all()
    for state, copy in zip((trained, target), kept, strict=True):
        assert all(torch.equal(state[key], x) for key, x in copy.items())
        assert all(found[key].data_ptr() != x.data_ptr() for key, x in state.items())
    for key, tensor in trained.items():
        assert found[key].dtype == tensor.dtype
        assert found[key].shape == tensor.shape
        assert found[key].isfinite().all()


@pytest.mark.parametrize("name", TREATMENTS)
def test_every_treatment_keeps_the_dtype_in_double_precision(name, masks):
    state = {key: x.double() if x.is_floating_point() else x for key, x in lenet_state(1).items()}
    found = treated(name, state, masks, state, KINDS)
    assert {key: x.dtype for key, x in found.items()} == {key: x.dtype for key, x in state.items()}


@pytest.mark.parametrize("name", TREATMENTS)
def test_every_treatment_changes_survivors_except_those_that_take_values_as_they_are(name, masks):
    trained, target = lenet_state(1), lenet_state(2)
    found = treated(name, trained, masks, target, KINDS)
    for key, mask in masks.items():
        same = torch.equal(found[key][mask], (trained if name == "finetune" else target)[key][mask])
        assert same == (name in ("rewind", "finetune", "reinit")), key
    for key in ("bn.weight", "bn.running_mean", "bn.num_batches_tracked"):
        assert torch.equal(found[key], (trained if name == "finetune" else target)[key])


@pytest.mark.parametrize("name", TREATMENTS)
def test_every_treatment_follows_its_stream_alone(name, masks):
    """Zhou's code shuffles without a seed: two calls differ, and global state moves."""
    before = random.getstate(), np.random.get_state()[1].tobytes(), torch.random.get_rng_state()
    trained, target = lenet_state(1), lenet_state(2)
    first, again, other = (treated(name, trained, masks, target, KINDS, index) for index in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    for key in KINDS:
        assert torch.equal(first[key], other[key]) == (name not in RANDOM)
    after = random.getstate(), np.random.get_state()[1].tobytes(), torch.random.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


@pytest.mark.parametrize("name", RANDOM)
def test_random_treatment_without_a_stream_is_refused(name, masks):
    with pytest.raises(InputError, match=f"treatment {name} draws random numbers: give stream_of="):
        treat(Treatment(name=name), lenet_state(1), masks, lenet_state(2), KINDS)


@pytest.mark.parametrize("name", TREATMENTS)
def test_every_treatment_holds_pruned_weights_at_given_values(name, masks):
    held = {key: torch.full_like(lenet_state(1)[key], 0.25) for key in masks}
    target = lenet_state(2)
    free = treated(name, lenet_state(1), masks, target, KINDS)
    found = treat(
        Treatment(name=name), lenet_state(1), masks, target, KINDS, stream_of=streams(), values=held
    )
    for key, mask in masks.items():
        assert (found[key][~mask] == 0.25).all()
        assert torch.equal(found[key][mask], free[key][mask])


@pytest.mark.parametrize("name", TREATMENTS)
def test_every_treatment_takes_layers_that_are_full_or_empty(name):
    state = {"a.weight": torch.tensor([[1.0, -2.0]]), "b.weight": torch.tensor([[3.0, -4.0]])}
    kinds = dict.fromkeys(state, "linear")
    empty = {"a.weight": torch.zeros(1, 2, dtype=torch.bool)}
    found = treated(name, state, empty, state, kinds)
    assert found["a.weight"].tolist() == [[0.0, 0.0]]
    assert (found["b.weight"] != 0).all()
    if name.startswith("rescale"):
        assert torch.equal(found["b.weight"], state["b.weight"])


def test_treat_with_a_mask_that_does_not_fit_says_which():
    state = {"a.weight": torch.ones(1, 2)}
    with pytest.raises(InputError, match=r"mask of 'a.weight': expected the weight's shape \(1, 2\)"):
        treated(
            "permute-survivors",
            state,
            {"a.weight": torch.ones(2, dtype=torch.bool)},
            state,
            {"a.weight": "linear"},
        )
    with pytest.raises(InputError, match=r"mask of 'a\.weight': expected bool"):
        treated("rescale", state, {"a.weight": torch.ones(1, 2)}, state, {"a.weight": "linear"})


def test_permute_init_moves_values_within_the_layer(masks):
    target = lenet_state(2)
    whole = treated("permute-init", lenet_state(1), {}, target, KINDS)
    for key in KINDS:
        assert torch.equal(whole[key].reshape(-1).sort().values, target[key].reshape(-1).sort().values)
        order = torch.from_numpy(streams()(key).permutation(target[key].numel()))
        assert torch.equal(whole[key].reshape(-1), target[key].reshape(-1)[order])
    assert torch.equal(whole["fc1.bias"], target["fc1.bias"])


def test_permute_survivors_moves_survivors_among_themselves(masks):
    target = lenet_state(2)
    found = treated("permute-survivors", lenet_state(1), masks, target, KINDS)
    for key, mask in masks.items():
        assert torch.equal(found[key][mask].sort().values, target[key][mask].sort().values)
    assert torch.equal(found["fc1.bias"], target["fc1.bias"])


def test_random_treatments_never_change():
    """Stored states hang on these values."""
    state = {"w": torch.arange(1.0, 9.0).reshape(2, 4)}
    masks = {"w": torch.tensor([[1, 1, 0, 1], [1, 0, 1, 1]], dtype=torch.bool)}
    found = {name: treated(name, state, masks, state, {"w": "linear"})["w"].tolist() for name in RANDOM}
    assert found["permute-init"] == [[4.0, 3.0, 0.0, 1.0], [5.0, 0.0, 2.0, 8.0]]
    assert found["permute-survivors"] == [[5.0, 4.0, 0.0, 8.0], [1.0, 0.0, 7.0, 2.0]]
    assert [[int(np.sign(x)) for x in row] for row in found["random-sign"]] == [[1, 1, 0, -1], [1, 0, 1, 1]]


@given(
    st.integers(1, 40).flatmap(lambda n: st.lists(st.booleans(), min_size=n, max_size=n)), st.integers(0, 99)
)
def test_permuted_keeps_the_values_and_what_takes_no_part(kept, seed):
    tensor = torch.arange(float(len(kept)))
    mask = torch.tensor(kept)
    found = permuted(tensor, Stream("treatment", seed), mask)
    assert torch.equal(found[~mask], tensor[~mask])
    assert torch.equal(found.sort().values, tensor)


def test_permuted_is_uniform_over_all_orders():
    """Four survivors have 24 orders; 2,400 seeds give each about 100 times."""
    mask = torch.tensor([True, False, True, True, False, True])
    tensor = torch.arange(6)
    seen: dict[tuple[int, ...], int] = {}
    for seed in range(2400):
        order = tuple(permuted(tensor, Stream("treatment", seed), mask).tolist())
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 24
    assert chisquare(list(seen.values())).pvalue > 0.01


def test_sign_alone_is_plus_or_minus_one_also_of_biases():
    state = {
        "fc.weight": torch.tensor([[0.5, -3.0, 0.0]]),
        "fc.bias": torch.tensor([-0.25]),
        "bn.weight": torch.tensor([2.0]),
    }
    found = treated("sign", state, {}, state, {"fc.weight": "linear"})
    assert found["fc.weight"].tolist() == [[1.0, -1.0, 0.0]]
    assert found["fc.bias"].tolist() == [-1.0]
    assert found["bn.weight"].tolist() == [2.0]


def test_random_sign_has_the_size_of_sigma_sign_and_both_signs_evenly(masks):
    target = lenet_state(2)
    drawn = treated("random-sign", lenet_state(1), masks, target, KINDS)
    signed = treated("sigma-sign", lenet_state(1), masks, target, KINDS)
    for key in [*KINDS, "fc1.bias"]:
        assert torch.equal(drawn[key].abs(), signed[key].abs())
    positive = int((drawn["fc1.weight"] > 0).sum())
    survivors = int(masks["fc1.weight"].sum())
    # Four standard deviations of a fair coin.
    assert abs(positive - survivors / 2) < 2 * sqrt(survivors)
    assert not torch.equal(drawn["fc1.weight"].sign(), signed["fc1.weight"].sign())


def test_rescale_multiplies_by_size_over_kept():
    state = {"fc.weight": torch.tensor([[1.0, 2.0, 3.0, 4.0]]), "fc.bias": torch.tensor([5.0])}
    mask = {"fc.weight": torch.tensor([[True, False, True, True]])}
    found = treated("rescale", state, mask, state, {"fc.weight": "linear"})
    torch.testing.assert_close(found["fc.weight"], torch.tensor([[4 / 3, 0.0, 4.0, 16 / 3]]))
    assert found["fc.bias"].tolist() == [5.0]


def test_rescale_fan_looks_at_each_units_own_connections():
    state = {"fc.weight": torch.ones(3, 4), "fc.bias": torch.ones(3)}
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    kinds = {"fc.weight": "linear"}
    fan_in = treated("rescale-fan", state, {"fc.weight": mask}, state, kinds)["fc.weight"]
    assert fan_in.tolist() == [[1.0] * 4, [2.0, 0.0, 0.0, 0.0], [0.0] * 4]
    fan_out = treated("rescale-fan", state, {"fc.weight": mask}, state, kinds, fan="out")["fc.weight"]
    one, two = np.float32(sqrt(3)), np.float32(sqrt(3 / 2))
    assert fan_out.tolist() == [[two, one, one, one], [two, 0.0, 0.0, 0.0], [0.0] * 4]


@pytest.mark.parametrize("fan", ["in", "out"])
@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (torch.nn.Conv2d(4, 6, 3), "conv"),
        (torch.nn.Conv2d(4, 6, 3, groups=2), "conv groups=2"),
        (torch.nn.ConvTranspose2d(4, 6, 3), "conv-transposed"),
        (torch.nn.ConvTranspose2d(4, 6, 3, groups=2), "conv-transposed groups=2"),
        (torch.nn.Linear(5, 3), "linear"),
    ],
)
def test_rescale_fan_counts_what_leads_into_and_out_of_a_channel(fan, layer, kind):
    """Oracle: autograd says which weights touch an output or an input channel."""
    mask = torch.from_numpy(Stream("mask", 3, kind).uniform(layer.weight.numel()) < 0.4)
    mask = mask.reshape(layer.weight.shape)
    state = {"layer.weight": torch.ones_like(layer.weight).detach()}
    found = treated("rescale-fan", state, {"layer.weight": mask}, state, {"layer.weight": kind}, fan=fan)
    size = () if kind == "linear" else (7, 7)
    inputs = layer.weight.shape[1] if kind == "linear" else 4
    outputs = layer.weight.shape[0] if kind == "linear" else 6
    for channel in range(outputs if fan == "in" else inputs):
        layer.zero_grad()
        given = torch.zeros(1, inputs, *size)
        given[:, :] = 1.0
        if fan == "out":
            given.zero_()
            given[:, channel] = 1.0
        output = layer(given)
        (output[:, channel] if fan == "in" else output).sum().backward()
        touched = layer.weight.grad != 0
        kept = int((touched & mask).sum())
        if kept:
            expected = sqrt(int(touched.sum()) / kept)
            torch.testing.assert_close(
                found["layer.weight"][touched & mask], torch.full((kept,), expected), rtol=1e-6, atol=0
            )


def test_rescale_fan_leaves_embeddings_alone():
    state = {"tokens.weight": torch.ones(3, 2)}
    mask = {"tokens.weight": torch.tensor([[True, False], [True, True], [False, False]])}
    for fan in ("in", "out"):
        found = treated("rescale-fan", state, mask, state, {"tokens.weight": "embedding"}, fan=fan)
        assert torch.equal(found["tokens.weight"], mask["tokens.weight"].float())


def test_reinit_takes_the_fresh_draw_and_needs_one(masks):
    fresh = lenet_state(9)
    found = treated("reinit", lenet_state(1), masks, fresh, KINDS)
    for key, mask in masks.items():
        assert torch.equal(found[key][mask], fresh[key][mask])
    with pytest.raises(InputError, match="treatment reinit needs newly drawn weights, got none"):
        treated("reinit", lenet_state(1), masks, None, KINDS)


def test_rewind_takes_all_tensors_of_the_target(masks):
    target = lenet_state(2)
    found = treat(Treatment(name="rewind"), lenet_state(1), masks, target, KINDS)
    for key, tensor in target.items():
        kept = masks.get(key, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(found[key][kept], tensor[kept])
    assert int(found["bn.num_batches_tracked"]) == 2


def test_finetune_keeps_the_trained_weights_and_needs_no_target(masks):
    trained = lenet_state(1)
    found = treat(Treatment(name="finetune"), trained, masks, None, KINDS)
    for key, tensor in trained.items():
        kept = masks.get(key, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(found[key][kept], tensor[kept])


def test_sigma_sign_is_sign_times_the_sample_sd_of_the_whole_tensor(masks):
    target = lenet_state(2)
    found = treat(Treatment(name="sigma-sign"), lenet_state(1), masks, target, KINDS)
    for key in ("conv2.weight", "fc1.weight", "fc1.bias"):
        kept = masks.get(key, torch.ones_like(target[key], dtype=torch.bool))
        expected = target[key].sign() * target[key].std(correction=1)
        torch.testing.assert_close(found[key][kept], expected[kept])
        assert len(found[key][kept].abs().unique()) == 1


def test_sigma_sign_rewinds_what_is_not_of_a_prunable_layer(masks):
    target = lenet_state(2)
    found = treat(Treatment(name="sigma-sign"), lenet_state(1), masks, target, KINDS)
    for key in ("bn.weight", "bn.running_mean", "bn.num_batches_tracked"):
        assert torch.equal(found[key], target[key])


def test_sigma_sign_of_a_single_value_takes_the_target():
    state = {"fc.weight": torch.tensor([[1.0, -3.0]]), "fc.bias": torch.tensor([0.25])}
    found = treat(Treatment(name="sigma-sign"), state, {}, state, {"fc.weight": "linear"})
    assert found["fc.bias"].tolist() == [0.25]
    torch.testing.assert_close(found["fc.weight"], torch.tensor([[1.0, -1.0]]) * 8**0.5)


def test_treat_without_the_target_it_needs_is_refused(masks):
    with pytest.raises(InputError, match="treatment rewind to 500it needs the weights at 500it, got none"):
        treat(read({"rewind": "500it"}), lenet_state(1), masks, None, KINDS)


def test_treat_with_the_target_of_another_network_names_the_tensor(masks):
    target = lenet_state(2)
    target["fc3.bias"] = torch.zeros(100)
    with pytest.raises(InputError, match=r"'fc3.bias' has shape \(10,\) in the pruned state and \(100,\)"):
        treat(Treatment(name="rewind"), lenet_state(1), masks, target, KINDS)
    del target["fc3.bias"]
    with pytest.raises(InputError, match=r"'fc3.bias' is in the pruned state only"):
        treat(Treatment(name="rewind"), lenet_state(1), masks, target, KINDS)
