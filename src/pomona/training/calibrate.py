"""How fast this machine trains a network: what a plan's times are made of before anything has run."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from pomona.training.batches import Batches, Examples
from pomona.training.config import Optimizer, Sgd, Train
from pomona.training.placing import taken
from pomona.training.stepping import Stepper

_WARM_UP_STEPS = 5


def steps_per_second(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    batch_size: int,
    seconds: float = 2.0,
    device: str = "cpu",
    random_forward: bool = True,
) -> float:
    """Measure optimizer steps per second of one process, on made-up images.

    Args:
        module: The network. Its weights are overwritten.
        input_shape: Channels, height and width.
        batch_size: Examples of a step.
        seconds: How long to measure, at least one step.
        device: Where to compute.
        random_forward: As in ``train``.

    Raises:
        StateFailure: The module fails on such images.
    """
    draw = np.random.Generator(np.random.Philox(key=0))
    count = max(1024, batch_size)
    images = draw.integers(0, 256, size=(count, *input_shape), dtype=np.uint8)
    channels = input_shape[0]
    examples = Examples(images, np.zeros(count, np.uint8), (1 / 255,) * channels, (-0.5,) * channels)
    duration = f"{2**62}it"
    config = Train(
        optimizer=Optimizer(sgd=Sgd(lr=1e-9)),
        batch_size=batch_size,
        duration=duration,  # type: ignore[arg-type]
    )
    weights = {name: _small(tensor, draw) for name, tensor in taken(module).items()}
    stepper = Stepper(module, weights, {}, Batches(examples, torch.device(device)), config, per_epoch=2**62)
    begin = 0.0
    while True:
        if stepper.steps == _WARM_UP_STEPS:
            begin = time.perf_counter()
        chosen = (np.arange(batch_size) + stepper.steps * batch_size) % count
        stepper.step(chosen, 0 if random_forward else None)
        elapsed = time.perf_counter() - begin
        if stepper.steps > _WARM_UP_STEPS and elapsed >= seconds:
            return (stepper.steps - _WARM_UP_STEPS) / elapsed


def _small(like: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    # Uninitialised memory may hold NaN or denormal numbers, which are slow.
    if not like.is_floating_point():
        return torch.zeros_like(like)
    return torch.from_numpy(draw.standard_normal(like.shape) * 0.02).to(like.dtype)
