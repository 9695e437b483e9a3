import dataclasses
import json
import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load, save
from torch import nn

from pomona.core.errors import InputError, Interrupted, ProblemsError, StateFailure
from pomona.core.step import Step
from pomona.core.streams import Stream
from pomona.training.checkpoint import Checkpoint, CheckpointError
from pomona.training.evaluate import evaluate

from .conftest import Counting, Dropping, Small

SGD = {"sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}}
ADAM = {"adam": {"lr": 2e-3, "weight_decay": 1e-3}}


def _equal(a, b):
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_train_equals_the_usual_loop_of_torch(run, digits, start, optimizer):
    ours = run({"optimizer": optimizer, "duration": "20it"})
    module = Small()
    module.load_state_dict(start)
    kind, settings = next(iter(optimizer.items()))
    theirs = (torch.optim.SGD if kind == "sgd" else torch.optim.Adam)(module.parameters(), **settings)
    order = Stream("order", 0).permutation(1000, round=0)
    for step in range(20):
        chosen = order[step * 48 : step * 48 + 48]
        images = torch.from_numpy(digits.images[chosen]).float() / 64 - 1.2
        theirs.zero_grad()
        F.cross_entropy(module(images), torch.from_numpy(digits.labels[chosen]).long()).backward()
        theirs.step()
    for name, value in module.state_dict().items():
        torch.testing.assert_close(ours.weights[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_train_pruned_weights_and_their_optimizer_state_are_zero_after_every_step(run, masks, optimizer):
    result = run(
        {"optimizer": optimizer, "duration": "25it"},
        masks=masks,
        snapshots=[Step(i, "it") for i in range(26)],
        checkpoint_seconds=0.0,
    )
    seen = run.seen
    assert len(seen.snapshots) == 26
    assert [c.step for c in seen.checkpoints] == list(range(1, 25))
    states = [c.optimizer[kind] for c in seen.checkpoints for kind in c.optimizer]
    assert len(states) == 24 * (1 if optimizer is SGD else 2)
    for values in [v for _, v in seen.snapshots] + states + [result.weights]:
        for name, mask in masks.items():
            assert not values[name][~mask].any()
    for name, mask in masks.items():
        assert (result.weights[name][mask] != 0).all()


def test_train_learns_the_digits(run, digits):
    result = run({"duration": "6ep"})
    found = evaluate(Small(), result.weights, digits, np.arange(1300, 1797), 10)
    assert found.accuracy > 0.85


def test_train_gives_the_same_bits_again(run, masks):
    first, again = run(masks=masks), run(masks=masks)
    assert _equal(first.weights, again.weights)
    assert first.steps == again.steps == 2 * math.ceil(1000 / 48)
    assert first.stopped_at is None


def test_train_snapshots_do_not_change_the_result_and_equal_a_shorter_run(run, masks):
    plain = run(masks=masks)
    asked = [Step(0, "it"), Step(1, "ep"), Step(30, "it"), Step(21, "it"), Step(2, "ep")]
    with_snapshots = run(masks=masks, snapshots=asked)
    assert _equal(plain.weights, with_snapshots.weights)
    snapshots = run.seen.snapshots
    assert {str(step) for step, _ in snapshots} == {"0it", "1ep", "30it", "21it", "2ep"}
    by_step = {str(step): values for step, values in snapshots}
    assert _equal(by_step["1ep"], by_step["21it"])
    assert _equal(by_step["2ep"], plain.weights)
    assert _equal(by_step["30it"], run({"duration": "30it"}, masks=masks).weights)
    assert _equal(by_step["1ep"], run({"duration": "1ep"}, masks=masks).weights)


def test_train_keeps_the_short_batch_of_an_epoch(run):
    sizes = []
    module = Small()
    module.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    result = run({"duration": "2ep"}, module=module, n=100)
    assert sizes == [48, 48, 4, 48, 48, 4]
    assert result.steps == 6


class _Interrupt:
    def __init__(self, after):
        self.left = after

    def __call__(self):
        self.left -= 1
        return self.left < 0


def _from_a_file(checkpoint):
    tensors, record = checkpoint.parts()
    arrays = load(save({name: tensor.numpy() for name, tensor in tensors.items()}))
    # A file has an order of its own, which is what this is about.
    assert list(arrays) != list(tensors)
    stored = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    return Checkpoint.from_parts(stored, json.loads(json.dumps(record)))


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
@pytest.mark.parametrize("after", [0, 1, 20, 21, 22, 41])
def test_train_resumes_with_the_same_bits(run, masks, optimizer, after):
    config = {
        "optimizer": optimizer,
        "stop": {"best": "val-loss"},
        "check": "5it",
        "schedule": {"cosine": True, "warmup": "7it"},
    }
    whole = run(config, masks=masks, snapshots=[Step(20, "it"), Step(1, "ep")])
    wanted = run.seen.snapshots
    with pytest.raises(Interrupted, match=f"stopped on request after {after} of 42 steps"):
        run(config, masks=masks, interrupted=_Interrupt(after), snapshots=[Step(20, "it"), Step(1, "ep")])
    before = run.seen.snapshots
    stored = _from_a_file(run.seen.checkpoints[-1])
    resumed = run(config, masks=masks, checkpoint=stored, snapshots=[Step(20, "it"), Step(1, "ep")])
    assert _equal(whole.weights, resumed.weights)
    assert (whole.checks, whole.steps, whole.stopped_at) == (
        resumed.checks,
        resumed.steps,
        resumed.stopped_at,
    )
    got = before + run.seen.snapshots
    assert [step for step, _ in got] == [step for step, _ in wanted]
    assert all(_equal(a, b) for (_, a), (_, b) in zip(got, wanted, strict=True))


def test_train_interrupt_is_asked_before_every_step(run):
    asked = []
    run({"duration": "9it"}, interrupted=lambda: asked.append(1) and False)
    assert len(asked) == 9


def test_train_stops_at_the_first_check_where_the_condition_holds(run):
    result = run({"duration": "20ep", "stop": "val-accuracy >= .5", "check": "3it"})
    assert result.stopped_at == Step(result.steps, "it")
    assert [check.step for check in result.checks] == list(range(3, result.steps + 1, 3))
    assert result.checks[-1].val_accuracy >= 0.5
    assert all(check.val_accuracy < 0.5 for check in result.checks[:-1])
    assert _equal(result.weights, run({"duration": f"{result.steps}it"}).weights)


def test_train_runs_to_the_end_where_the_condition_never_holds(run):
    result = run({"stop": "val-loss <= 0", "check": "10it"})
    assert (result.steps, result.stopped_at, len(result.checks)) == (42, None, 4)
    assert _equal(result.weights, run().weights)


@pytest.mark.parametrize("measure", ["val-loss", "val-accuracy"])
def test_train_keeps_the_weights_of_the_best_check(run, measure):
    config = {"optimizer": {"sgd": {"lr": 2.0, "momentum": 0.9}}, "duration": "60it"}
    result = run({**config, "stop": {"best": measure}, "check": "4it"})
    values = [-c.val_loss if measure == "val-loss" else c.val_accuracy for c in result.checks]
    best = result.checks[values.index(max(values))].step
    assert result.steps == 60
    assert result.stopped_at == Step(best, "it")
    assert best < 60
    assert _equal(result.weights, run({**config, "duration": f"{best}it"}).weights)


def test_train_patience_counts_checks_without_a_new_best(run):
    config = {"optimizer": {"sgd": {"lr": 0.3, "momentum": 0.9}}, "duration": "60it"}
    result = run({**config, "stop": {"best": "val-loss", "patience": 2}, "check": "2it"})
    losses = [check.val_loss for check in result.checks]
    assert len(losses) - 1 - losses.index(min(losses)) == 2
    assert result.steps == 2 * len(losses) < 60


def test_train_checks_do_not_change_the_training(run):
    checked = run(
        {"stop": "val-loss <= 0", "check": "1it", "duration": "25it"}, module=Dropping(), random_forward=True
    )
    plain = run({"duration": "25it"}, module=Dropping(), random_forward=True)
    assert _equal(checked.weights, plain.weights)


def test_train_random_forward_is_reproducible_and_leaves_global_state_alone(run):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    module = Dropping()
    torch.set_rng_state(before[0])
    first = run(module=module, random_forward=True)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])
    # Whatever the rest of the process drew meanwhile makes no difference.
    torch.rand(1), random.random(), np.random.rand()
    again = run(module=Dropping(), random_forward=True)
    other = run(module=Dropping(), random_forward=True, dropout_seed=lambda step: step)
    assert _equal(first.weights, again.weights)
    assert not _equal(first.weights, other.weights)


def test_train_random_forward_resumes_with_the_same_bits(run):
    whole = run(module=Dropping(), random_forward=True)
    with pytest.raises(Interrupted):
        run(module=Dropping(), random_forward=True, interrupted=_Interrupt(13))
    resumed = run(module=Dropping(), random_forward=True, checkpoint=run.seen.checkpoints[-1])
    assert _equal(whole.weights, resumed.weights)


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_train_float64_and_unsaved_buffers_resume_with_the_same_bits(run, optimizer):
    with torch.random.fork_rng():
        weights = {name: t.clone() for name, t in Counting().state_dict().items()}
    config = {"optimizer": optimizer, "duration": "30it"}
    whole = run(config, module=Counting(), weights=weights)
    with pytest.raises(Interrupted):
        run(config, module=Counting(), weights=weights, interrupted=_Interrupt(13))
    kept = run.seen.checkpoints[-1]
    assert kept.unsaved["seen"] == pytest.approx(13 / 3)
    resumed = run(config, module=Counting(), weights=weights, checkpoint=_from_a_file(kept))
    assert _equal(whole.weights, resumed.weights)


def _with(checkpoint, **changed):
    return dataclasses.replace(checkpoint, **changed)


@pytest.mark.parametrize(
    "broken",
    [
        lambda c: _with(c, weights={}),
        lambda c: _with(
            c, optimizer={"momentum": {name: torch.zeros(1) for name in c.optimizer["momentum"]}}
        ),
        lambda c: _with(c, unsaved={"seen": torch.zeros(1)}),
        lambda c: _with(c, step=43),
        lambda c: _with(c, best=None),
        lambda c: _with(c, checks=()),
        lambda c: _with(c, weights={n: torch.ones_like(t) for n, t in c.weights.items()}),
    ],
)
def test_train_refuses_a_useless_checkpoint_before_any_step_and_can_start_again(run, masks, broken):
    config = {"stop": {"best": "val-loss"}, "check": "5it"}
    whole = run(config, masks=masks)
    with pytest.raises(Interrupted):
        run(config, masks=masks, interrupted=_Interrupt(12))
    useless = broken(run.seen.checkpoints[-1])
    module = Small()
    with pytest.raises(CheckpointError):
        run(config, masks=masks, module=module, checkpoint=useless, snapshots=[Step(0, "it")])
    assert not run.seen.snapshots
    assert not run.seen.progress
    assert _equal(run(config, masks=masks, module=module).weights, whole.weights)


def _frozen():
    module = Small()
    module.conv.weight.requires_grad_(False)
    return module


def test_train_leaves_a_frozen_layer_with_a_mask_as_it_is(run, start, masks):
    result = run(masks=masks, module=_frozen())
    assert torch.equal(result.weights["conv.weight"], start["conv.weight"] * masks["conv.weight"])
    assert not result.weights["fc.weight"][~masks["fc.weight"]].any()
    assert not torch.equal(result.weights["fc.weight"], start["fc.weight"] * masks["fc.weight"])


def test_train_refuses_a_frozen_layer_that_is_not_zero_under_its_mask(run, start, masks):
    with pytest.raises(InputError, match=r"mask of conv\.weight: 18 pruned weights are not zero"):
        run(masks=masks, weights=start, apply_masks=False, module=_frozen())


def test_train_does_not_change_what_it_was_given(run, start, masks, digits):
    values = {name: t.clone() for name, t in start.items()}
    kept = {name: m.clone() for name, m in masks.items()}
    images = digits.images.copy()
    run(masks=masks)
    assert _equal(values, start)
    assert _equal(kept, masks)
    assert np.array_equal(images, digits.images)


def test_train_reports_progress_up_to_the_end(run):
    run({"duration": "7it"})
    assert run.seen.progress[-1] == (7, 7)


def test_train_batch_norm_counts_its_batches_and_moves_its_averages(run, start):
    result = run({"duration": "11it"})
    assert result.weights["norm.num_batches_tracked"] == 11
    assert not torch.equal(result.weights["norm.running_mean"], start["norm.running_mean"])


def test_train_says_where_it_diverged(run):
    with pytest.raises(StateFailure) as caught:
        run({"optimizer": {"sgd": {"lr": 1e30}}})
    assert caught.value.kind == "diverged"
    text = str(caught.value)
    assert "diverged: the loss is " in text
    assert "(epoch 1), first in " in text
    assert "a lower learning rate may help" in text


def test_train_says_which_weight_was_not_finite_at_the_end(run, start):
    class Unused(Small):
        def __init__(self):
            super().__init__()
            self.spare = nn.Parameter(torch.ones(2))

    weights = {**dict(start), "spare": torch.tensor([1.0, float("inf")])}
    with pytest.raises(StateFailure, match=r"a weight is not finite at step 5 \(epoch 1\), first in spare"):
        run({"duration": "5it"}, module=Unused(), weights=weights)


def test_train_a_parameter_that_is_not_reached_only_decays(run, start):
    class Unused(Small):
        def __init__(self):
            super().__init__()
            self.spare = nn.Parameter(torch.ones(2))

    config = {"optimizer": {"sgd": {"lr": 0.1}}, "duration": "3it"}
    result = run(config, module=Unused(), weights={**start, "spare": torch.ones(2)})
    assert torch.equal(result.weights["spare"], torch.ones(2))


class _EvaluatesToInfinity(Small):
    def forward(self, images):
        return super().forward(images) * (1 if self.training else float("inf"))


def test_train_says_that_the_validation_loss_is_not_finite(run):
    with pytest.raises(
        StateFailure, match=r"the validation loss is nan at step 30 \(epoch 2\), all weights are"
    ):
        run({"stop": {"best": "val-loss"}, "check": "30it"}, module=_EvaluatesToInfinity())


class _Failing(Small):
    def forward(self, images):
        if len(images) < 48:
            raise RuntimeError("no short batches")
        return super().forward(images)


class _WrongShape(Small):
    def forward(self, images):
        return super().forward(images)[:, :7]


class _Tuple(Small):
    def forward(self, images):
        return super().forward(images), 1


class _Hungry(Small):
    def forward(self, images):
        return torch.empty(2**60)


@pytest.mark.parametrize(
    ("module", "kind", "message"),
    [
        (_Failing, "bad input", r"test_loop\.py:\d+: in forward: the network failed at step 3 \(epoch 1\)"),
        (_Failing, "bad input", "RuntimeError: no short batches"),
        (_WrongShape, "bad input", r"shape \(48, 7\) for 48 examples, expected \(48, classes\) with 10"),
        (_Tuple, "bad input", "returned tuple, expected a tensor"),
        (_Hungry, "out of memory", r"out of memory at step 1 \(epoch 1\); a smaller batch may fit"),
    ],
)
def test_train_classifies_what_a_network_does_wrong(run, module, kind, message):
    with pytest.raises(StateFailure, match=message) as caught:
        run(module=module(), n=100)
    assert caught.value.kind == kind


def test_train_refuses_masks_that_do_not_fit(run, start, masks):
    name = "fc.weight"
    with pytest.raises(
        InputError, match=r"mask of conv\.weight: 18 pruned weights are not zero at the start"
    ):
        run(masks=masks, weights=start, apply_masks=False)
    with pytest.raises(InputError, match=r"unknown parameter 'fc\.wieght'; did you mean 'fc\.weight'"):
        run(masks={"fc.wieght": masks[name]}, apply_masks=False)
    with pytest.raises(InputError, match=r"expected bool of \(10, 36\), got torch\.float32"):
        run(masks={name: masks[name].float()}, apply_masks=False)


def test_train_refuses_weights_that_do_not_fit(run, start):
    broken = {name: t for name, t in start.items() if name != "fc.bias"} | {
        "fc.weight": torch.zeros(3, 36),
        "fc.bais": torch.zeros(10),
    }
    with pytest.raises(ProblemsError) as caught:
        run(weights=broken)
    text = str(caught.value)
    assert "missing fc.bias" in text
    assert "unknown tensor 'fc.bais'; did you mean 'fc.bias'" in text
    assert "fc.weight: shape (3, 36), expected (10, 36)" in text


def test_train_refuses_what_cannot_be_done_before_any_step(run):
    with pytest.raises(InputError, match="snapshot at 3ep lies behind the end of the training at step 42"):
        run(snapshots=[Step(3, "ep")])
    with pytest.raises(InputError, match="check: 3ep is longer than the training of 42 steps"):
        run({"stop": "val-loss <= 1", "check": "3ep"})
    with pytest.raises(InputError, match="the order of epoch 0 is not a permutation of the training part"):
        run(order=lambda epoch: np.zeros(1000, np.int64))
    with pytest.raises(InputError, match="the training part is empty"):
        run(n=0)
    with pytest.raises(Interrupted):
        run(interrupted=_Interrupt(3))
    of_sgd = run.seen.checkpoints[-1]
    with pytest.raises(CheckpointError, match="checkpoint is of another optimizer or network"):
        run({"optimizer": ADAM}, checkpoint=of_sgd)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_train_on_a_gpu_is_close_to_the_cpu_and_keeps_masks(run, masks):
    config = {"duration": "15it", "stop": "val-loss <= 0", "check": "5it"}
    cpu = run(config, masks=masks)
    gpu = run(config, masks=masks, device="cuda", module=Small())
    for name, value in cpu.weights.items():
        torch.testing.assert_close(gpu.weights[name], value, rtol=1e-2, atol=1e-3)
    assert all(not gpu.weights[name][~mask].any() for name, mask in masks.items())
    with pytest.raises(Interrupted):
        run(config, masks=masks, device="cuda", interrupted=_Interrupt(7))
    assert all(t.device.type == "cpu" for t in run.seen.checkpoints[-1].parts()[0].values())
