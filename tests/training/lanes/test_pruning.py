"""The lane engine where masks shrink during a training, and where it begins at a later step."""

import pytest
import torch

from pomona.core.errors import InputError, Interrupted
from pomona.core.step import Step
from pomona.training.lanes import native

from ..shrinking import StopAfter, from_a_file, nested, smallest
from .conftest import Double, Net, equal
from .test_training import ADAM, OPTIMIZERS, SCHEDULES, SGD


def _close(ours, exact):
    for name, value in exact.weights.items():
        torch.testing.assert_close(ours.weights[name].to(value.dtype), value, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_train_with_pruning_follows_torch_in_float64(lanes, start, optimizer):
    schedule = SCHEDULES[list(OPTIMIZERS).index(optimizer) % 3]
    config = {"optimizer": OPTIMIZERS[optimizer], "duration": "20it", "schedule": schedule}
    at = dict(zip((5, 12), nested(start, [0.5, 0.1]), strict=True))
    asked = {"n": 100, "prune_at": [5, 12], "on_prune": lambda step, weights, masks: at[step]}
    ours = lanes(config, **asked)
    _close(ours, lanes(config, **asked, module=Double(), engine="torch"))
    assert equal(ours.masks, at[12])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_train_weights_that_nothing_depends_on_any_more_go_on_as_in_torch(lanes, start, optimizer):
    # The first half of the units of fc1 is read by nobody after step 5, and has a past that moves it.
    unread = torch.ones(10, 24, dtype=torch.bool)
    unread[:, :12] = False
    config = {"optimizer": OPTIMIZERS[optimizer], "duration": "15it"}
    asked = {"n": 100, "prune_at": [5], "on_prune": lambda *_: {"fc2.weight": unread}}
    ours = lanes(config, **asked, snapshots=[Step(5, "it")])
    ((_, before),) = lanes.seen().snapshots
    _close(ours, lanes(config, **asked, module=Double(), engine="torch"))
    moved = (ours.weights["fc1.weight"] != before["fc1.weight"])[:12].any()
    assert moved == (optimizer != "plain")


@pytest.mark.parametrize("optimizer", ["plain", "momentum", "nesterov", "adam-decay"])
def test_train_pruned_weights_and_their_state_are_zero_after_every_step(lanes, one_step_a_call, optimizer):
    result = lanes(
        {"optimizer": OPTIMIZERS[optimizer], "duration": "12it"},
        prune_at=[0, 3, 8, 12],
        on_prune=smallest(0.4),
        snapshots=[Step(i, "it") for i in range(13)],
        checkpoint_seconds=0.0,
    )
    seen = lanes.seen()
    assert [c.step for c in seen.checkpoints] == list(range(1, 12))
    moments = [(values, masks) for (_, values), masks in zip(seen.snapshots, seen.masks, strict=True)]
    moments += [(c.weights, c.masks) for c in seen.checkpoints]
    moments += [(state, c.masks) for c in seen.checkpoints for state in c.optimizer.values()]
    for values, masks in [*moments, (result.weights, result.masks)]:
        for name, mask in masks.items():
            pruned = values[name][~mask]
            assert not pruned.any()
            assert not torch.signbit(pruned).any()
    kept = [int(masks["fc2.weight"].sum()) if masks else 240 for masks in [*seen.masks, result.masks]]
    assert kept == [240] + [144] * 3 + [87] * 5 + [53] * 4 + [32]


@pytest.mark.parametrize("optimizer", ["momentum", "adam-decay"])
def test_train_pruning_changes_nothing_but_what_it_prunes(lanes, start, one_step_a_call, optimizer):
    config = {"optimizer": OPTIMIZERS[optimizer], "duration": "9it"}
    lanes(config, checkpoint_seconds=0.0)
    dense = lanes.seen().checkpoints[4]
    masks = nested(start, [0.5])[0]
    lanes(config, prune_at=[5], on_prune=lambda *_: masks, checkpoint_seconds=0.0)
    pruned = lanes.seen().checkpoints[4]
    assert dense.step == pruned.step == 5
    for before, after in [
        (dense.weights, pruned.weights),
        *((dense.optimizer[kind], pruned.optimizer[kind]) for kind in dense.optimizer),
    ]:
        assert before["fc2.weight"][~masks["fc2.weight"]].any()
        assert equal(after, {n: t.masked_fill(~masks[n], 0) if n in masks else t for n, t in before.items()})


@pytest.mark.parametrize("optimizer", ["plain", "momentum", "adam"])
def test_train_pruning_that_prunes_nothing_changes_no_bit(lanes, masks_of, optimizer):
    config = {"optimizer": OPTIMIZERS[optimizer]}
    masks = masks_of(0.1)
    plain = lanes(config, masks=masks, module=Net(0.3))
    same = lanes(
        config, masks=masks, module=Net(0.3), prune_at=range(43), on_prune=lambda step, weights, now: now
    )
    assert equal(plain.weights, same.weights)


def test_train_pruning_gives_the_same_bits_with_all_kernels(lanes, force, monkeypatch):
    config = {"optimizer": OPTIMIZERS["momentum"]}
    asked = {"prune_at": [3, 11, 30], "on_prune": smallest(0.6)}
    plain = lanes(config, **asked)
    for name in native.kernels().instruction_sets():
        monkeypatch.setenv(native.FORCED, name)
        assert equal(lanes(config, **asked).weights, plain.weights)
    for kernels in ("dense", "sparse"):
        force(kernels)
        assert equal(lanes(config, **asked).weights, plain.weights)


@pytest.mark.parametrize("optimizer", [{"sgd": {"lr": 0.1}}, OPTIMIZERS["momentum"], SGD, ADAM])
@pytest.mark.parametrize("after", [0, 4, 5, 6, 11, 12, 13, 41])
def test_train_resumes_with_the_same_bits_around_every_pruning(lanes, one_step_a_call, optimizer, after):
    config = {
        "optimizer": optimizer,
        "stop": {"best": "val-loss"},
        "check": "3it",
        "schedule": {"cosine": True, "warmup": "7it"},
    }
    asked = {
        "prune_at": [0, 5, 12, 42],
        "on_prune": smallest(0.5),
        "snapshots": [Step(i, "it") for i in (0, 5, 12, 20)],
    }
    whole = lanes(config, module=Net(0.3), **asked)
    wanted, wanted_masks = lanes.seen().snapshots, lanes.seen().masks
    with pytest.raises(Interrupted, match=f"stopped on request after {after} of 42 steps"):
        lanes(config, module=Net(0.3), interrupted=StopAfter(after), **asked)
    before, before_masks = lanes.seen().snapshots, lanes.seen().masks
    kept = from_a_file(lanes.seen().checkpoints[-1])
    assert kept.step == after
    resumed = lanes(config, module=Net(0.3), checkpoint=kept, **asked)
    assert equal(whole.weights, resumed.weights)
    assert equal(whole.masks, resumed.masks)
    assert (whole.checks, whole.stopped_at) == (resumed.checks, resumed.stopped_at)
    got, got_masks = before + lanes.seen().snapshots, before_masks + lanes.seen().masks
    assert [step for step, _ in got] == [step for step, _ in wanted]
    assert all(equal(a, b) for (_, a), (_, b) in zip(got, wanted, strict=True))
    assert all(equal(a, b) for a, b in zip(got_masks, wanted_masks, strict=True))


def test_train_refuses_to_prune_a_bias(lanes):
    masks = {"fc1.bias": torch.arange(24) > 3}
    with pytest.raises(InputError, match=r"mask of fc1\.bias: the lane engine prunes weights, not biases"):
        lanes(prune_at=[3], on_prune=lambda *_: masks)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_train_from_a_later_step_follows_torch_in_float64(lanes, masks_of, optimizer):
    schedule = SCHEDULES[list(OPTIMIZERS).index(optimizer) % 3]
    config = {"optimizer": OPTIMIZERS[optimizer], "duration": "20it", "start": "4it", "schedule": schedule}
    ours = lanes(config, masks=masks_of(0.5), n=100)
    assert ours.steps == 16
    _close(ours, lanes(config, masks=masks_of(0.5), n=100, module=Double(), engine="torch"))


@pytest.mark.parametrize("at", ["1it", "13it", "1ep", "41it"])
def test_train_from_a_moment_of_a_run_gives_the_bits_of_the_run(lanes, at):
    # Without momentum the weights are all that a moment consists of.
    config = {"optimizer": OPTIMIZERS["plain"], "schedule": {"cosine": True, "warmup": "20it"}}
    whole = lanes(config, module=Net(0.3), snapshots=[Step.parse(at)])
    ((_, moment),) = lanes.seen().snapshots
    rest = lanes({**config, "start": at}, module=Net(0.3), weights=moment, snapshots=[Step.parse(at)])
    assert equal(rest.weights, whole.weights)
    assert equal(lanes.seen().snapshots[0][1], moment)


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
@pytest.mark.parametrize("after", [0, 1, 8, 28])
def test_train_from_a_later_step_resumes_with_the_same_bits(lanes, one_step_a_call, optimizer, after):
    config = {
        "optimizer": optimizer,
        "start": "13it",
        "stop": {"best": "val-loss"},
        "check": "5it",
        "schedule": {"cosine": True, "warmup": "15it"},
    }
    asked = {"prune_at": [13, 21], "on_prune": smallest(0.4)}
    whole = lanes(config, module=Net(0.3), **asked)
    assert [check.step for check in whole.checks] == [15, 20, 25, 30, 35, 40]
    with pytest.raises(Interrupted, match=f"stopped on request after {after} of 29 steps"):
        lanes(config, module=Net(0.3), interrupted=StopAfter(after), **asked)
    kept = from_a_file(lanes.seen().checkpoints[-1])
    assert kept.step == 13 + after
    resumed = lanes(config, module=Net(0.3), checkpoint=kept, **asked)
    assert equal(whole.weights, resumed.weights)
    assert (whole.checks, whole.stopped_at) == (resumed.checks, resumed.stopped_at)
