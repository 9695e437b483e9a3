"""The lane engine under the loop: what it gives, and that nothing on the way changes it."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from pomona.core.errors import InputError, Interrupted, StateFailure
from pomona.core.step import Step
from pomona.training.calibrate import steps_per_second
from pomona.training.checkpoint import Checkpoint
from pomona.training.evaluate import evaluate
from pomona.training.lanes import native, stepper
from pomona.training.lanes.trace import Unsupported

from .conftest import Double, Net, equal

SGD = {"sgd": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}}
ADAM = {"adam": {"lr": 2e-3, "weight_decay": 1e-3}}
OPTIMIZERS = {
    "plain": {"sgd": {"lr": 0.1}},
    "momentum": {"sgd": {"lr": 0.05, "momentum": 0.9}},
    "nesterov": SGD,
    "decay": {"sgd": {"lr": 0.1, "weight_decay": 1e-2}},
    "adam": {"adam": {"lr": 2e-3, "betas": (0.8, 0.99)}},
    "adam-decay": ADAM,
}
SCHEDULES = [
    {},
    {"milestones": ["5it", "12it"], "gamma": 0.3},
    {"cosine": True, "warmup": "4it"},
]


class _Interrupt:
    def __init__(self, after):
        self.left = after

    def __call__(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("density", [1.0, 0.5, 0.1, 0.02])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_train_follows_torch_in_float64(lanes, masks_of, optimizer, density):
    # Three steps an epoch, the third of 4 examples.
    schedule = SCHEDULES[list(OPTIMIZERS).index(optimizer) % 3]
    config = {"optimizer": OPTIMIZERS[optimizer], "duration": "20it", "schedule": schedule}
    masks = masks_of(density) if density < 1 else {}
    ours = lanes(config, masks=masks, n=100)
    exact = lanes(config, masks=masks, n=100, module=Double(), engine="torch")
    assert list(ours.weights) == list(exact.weights)
    for name, value in exact.weights.items():
        torch.testing.assert_close(ours.weights[name].to(value.dtype), value, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("density", [0.5, 0.02])
@pytest.mark.parametrize("optimizer", ["plain", "momentum", "nesterov", "adam-decay"])
def test_train_pruned_weights_and_their_state_are_zero_after_every_step(
    lanes, masks_of, one_step_a_call, optimizer, density
):
    masks = masks_of(density)
    config = {"optimizer": OPTIMIZERS[optimizer], "duration": "12it"}
    every = [Step(i, "it") for i in range(13)]
    result = lanes(config, masks=masks, snapshots=every, checkpoint_seconds=0.0)
    seen = lanes.seen()
    assert [c.step for c in seen.checkpoints] == list(range(1, 12))
    states = [state for c in seen.checkpoints for state in c.optimizer.values()]
    assert len(states) == 11 * {"plain": 0, "adam-decay": 2}.get(optimizer, 1)
    for values in [v for _, v in seen.snapshots] + states + [result.weights]:
        for name, mask in masks.items():
            pruned = values[name][~mask].numpy()
            assert not pruned.any()
            assert not np.signbit(pruned).any()


@pytest.mark.parametrize("density", [1.0, 0.5, 0.1])
def test_train_gives_the_same_bits_whatever_the_slices_and_the_kernels(
    lanes, masks_of, force, monkeypatch, density
):
    masks = masks_of(density)
    plain = lanes(masks=masks)
    monkeypatch.setattr(stepper, "SLICE_SECONDS", 0.0)
    assert equal(lanes(masks=masks).weights, plain.weights)
    monkeypatch.setattr(stepper, "SLICE_SECONDS", 1e9)
    for kernels in ("dense", "sparse"):
        force(kernels)
        assert equal(lanes(masks=masks).weights, plain.weights)


@pytest.mark.parametrize("optimizer", [SGD, ADAM])
def test_train_gives_the_same_bits_with_every_instruction_set(lanes, masks_of, monkeypatch, optimizer):
    if "avx512" not in native.kernels().instruction_sets():
        pytest.skip("this processor lacks AVX-512")
    results = []
    for name in native.INSTRUCTION_SETS:
        monkeypatch.setenv(native.FORCED, name)
        config = {"optimizer": optimizer, "stop": "val-loss <= 0", "check": "10it"}
        results.append(lanes(config, masks=masks_of(0.3), module=Net(0.4)))
    assert equal(results[0].weights, results[1].weights)
    assert results[0].checks == results[1].checks


def test_train_two_threads_at_once_give_the_bits_of_one(lanes, masks_of):
    masks = masks_of(0.5)
    alone = lanes({"duration": "8ep"}, masks=masks, module=Net(0.2))
    meet = threading.Barrier(2)

    def work(module):
        meet.wait()
        return lanes({"duration": "8ep"}, masks=masks, module=module)

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(work, [Net(0.2), Net(0.2)]))
    assert all(equal(result.weights, alone.weights) for result in together)


def test_train_snapshots_do_not_change_the_result_and_equal_a_shorter_run(lanes, masks_of):
    masks = masks_of(0.5)
    plain = lanes(masks=masks)
    asked = [Step(0, "it"), Step(1, "ep"), Step(30, "it"), Step(21, "it"), Step(17, "it"), Step(2, "ep")]
    assert equal(lanes(masks=masks, snapshots=asked).weights, plain.weights)
    by_step = {str(step): values for step, values in lanes.seen().snapshots}
    assert list(by_step) == ["0it", "17it", "1ep", "21it", "30it", "2ep"]
    assert equal(by_step["1ep"], by_step["21it"])
    assert equal(by_step["2ep"], plain.weights)
    for step in ("17it", "30it", "1ep"):
        assert equal(by_step[step], lanes({"duration": step}, masks=masks).weights)


def test_train_dropout_follows_its_seed_and_touches_no_global_state(lanes):
    before = torch.get_rng_state()
    module = Net(0.5)
    torch.set_rng_state(before)
    first, again = lanes(module=module), lanes(module=Net(0.5))
    torch.set_rng_state(before)
    other = lanes(module=module, dropout_seed=lambda step: step)
    none = lanes()
    torch.set_rng_state(before)
    assert equal(first.weights, again.weights)
    assert not equal(first.weights, other.weights)
    assert not equal(first.weights, none.weights)


@pytest.mark.parametrize("optimizer", [{"sgd": {"lr": 0.1}}, SGD, ADAM])
@pytest.mark.parametrize("after", [0, 1, 20, 21, 22, 41])
def test_train_resumes_with_the_same_bits(lanes, masks_of, one_step_a_call, optimizer, after):
    config = {
        "optimizer": optimizer,
        "stop": {"best": "val-loss"},
        "check": "5it",
        "schedule": {"cosine": True, "warmup": "7it"},
    }
    asked = {"masks": masks_of(0.3), "snapshots": [Step(20, "it"), Step(1, "ep")]}
    whole = lanes(config, module=Net(0.3), **asked)
    wanted = lanes.seen().snapshots
    with pytest.raises(Interrupted, match=f"stopped on request after {after} of 42 steps"):
        lanes(config, module=Net(0.3), interrupted=_Interrupt(after), **asked)
    before, kept = lanes.seen().snapshots, lanes.seen().checkpoints[-1]
    assert kept.step == after
    stored = Checkpoint.from_parts(*kept.parts())
    resumed = lanes(config, module=Net(0.3), checkpoint=stored, **asked)
    assert equal(whole.weights, resumed.weights)
    assert (whole.checks, whole.steps, whole.stopped_at) == (
        resumed.checks,
        resumed.steps,
        resumed.stopped_at,
    )
    got = before + lanes.seen().snapshots
    assert [step for step, _ in got] == [step for step, _ in wanted]
    assert all(equal(a, b) for (_, a), (_, b) in zip(got, wanted, strict=True))


def test_train_stops_at_the_first_check_where_the_condition_holds(lanes):
    result = lanes({"duration": "20ep", "stop": "val-accuracy >= .5", "check": "3it"})
    assert result.stopped_at == Step(result.steps, "it")
    assert [check.step for check in result.checks] == list(range(3, result.steps + 1, 3))
    assert result.checks[-1].val_accuracy >= 0.5
    assert all(check.val_accuracy < 0.5 for check in result.checks[:-1])
    assert equal(result.weights, lanes({"duration": f"{result.steps}it"}).weights)


@pytest.mark.parametrize("measure", ["val-loss", "val-accuracy"])
def test_train_keeps_the_weights_of_the_best_check(lanes, digits, measure):
    config = {"optimizer": {"sgd": {"lr": 0.7, "momentum": 0.9}}, "duration": "60it"}
    result = lanes({**config, "stop": {"best": measure}, "check": "4it"})
    values = [-c.val_loss if measure == "val-loss" else c.val_accuracy for c in result.checks]
    best = result.checks[values.index(max(values))]
    assert result.steps == 60
    assert result.stopped_at == Step(best.step, "it")
    assert best.step < 60
    assert equal(result.weights, lanes({**config, "duration": f"{best.step}it"}).weights)
    found = evaluate(Net(), result.weights, digits, np.arange(1000, 1300), 10, engine="lanes")
    assert (found.accuracy, found.loss) == (best.val_accuracy, best.val_loss)


def test_train_reports_progress_up_to_the_end(lanes):
    lanes({"duration": "7it"})
    assert lanes.seen().progress[-1] == (7, 7)


def test_train_does_not_change_what_it_was_given(lanes, start, masks_of, digits):
    values = {name: t.clone() for name, t in start.items()}
    masks = masks_of(0.5)
    kept = {name: m.clone() for name, m in masks.items()}
    module, images = Net(), digits.images.copy()
    own = {name: t.clone() for name, t in module.state_dict().items()}
    result = lanes(masks=masks, module=module)
    assert equal(values, start)
    assert equal(kept, masks)
    assert equal(own, module.state_dict())
    assert np.array_equal(images, digits.images)
    assert result.weights["version"] == 3


def test_train_takes_images_from_a_file_and_in_any_order_of_memory(lanes, digits, tmp_path):
    plain = lanes()
    np.save(tmp_path / "images.npy", digits.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    turned = np.asfortranarray(digits.images)
    assert not turned.flags.c_contiguous
    for images in (mapped, turned):
        object.__setattr__(digits, "images", images)
        assert equal(lanes().weights, plain.weights)


def test_train_says_at_which_step_and_in_which_layer_it_diverged(lanes, start):
    weights = {**start, "conv2.weight": torch.full_like(start["conv2.weight"], 1e38)}
    with pytest.raises(StateFailure) as caught:
        lanes(weights=weights)
    assert caught.value.kind == "diverged"
    assert str(caught.value) == (
        "diverged: the output is not finite at step 1 (epoch 1), first in conv2; "
        "a lower learning rate may help"
    )


def test_train_diverges_at_the_step_where_torch_does(lanes):
    # Every step multiplies the weights by about -29.
    config = {"optimizer": {"sgd": {"lr": 3.0, "weight_decay": 10.0}}, "duration": "9ep"}
    moments = []
    for engine in ("lanes", "torch"):
        with pytest.raises(StateFailure) as caught:
            lanes(config, n=100, engine=engine)
        assert caught.value.kind == "diverged"
        moments.append(re.findall(r"at step \d+ \(epoch \d+\), ", str(caught.value)))
    assert moments[0] == moments[1] != []


def test_train_says_which_weight_was_not_finite_at_the_end(lanes):
    with pytest.raises(StateFailure, match=r"a weight is not finite at step 1 \(epoch 1\), first in conv1"):
        lanes({"optimizer": {"sgd": {"lr": 1e38, "weight_decay": 1e3}}, "duration": "1it"})


class _Unused(Net):
    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(2, 2)


class _TooFew(Net):
    def __init__(self):
        super().__init__()
        self.fc2 = nn.Linear(24, 9)


def _own(module):
    return {name: torch.full_like(t, 0.1) for name, t in module.state_dict().items()}


def test_train_refuses_a_parameter_that_is_not_reached(lanes):
    with pytest.raises(Unsupported, match="spare: forward does not use weight and bias"):
        lanes(module=_Unused(), weights=_own(_Unused()))


def test_train_refuses_fewer_logits_than_labels(lanes):
    with pytest.raises(StateFailure, match="returns 9 logits for each example, expected one for each of 10"):
        lanes(module=_TooFew(), weights=_own(_TooFew()))


def test_train_refuses_masks_and_weights_that_do_not_fit(lanes, start, masks_of):
    masks = masks_of(0.5)
    with pytest.raises(
        InputError, match=r"mask of conv1\.weight: \d+ pruned weights are not zero at the start"
    ):
        lanes(masks=masks, apply_masks=False)
    with pytest.raises(InputError, match=r"unknown parameter 'fc1\.wieght'; did you mean 'fc1\.weight'"):
        lanes(masks={"fc1.wieght": masks["fc1.weight"]}, apply_masks=False)
    with pytest.raises(InputError, match=r"expected bool of \(24, 32\), got torch\.float32"):
        lanes(masks={"fc1.weight": masks["fc1.weight"].float()}, apply_masks=False)
    with pytest.raises(InputError, match=r"mask of fc1\.bias: the lane engine prunes weights, not biases"):
        lanes(masks={"fc1.bias": torch.arange(24) > 3})
    with pytest.raises(InputError, match=r"missing fc2\.bias"):
        lanes(weights={name: t for name, t in start.items() if name != "fc2.bias"})


def test_train_takes_a_mask_of_a_bias_that_keeps_everything(lanes):
    kept = {"fc1.bias": torch.ones(24, dtype=torch.bool)}
    assert equal(lanes(masks=kept).weights, lanes().weights)


def test_train_refuses_what_cannot_be_done_before_any_step(lanes):
    with pytest.raises(InputError, match="unknown engine 'lane'; did you mean 'lanes'"):
        lanes(engine="lane")
    with pytest.raises(InputError, match="the lane engine computes on the CPU, not on cuda"):
        lanes(device="cuda")
    with pytest.raises(InputError, match="Net has dropout, and random_forward=False says it has none"):
        lanes(module=Net(0.5), random_forward=False)
    assert not lanes.seen().progress


def test_missing_kernels_are_an_error_before_anything_is_computed(run, start, digits, tmp_path, monkeypatch):
    monkeypatch.setenv(native.FOLDER, str(tmp_path))
    with pytest.raises(InputError, match="use `engine: torch`"):
        run(module=Net(), weights=start, engine="lanes", snapshots=[Step(0, "it")])
    assert not run.seen.snapshots
    assert not run.seen.progress
    with pytest.raises(InputError, match="use `engine: torch`"):
        evaluate(Net(), start, digits, None, 10, engine="lanes")
    with pytest.raises(InputError, match="use `engine: torch`"):
        steps_per_second(Net(), (1, 8, 8), 16, engine="lanes")


def test_steps_per_second_of_the_lane_engine(built):
    assert steps_per_second(Net(0.5), (1, 8, 8), 16, seconds=0.05, engine="lanes") > 0
