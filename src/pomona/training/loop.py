"""The loop: from weights at step 0 to weights at the end, with nothing hidden between."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pomona.core.errors import InputError, Interrupted
from pomona.core.step import Step, steps_per_epoch
from pomona.training.batches import Examples
from pomona.training.checkpoint import Checkpoint
from pomona.training.config import Train
from pomona.training.failures import diverged, moment
from pomona.training.stepping import make_stepper
from pomona.training.stopping import Check, Watch

_PROGRESS_SECONDS = 0.2

OnSnapshot = Callable[[Step, dict[str, Tensor]], None]


@dataclass(frozen=True)
class Trained:
    """What a training gives.

    Args:
        weights: Parameters and buffers by name, on the CPU. Those of the best check where the stop says so.
        steps: How many optimizer steps were taken.
        stopped_at: The step whose weights these are, where a stop decided it; None at the full duration.
        checks: Every evaluation on the validation part.
    """

    weights: dict[str, Tensor]
    steps: int
    stopped_at: Step | None
    checks: list[Check]


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
) -> Trained:
    """Train a module under masks. Pruned weights and their optimizer state are zero after every step.

    The result depends on the first arguments, ``order``, ``dropout_seed``, ``device`` and ``engine`` alone:
    snapshots, checkpoints, an interruption and a resume change no bit of it.

    Args:
        module: What computes. On torch it takes on the weights, and its layout is used as it is.
        weights: Where to start: every parameter and buffer by name; zero under the masks.
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
        on_snapshot: Takes each snapshot. After a resume those up to the checkpoint are not repeated.
        checkpoint: Where to go on, instead of at ``weights``.
        on_checkpoint: Takes a checkpoint about every ``checkpoint_seconds`` and on interruption.
        checkpoint_seconds: See ``on_checkpoint``.
        interrupted: Asked before every step on torch; on lanes about every twentieth of a second, also within
            a step that takes longer.
        on_progress: Told the steps done and to do, a few times a second and at the end.
        random_forward: Whether the module may draw random numbers. A network of the catalogue draws none
            and need not pay for the seeding of each step.

    Raises:
        CheckpointError: The checkpoint is not one of this training (before any step or snapshot).
        InputError: The arguments do not fit each other or the module, or the engine cannot run it here
            (before any step).
        Interrupted: ``interrupted`` said so; a checkpoint was handed out.
        StateFailure: It diverged, the module failed, or memory ran out.
    """
    if len(indices) == 0:
        raise InputError("the training part is empty")
    per_epoch = steps_per_epoch(len(indices), config.batch_size)
    total = config.duration.iterations(per_epoch)
    asked = _snapshot_steps(snapshots, per_epoch, total) if on_snapshot is not None else {}
    every = _check_interval(config, len(validation), per_epoch, total)
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
    )
    watch = Watch(config.stop)
    if checkpoint is not None:
        keeps_best = config.stop is not None and config.stop.best is not None
        start = stepper.checkpoint(best=stepper.weights() if keeps_best else None)
        checkpoint.check_fits(start, masks, total, every)
        stepper.resume(checkpoint)
        best_weights = {name: checkpoint.best[name] for name in start.weights} if checkpoint.best else None
        watch = Watch(config.stop, checkpoint.checks, best_weights)

    def save() -> None:
        if on_checkpoint is not None:
            on_checkpoint(stepper.checkpoint(watch.checks, watch.best_weights))

    def hand_out() -> None:
        for written in asked.get(stepper.steps, ()):
            assert on_snapshot is not None
            on_snapshot(written, stepper.weights())

    if checkpoint is None:
        hand_out()
    orders = _Orders(order, indices)
    events = _Events(asked, every, per_epoch, total)
    goal = events.after(stepper.steps)
    saved = told = time.monotonic()
    ended = False
    while stepper.steps < total and not ended:
        if interrupted():
            save()
            raise Interrupted(f"stopped on request after {stepper.steps:,} of {total:,} steps")
        stepper.advance(goal, orders[stepper.steps // per_epoch], interrupted)
        if stepper.steps == goal:
            hand_out()
            if every is not None and goal % every == 0:
                now_weights = stepper.weights()
                found = stepper.evaluate(validation)
                if not math.isfinite(found.loss):
                    raise diverged(
                        f"the validation loss is {found.loss}", moment(goal - 1, per_epoch), first=None
                    )
                ended = watch.judge(Check(goal, found.accuracy, found.loss), now_weights)
            goal = events.after(goal)
        now = time.monotonic()
        if now - saved >= checkpoint_seconds and stepper.steps < total and not ended:
            save()
            saved = now
        if now - told >= _PROGRESS_SECONDS:
            on_progress(stepper.steps, total)
            told = now
    on_progress(stepper.steps, total)
    final, best = stepper.weights(), watch.best_step()
    if best is not None and watch.best_weights is not None:
        return Trained(watch.best_weights, stepper.steps, Step(best, "it"), watch.checks)
    return Trained(final, stepper.steps, Step(stepper.steps, "it") if ended else None, watch.checks)


class _Events:
    """The steps at which something is to be done: a snapshot, a check, another order, the end."""

    def __init__(self, asked: Iterable[int], every: int | None, per_epoch: int, total: int) -> None:
        self._asked, self._total = sorted(asked), total
        self._intervals = [per_epoch] if every is None else [per_epoch, every]

    def after(self, step: int) -> int:
        """The next of them."""
        at = bisect_right(self._asked, step)
        regular = ((step // n + 1) * n for n in self._intervals)
        return min([self._total, *self._asked[at : at + 1], *regular])


class _Orders:
    """The order of the present epoch, asked for once and checked."""

    def __init__(self, order: Callable[[int], NDArray[np.int64]], indices: NDArray[np.int64]) -> None:
        self._order, self._indices = order, indices
        self._epoch = -1
        self._present: NDArray[np.int64] | None = None

    def __getitem__(self, epoch: int) -> NDArray[np.int64]:
        if self._present is None or epoch != self._epoch:
            found = self._order(epoch)
            # Sorting costs milliseconds: the members are compared once, the length every time.
            same = len(found) == len(self._indices)
            if same and self._present is None:
                same = np.array_equal(np.sort(found), np.sort(self._indices))
            if not same:
                raise InputError(f"the order of epoch {epoch} is not a permutation of the training part")
            self._epoch, self._present = epoch, found
        return self._present


def _snapshot_steps(snapshots: Sequence[Step], per_epoch: int, total: int) -> dict[int, list[Step]]:
    asked: dict[int, list[Step]] = {}
    for written in snapshots:
        step = written.iterations(per_epoch)
        if step > total:
            raise InputError(f"a snapshot at {written} lies behind the end of the training at step {total:,}")
        asked.setdefault(step, []).append(written)
    return asked


def _check_interval(config: Train, validation: int, per_epoch: int, total: int) -> int | None:
    if config.stop is None or config.check is None:
        return None
    if validation == 0:
        raise InputError(
            "stop is judged on the validation part, which is empty; give the data validation: 5000"
        )
    every = config.check.iterations(per_epoch)
    if every > total:
        raise InputError(
            f"check: {config.check} is longer than the training of {total:,} steps: it never happens"
        )
    return every
