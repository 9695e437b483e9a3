"""The learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Callable

from pomona.training.config import Train


def learning_rates(config: Train, steps_per_epoch: int) -> Callable[[int], float]:
    """The rate by step, counted from 0: a function of the step alone, so that a resumed run has the same.

    Args:
        config: The training.
        steps_per_epoch: Steps of one epoch of its data.
    """
    base, schedule = config.optimizer.one.lr, config.schedule
    total = config.duration.iterations(steps_per_epoch)
    falls = [step.iterations(steps_per_epoch) for step in schedule.milestones]
    warmup = schedule.warmup.iterations(steps_per_epoch) if schedule.warmup else 0

    def rate(step: int) -> float:
        lr = base
        if schedule.cosine and step >= warmup:
            lr *= 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
        lr *= schedule.gamma ** sum(step >= fall for fall in falls)
        return lr * (step + 1) / warmup if step < warmup else lr

    return rate
