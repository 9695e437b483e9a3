"""One network under training: its parameters, factors of its masks, its optimizer, and one step of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pomona.training.batches import Batches
from pomona.training.checkpoint import Checkpoint
from pomona.training.config import Train
from pomona.training.failures import check_outputs, diverged, failed, moment
from pomona.training.placing import (
    mask_factors,
    not_finite,
    place,
    taken,
    trained_parameters,
    unsaved_buffers,
)
from pomona.training.randomness import seeded
from pomona.training.schedule import learning_rates
from pomona.training.stopping import Check
from pomona.training.updates import make_update


class Stepper:
    """Takes optimizer steps on a module that holds the weights.

    Args:
        module: Takes on the weights and is trained in place.
        weights: Where to start, by name.
        masks: Bool, True = kept, by parameter; weights are zero where they are False.
        batches: Gathers the examples, on the device to compute on.
        config: Optimizer, batch size and schedule.
        per_epoch: Steps of one epoch.
    """

    def __init__(
        self,
        module: nn.Module,
        weights: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        batches: Batches,
        config: Train,
        per_epoch: int,
    ) -> None:
        place(module, weights, batches.device)
        self.module, self.batches, self.per_epoch = module, batches, per_epoch
        named = trained_parameters(module)
        self._names, self._trained = list(named), list(named.values())
        self._masked, self._factors = mask_factors(module, masks)
        # Detached tensors share the values: an update in place needs no guard against autograd.
        self._update = make_update(config.optimizer.one, [p.detach() for p in self._trained])
        self._rate = learning_rates(config, per_epoch)
        self._checked = False
        self.steps = 0
        module.train()

    def step(self, chosen: NDArray[np.int64], seed: int | None) -> None:
        """Take one step on some examples.

        Args:
            chosen: Indices of the batch.
            seed: For the random numbers of the forward pass, or None where the module draws none.

        Raises:
            StateFailure: The module fails, memory runs out, or the loss is not finite.
        """
        try:
            inputs, labels = self.batches.gather(chosen)
            logits = self._forward(inputs, seed)
            if not self._checked:
                check_outputs(logits, labels, self.batches.classes)
                self._checked = True
            loss = F.cross_entropy(logits, labels)
            # A parameter that the forward pass does not reach has a gradient of zero.
            gradients = list(torch.autograd.grad(loss, self._trained, materialize_grads=True))
        except Exception as error:
            raise failed(error, moment(self.steps, self.per_epoch)) from error
        value = loss.item()
        if not math.isfinite(value):
            raise diverged(self.module, f"the loss is {value}", moment(self.steps, self.per_epoch))
        if self._masked:
            torch._foreach_mul_([gradients[i] for i in self._masked], self._factors)
        self._update.apply(gradients, self._rate(self.steps), self.steps)
        self.steps += 1

    def weights(self) -> dict[str, Tensor]:
        """Copies of the present weights.

        Raises:
            StateFailure: One of them is not finite.
        """
        if not_finite(self.module) is not None:
            raise diverged(self.module, "a weight is not finite", moment(self.steps - 1, self.per_epoch))
        return taken(self.module)

    def checkpoint(self, checks: Sequence[Check] = (), best: dict[str, Tensor] | None = None) -> Checkpoint:
        """Copies of everything that the present moment consists of.

        Args:
            checks: The evaluations so far.
            best: The weights of the best of them, where they are kept.

        Raises:
            StateFailure: A weight is not finite.
        """
        state = self._update.state().items()
        optimizer = {kind: _copies(dict(zip(self._names, kept, strict=True))) for kind, kept in state}
        unsaved = _copies(unsaved_buffers(self.module))
        return Checkpoint(self.steps, self.weights(), optimizer, tuple(checks), best, unsaved)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from another moment of the same training: ``Checkpoint.check_fits`` says whether it is."""
        place(self.module, checkpoint.weights, self.batches.device)
        for name, buffer in unsaved_buffers(self.module).items():
            buffer.copy_(checkpoint.unsaved[name])
        for kind, tensors in self._update.state().items():
            for name, tensor in zip(self._names, tensors, strict=True):
                tensor.copy_(checkpoint.optimizer[kind][name])
        self.steps = checkpoint.step

    def _forward(self, inputs: Tensor, seed: int | None) -> Tensor:
        if seed is None:
            logits: Tensor = self.module(inputs)
            return logits
        with seeded(seed, self.batches.device):
            logits = self.module(inputs)
        return logits


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # On the CPU and contiguous, in the type of the original: rounded, the steps that follow have other bits.
    return {name: torch.empty(t.shape, dtype=t.dtype).copy_(t.detach()) for name, t in tensors.items()}
