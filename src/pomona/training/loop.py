"""The loop: from weights at step 0 to weights at the end, with nothing hidden between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pomona.core.errors import InputError, Interrupted
from pomona.core.step import Step, steps_per_epoch
from pomona.training.batches import Examples, Views
from pomona.training.checkpoint import Checkpoint
from pomona.training.config import Stop, Train
from pomona.training.failures import diverged, moment
from pomona.training.narrowing import check_narrowed, copied
from pomona.training.stepper import Stepper
from pomona.training.stepping import make_stepper
from pomona.training.stopping import Check, Watch
from pomona.training.timetable import Orders, Timetable, make_timetable

_PROGRESS_SECONDS = 0.2

Tensors = dict[str, Tensor]
OnSnapshot = Callable[[Step, Tensors, Tensors], None]
OnPrune = Callable[[int, Tensors, Tensors], Tensors]


@dataclass(frozen=True)
class Trained:
    """What a training gives.

    Args:
        weights: Parameters and buffers by name, on the CPU. Those of the best check where the stop says so.
        steps: How many optimizer steps were taken.
        stopped_at: The step whose weights these are, where a stop decided it; None at the full duration.
        checks: Every evaluation on the validation part.
        masks: Those of ``weights``. Bool, True = kept, by parameter, on the CPU.
    """

    weights: dict[str, Tensor]
    steps: int
    stopped_at: Step | None
    checks: list[Check]
    masks: dict[str, Tensor]


def train(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    examples: Examples,
    indices: NDArray[np.int64],
    validation: NDArray[np.int64],
    config: Train,
    *,
    order: Callable[[int], NDArray[np.int64]],
    dropout_seed: Callable[[int], int],
    device: str = "cpu",
    engine: str = "torch",
    snapshots: Sequence[Step] = (),
    on_snapshot: OnSnapshot | None = None,
    checkpoint: Checkpoint | None = None,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
    checkpoint_seconds: float = 30.0,
    interrupted: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    random_forward: bool = True,
    prune_at: Sequence[int] = (),
    on_prune: OnPrune | None = None,
    frozen: bool = False,
    views: Callable[[int, NDArray[np.int64]], Views] | None = None,
) -> Trained:
    """Train a module under masks. Pruned weights and their optimizer state are zero after every step.

    The result depends on the first arguments, ``order``, ``dropout_seed``, ``device``, ``engine``,
    ``prune_at``, ``on_prune``, ``frozen`` and ``views`` alone: snapshots, checkpoints, an interruption and a
    resume change no bit of it. Steps are counted from step 0 of the schedule, also where ``config.start`` is
    later.

    Args:
        module: What computes. On torch it takes on the weights, and its layout is used as it is.
        weights: Where to start: every parameter and buffer by name; zero under the masks, or ``frozen``.
        masks: Bool, True = kept, by parameter. A parameter without one is dense.
        examples: Where both parts of the data come from.
        indices: The training part.
        validation: The part that ``config.stop`` is judged on; may be empty without a stop.
        config: Optimizer, batch, duration, schedule and stop.
        order: The training part in the order of an epoch, counted from 0: a permutation of ``indices``.
        dropout_seed: Seed of the random numbers of a step, counted from 0.
        device: ``cpu`` or a CUDA device.
        engine: ``torch``, which runs any module, or ``lanes``, which runs what ``lanes.trace`` can read.
        snapshots: Points whose weights are handed out on the way; 0 is the start. A run that stops before
            one does not reach it.
        on_snapshot: Takes each snapshot: its weights, and the masks of that moment. After a resume those up
            to the checkpoint are not repeated.
        checkpoint: Where to go on, instead of at ``weights``.
        on_checkpoint: Takes a checkpoint about every ``checkpoint_seconds`` and on interruption.
        checkpoint_seconds: See ``on_checkpoint``.
        interrupted: Asked before every step on torch; on lanes about every twentieth of a second, also within
            a step that takes longer.
        on_progress: Told the steps done and to do, a few times a second and at the end.
        random_forward: Whether the module may draw random numbers. A network of the catalogue draws none
            and need not pay for the seeding of each step.
        prune_at: Steps after which the masks shrink. Snapshots and checks of the same step come before, so
            that a snapshot of the last step is not the result where the masks shrink there. A stop ends
            the training before, too; weights of a best check have the masks they were checked with.
        on_prune: Gives the masks from there on: of the step, and copies of weights and masks. They must prune
            what is pruned; a parameter that is left out is dense. It must depend on these arguments alone.
        frozen: Whether pruned weights keep the values that they start with, bit for bit, and take part in the
            forward pass (Zhou et al. 2019, arXiv:1905.01067), instead of being zero. On torch alone.
        views: What the training sees of its images, as ``batches.Views``: of an epoch and its order, a row
            for each entry. What is evaluated is seen as it is. None where the training does so, too.

    Raises:
        CheckpointError: The checkpoint is not one of this training (before any step or snapshot).
        InputError: The arguments do not fit each other or the module, or the engine cannot run it here
            (before any step), or masks do not shrink.
        Interrupted: ``interrupted`` said so; a checkpoint was handed out.
        StateFailure: It diverged, the module failed, or memory ran out.
    """
    if len(indices) == 0:
        raise InputError("the training part is empty")
    if prune_at and on_prune is None:
        raise InputError("prune_at needs on_prune, which gives the masks")
    if prune_at and frozen:
        raise InputError("pruning during training sets weights to zero, and frozen ones keep their values")
    per_epoch = steps_per_epoch(len(indices), config.batch_size)
    asked = snapshots if on_snapshot is not None else ()
    table = make_timetable(config, per_epoch, len(validation), asked, prune_at)
    stepper = make_stepper(
        engine,
        module,
        weights,
        masks,
        examples,
        config,
        per_epoch,
        seed=dropout_seed if random_forward else None,
        device=device,
        frozen=frozen,
    )
    names = list(module.state_dict())
    run = _Run(stepper, table, config.stop, masks, names, validation, on_snapshot, on_prune, on_checkpoint)
    if checkpoint is None:
        run.hand_out()
        run.prune()
    else:
        run.resume(checkpoint, frozen)
    orders = Orders(order, indices, views)
    goal = table.after(stepper.steps)
    saved = told = time.monotonic()
    while stepper.steps < table.total and not run.ended:
        if interrupted():
            run.save()
            raise Interrupted(f"stopped on request after {run.taken:,} of {run.to_take:,} steps")
        epoch = stepper.steps // per_epoch
        stepper.advance(goal, orders[epoch], interrupted, orders.views(epoch))
        if stepper.steps == goal:
            run.hand_out()
            run.check()
            run.prune()
            goal = table.after(goal)
        now = time.monotonic()
        if now - saved >= checkpoint_seconds and stepper.steps < table.total and not run.ended:
            run.save()
            saved = now
        if now - told >= _PROGRESS_SECONDS:
            on_progress(run.taken, run.to_take)
            told = now
    on_progress(run.taken, run.to_take)
    return run.result()


class _Run:
    """What a training consists of besides the steps themselves: masks, checks, and what is handed out."""

    def __init__(
        self,
        stepper: Stepper,
        table: Timetable,
        stop: Stop | None,
        masks: Mapping[str, Tensor],
        names: Sequence[str],
        validation: NDArray[np.int64],
        on_snapshot: OnSnapshot | None,
        on_prune: OnPrune | None,
        on_checkpoint: Callable[[Checkpoint], None] | None,
    ) -> None:
        self.stepper, self.table, self.watch = stepper, table, Watch(stop)
        self.masks = copied(masks, names)
        self.ended = False
        self._names, self._validation = names, validation
        self._on_snapshot, self._on_prune, self._on_checkpoint = on_snapshot, on_prune, on_checkpoint

    @property
    def taken(self) -> int:
        """Steps that were taken."""
        return self.stepper.steps - self.table.first

    @property
    def to_take(self) -> int:
        """Steps of the full duration."""
        return self.table.total - self.table.first

    def resume(self, checkpoint: Checkpoint, frozen: bool) -> None:
        """Go on from a checkpoint."""
        stop, table = self.watch.stop, self.table
        keeps_best = stop is not None and stop.best is not None
        start = self.stepper.checkpoint(best=self.stepper.weights() if keeps_best else None)
        checkpoint.check_fits(start, self.masks, table.total, table.every, table.prune_at, frozen)
        self.stepper.resume(checkpoint)
        best_weights = {name: checkpoint.best[name] for name in start.weights} if checkpoint.best else None
        best_masks = self.masks if checkpoint.best_masks is None else checkpoint.best_masks
        self.watch = Watch(stop, checkpoint.checks, best_weights, copied(best_masks, self._names))
        if checkpoint.masks is not None:
            self.masks = copied(checkpoint.masks, self._names)

    def save(self) -> None:
        """Hand out a checkpoint; a pruning of the same step is in it."""
        if self._on_checkpoint is None:
            return
        watch = self.watch
        now = self.stepper.checkpoint(watch.checks, watch.best_weights)
        if any(step <= now.step for step in self.table.prune_at):
            best_masks = None if now.best is None else watch.best_masks
            now = replace(now, masks=copied(self.masks), best_masks=best_masks)
        self._on_checkpoint(now)

    def hand_out(self) -> None:
        """Hand out the snapshots of this step."""
        for written in self.table.snapshots.get(self.stepper.steps, ()):
            assert self._on_snapshot is not None
            self._on_snapshot(written, self.stepper.weights(), copied(self.masks))

    def check(self) -> None:
        """Judge the stop where this step is one of its checks."""
        step = self.stepper.steps
        if not self.table.checked(step):
            return
        weights = self.stepper.weights()
        found = self.stepper.evaluate(self._validation)
        if not math.isfinite(found.loss):
            when = moment(step - 1, self.table.per_epoch)
            raise diverged(f"the validation loss is {found.loss}", when, first=None)
        check = Check(step, found.accuracy, found.loss)
        self.ended = self.watch.judge(check, weights, copied(self.masks))

    def prune(self) -> None:
        """Shrink the masks where this step is one at which they do, and the training goes on."""
        step = self.stepper.steps
        if self.ended or step not in self.table.prune_at:
            return
        assert self._on_prune is not None
        given = self._on_prune(step, self.stepper.weights(), copied(self.masks))
        masks = copied(given, self._names)
        check_narrowed(self.masks, masks, step)
        self.stepper.prune(masks)
        self.masks = masks

    def result(self) -> Trained:
        """What the training gives."""
        watch, final, best = self.watch, self.stepper.weights(), self.watch.best_step()
        if best is not None and watch.best_weights is not None and watch.best_masks is not None:
            return Trained(watch.best_weights, self.taken, Step(best, "it"), watch.checks, watch.best_masks)
        stopped_at = Step(self.stepper.steps, "it") if self.ended else None
        return Trained(final, self.taken, stopped_at, watch.checks, self.masks)
