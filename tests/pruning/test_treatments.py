import pytest
import torch
from pydantic import ValidationError

from pomona.core.errors import InputError
from pomona.core.schema import Part
from pomona.core.step import Step
from pomona.pruning.method import METHODS
from pomona.pruning.prune import prune
from pomona.pruning.treatments import TREATMENTS, Treatment, treat

from .networks import KINDS, lenet_state


class Holder(Part):
    treat: Treatment


def read(written) -> Treatment:
    return Holder(treat=written).treat


@pytest.fixture(scope="module")
def masks():
    return prune(lenet_state(1), {}, KINDS, METHODS["l1-unstructured"], 0.5).masks


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
        ({"name": ["rewind"]}, "unknown treatment ['rewind']"),
    ],
)
def test_treatment_that_cannot_be_read_says_why(written, message):
    with pytest.raises(ValidationError) as caught:
        read(written)
    assert message in str(caught.value)


def test_schema_offers_every_treatment_and_the_step_of_those_that_take_one():
    names, rewound, _ = Holder.model_json_schema()["$defs"]["Treatment"]["anyOf"]
    assert names["enum"] == list(TREATMENTS)
    assert list(rewound["properties"]) == ["rewind", "sigma-sign"]


def test_treatment_needs_target_except_finetune():
    assert [name for name in TREATMENTS if Treatment(name=name).needs_target] == ["rewind", "sigma-sign"]
    assert all(rule.name == name and rule.formula and rule.source for name, rule in TREATMENTS.items())


def test_treatment_says_what_it_rewinds_to():
    assert str(read({"rewind": "500it"})) == "rewind to 500it"
    assert str(read("finetune")) == "finetune"


@pytest.mark.parametrize("name", TREATMENTS)
def test_every_treatment_has_exact_zeros_and_changes_no_input(name, masks):
    trained, target = lenet_state(1), lenet_state(2)
    kept = [{key: x.clone() for key, x in state.items()} for state in (trained, target)]
    found = treat(Treatment(name=name), trained, masks, target, KINDS)
    assert list(found) == list(trained)
    for key, mask in masks.items():
        assert (found[key][~mask] == 0).all()
        assert (found[key][mask] != 0).all()
    for state, copy in zip((trained, target), kept, strict=True):
        assert all(torch.equal(state[key], x) for key, x in copy.items())
        assert all(found[key].data_ptr() != x.data_ptr() for key, x in state.items())
    for key, tensor in trained.items():
        assert found[key].dtype == tensor.dtype


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
