"""What takes the steps of a training: the stepper of the engine that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pomona.core.errors import InputError
from pomona.training.batches import Batches, Examples
from pomona.training.config import Train
from pomona.training.engine import check_engine
from pomona.training.lanes.stepper import LaneStepper
from pomona.training.stepper import Stepper
from pomona.training.torch_stepper import TorchStepper


def make_stepper(
    engine: str,
    module: nn.Module,
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    examples: Examples,
    config: Train,
    per_epoch: int,
    *,
    seed: Callable[[int], int] | None,
    device: str,
    frozen: bool = False,
) -> Stepper:
    """A training at its start.

    Args:
        engine: ``lanes`` or ``torch``.
        module: What computes.
        weights: Where to start, by name.
        masks: Bool, True = kept, by parameter; weights are zero where they are False, or ``frozen``.
        examples: Where the batches come from.
        config: Optimizer, batch size and schedule.
        per_epoch: Steps of one epoch.
        seed: For the random numbers of the forward pass of a step; None where the module draws none.
        device: Where to compute.
        frozen: Whether pruned weights keep the values that they start with.

    Raises:
        InputError: There is no such engine, it cannot run the module here, or weights or masks do not fit.
        StateFailure: Memory ran out, or there are fewer logits than labels.
    """
    check_engine(engine, device)
    if engine == "lanes":
        if frozen:
            raise InputError(
                "the lane engine leaves pruned weights out, and frozen ones take part: use `engine: torch`"
            )
        return LaneStepper(module, weights, masks, examples, config, per_epoch, seed)
    batches = Batches(examples, torch.device(device))
    return TorchStepper(module, weights, masks, batches, config, per_epoch, seed, frozen)
