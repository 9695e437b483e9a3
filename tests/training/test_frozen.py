"""Pruned weights that keep the values they start with."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from pomona.core.errors import InputError, Interrupted
from pomona.core.step import Step
from pomona.core.streams import Stream
from pomona.training.checkpoint import CheckpointError

from .conftest import Small
from .shrinking import StopAfter, equal, from_a_file, smallest

OPTIMIZERS = [
    {"sgd": {"lr": 0.1, "weight_decay": 0.1}},
    {"sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2}},
    {"adam": {"lr": 2e-3, "weight_decay": 1e-2}},
]


@pytest.fixture
def frozen(run, start, masks):
    """Train with pruned weights as they start, one of them a negative zero and one of them large."""
    name, mask = "fc.weight", masks["fc.weight"]
    values = {n: t.clone() for n, t in start.items()}
    where = (~mask).nonzero()
    values[name][tuple(where[0])] = -0.0
    values[name][tuple(where[1])] = 3.0

    def call(config=None, **keywords):
        keywords = {"weights": values, "masks": masks, "apply_masks": False, "frozen": True, **keywords}
        return run(config, **keywords)

    call.start = values
    return call


def bits(tensor):
    return tensor.numpy().tobytes()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_train_frozen_pruned_weights_have_the_bits_they_start_with_at_every_step(
    run, frozen, masks, optimizer
):
    every = [Step(i, "it") for i in range(26)]
    result = frozen({"optimizer": optimizer, "duration": "25it"}, snapshots=every, checkpoint_seconds=0.0)
    seen = run.seen
    assert [len(seen.snapshots), len(seen.checkpoints)] == [26, 24]
    kept = [values for _, values in seen.snapshots] + [c.weights for c in seen.checkpoints] + [result.weights]
    for name, mask in masks.items():
        for values in kept:
            assert bits(values[name][~mask]) == bits(frozen.start[name][~mask])
        assert (result.weights[name][mask] != frozen.start[name][mask]).all()
    for checkpoint in seen.checkpoints:
        for state in checkpoint.optimizer.values():
            assert not any(state[name][~mask].any() for name, mask in masks.items())
            assert all(state[name][mask].any() for name, mask in masks.items())
    assert equal(result.masks, masks)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_train_frozen_equals_a_loop_of_torch_that_puts_the_values_back(frozen, digits, masks, optimizer):
    ours = frozen({"optimizer": optimizer, "duration": "20it"})
    module = Small()
    module.load_state_dict(frozen.start)
    kind, settings = next(iter(optimizer.items()))
    theirs = (torch.optim.SGD if kind == "sgd" else torch.optim.Adam)(module.parameters(), **settings)
    order = Stream("order", 0).permutation(1000, round=0)
    for step in range(20):
        chosen = order[step * 48 : step * 48 + 48]
        images = torch.from_numpy(digits.images[chosen]).float() / 64 - 1.2
        theirs.zero_grad()
        F.cross_entropy(module(images), torch.from_numpy(digits.labels[chosen]).long()).backward()
        theirs.step()
        for name, mask in masks.items():
            module.get_parameter(name).data[~mask] = frozen.start[name][~mask]
    for name, value in module.state_dict().items():
        torch.testing.assert_close(ours.weights[name], value, rtol=1e-4, atol=1e-6)


def test_train_frozen_under_masks_that_keep_everything_is_the_plain_training(run, start):
    masks = {"fc.weight": torch.ones(10, 36, dtype=torch.bool)}
    assert equal(run(masks=masks, frozen=True).weights, run().weights)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("after", [0, 1, 21, 41])
def test_train_frozen_resumes_with_the_same_bits(run, frozen, optimizer, after):
    config = {"optimizer": optimizer, "stop": {"best": "val-loss"}, "check": "5it"}
    whole = frozen(config)
    with pytest.raises(Interrupted):
        frozen(config, interrupted=StopAfter(after))
    resumed = frozen(config, checkpoint=from_a_file(run.seen.checkpoints[-1]))
    assert equal(whole.weights, resumed.weights)
    assert whole.checks == resumed.checks


def test_train_frozen_refuses_a_checkpoint_of_other_values(run, frozen, start, masks):
    with pytest.raises(Interrupted):
        run(masks=masks, interrupted=StopAfter(5))
    with pytest.raises(CheckpointError, match="is not what it was where it is pruned"):
        frozen(checkpoint=run.seen.checkpoints[-1])
    with pytest.raises(Interrupted):
        frozen(interrupted=StopAfter(5))
    kept = run.seen.checkpoints[-1]
    state = {"momentum": {name: torch.ones_like(t) for name, t in kept.optimizer["momentum"].items()}}
    with pytest.raises(CheckpointError, match="is not zero where it is pruned"):
        frozen(checkpoint=dataclasses.replace(kept, optimizer=state))
    with pytest.raises(CheckpointError, match="is not zero where it is pruned"):
        run(masks=masks, checkpoint=kept)


def test_train_frozen_is_refused_by_the_lane_engine_and_with_pruning(run, frozen):
    with pytest.raises(InputError, match="frozen ones take part: use `engine: torch`"):
        frozen(engine="lanes")
    with pytest.raises(InputError, match="pruning during training sets weights to zero"):
        frozen(prune_at=[3], on_prune=smallest(0.1))
    assert not run.seen.progress


def test_train_that_is_not_frozen_refuses_pruned_weights_that_are_not_zero(frozen):
    with pytest.raises(InputError, match="pruned weights are not zero at the start of training"):
        frozen(frozen=False)
