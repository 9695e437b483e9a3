"""Pruning a module in one call, held against torch.nn.utils.prune and its known defects."""

import copy
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from pomona import pruning
from pomona.core.errors import InputError, StateFailure
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.kinds import layer_kinds
from pomona.pruning.method import METHODS, Method

from .modules import Hourglass, Speaker, batch_of, small_net

CLASSES = [small_net, Speaker, Hourglass]


@pytest.fixture(autouse=True)
def _same_numbers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        yield


def kept(masks):
    return {name: int(mask.sum()) for name, mask in masks.items()}


@pytest.mark.parametrize("make", CLASSES)
@pytest.mark.parametrize("method", ["l1-unstructured", "random-unstructured", "snip", "synflow"])
def test_exactly_the_asked_share_is_left(make, method):
    module = make()
    found = pruning.prune_module(module, method, density=0.1, batch=batch_of(module))
    total = sum(mask.numel() for mask in found.masks.values())
    assert list(found.masks) == list(layer_kinds(module))
    if METHODS[method].scope == "global":
        assert sum(kept(found.masks).values()) == round(0.1 * total)
    else:
        assert kept(found.masks) == {name: round(0.1 * mask.numel()) for name, mask in found.masks.items()}
    assert found.audit.achieved == found.audit.requested


@pytest.mark.parametrize("make", CLASSES)
@pytest.mark.parametrize("method", sorted({*CRITERIA} - {"activation", "apoz", "norm"}))
def test_a_module_is_left_as_it_was(make, method):
    if method == "wanda" and make is Speaker:
        pytest.skip("wanda has no meaning for embeddings and attention")
    module = make()
    module.train()
    for name, child in module.named_children():
        child.train(name != "5")
    modes = [m.training for m in module.modules()]
    before = copy.deepcopy(module.state_dict())
    initial = {name: tensor.clone() + 0.1 for name, tensor in before.items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    masks = {name: torch.arange(p.numel()).reshape(p.shape) % 3 > 0 for name, p in module.named_parameters()}
    masks = {name: masks[name] for name in layer_kinds(module)}
    given = {name: mask.clone() for name, mask in masks.items()}
    found = pruning.prune_module(
        module, method, 0.5, masks=masks, initial=initial, batch=batch_of(module), seed=3
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert [m.training for m in module.modules()] == modes
    assert all(p.grad is None for p in module.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()
    assert all(torch.equal(mask, given[name]) for name, mask in masks.items())
    assert all(not bool((found.masks[name] & ~mask).any()) for name, mask in masks.items())


def test_what_is_drawn_depends_on_the_seed_alone():
    module = small_net()
    first, again, other = (
        pruning.prune_module(module, "random", 0.5, seed=seed).masks["5.weight"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("amount", [0.1, 0.5, 0.77])
def test_l1_is_what_torch_prunes(amount):
    module = small_net()
    found = pruning.prune_module(module, "l1-unstructured", amount).masks
    for name in ("0", "5"):
        torch_prune.l1_unstructured(module.get_submodule(name), "weight", amount)
        assert torch.equal(module.get_submodule(name).weight_mask.bool(), found[f"{name}.weight"])


def test_signed_scores_are_honoured():
    module = nn.Linear(4, 1, bias=False)
    scores = torch.tensor([[-10.0, 1.0, 2.0, -1.0]])
    assert pruning.prune_module(module, scores, 0.5).masks["weight"].tolist() == [[False, True, True, False]]
    torch_prune.l1_unstructured(module, "weight", 0.5, importance_scores=scores)
    assert module.weight_mask.tolist() == [[1, 0, 1, 0]]  # the defect: -10 counts as most important


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-2, 2), min_size=1, max_size=60), st.floats(0, 1))
def test_ties_are_cut_as_a_stable_sort_has_them(scores, amount):
    module = nn.Linear(len(scores), 1, bias=False)
    found = pruning.prune_module(module, torch.tensor([scores]), amount).masks["weight"][0]
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    gone = set(order[: round(amount * len(scores))])
    assert [bool(keep) for keep in found] == [i not in gone for i in range(len(scores))]


def test_scores_go_with_any_scope_and_granularity():
    module = small_net()
    scores = {name: torch.randn(p.shape) for name, p in module.named_parameters() if p.dim() > 1}
    scores = {name: scores[name] for name in layer_kinds(module)}
    together = pruning.prune_module(module, {"criterion": scores, "scope": "global"}, density=0.25).masks
    flat = torch.cat([scores[name].flatten() for name in together])
    cut = flat.sort().values[-round(0.25 * flat.numel())]
    assert all(torch.equal(mask, scores[name] >= cut) for name, mask in together.items())
    rows = pruning.prune_module(
        module, {"criterion": scores, "granularity": "channel-out"}, 0.5, layers="linear"
    ).masks["5.weight"]
    lowest = scores["5.weight"].sum(1).argsort()[:2]
    assert [i for i in range(5) if not rows[i].any()] == sorted(lowest.tolist())


def test_a_function_scores_each_weight():
    module = small_net()

    def smallest_first(weight):
        weight.abs_()  # what it is given is a copy
        return -weight + torch.rand(weight.shape) * 0

    state = torch.get_rng_state()
    found = pruning.prune_module(module, smallest_first, 0.5).masks
    assert torch.equal(state, torch.get_rng_state())
    for name, mask in found.items():
        weight = module.get_parameter(name).abs()
        assert weight[mask].max() <= weight[~mask].min()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["l1-unstructured", "l1-structured", {"criterion": "snip"}])
def test_other_floating_types_are_pruned(dtype, method):
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 5)).to(dtype)
    inputs, targets = batch_of(module)
    found = pruning.prune_module(module, method, 0.5, batch=(inputs.to(dtype), targets))
    assert kept(found.masks) == {"1.weight": 384, "3.weight": 30}
    pruning.hold_masks(module, found.masks)
    assert module[1].weight.dtype == dtype


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["l1-unstructured", "snip", "synflow", "random"])
def test_a_module_on_a_gpu_is_pruned_there(method):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    module = small_net()
    inputs, targets = batch_of(module)
    here = pruning.prune_module(module, method, 0.5, batch=(inputs, targets)).masks
    module.cuda()
    there = pruning.prune_module(module, method, 0.5, batch=(inputs.cuda(), targets.cuda())).masks
    assert all(mask.is_cuda for mask in there.values())
    for name, mask in here.items():
        assert (mask == there[name].cpu()).float().mean() > 0.99
    pruning.hold_masks(module, there)


def test_a_channels_last_module_gets_the_same_masks():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 5))
    inputs, targets = torch.randn(20, 3, 8, 8), torch.randint(0, 5, (20,))
    last = copy.deepcopy(module).to(memory_format=torch.channels_last)
    for method in ("l1-unstructured", "l1-structured", "global-unstructured", "random"):
        plain, other = (pruning.prune_module(m, method, 0.5, seed=2).masks for m in (module, last))
        assert all(torch.equal(mask, other[name]) for name, mask in plain.items())
    assert pruning.prune_module(last, "snip", 0.5, batch=(inputs, targets)).audit.achieved == 286


def test_a_copy_is_pruned_like_the_original_and_a_pruned_module_can_be_copied():
    module = Speaker()
    masks = pruning.prune_module(module, "l1-unstructured", 0.5).masks
    pruning.mask_module(module, masks)
    copied = copy.deepcopy(module)
    again = pruning.prune_module(copied, "l1-unstructured", 0.5, masks=masks).masks
    assert kept(again) == {name: n - round(n * 0.5) for name, n in kept(masks).items()}
    assert copied.head.weight is copied.embed.weight


def test_a_failing_prune_loses_nothing():
    module = small_net()
    masks = pruning.prune_module(module, "l1-unstructured", 0.5).masks
    pruning.hold_masks(module, masks)
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(InputError):
        pruning.prune_module(module, "l1-unstructured", 1.5, masks=masks)
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    inputs, targets = batch_of(module)
    nn.functional.cross_entropy(module(inputs), targets).backward()
    assert all(bool((module.get_parameter(n).grad[~mask] == 0).all()) for n, mask in masks.items())


def test_layers_are_selected_by_name_pattern_kind_type_and_function():
    module = Speaker()

    def touched_by(layers):
        audit = pruning.prune_module(module, "l1-unstructured", 0.5, layers=layers).audit
        return [layer.parameter for layer in audit.layers if layer.achieved]

    assert touched_by("embed") == ["embed.weight"]
    assert touched_by(["attention*"]) == ["attention.in_proj_weight", "attention.out_proj.weight"]
    assert touched_by("attention") == ["attention.in_proj_weight"]
    assert touched_by(nn.MultiheadAttention) == ["attention.in_proj_weight", "attention.out_proj.weight"]
    assert touched_by([nn.Embedding, "linear"]) == ["embed.weight", "attention.out_proj.weight"]
    assert touched_by(lambda name, kind: kind == "embedding" or "out" in name) == [
        "embed.weight",
        "attention.out_proj.weight",
    ]
    # The head is tied to the embedding, and is the one linear layer that is not inside of another.
    assert "embed.weight" in touched_by(nn.Linear)


def test_anything_else_is_pruned_where_its_kind_is_given():
    module = nn.Sequential(nn.LSTM(4, 8), nn.Linear(8, 2))
    masks = pruning.prune_module(module, "l1-unstructured", 0.5, kinds={"0.weight_ih_l0": "linear"}).masks
    assert kept(masks) == {"0.weight_ih_l0": 64}


def test_amounts_by_kind_and_in_percent():
    module = Hourglass()
    masks = pruning.prune_module(module, "l1-unstructured", {"conv": "25%", "default": 0.5}).masks
    assert kept(masks) == {"down.weight": 54, "up.weight": 72, "last.weight": 6}
    assert kept(pruning.prune_module(module, METHODS["fc-only"], "50%").masks)["last.weight"] == 6
    assert kept(pruning.prune_module(module, Method(criterion="magnitude"), 0.5).masks)["down.weight"] == 36


@pytest.mark.parametrize("method", ["activation", "apoz"])
def test_activations_score_channels(method):
    module = small_net()
    fields = {"criterion": method, "granularity": "channel-out", "layers": "conv"}
    found = pruning.prune_module(module, fields, 0.5, batch=batch_of(module)).masks["0.weight"]
    assert int(found.flatten(1).any(1).sum()) == 2
    assert int(found.sum()) == 18


def test_survivors_that_a_criterion_moves_are_given_to_the_module():
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    before = module[1].weight.detach().clone()
    found = pruning.prune_module(module, "obs", 0.1, batch=batch_of(module))
    assert torch.equal(module[1].weight, before)
    pruning.mask_module(module, found.masks, found.weights)
    mask = found.masks["1.weight"]
    assert bool((module[1].weight[~mask] == 0).all())
    assert not torch.equal(module[1].weight[mask], before[mask])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "snipp"}, "unknown method 'snipp'; did you mean 'snip'"),
        ({"method": "snip"}, r"the criterion 'snip' needs examples: give batch=\(inputs, targets\)"),
        ({"method": "movement"}, "give initial=state_dict"),
        (
            {"method": "movement", "initial": {"0.wieght": torch.ones(1)}},
            "initial: unknown parameter '0.weight'",
        ),
        ({"method": 7}, "expected a name, the fields of a method.*got int"),
        ({"method": {"criterium": "magnitude"}}, "criterium: Extra inputs"),
        (
            {"method": {"criterion": "magnitud"}},
            "criterion: unknown criterion 'magnitud'; did you mean 'magnitude'",
        ),
        ({"method": {"criterion": "magnitude", "pruned": "freeze"}}, "pruned 'freeze' is for studies"),
        ({"amount": 1.5}, "amount: expected a fraction from 0% to 100%, got 1.5"),
        ({"amount": None}, "expected an amount .* or a density"),
        ({"density": 0.5}, "got both"),
        ({"layers": "fc*"}, r"unknown layer 'fc\*'"),
        ({"layers": nn.LSTM}, "selects none of 0.weight, 5.weight"),
        ({"masks": {"0.weight": torch.ones(4, 1, 3, 3)}}, "expected bool"),
        ({"masks": {"0.bias": torch.ones(4).bool()}}, "unknown masked parameter '0.bias'"),
        ({"kinds": {"0.wight": "conv"}}, "kinds: unknown parameter '0.wight'; did you mean '0.weight'"),
        ({"kinds": {}}, "has no weight that can be pruned"),
        ({"method": torch.ones(4)}, "one tensor for 2 parameters"),
        ({"method": {"0.weight": torch.ones(4, 1, 3, 3)}}, "scores: none for 5.weight"),
        (
            {"method": {"0.w": torch.ones(4, 1, 3, 3)}},
            "scores: unknown parameter '0.w'; did you mean '0.weight'",
        ),
        (
            {"method": lambda weight: weight[0]},
            r"scores of 0.weight: expected one for each weight.*got \(1, 3, 3\)",
        ),
        ({"method": lambda weight: weight > 0}, "scores of 0.weight: expected real numbers, got torch.bool"),
        ({"method": lambda weight: 3}, "scores of 0.weight: expected a tensor, got int"),
        (
            {"batch": (torch.ones(3, 7), torch.ones(3).long()), "method": "snip"},
            "cannot be evaluated on examples",
        ),
    ],
)
def test_what_is_wrong_is_said(arguments, message):
    given = {"method": "l1-unstructured", "amount": 0.5, **arguments}
    with pytest.raises(InputError, match=message):
        pruning.prune_module(small_net(), given.pop("method"), given.pop("amount"), **given)


def test_nan_scores_and_weights_are_refused_with_their_place():
    module = small_net()
    scores = {name: torch.ones_like(module.get_parameter(name)) for name in layer_kinds(module)}
    scores["5.weight"][2, 3] = torch.nan
    with pytest.raises(StateFailure, match=r"NaN scores at 5.weight\[2, 3\]"):
        pruning.prune_module(module, scores, 0.5)
    with torch.no_grad():
        module[0].weight[0, 0, 1, 1] = torch.nan
    with pytest.raises(StateFailure, match=r"NaN weight at 0.weight\[0, 0, 1, 1\]"):
        pruning.prune_module(module, "l1-unstructured", 0.5)


def test_a_criterion_without_a_meaning_for_a_layer_names_it():
    module = Speaker()
    with pytest.raises(InputError, match=r"'embed\.weight' of Embedding; leave it out"):
        pruning.prune_module(module, "wanda", 0.5, batch=batch_of(module))


@pytest.mark.parametrize("layer", [nn.LazyLinear(3), nn.Linear(4, 3, device="meta")])
def test_a_weight_without_values_is_named(layer):
    with pytest.raises(InputError, match=r"0\.weight has no values yet"):
        pruning.prune_module(nn.Sequential(layer), "l1-unstructured", 0.5)


def test_a_module_pruned_by_torch_is_refused_with_the_way_out():
    module = small_net()
    torch_prune.l1_unstructured(module[5], "weight", 0.5)
    with pytest.raises(InputError, match=r"5\.weight was pruned with torch\.nn\.utils\.prune; take weights"):
        pruning.prune_module(module, "l1-unstructured", 0.5)
