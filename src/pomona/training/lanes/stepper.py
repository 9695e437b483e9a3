"""A training by the kernels: many steps a call, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pomona.core.errors import InputError
from pomona.training.batches import Examples, Views
from pomona.training.checkpoint import Checkpoint
from pomona.training.config import Adam, Sgd, Train
from pomona.training.evaluation import Evaluation
from pomona.training.failures import diverged, moment
from pomona.training.lanes.network import LaneNetwork, running_out_of_memory
from pomona.training.placing import not_finite, pruned
from pomona.training.schedule import learning_rates
from pomona.training.stepper import Stepper
from pomona.training.stopping import Check

# How long one call of the kernels computes, about; more is only waiting when a run is to stop.
SLICE_SECONDS = 0.05


class LaneStepper(Stepper):
    """Takes optimizer steps in the kernels.

    Args:
        module: What is trained. It is read, not changed.
        weights: Where to start, by name.
        masks: Bool, True = kept, by parameter; weights are zero where they are False.
        examples: Where the batches come from.
        config: Optimizer, batch size and schedule.
        per_epoch: Steps of one epoch.
        seed: For dropout in a step, or None where the module is said to draw no random numbers.

    Raises:
        InputError: The kernels are missing here, cannot run the module, or weights or masks do not fit it.
        StateFailure: There are fewer logits than labels, or memory ran out.
    """

    def __init__(
        self,
        module: nn.Module,
        weights: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        examples: Examples,
        config: Train,
        per_epoch: int,
        seed: Callable[[int], int] | None,
    ) -> None:
        self._network = LaneNetwork(module, weights, examples)
        if self._network.program.random and seed is None:
            raise InputError(
                f"{type(module).__name__} has dropout, and random_forward=False says it has none"
            )
        self._parameters = [name for name, _ in module.named_parameters()]
        self._optimizer = config.optimizer.one
        self._network.prune(pruned({name: weights[name] for name in self._parameters}, masks))
        self._network.kernel.set_optimizer(*_rule(self._optimizer))
        self._kinds = _KINDS[self._network.kernel.slots()]
        self._classes = int(examples.labels.max()) + 1
        self._network.check_outputs(self._classes)
        self._rate, self._seed = learning_rates(config, per_epoch), seed
        self._batch_size, self._per_epoch = config.batch_size, per_epoch
        self.steps = self._first = config.first(per_epoch)
        self._pace = 1

    def advance(
        self,
        goal: int,
        order: NDArray[np.int64],
        interrupted: Callable[[], bool],
        views: Views | None = None,
    ) -> None:
        """See ``Stepper``."""
        steps = range(self.steps, min(goal, self.steps + self._pace))
        begin = self.steps % self._per_epoch * self._batch_size
        part = slice(begin, begin + len(steps) * self._batch_size)
        with running_out_of_memory(moment(self.steps, self._per_epoch)):
            taken, failed_op = self._network.kernel.train(
                self._network.images,
                self._network.labels,
                np.ascontiguousarray(order[part], dtype=np.int64),
                self._batch_size,
                self.steps - self._first,
                np.array([self._rate(step) for step in steps]),
                self._seeds(steps),
                SLICE_SECONDS,
                interrupted,
                None if views is None else np.ascontiguousarray(views[part]),
            )
        self.steps += taken
        # Rates and seeds are made for about as many steps as are taken.
        self._pace = 2 * max(taken, 1)
        if failed_op >= 0:
            layer = self._network.program.ops[failed_op].module
            raise diverged("the output is not finite", moment(self.steps, self._per_epoch), layer)

    def weights(self) -> dict[str, Tensor]:
        """See ``Stepper``."""
        found = self._network.weights()
        first = not_finite(found)
        if first is not None:
            raise diverged("a weight is not finite", moment(self.steps - 1, self._per_epoch), first)
        return found

    def evaluate(self, indices: NDArray[np.int64]) -> Evaluation:
        """See ``Stepper``."""
        return self._network.evaluate(indices, self._classes)

    def prune(self, masks: Mapping[str, Tensor]) -> None:
        """See ``Stepper``."""
        now = self.checkpoint()
        parameters = {name: now.weights[name] for name in self._parameters}
        self._network.prune(pruned(parameters, masks, zero=False))
        self._network.kernel.set_optimizer(*_rule(self._optimizer, moves_idle=bool(self._kinds)))
        self._restore(now)

    def checkpoint(self, checks: Sequence[Check] = (), best: dict[str, Tensor] | None = None) -> Checkpoint:
        """See ``Stepper``."""
        optimizer = {kind: self._network.state(slot) for slot, kind in enumerate(self._kinds)}
        return Checkpoint(self.steps, self.weights(), optimizer, tuple(checks), best)

    def resume(self, checkpoint: Checkpoint) -> None:
        """See ``Stepper``."""
        if checkpoint.masks is not None:
            self.prune(checkpoint.masks)
        self._restore(checkpoint)
        self.steps = checkpoint.step

    def _restore(self, checkpoint: Checkpoint) -> None:
        self._network.place(checkpoint.weights)
        for slot, kind in enumerate(self._kinds):
            self._network.set_state(slot, checkpoint.optimizer[kind])

    def _seeds(self, steps: range) -> NDArray[np.uint64]:
        if self._seed is None or not self._network.program.random:
            return np.empty(0, np.uint64)
        return np.array([self._seed(step) for step in steps], np.uint64)


# What the kernels' optimizers keep, by the number of slots.
_KINDS: dict[int, tuple[str, ...]] = {0: (), 1: ("momentum",), 2: ("mean", "square")}


# Zero in float32, as the kernels compute.
_NO_DECAY = 1e-300


def _rule(optimizer: Sgd | Adam, moves_idle: bool = False) -> tuple[str, dict[str, float]]:
    # Without weight decay the kernels leave out the weights that nothing depends on: without a gradient and
    # a past they stay where they are. Where the masks shrank they have a past that moves them.
    decay = {"weight_decay": optimizer.weight_decay or (_NO_DECAY if moves_idle else 0.0)}
    if isinstance(optimizer, Sgd):
        return "sgd", {"momentum": optimizer.momentum, "nesterov": float(optimizer.nesterov), **decay}
    beta1, beta2 = optimizer.betas
    return "adam", {"beta1": beta1, "beta2": beta2, "eps": optimizer.eps, **decay}
