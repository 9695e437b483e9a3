"""A training by torch: any module on any device, one step at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pomona.core.global_state import LOCK
from pomona.training.batches import Batches, Views
from pomona.training.checkpoint import Checkpoint
from pomona.training.config import Train
from pomona.training.evaluate import evaluate_placed
from pomona.training.evaluation import Evaluation
from pomona.training.failures import check_outputs, diverged, failed, moment
from pomona.training.placing import (
    mask_factors,
    not_finite,
    place,
    pruned,
    taken,
    trained_parameters,
    unsaved_buffers,
)
from pomona.training.randomness import seeded
from pomona.training.schedule import learning_rates
from pomona.training.stepper import Stepper
from pomona.training.stopping import Check
from pomona.training.updates import make_update


class TorchStepper(Stepper):
    """Takes optimizer steps on a module that holds the weights.

    Args:
        module: Takes on the weights and is trained in place.
        weights: Where to start, by name.
        masks: Bool, True = kept, by parameter; weights are zero where they are False, or ``frozen``.
        batches: Gathers the examples, on the device to compute on.
        config: Optimizer, batch size and schedule.
        per_epoch: Steps of one epoch.
        seed: For the random numbers of the forward pass of a step, or None where the module draws none.
        frozen: Whether pruned weights keep the values that they start with.
    """

    def __init__(
        self,
        module: nn.Module,
        weights: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        batches: Batches,
        config: Train,
        per_epoch: int,
        seed: Callable[[int], int] | None,
        frozen: bool = False,
    ) -> None:
        place(module, weights, batches.device)
        self.module, self.batches, self.per_epoch = module, batches, per_epoch
        named = trained_parameters(module)
        self._names, self._trained = list(named), list(named.values())
        self._masked, self._factors = mask_factors(module, masks, zero=not frozen)
        self._held = [self._trained[i].detach().clone() for i in self._masked] if frozen else []
        # Detached tensors share the values: an update in place needs no guard against autograd.
        self._update = make_update(config.optimizer.one, [p.detach() for p in self._trained])
        self._rate = learning_rates(config, per_epoch)
        self._batch_size, self._seed = config.batch_size, seed
        self.steps = self._first = config.first(per_epoch)
        self._checked = False
        module.train()

    def advance(
        self,
        goal: int,
        order: NDArray[np.int64],
        interrupted: Callable[[], bool],
        views: Views | None = None,
    ) -> None:
        """Take one step. See ``Stepper``."""
        begin = self.steps % self.per_epoch * self._batch_size
        batch = slice(begin, begin + self._batch_size)
        seed = None if self._seed is None else self._seed(self.steps)
        try:
            inputs, labels = self.batches.gather(order[batch], None if views is None else views[batch])
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
            first = not_finite(self.module.state_dict())
            raise diverged(f"the loss is {value}", moment(self.steps, self.per_epoch), first)
        if self._masked:
            torch._foreach_mul_([gradients[i] for i in self._masked], self._factors)
        self._set_held(zero=True)
        self._update.apply(gradients, self._rate(self.steps), self.steps - self._first)
        self._set_held(zero=False)
        self.steps += 1

    def weights(self) -> dict[str, Tensor]:
        """See ``Stepper``."""
        first = not_finite(self.module.state_dict())
        if first is not None:
            raise diverged("a weight is not finite", moment(self.steps - 1, self.per_epoch), first)
        return taken(self.module)

    def evaluate(self, indices: NDArray[np.int64]) -> Evaluation:
        """See ``Stepper``."""
        found = evaluate_placed(self.module, self.batches, indices, self.batches.classes)
        self.module.train()
        return found

    def prune(self, masks: Mapping[str, Tensor]) -> None:
        """See ``Stepper``."""
        parameters = dict(self.module.named_parameters())
        kept = [dict(zip(self._names, tensors, strict=True)) for tensors in self._update.state().values()]
        for name, where in pruned(parameters, masks, zero=False).items():
            for tensor in [parameters[name], *(state[name] for state in kept if name in state)]:
                tensor.detach().masked_fill_(where, 0)
        self._masked, self._factors = mask_factors(self.module, masks)

    def checkpoint(self, checks: Sequence[Check] = (), best: dict[str, Tensor] | None = None) -> Checkpoint:
        """See ``Stepper``."""
        state = self._update.state().items()
        optimizer = {kind: _copies(dict(zip(self._names, kept, strict=True))) for kind, kept in state}
        unsaved = _copies(unsaved_buffers(self.module))
        return Checkpoint(self.steps, self.weights(), optimizer, tuple(checks), best, unsaved)

    def resume(self, checkpoint: Checkpoint) -> None:
        """See ``Stepper``."""
        if checkpoint.masks is not None:
            self.prune(checkpoint.masks)
        place(self.module, checkpoint.weights, self.batches.device)
        for name, buffer in unsaved_buffers(self.module).items():
            buffer.copy_(checkpoint.unsaved[name])
        for kind, tensors in self._update.state().items():
            for name, tensor in zip(self._names, tensors, strict=True):
                tensor.copy_(checkpoint.optimizer[kind][name])
        self.steps = checkpoint.step

    def _set_held(self, zero: bool) -> None:
        # While the rule is applied they are zero: so their state stays zero, and weight decay finds nothing.
        for i, factor, value in zip(self._masked, self._factors, self._held, strict=False):
            weight = self._trained[i].detach()
            weight.copy_(torch.where(factor == 0, 0 if zero else value, weight))

    def _forward(self, inputs: Tensor, seed: int | None) -> Tensor:
        with LOCK if seed is None else seeded(seed, self.batches.device):
            logits: Tensor = self.module(inputs)
        return logits


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # On the CPU and contiguous, in the type of the original: rounded, the steps that follow have other bits.
    return {name: torch.empty(t.shape, dtype=t.dtype).copy_(t.detach()) for name, t in tensors.items()}
