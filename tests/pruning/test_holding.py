"""Masks on a live module: zero now, and zero at every moment of a training."""

import copy
import io

import pytest
import torch
from torch import nn

from pomona import pruning
from pomona.core.errors import InputError

from .modules import Hourglass, Speaker, batch_of, small_net


@pytest.fixture(autouse=True)
def _same_numbers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        yield


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.1, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1, initial_accumulator_value=0.1),
    "adadelta": lambda p: torch.optim.Adadelta(p),
    "adamax": lambda p: torch.optim.Adamax(p),
    "adafactor": lambda p: torch.optim.Adafactor(p),
    "asgd": lambda p: torch.optim.ASGD(p),
    "nadam": lambda p: torch.optim.NAdam(p),
    "radam": lambda p: torch.optim.RAdam(p),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9, centered=True),
    "rprop": lambda p: torch.optim.Rprop(p),
}


def half_of(module):
    return pruning.prune_module(module, "random", 0.5).masks


def is_zero(module, masks):
    named = dict(module.named_parameters())
    return all(bool((named[name].detach()[~mask] == 0).all()) for name, mask in masks.items())


def losses(module, optimizer, masks, steps=5):
    """Train; the pruned weights are looked at before and after every step."""
    inputs, targets = batch_of(module)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(inputs), targets)
        loss.backward()
        assert is_zero(module, masks)
        optimizer.step()
        assert is_zero(module, masks)
        found.append(loss.item())
    return found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_moves_a_pruned_weight(name):
    module = small_net()
    masks = half_of(module)
    pruning.hold_masks(module, masks)
    before = copy.deepcopy(module.state_dict())
    losses(module, OPTIMIZERS[name](module.parameters()), masks)
    # And it does move the kept ones.
    assert all(bool((module.state_dict()[key] != before[key])[mask].any()) for key, mask in masks.items())


def test_lbfgs_moves_no_pruned_weight():
    module = small_net().eval()
    masks = half_of(module)
    pruning.hold_masks(module, masks)
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=5)
    inputs, targets = batch_of(module)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(inputs), targets)
        loss.backward()
        return loss

    first = closure().item()
    optimizer.step(closure)
    assert is_zero(module, masks)
    assert closure().item() != first
    with pytest.raises(InputError, match="LBFGS keeps one past"):
        pruning.hold_masks(module, masks, optimizer)


def test_an_optimizer_that_mixes_entries_is_followed_where_it_is_named():
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 5))
    masks = half_of(module)
    pruning.hold_masks(module, masks)
    optimizer = torch.optim.Muon([p for p in module.parameters() if p.dim() == 2], 0.1)
    with pytest.raises(AssertionError):
        losses(module, optimizer, masks)
    hold = pruning.hold_masks(module, masks, optimizer)
    losses(module, optimizer, masks)
    hold.remove()
    with pytest.raises(AssertionError):
        losses(module, optimizer, masks)


def test_an_optimizer_with_a_past_forgets_the_pruned_weights():
    module = small_net()
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    losses(module, optimizer, {})
    masks = half_of(module)
    pruning.hold_masks(module, masks)
    with pytest.raises(AssertionError):  # the momentum of before still moves them
        losses(module, optimizer, masks)
    pruning.mask_module(module, masks)
    pruning.zero_optimizer_state(optimizer, module, masks)
    losses(module, optimizer, masks)


def test_a_gradient_that_was_there_and_an_infinite_one_do_no_harm():
    module = nn.Linear(4, 3)
    module(torch.ones(2, 4)).sum().backward()
    masks = {"weight": torch.arange(12).reshape(3, 4) % 2 == 0}
    pruning.hold_masks(module, masks)
    torch.optim.SGD(module.parameters(), 0.1).step()
    assert is_zero(module, masks)
    module.zero_grad()
    module(torch.full((2, 4), torch.inf)).sum().backward()
    assert bool((module.weight.grad[~masks["weight"]] == 0).all())


@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")
def test_a_second_derivative_is_taken_through_held_weights():
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    masks = half_of(module)
    pruning.hold_masks(module, masks)
    module(torch.ones(2, 4)).sum().backward(create_graph=True)
    sum(parameter.grad.square().sum() for parameter in module.parameters()).backward()
    assert all(bool((module.get_parameter(n).grad[~mask] == 0).all()) for n, mask in masks.items())


def test_a_frozen_weight_is_held_when_it_is_trained_later():
    module = nn.Linear(4, 3)
    module.weight.requires_grad_(False)
    masks = {"weight": torch.arange(12).reshape(3, 4) % 2 == 0}
    pruning.hold_masks(module, masks)
    assert not module.weight.requires_grad
    module.weight.requires_grad_(True)
    module(torch.ones(2, 4)).sum().backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    assert is_zero(module, masks)


def test_a_sparse_gradient_of_an_embedding_is_held():
    module = nn.Embedding(10, 4, sparse=True)
    masks = {"weight": torch.arange(40).reshape(10, 4) % 3 > 0}
    pruning.hold_masks(module, masks)
    before = module.weight.detach().clone()
    optimizer = torch.optim.SparseAdam(module.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        module(torch.tensor([1, 2, 2, 5])).sum().backward()
        optimizer.step()
    assert is_zero(module, masks)
    moved = module.weight.detach() != before
    assert torch.equal(moved.any(1), torch.tensor([i in (1, 2, 5) for i in range(10)]))


@pytest.mark.parametrize("make", [small_net, Speaker, Hourglass])
def test_a_copy_of_a_held_module_is_held_by_itself(make):
    module = make()
    masks = half_of(module)
    hold = pruning.hold_masks(module, masks)
    copied = copy.deepcopy(module)
    hold.remove()
    losses(copied, OPTIMIZERS["sgd"](copied.parameters()), masks)
    with pytest.raises(AssertionError):
        losses(module, OPTIMIZERS["sgd"](module.parameters()), masks)
    # A copy of what was let go is free.
    free = copy.deepcopy(module)
    pruning.mask_module(free, masks)
    with pytest.raises(AssertionError):
        losses(free, OPTIMIZERS["sgd"](free.parameters()), masks)


def test_a_saved_module_is_held_when_it_is_loaded():
    module = small_net()
    masks = half_of(module)
    pruning.hold_masks(module, masks)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    losses(loaded, OPTIMIZERS["adam"](loaded.parameters()), masks)


def test_ten_rounds_leave_one_hold_and_a_state_dict_of_the_same_size():
    module = small_net()
    dense = {key: tensor.shape for key, tensor in module.state_dict().items()}
    masks = None
    for _ in range(10):
        masks = pruning.prune_module(module, "global-unstructured", 0.2, masks=masks).masks
        pruning.hold_masks(module, masks)
    assert {key: tensor.shape for key, tensor in module.state_dict().items()} == dense
    hooks = [len(p._post_accumulate_grad_hooks or {}) for p in module.parameters()]
    assert sum(hooks) == len(masks)
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert kept == 81  # 756 weights, ten times less a fifth of what remains, to the nearest


def test_both_names_of_a_tied_weight_are_zero_and_stay_so():
    module = Speaker()
    masks = half_of(module)
    assert list(masks) == ["embed.weight", "attention.in_proj_weight", "attention.out_proj.weight"]
    pruning.hold_masks(module, masks)
    losses(module, OPTIMIZERS["adamw"](module.parameters()), masks)
    assert bool((module.head.weight.detach()[~masks["embed.weight"]] == 0).all())
    assert module.head.weight is module.embed.weight


def test_the_output_projection_of_attention_is_pruned_in_the_forward_pass():
    module = nn.MultiheadAttention(8, 2)
    masks = {"out_proj.weight": torch.zeros(8, 8, dtype=torch.bool)}
    pruning.hold_masks(module, masks)
    inputs = torch.randn(3, 1, 8)
    assert torch.equal(module(inputs, inputs, inputs)[0], module.out_proj.bias.expand(3, 1, 8))


def test_names_order_and_objects_of_parameters_stay_and_weights_load_into_an_unpruned_module():
    module = small_net()
    names, objects = zip(*module.named_parameters(), strict=True)
    pruning.hold_masks(module, half_of(module)).remove()
    assert [name for name, _ in module.named_parameters()] == list(names)
    assert all(a is b for a, b in zip(module.parameters(), objects, strict=True))
    dense = small_net()
    dense.load_state_dict(module.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(dense.parameters(), module.parameters(), strict=True))


def test_channels_last_weights_keep_their_layout():
    module = small_net().to(memory_format=torch.channels_last)
    stride = module[0].weight.stride()
    masks = half_of(module)
    pruning.hold_masks(module, masks)
    losses(module, OPTIMIZERS["sgd"](module.parameters()), masks)
    assert module[0].weight.stride() == stride


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
def test_a_held_module_is_scripted_exported_and_compiled():
    module = small_net().eval()
    pruning.hold_masks(module, half_of(module))
    inputs, _ = batch_of(module)
    expected = module(inputs)
    assert torch.equal(torch.jit.script(module)(inputs), expected)
    assert torch.equal(torch.export.export(module, (inputs,)).module()(inputs), expected)
    assert torch.equal(torch.compile(module, backend="eager")(inputs), expected)


def test_vmap_over_a_held_module_leaves_it_alone():
    module = small_net().eval()
    masks = half_of(module)
    pruning.hold_masks(module, masks)
    inputs, _ = batch_of(module)
    tensors = dict(module.state_dict())
    found = torch.func.vmap(lambda one: torch.func.functional_call(module, tensors, (one[None],))[0])(inputs)
    assert torch.allclose(found, module(inputs), atol=1e-6)
    assert type(module[0].weight) is nn.Parameter
    losses(module, OPTIMIZERS["sgd"](module.parameters()), masks)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            {"0.wieght": torch.ones(4, 1, 3, 3).bool()},
            "unknown masked parameter '0.wieght'; did you mean '0.weight'",
        ),
        ({"0.weight": torch.ones(4, 1, 3, 3)}, r"expected bool of shape \(4, 1, 3, 3\)"),
        (
            {"5.weight": torch.ones(5, 143).bool()},
            r"expected bool of shape \(5, 144\).*got torch.bool of \(5, 143\)",
        ),
    ],
)
def test_a_mask_that_does_not_fit_changes_nothing(masks, message):
    module = small_net()
    before = copy.deepcopy(module.state_dict())
    good = half_of(module)
    for change in (pruning.mask_module, pruning.hold_masks):
        with pytest.raises(InputError, match=message):
            change(module, {**good, **masks})
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    assert not any(p._post_accumulate_grad_hooks for p in module.parameters())


def test_a_hold_that_fails_leaves_the_one_before():
    module = small_net()
    masks = half_of(module)
    pruning.hold_masks(module, masks)
    with pytest.raises(InputError):
        pruning.hold_masks(module, {"nothing": torch.ones(1).bool()})
    losses(module, OPTIMIZERS["sgd"](module.parameters()), masks)
