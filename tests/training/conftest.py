"""Small networks on scikit-learn's digits, and one call that trains them."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from pomona.core.streams import Stream
from pomona.training.batches import Examples
from pomona.training.config import Train
from pomona.training.loop import train


class Small(nn.Module):
    """A convolution, batch norm and a linear layer."""

    def __init__(self):
        super().__init__()
        # Without a bias, whose gradient before a batch norm is rounding noise.
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(36, 10)

    def forward(self, images):
        hidden = torch.relu(torch.max_pool2d(self.norm(self.conv(images)), 2))
        return self.fc(hidden.flatten(1))


class Dropping(Small):
    """The same with dropout, and noise of the global generators of NumPy and Python."""

    def forward(self, images):
        hidden = torch.relu(torch.max_pool2d(self.norm(self.conv(images)), 2)).flatten(1)
        hidden = torch.dropout(hidden, 0.5, True) * (0.5 + np.random.rand()) * (0.5 + random.random())
        return self.fc(hidden)


class Counting(nn.Module):
    """Float64, with a buffer that ``state_dict`` leaves out and that every step changes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 12, dtype=torch.float64)
        self.fc = nn.Linear(12, 10, dtype=torch.float64)
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64), persistent=False)

    def forward(self, images):
        if self.training:
            self.seen += 1 / 3
        return self.fc(torch.relu(self.first(images.double().flatten(1)) + torch.sin(self.seen)))


@pytest.fixture(scope="session")
def digits():
    found = load_digits()
    images = (found.images * 15.9375).astype(np.uint8)[:, None]
    return Examples(images, found.target.astype(np.uint8), (1 / 64,), (-1.2,))


@pytest.fixture
def start():
    """Weights of ``Small``, the same in each test, without touching global random state."""
    generator = torch.Generator().manual_seed(5)
    with torch.random.fork_rng():
        module = Small()
    drawn = ("conv.weight", "fc.weight", "fc.bias")
    return {
        name: torch.randn(t.shape, generator=generator) * 0.2 if name.endswith(drawn) else t.clone()
        for name, t in module.state_dict().items()
    }


@pytest.fixture
def masks(start):
    generator = torch.Generator().manual_seed(6)
    names = ("conv.weight", "fc.weight")
    return {name: torch.rand(start[name].shape, generator=generator) > 0.5 for name in names}


@pytest.fixture
def run(digits, start):
    """Train on the first 1,000 digits, judged on the next 300; keywords change the training or the call."""

    def call(config=None, module=None, masks=None, weights=None, n=1000, apply_masks=True, **keywords):
        settings = {
            "optimizer": {"sgd": {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}},
            "batch_size": 48,
            "duration": "2ep",
            **(config or {}),
        }
        masks = masks or {}
        values = dict(weights or start)
        for name, mask in masks.items() if apply_masks else ():
            values[name] = values[name] * mask
        call.seen = SimpleNamespace(snapshots=[], checkpoints=[], progress=[], masks=[])

        def keep(step, values, masks):
            call.seen.snapshots.append((step, values))
            call.seen.masks.append(masks)

        module = Small() if module is None else module
        return train(
            module,
            values,
            masks,
            digits,
            np.arange(n),
            np.arange(1000, 1300),
            Train.model_validate(settings),
            **{
                "order": lambda epoch: Stream("order", 0).permutation(n, round=epoch),
                "dropout_seed": lambda step: Stream("dropout", 0).seed(step),
                "on_snapshot": keep,
                "on_checkpoint": call.seen.checkpoints.append,
                "on_progress": lambda done, total: call.seen.progress.append((done, total)),
                "random_forward": False,
                **keywords,
            },
        )

    return call
