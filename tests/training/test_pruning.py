"""Masks that shrink during a training, by torch; the lane engine has tests of its own beside it."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from pomona.core.errors import InputError, Interrupted
from pomona.core.step import Step
from pomona.core.streams import Stream
from pomona.training.checkpoint import CheckpointError

from .conftest import Dropping, Small
from .shrinking import StopAfter, equal, from_a_file, nested, smallest

SGD = {"sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}}
ADAM = {"adam": {"lr": 2e-3, "weight_decay": 1e-3}}


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_train_equals_a_loop_of_torch_that_prunes(run, digits, start, optimizer):
    at = dict(zip((5, 12), nested(start, [0.6, 0.2]), strict=True))
    ours = run({"optimizer": optimizer, "duration": "20it"}, prune_at=[12, 5], on_prune=lambda s, w, m: at[s])
    module = Small()
    module.load_state_dict(start)
    kind, settings = next(iter(optimizer.items()))
    theirs = (torch.optim.SGD if kind == "sgd" else torch.optim.Adam)(module.parameters(), **settings)
    order = Stream("order", 0).permutation(1000, round=0)
    masks = {}
    for step in range(20):
        masks = at.get(step, masks)
        for name, mask in masks.items():
            parameter = module.get_parameter(name)
            parameter.data[~mask] = 0
            for state in theirs.state[parameter].values():
                if state.ndim:
                    state[~mask] = 0
        chosen = order[step * 48 : step * 48 + 48]
        images = torch.from_numpy(digits.images[chosen]).float() / 64 - 1.2
        theirs.zero_grad()
        F.cross_entropy(module(images), torch.from_numpy(digits.labels[chosen]).long()).backward()
        for name, mask in masks.items():
            module.get_parameter(name).grad[~mask] = 0
        theirs.step()
    assert equal(ours.masks, at[12])
    for name, value in module.state_dict().items():
        torch.testing.assert_close(ours.weights[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_train_newly_pruned_weights_and_their_state_are_zero_and_nothing_else_changes(run, start, optimizer):
    config = {"optimizer": optimizer, "duration": "12it"}
    run(config, checkpoint_seconds=0.0)
    dense = run.seen.checkpoints[4]
    masks = nested(start, [0.5])[0]
    run(config, prune_at=[5], on_prune=lambda *_: masks, checkpoint_seconds=0.0)
    pruned = run.seen.checkpoints[4]
    assert dense.step == pruned.step == 5
    assert equal(pruned.masks, masks)
    for before, after in [
        (dense.weights, pruned.weights),
        *((dense.optimizer[kind], pruned.optimizer[kind]) for kind in dense.optimizer),
    ]:
        for name, mask in masks.items():
            assert before[name][~mask].all()
        assert equal(after, {n: t.masked_fill(~masks[n], 0) if n in masks else t for n, t in before.items()})


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_train_pruned_weights_and_their_state_are_zero_after_every_step(run, optimizer):
    result = run(
        {"optimizer": optimizer, "duration": "25it"},
        prune_at=[0, 3, 8, 17, 25],
        on_prune=smallest(0.4),
        snapshots=[Step(i, "it") for i in range(26)],
        checkpoint_seconds=0.0,
    )
    seen = run.seen
    assert [len(seen.snapshots), len(seen.checkpoints)] == [26, 24]
    moments = [(values, masks) for (_, values), masks in zip(seen.snapshots, seen.masks, strict=True)]
    moments += [(c.weights, c.masks) for c in seen.checkpoints]
    moments += [(state, c.masks) for c in seen.checkpoints for state in c.optimizer.values()]
    for values, masks in [*moments, (result.weights, result.masks)]:
        for name, mask in masks.items():
            pruned = values[name][~mask]
            assert not pruned.any()
            assert not torch.signbit(pruned).any()
    kept = [int(masks["fc.weight"].sum()) if masks else 360 for masks in [*seen.masks, result.masks]]
    # The snapshot of a step is taken before its pruning.
    levels = [360, 216, 130, 78, 47, 29]
    assert kept == [360] + [216] * 3 + [130] * 5 + [78] * 9 + [47] * 8 + [29]
    assert sorted(set(kept), reverse=True) == levels


def test_train_pruning_that_prunes_nothing_changes_no_bit(run, masks):
    plain = run(masks=masks)
    same = run(masks=masks, prune_at=range(43), on_prune=lambda step, weights, now: now)
    # Not bit by bit: the negative zeros that a start under masks may have become positive ones.
    assert all(torch.equal(plain.weights[name], value) for name, value in same.weights.items())
    assert equal(same.masks, masks)


def test_train_pruning_before_the_first_step_is_a_start_under_masks(run, masks):
    started = run(masks=masks)
    assert equal(started.masks, masks)
    pruned = run(prune_at=[0], on_prune=lambda *_: masks, snapshots=[Step(0, "it")])
    assert all(torch.equal(started.weights[name], value) for name, value in pruned.weights.items())
    assert run.seen.masks == [{}]
    assert run.seen.snapshots[0][1]["fc.weight"].all()


def test_train_pruning_at_the_end_is_in_the_result_and_in_no_snapshot(run, masks):
    plain = run()
    result = run(prune_at=[42], on_prune=lambda *_: masks, snapshots=[Step(2, "ep")])
    assert equal(run.seen.snapshots[0][1], plain.weights)
    assert run.seen.masks == [{}]
    assert equal(result.masks, masks)
    assert equal(
        result.weights,
        {n: t.masked_fill(~masks[n], 0) if n in masks else t for n, t in plain.weights.items()},
    )


def test_train_shows_the_weights_and_masks_of_the_moment_and_takes_nothing_back_from_them(run):
    shown = []

    def on_prune(step, weights, masks):
        shown.append((step, *({n: t.clone() for n, t in named.items()} for named in (weights, masks))))
        found = smallest(0.3)(step, weights, masks)
        for tensor in [*weights.values(), *masks.values()]:
            tensor.zero_()
        return found

    config = {"prune_at": [4, 9], "snapshots": [Step(4, "it"), Step(9, "it")]}
    result = run(**config, on_prune=on_prune)
    assert [step for step, _, _ in shown] == [4, 9]
    for (_, weights, masks), (_, values), kept in zip(shown, run.seen.snapshots, run.seen.masks, strict=True):
        assert equal(weights, values)
        assert equal(masks, kept)
    assert equal(result.weights, run(**config, on_prune=smallest(0.3)).weights)


def test_train_keeps_no_hold_on_the_masks_that_pruning_gave(run, masks):
    given = {name: mask.clone() for name, mask in masks.items()}

    def on_prune(step, weights, now):
        if step == 7:
            for mask in given.values():
                mask.zero_()
            return now
        return given

    result = run(prune_at=[3, 7], on_prune=on_prune)
    assert equal(result.masks, masks)
    assert equal(result.weights, run(prune_at=[3], on_prune=lambda *_: masks).weights)


def test_train_prunes_a_layer_that_is_not_trained(run, start, masks):
    module = Small()
    module.conv.weight.requires_grad_(False)
    result = run(module=module, prune_at=[3], on_prune=lambda *_: masks)
    assert equal(
        {"conv": result.weights["conv.weight"]},
        {"conv": start["conv.weight"].masked_fill(~masks["conv.weight"], 0)},
    )


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
@pytest.mark.parametrize("after", [0, 4, 5, 6, 11, 12, 13, 41])
def test_train_resumes_with_the_same_bits_around_every_pruning(run, masks, optimizer, after):
    config = {
        "optimizer": optimizer,
        "stop": {"best": "val-loss"},
        "check": "3it",
        "schedule": {"cosine": True, "warmup": "7it"},
    }
    asked = {
        "masks": {"fc.weight": masks["fc.weight"]},
        "prune_at": [0, 5, 12, 42],
        "on_prune": smallest(0.3),
        "snapshots": [Step(i, "it") for i in (0, 5, 12, 20)],
        "random_forward": True,
    }
    whole = run(config, module=Dropping(), **asked)
    wanted, wanted_masks = run.seen.snapshots, run.seen.masks
    with pytest.raises(Interrupted, match=f"stopped on request after {after} of 42 steps"):
        run(config, module=Dropping(), interrupted=StopAfter(after), **asked)
    before, before_masks = run.seen.snapshots, run.seen.masks
    kept = from_a_file(run.seen.checkpoints[-1])
    assert kept.step == after
    resumed = run(config, module=Dropping(), checkpoint=kept, **asked)
    assert equal(whole.weights, resumed.weights)
    assert equal(whole.masks, resumed.masks)
    assert (whole.checks, whole.steps, whole.stopped_at) == (
        resumed.checks,
        resumed.steps,
        resumed.stopped_at,
    )
    got, got_masks = before + run.seen.snapshots, before_masks + run.seen.masks
    assert [step for step, _ in got] == [step for step, _ in wanted]
    assert all(equal(a, b) for (_, a), (_, b) in zip(got, wanted, strict=True))
    assert all(equal(a, b) for a, b in zip(got_masks, wanted_masks, strict=True))


@pytest.mark.parametrize("after", [None, 9, 10, 11, 30])
def test_train_weights_of_the_best_check_have_the_masks_they_were_checked_with(run, after):
    # After step 10 hardly anything is left, so that no later check is better.
    config = {"stop": {"best": "val-accuracy"}, "check": "5it"}
    asked = {"prune_at": [2, 10], "on_prune": lambda s, w, m: smallest(0.3 if s == 2 else 0.99)(s, w, m)}
    if after is None:
        result = run(config, **asked)
    else:
        with pytest.raises(Interrupted):
            run(config, **asked, interrupted=StopAfter(after))
        result = run(config, **asked, checkpoint=from_a_file(run.seen.checkpoints[-1]))
    assert result.stopped_at == Step(10, "it")
    assert len(result.checks) == 8
    shorter = run({"duration": "10it"}, prune_at=[2], on_prune=smallest(0.3))
    assert equal(result.weights, shorter.weights)
    assert equal(result.masks, shorter.masks)
    assert int(result.masks["fc.weight"].sum()) == 252


def test_train_that_a_stop_ends_is_not_pruned_any_more(run):
    config = {"duration": "20ep", "stop": "val-accuracy >= .5", "check": "3it"}
    plain = run(config)
    pruned = run(config, prune_at=[plain.steps], on_prune=smallest(0.9))
    assert plain.stopped_at == pruned.stopped_at
    assert equal(plain.weights, pruned.weights)
    assert pruned.masks == {}


def _empty(step, weights, masks):
    return {}


@pytest.mark.parametrize("after", [3, 4, 5])
def test_train_without_any_mask_resumes_after_a_pruning_too(run, after):
    asked = {"prune_at": [4], "on_prune": _empty}
    with pytest.raises(Interrupted):
        run(**asked, interrupted=StopAfter(after))
    resumed = run(**asked, checkpoint=from_a_file(run.seen.checkpoints[-1]))
    assert equal(resumed.weights, run().weights)


def test_train_refuses_a_checkpoint_that_was_pruned_elsewhere(run, masks):
    with pytest.raises(Interrupted):
        run(prune_at=[4], on_prune=smallest(0.3), interrupted=StopAfter(8))
    kept = run.seen.checkpoints[-1]
    with pytest.raises(
        CheckpointError, match="step 8 has masks of its own: it is of a training that prunes at"
    ):
        run(checkpoint=kept)
    with pytest.raises(CheckpointError, match="step 8 has no masks of its own"):
        run(prune_at=[4], on_prune=smallest(0.3), checkpoint=dataclasses.replace(kept, masks=None))
    with pytest.raises(CheckpointError, match=r"of other masks: conv\.weight keeps what is pruned"):
        run(masks=masks, prune_at=[4], on_prune=smallest(0.3), checkpoint=kept)
    loose = {name: torch.zeros_like(mask) for name, mask in kept.masks.items()}
    with pytest.raises(CheckpointError, match="is not zero where it is pruned"):
        run(prune_at=[4], on_prune=smallest(0.3), checkpoint=dataclasses.replace(kept, masks=loose))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: {**m, "fc.weight": ~m["fc.weight"]},
            "fc.weight: pruning at step 3 keeps a weight that is",
        ),
        (
            lambda m: {"fc.weight": m["fc.weight"]},
            "conv.weight: pruning at step 3 keeps a weight that is pruned",
        ),
        (lambda m: {**m, "fc.wieght": m["fc.weight"]}, "did you mean 'fc.weight'"),
        (
            lambda m: {**m, "fc.weight": m["fc.weight"].float()},
            "expected bool of (10, 36), got torch.float32",
        ),
        (
            lambda m: {**m, "fc.weight": m["fc.weight"].T},
            "expected bool of (10, 36), got torch.bool of (36, 10)",
        ),
    ],
)
def test_train_says_what_is_wrong_with_later_masks(run, masks, change, message):
    with pytest.raises(InputError) as caught:
        run(masks=masks, prune_at=[3], on_prune=lambda step, weights, now: change(now))
    assert message in str(caught.value)


def test_train_refuses_pruning_that_cannot_be_before_any_step(run):
    with pytest.raises(InputError, match="pruning at step 43 is not within the training from step 0 to 42"):
        run(prune_at=[43], on_prune=smallest(0.1))
    with pytest.raises(InputError, match="pruning at step -1 is not within"):
        run(prune_at=[-1], on_prune=smallest(0.1))
    with pytest.raises(InputError, match="prune_at needs on_prune"):
        run(prune_at=[3])
    assert not run.seen.progress
