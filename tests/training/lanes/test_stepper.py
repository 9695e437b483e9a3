"""One stepper of the lane engine: its checkpoints, steps that are given up, and what goes wrong inside."""

import numpy as np
import pytest
import torch
from torch import nn

from pomona.core.errors import Interrupted, StateFailure
from pomona.training.batches import Batches, Examples
from pomona.training.config import Train
from pomona.training.lanes.native import Kernels
from pomona.training.lanes.network import LaneNetwork
from pomona.training.lanes.stepper import LaneStepper
from pomona.training.lanes.trace import Unsupported
from pomona.training.loop import train
from pomona.training.torch_stepper import TorchStepper

from .conftest import Net, equal

PER_EPOCH = 4
ORDER = np.arange(64)
OPTIMIZERS = [
    {"sgd": {"lr": 0.1}},
    {"sgd": {"lr": 0.05, "momentum": 0.9}},
    {"adam": {"lr": 2e-3}},
]


def config(optimizer=OPTIMIZERS[1], **changes):
    return Train.model_validate({"optimizer": optimizer, "batch_size": 16, "duration": "2ep", **changes})


def never():
    return False


@pytest.fixture
def make(start, digits, masks_of, built):
    """A stepper on the digits."""

    def call(optimizer=OPTIMIZERS[1], module=None, weights=start, seed=None, density=1.0):
        masks = masks_of(density) if density < 1 else {}
        values = {name: t * masks[name] if name in masks else t for name, t in weights.items()}
        return LaneStepper(module or Net(), values, masks, digits, config(optimizer), PER_EPOCH, seed)

    return call


def go(stepper, goal):
    while stepper.steps < goal:
        stepper.advance(goal, ORDER, never)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_checkpoint_has_the_form_of_that_of_torch(make, start, digits, optimizer):
    batches = Batches(digits, torch.device("cpu"))
    other = TorchStepper(Net(), start, {}, batches, config(optimizer), PER_EPOCH, None)
    ours, theirs = make(optimizer).checkpoint(), other.checkpoint()
    assert list(ours.optimizer) == list(theirs.optimizer)
    form = [
        {name: (t.dtype, t.shape, t.is_contiguous()) for name, t in checkpoint.parts()[0].items()}
        for checkpoint in (ours, theirs)
    ]
    assert form[0] == form[1]
    assert equal(ours.weights, theirs.weights)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_checkpoint_and_weights_are_copies(make, optimizer):
    stepper = make(optimizer)
    go(stepper, 2)
    kept, weights = stepper.checkpoint(), stepper.weights()
    before = {name: t.clone() for name, t in kept.parts()[0].items()}
    go(stepper, 4)
    assert equal(kept.parts()[0], before)
    for tensor in weights.values():
        tensor.zero_()
    assert not equal(stepper.weights(), weights)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("density", [1.0, 0.4, 0.05])
def test_resume_goes_on_with_the_same_bits(make, optimizer, density):
    stepper, other = (make(optimizer, density=density) for _ in range(2))
    go(stepper, 3)
    other.resume(stepper.checkpoint())
    assert other.steps == 3
    for one in (stepper, other):
        go(one, 4)
    assert equal(stepper.checkpoint().parts()[0], other.checkpoint().parts()[0])


def test_seeds_are_asked_for_each_step_of_a_network_with_dropout_alone(make):
    asked = []

    def seed(step):
        asked.append(step)
        return 2**63 + step

    go(make(seed=seed), 4)
    assert not asked
    go(make(module=Net(0.5), seed=seed), 4)
    assert sorted(set(asked)) == [0, 1, 2, 3]


def test_buffers_that_no_layer_reads_are_kept(make, start):
    stepper = make(weights={**start, "version": torch.tensor(7)})
    go(stepper, 4)
    assert stepper.weights()["version"] == 7
    stepper.weights()["version"].zero_()
    assert stepper.checkpoint().weights["version"] == 7


class Wide(nn.Module):
    """So much work that a step of a large batch takes longer than the kernels leave a request unasked."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 24, 5, padding=2)
        self.conv2 = nn.Conv2d(24, 24, 5, padding=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(24, 4)

    def forward(self, images):
        hidden = torch.relu(self.conv2(torch.relu(self.conv1(images))))
        return self.fc(self.pool(hidden).flatten(1))


@pytest.fixture(scope="module")
def long_steps():
    """Arguments of a training of two steps, each of 13 billion multiply-adds."""
    draw = np.random.default_rng(3)
    images = draw.integers(0, 256, (600, 1, 22, 22), dtype=np.uint8)
    examples = Examples(images, draw.integers(0, 4, 600).astype(np.uint8), (1 / 64,), (-2.0,))
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        module = Wide()
    weights = {
        name: torch.randn(t.shape, generator=generator) * 0.1 for name, t in module.state_dict().items()
    }
    settings = config({"adam": {"lr": 1e-2}}, batch_size=600)
    return module, weights, {}, examples, settings


def test_advance_gives_up_a_long_step_without_a_trace(built, long_steps):
    whole, stopped, resumed = (LaneStepper(*long_steps, 1, None) for _ in range(3))
    order = np.arange(600)
    whole.advance(1, order, never)
    stopped.advance(1, order, never)
    stopped.advance(2, order, lambda: True)
    assert stopped.steps == 1
    assert equal(stopped.checkpoint().parts()[0], whole.checkpoint().parts()[0])
    resumed.resume(stopped.checkpoint())
    for one in (whole, stopped, resumed):
        one.advance(2, order, never)
        assert one.steps == 2
    wanted = whole.checkpoint().parts()[0]
    assert equal(stopped.checkpoint().parts()[0], wanted)
    assert equal(resumed.checkpoint().parts()[0], wanted)


def test_train_is_interrupted_within_a_long_step(built, long_steps):
    module, weights, masks, examples, settings = long_steps
    asked, kept = [], []

    def interrupted():
        asked.append(1)
        return len(asked) > 1  # first before the step, then within it

    with pytest.raises(Interrupted, match="stopped on request after 0 of 2 steps"):
        train(
            *(module, weights, masks, examples, np.arange(600), np.arange(0), settings),
            order=lambda epoch: np.arange(600),
            dropout_seed=lambda step: 0,
            on_checkpoint=kept.append,
            interrupted=interrupted,
            random_forward=False,
            engine="lanes",
        )
    assert [checkpoint.step for checkpoint in kept] == [0]


def test_advance_hands_on_what_asking_raises(built, long_steps):
    stepper = LaneStepper(*long_steps, 1, None)
    start = stepper.weights()

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stepper.advance(1, np.arange(600), interrupted)
    assert stepper.steps == 0
    assert equal(stepper.weights(), start)


def no_memory(*_):
    raise MemoryError("std::bad_alloc")


def test_memory_that_runs_out_at_the_start_is_a_failure(make, monkeypatch):
    monkeypatch.setattr(Kernels, "Network", no_memory)
    with pytest.raises(StateFailure, match="out of memory at the start") as caught:
        make()
    assert caught.value.kind == "out of memory"


def test_memory_that_runs_out_in_a_step_is_a_failure_with_its_moment(make, monkeypatch):
    stepper = make()
    go(stepper, 4)

    class Full:
        train = evaluate = staticmethod(no_memory)

    monkeypatch.setattr(stepper._network, "kernel", Full)
    with pytest.raises(StateFailure, match=r"out of memory at step 5 \(epoch 2\)") as caught:
        stepper.advance(8, ORDER, never)
    assert caught.value.kind == "out of memory"
    with pytest.raises(StateFailure, match="out of memory at evaluation"):
        stepper.evaluate(np.arange(10))


def test_a_network_beyond_the_limits_of_the_kernels_is_refused(built):
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    examples = Examples(np.zeros((1, 1, 7000, 7000), np.uint8), np.zeros(1, np.uint8), (1.0,), (0.0,))
    with pytest.raises(Unsupported, match="Sequential: the image: more than 46 million units"):
        LaneNetwork(module, module.state_dict(), examples)
