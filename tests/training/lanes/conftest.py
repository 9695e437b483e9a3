"""A small network that the lane engine runs, and one call that trains it on digits."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from pomona.training.lanes import native, stepper
from pomona.training.lanes.network import LaneNetwork


class Net(nn.Module):
    """Two convolutions and two linear layers, with dropout where it is asked for."""

    def __init__(self, p: float = 0.0):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.drop = nn.Dropout(p)
        self.fc1 = nn.Linear(32, 24)
        self.fc2 = nn.Linear(24, 10)
        # No layer reads it.
        self.register_buffer("version", torch.tensor(3))

    def forward(self, images):
        hidden = torch.max_pool2d(torch.relu(self.conv1(images)), 2)
        hidden = torch.max_pool2d(torch.relu(self.conv2(hidden)), 2).flatten(1)
        return self.fc2(torch.relu(self.fc1(self.drop(hidden))))


class Double(Net):
    """The same in float64."""

    def __init__(self):
        super().__init__()
        self.double()

    def forward(self, images):
        return super().forward(images.double())


@pytest.fixture
def start():
    """Weights of ``Net``, the same in each test, without touching global random state."""
    generator = torch.Generator().manual_seed(5)
    with torch.random.fork_rng():
        own = Net().state_dict()
    return {
        name: torch.randn(t.shape, generator=generator) * 0.25 if t.is_floating_point() else t.clone()
        for name, t in own.items()
    }


@pytest.fixture
def masks_of(start):
    """Masks of a density, with rows and columns that lose all their weights at the lower ones."""

    def call(density):
        generator = torch.Generator().manual_seed(6)
        return {
            name: torch.rand(t.shape, generator=generator) < density
            for name, t in start.items()
            if name.endswith("weight")
        }

    return call


@pytest.fixture
def built(monkeypatch):
    """The kernels, with the instruction set that is the best here."""
    if native.missing() is not None:
        pytest.skip(native.missing())
    monkeypatch.delenv(native.FORCED, raising=False)


@pytest.fixture
def lanes(run, start, built):
    """Train ``Net`` as ``run`` does, on the lane engine unless another one is given."""

    def call(config=None, module=None, **keywords):
        module = Net() if module is None else module
        random = isinstance(module, Net) and module.drop.p > 0
        keywords = {"engine": "lanes", "weights": start, "random_forward": random, **keywords}
        return run(config, module=module, **keywords)

    call.seen = lambda: run.seen
    return call


@pytest.fixture
def one_step_a_call(monkeypatch):
    """The kernels return after every step, so that a training can be interrupted at any of them."""
    monkeypatch.setattr(stepper, "SLICE_SECONDS", 0.0)


@pytest.fixture
def force(monkeypatch):
    """Have every network use dense or sparse kernels."""
    prune = LaneNetwork.prune

    def call(kernels):
        monkeypatch.setattr(LaneNetwork, "prune", functools.partialmethod(prune, kernels=kernels))

    return call


def equal(a, b):
    """Whether weights have the same names, in the same order, and the same bits."""
    return list(a) == list(b) and all(a[name].numpy().tobytes() == b[name].numpy().tobytes() for name in a)
