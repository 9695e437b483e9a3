"""When something is to be done in a training: snapshots, checks, pruning, another order of the examples."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError
from pomona.core.step import Step
from pomona.training.batches import Views
from pomona.training.config import Train


@dataclass(frozen=True)
class Timetable:
    """The steps of one training, counted on its schedule from step 0.

    Args:
        per_epoch: Steps of an epoch.
        first: Where the training begins.
        total: Where it ends.
        snapshots: What is asked for, as it was written, by step.
        every: Steps from one check to the next; None without a stop.
        prune_at: Where masks shrink, rising.
    """

    per_epoch: int
    first: int
    total: int
    snapshots: Mapping[int, Sequence[Step]]
    every: int | None
    prune_at: tuple[int, ...]

    def after(self, step: int) -> int:
        """The next step at which something is to be done: one of those above, or the end of an epoch."""
        listed = sorted({*self.snapshots, *self.prune_at, self.total})
        at = bisect_right(listed, step)
        intervals = [self.per_epoch] if self.every is None else [self.per_epoch, self.every]
        return min([self.total, *listed[at : at + 1], *((step // n + 1) * n for n in intervals)])

    def checked(self, step: int) -> bool:
        """Whether the stop is judged there."""
        return self.every is not None and step % self.every == 0


def make_timetable(
    config: Train, per_epoch: int, validation: int, snapshots: Sequence[Step], prune_at: Sequence[int]
) -> Timetable:
    """The timetable of a training.

    Args:
        config: Duration, start, stop and check.
        per_epoch: Steps of an epoch.
        validation: How many examples the stop is judged on.
        snapshots: Points to be handed out.
        prune_at: Steps at which masks shrink, in any order.

    Raises:
        InputError: One of them is not a moment of the training, or there is nothing to judge the stop on.
    """
    total = config.duration.iterations(per_epoch)
    first = config.first(per_epoch)
    asked = _snapshot_steps(snapshots, per_epoch, first, total)
    every = _check_interval(config, validation, per_epoch, first, total)
    for step in prune_at:
        if not first <= step <= total:
            raise InputError(
                f"pruning at step {step:,} is not within the training from step {first:,} to {total:,}"
            )
    return Timetable(per_epoch, first, total, asked, every, tuple(sorted({int(step) for step in prune_at})))


class Orders:
    """The order of the present epoch, asked for once and checked; and what is seen of its images.

    Args:
        order: The training part in the order of an epoch, counted from 0.
        indices: The training part.
        views: What is seen of the images of an epoch and its order, one row each; None for all of it.
    """

    def __init__(
        self,
        order: Callable[[int], NDArray[np.int64]],
        indices: NDArray[np.int64],
        views: Callable[[int, NDArray[np.int64]], Views] | None = None,
    ) -> None:
        self._order, self._indices, self._views = order, indices, views
        self._epoch = -1
        self._present: NDArray[np.int64] | None = None
        self._seen: Views | None = None

    def __getitem__(self, epoch: int) -> NDArray[np.int64]:
        if self._present is None or epoch != self._epoch:
            found = self._order(epoch)
            # Sorting costs milliseconds: the members are compared once, the length every time. Not their
            # numbers: a subset that an epoch goes through one and a half times has others in each epoch.
            same = len(found) == len(self._indices)
            if same and self._present is None:
                same = np.array_equal(np.unique(found), np.unique(self._indices))
            if not same:
                raise InputError(f"the order of epoch {epoch} is not a permutation of the training part")
            self._seen = None if self._views is None else _checked(self._views(epoch, found), len(found))
            self._epoch, self._present = epoch, found
        return self._present

    def views(self, epoch: int) -> Views | None:
        """What is seen of each image of an epoch, in its order."""
        _ = self[epoch]
        return self._seen


def _checked(views: Views, count: int) -> Views:
    if views.shape != (count, 3) or views.dtype != np.int32:
        raise InputError(f"views: expected int32 of ({count}, 3), got {views.dtype} of {views.shape}")
    return views


def _snapshot_steps(
    snapshots: Sequence[Step], per_epoch: int, first: int, total: int
) -> dict[int, list[Step]]:
    asked: dict[int, list[Step]] = {}
    for written in snapshots:
        step = written.iterations(per_epoch)
        if step > total:
            raise InputError(f"a snapshot at {written} lies behind the end of the training at step {total:,}")
        if step < first:
            raise InputError(
                f"a snapshot at {written} lies before the training, which starts at step {first:,}"
            )
        asked.setdefault(step, []).append(written)
    return asked


def _check_interval(config: Train, validation: int, per_epoch: int, first: int, total: int) -> int | None:
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
    if (first // every + 1) * every > total:
        raise InputError(
            f"check: {config.check} never happens in a training from step {first:,} to {total:,}: checks are "
            "counted from step 0"
        )
    return every
