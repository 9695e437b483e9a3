"""Trainings on views of their images: the same on both engines, whatever happens on the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pomona.core.errors import InputError, Interrupted
from pomona.core.step import Step
from pomona.core.streams import Stream
from pomona.training.batches import Batches
from pomona.training.config import Train
from pomona.training.evaluate import evaluate
from pomona.training.lanes import native, stepper
from pomona.training.lanes.network import LaneNetwork
from pomona.training.loop import train

ENGINES = ["torch", "lanes"]


class Plain(nn.Module):
    """Two linear layers: what both engines run."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 12)
        self.last = nn.Linear(12, 10)

    def forward(self, images):
        return self.last(torch.relu(self.first(images.flatten(1))))


def order(epoch):
    return Stream("order", 0).permutation(1000, round=epoch)


def views(epoch, order):
    """Of each image its own in every epoch."""
    words = Stream("augmentation", 0).words(1797, epoch * 1797)[order]
    down, right = (((words >> np.uint64(8 * i)) % np.uint64(5)).astype(np.int32) - 2 for i in (0, 1))
    return np.stack([down, right, (words >> np.uint64(63)).astype(np.int32)], axis=1)


def cut_out(images, seen):
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    found = np.empty_like(images)
    for image, room, (down, right, mirrored) in zip(found, padded, seen, strict=True):
        window = room[:, 2 + down : 10 + down, 2 + right : 10 + right]
        image[:] = window[:, :, ::-1] if mirrored else window
    return found


@pytest.fixture
def go(digits):
    """Trains ``Plain`` on the first 1,000 digits, and on views of them unless there are to be none."""
    generator = torch.Generator().manual_seed(7)
    weights = {n: torch.randn(t.shape, generator=generator) * 0.2 for n, t in Plain().state_dict().items()}

    def call(engine, config=None, examples=digits, module=None, **keywords):
        if engine == "lanes" and native.missing() is not None:
            pytest.skip(native.missing())
        sgd = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
        settings = {"optimizer": {"sgd": sgd}, "batch_size": 48, "duration": "2ep", **(config or {})}
        return train(
            module or Plain(),
            weights,
            {},
            examples,
            np.arange(1000),
            np.arange(1000, 1300),
            Train.model_validate(settings),
            order=order,
            dropout_seed=lambda step: step,
            engine=engine,
            random_forward=False,
            **{"views": views, **keywords},
        )

    return call


def same(a, b):
    return all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_both_engines_see_the_same_inputs_to_the_bit(digits):
    if native.missing() is not None:
        pytest.skip(native.missing())
    chosen = order(0)[:300]
    seen = views(3, chosen)
    inputs, _ = Batches(digits, torch.device("cpu")).gather(chosen, seen)
    # A layer that hands on what it is given: its products are by 1, its sums with zeros.
    identity = nn.Sequential(nn.Flatten(), nn.Linear(64, 64))
    weights = {"1.weight": torch.eye(64), "1.bias": torch.zeros(64)}
    cut = replace(digits, images=cut_out(digits.images[chosen], seen), labels=digits.labels[chosen])
    network = LaneNetwork(identity, weights, cut)
    found = network.kernel.logits(network.images, np.arange(300))
    assert np.array_equal(found, inputs.numpy().reshape(300, 64))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_epoch_is_that_on_the_images_cut_out(engine, go, digits):
    config = {"duration": "1ep"}
    images = digits.images.copy()
    images[order(0)] = cut_out(digits.images[order(0)], views(0, order(0)))
    trained = go(engine, config)
    assert same(trained, go(engine, config, examples=replace(digits, images=images), views=None))
    assert not same(trained, go(engine, config, views=None))


def test_both_engines_come_to_nearly_the_same(go):
    found = [go(engine, {"duration": "10it"}) for engine in ENGINES]
    for name, value in found[0].weights.items():
        torch.testing.assert_close(found[1].weights[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("after", [0, 1, 20, 21, 30, 41])
@pytest.mark.parametrize("engine", ENGINES)
def test_interrupted_and_resumed_gives_the_same_bits(engine, go, monkeypatch, after):
    monkeypatch.setattr(stepper, "SLICE_SECONDS", 0.0)
    whole = go(engine)
    left = [after]

    def interrupted():
        left[0] -= 1
        return left[0] < 0

    checkpoints = []
    with pytest.raises(Interrupted):
        go(engine, interrupted=interrupted, on_checkpoint=checkpoints.append)
    assert checkpoints[-1].step <= after
    assert same(whole, go(engine, checkpoint=checkpoints[-1]))


@pytest.mark.parametrize("engine", ENGINES)
def test_two_threads_at_once_give_the_bits_of_one(engine, go):
    alone = go(engine)
    # Made before: a constructor draws from the global random state.
    modules = [Plain(), Plain()]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda module: go(engine, module=module), modules))
    assert all(same(alone, other) for other in together)


def test_the_slices_of_the_lane_engine_change_nothing(go, monkeypatch):
    plain = go("lanes")
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(stepper, "SLICE_SECONDS", seconds)
        assert same(plain, go("lanes"))


@pytest.mark.parametrize("engine", ENGINES)
def test_checks_and_snapshots_are_of_the_images_as_they_are(engine, go, digits):
    config = {"stop": "val-loss <= 0", "check": "1ep"}
    taken = []
    on_snapshot = lambda step, weights, masks: taken.append(weights)  # noqa: E731
    trained = go(engine, config, snapshots=[Step(1, "ep"), Step(2, "ep")], on_snapshot=on_snapshot)
    for check, weights in zip(trained.checks, taken, strict=True):
        found = evaluate(Plain(), weights, digits, np.arange(1000, 1300), 10, engine=engine)
        assert check[1:] == (found.accuracy, found.loss)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda e, o: views(e, o)[:-1], r"views: expected int32 of \(1000, 3\), got int32 of \(999, 3\)"),
        (lambda e, o: views(e, o).astype(np.int64), "got int64"),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_views_of_another_form_are_refused(engine, go, given, said):
    with pytest.raises(InputError, match=said):
        go(engine, views=given)
