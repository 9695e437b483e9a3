"""How fast this machine trains a network: what a plan's times are made of before anything has run."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from pomona.training.batches import Examples
from pomona.training.config import Optimizer, Sgd, Train
from pomona.training.placing import taken
from pomona.training.stepping import make_stepper

_WARM_UP_STEPS = 5


def steps_per_second(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    batch_size: int,
    seconds: float = 2.0,
    device: str = "cpu",
    random_forward: bool = True,
    engine: str = "torch",
) -> float:
    """Measure optimizer steps per second of one process, on made-up images.

    Args:
        module: The network. Its weights may be overwritten.
        input_shape: Channels, height and width.
        batch_size: Examples of a step.
        seconds: How long to measure, at least one step.
        device: Where to compute.
        random_forward: As in ``train``.
        engine: As in ``train``.

    Raises:
        InputError: The engine cannot run the module here.
        StateFailure: The module fails on such images.
    """
    draw = np.random.Generator(np.random.Philox(key=0))
    per_epoch = -(-1024 // batch_size)
    count = per_epoch * batch_size
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
    seed = (lambda step: step) if random_forward else None
    stepper = make_stepper(engine, module, weights, {}, examples, config, per_epoch, seed=seed, device=device)
    order = np.arange(count)

    def take(most: int) -> None:
        epoch_end = (stepper.steps // per_epoch + 1) * per_epoch
        stepper.advance(min(epoch_end, stepper.steps + most), order, lambda: False)

    while stepper.steps < _WARM_UP_STEPS:
        take(_WARM_UP_STEPS - stepper.steps)
    begin, elapsed = time.perf_counter(), 0.0
    while elapsed < seconds:
        take(per_epoch)
        elapsed = time.perf_counter() - begin
    return (stepper.steps - _WARM_UP_STEPS) / elapsed


def _small(like: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    # Uninitialised memory may hold NaN or denormal numbers, which are slow.
    if not like.is_floating_point():
        return torch.zeros_like(like)
    return torch.from_numpy(draw.standard_normal(like.shape) * 0.02).to(like.dtype)
