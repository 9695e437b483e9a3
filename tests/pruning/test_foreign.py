"""Masks in the forms of others, made by ``torch.nn.utils.prune`` itself and by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from pomona.core.errors import InputError
from pomona.pruning import foreign, prune_module

from .modules import Speaker, small_net


def pruned_by_torch():
    module = small_net()
    torch_prune.l1_unstructured(module[0], "weight", 0.5)
    torch_prune.random_structured(module[5], "weight", 0.4, dim=0)
    torch_prune.l1_unstructured(module[5], "weight", 0.25)  # a container of two
    return module


@pytest.mark.parametrize("live", [True, False])
def test_what_torch_pruned_is_read_from_the_module_and_from_its_state_dict(live):
    module = pruned_by_torch()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = foreign.from_torch_prune(module if live else module.state_dict())
    assert set(found.weights) == set(small_net().state_dict())
    assert set(found.masks) == {"0.weight", "5.weight"}
    for name, mask in found.masks.items():
        layer = module.get_submodule(name[0])
        assert torch.equal(mask, layer.weight_mask.bool())
        assert torch.equal(foreign.masked(found.weights, found.masks)[name], layer.weight.detach())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_what_is_read_loads_into_an_unpruned_module_and_computes_the_same():
    module = pruned_by_torch().eval()
    found = foreign.from_torch_prune(module)
    plain = small_net().eval()
    plain.load_state_dict(foreign.masked(found.weights, found.masks))
    inputs = torch.randn(3, 1, 8, 8)
    assert torch.equal(plain(inputs), module(inputs))


def test_what_is_written_loads_into_a_module_that_torch_pruned():
    module = small_net().eval()
    masks = prune_module(module, "l1-unstructured", 0.5).masks
    target = pruned_by_torch().eval()
    target.load_state_dict(foreign.to_torch_prune(module.state_dict(), masks))
    inputs = torch.randn(3, 1, 8, 8)
    module.load_state_dict(foreign.masked(module.state_dict(), masks))
    assert torch.equal(target(inputs), module(inputs))
    back = foreign.from_torch_prune(target)
    assert all(torch.equal(mask, masks[name]) for name, mask in back.masks.items())


def test_a_mask_beside_a_plain_weight_is_its_mask():
    tensors = {"fc.weight": torch.ones(2, 3), "fc.weight_mask": torch.tensor([[1, 0, 1], [0, 0, 1]])}
    found = foreign.from_torch_prune(tensors)
    assert list(found.weights) == ["fc.weight"]
    assert found.masks["fc.weight"].tolist() == [[True, False, True], [False, False, True]]


def test_a_buffer_that_is_called_like_a_mask_stays_what_it_is():
    tensors = {"attention.causal_mask": torch.tensor([0.0, -1e9]), "fc.weight": torch.ones(2, 3)}
    found = foreign.from_torch_prune(tensors)
    assert set(found.weights) == set(tensors)
    assert found.masks == {}
    # A network that masks by a buffer of its own keeps it, and the mask is read all the same.
    tensors = {"fc.weight": torch.ones(2), "fc.weight_mask": torch.tensor([1.0, 0.0])}
    found = foreign.from_torch_prune(tensors, known=tensors)
    assert set(found.weights) == set(tensors)
    assert found.masks["fc.weight"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"a": torch.ones(2), "a_orig": torch.ones(2), "a_mask": torch.ones(2)},
            "both a and a_orig are there",
        ),
        ({"a_orig": torch.ones(2), "a_mask": torch.tensor([1.0, 0.5])}, r"a_mask: .*got 0.5 at \[1\]"),
        ({"a_orig": torch.ones(2), "a_mask": torch.tensor([1.0, torch.nan])}, r"a_mask: .*got nan at \[1\]"),
        (
            {"a_orig": torch.ones(2), "a_mask": torch.ones(3)},
            r"mask of a: shape \(3,\), the weight has \(2,\)",
        ),
    ],
)
def test_what_cannot_be_a_mask_is_said(tensors, message):
    with pytest.raises(InputError, match=message):
        foreign.from_torch_prune(tensors)


@given(
    st.lists(st.booleans(), min_size=1, max_size=30), st.sampled_from([torch.float16, torch.int8, torch.bool])
)
def test_masks_of_any_type_come_back(kept, kind):
    mask = torch.tensor(kept)
    assert torch.equal(foreign.mask_of("m", mask.to(kind)), mask)
    weights = {"w": torch.ones(len(kept)), "bias": torch.ones(1)}
    back = foreign.from_torch_prune(foreign.to_torch_prune(weights, {"w": mask}))
    assert torch.equal(back.masks["w"], mask)
    assert torch.equal(foreign.from_zeros(back.weights, ["w"])["w"], mask)
    assert foreign.nonzero_under(back.weights, back.masks) == {}
    assert foreign.nonzero_under(weights, {"w": mask}) == ({"w": kept.count(False)} if not all(kept) else {})
    assert foreign.kept_of_all({"w": mask}) == (sum(kept), len(kept))


def test_names_that_differ_by_what_stands_before_are_matched_where_one_fits():
    known = ["conv.weight", "blocks.0.fc.weight", "blocks.1.fc.weight", "head.weight"]
    given = ["module.conv.weight", "0.fc.weight", "net.blocks.1.fc.weight", "head.weight_mask"]
    assert foreign.matched(given, known) == dict(zip(given, known, strict=True))
    assert foreign.matched(["fc.weight"], known) == {}  # it may be either block's
    assert foreign.matched(["a.conv.weight", "b.conv.weight"], known) == {}  # both would be one
    assert foreign.matched(["conv.weight", "b.conv.weight"], known) == {"conv.weight": "conv.weight"}
    assert foreign.matched(["onv.weight"], known) == {}


def test_tied_weights_of_a_module_keep_both_names():
    module = Speaker()
    found = foreign.from_torch_prune(module)
    assert found.masks == {}
    assert torch.equal(found.weights["head.weight"], found.weights["embed.weight"])
    assert isinstance(module.head.weight, nn.Parameter)
