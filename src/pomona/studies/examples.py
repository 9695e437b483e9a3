"""The training part of a job's data, with what a control spoils of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pomona.core.streams import Stream
from pomona.data.augmentation import Views, epoch_views
from pomona.data.choice import Augmentation, Corruption, DataChoice
from pomona.data.corruption import Corrupted, corrupt
from pomona.data.splits import epoch_order, split
from pomona.studies import bench
from pomona.training.batches import Examples

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Training:
    """What a training, or a criterion, reads. A criterion reads images as they are, not their views.

    Args:
        examples: All training images and labels.
        indices: Those that an epoch visits: each once, or a subset as often as it takes for equal steps.
        distinct: The images that train, each once.
        validation: Those held back.
        order: Number of an epoch to its order.
        facts: What a control changed, for the record.
        views: Number of an epoch and its order to what a training sees of its images; None for all of it.
    """

    examples: Examples
    indices: Indices
    distinct: Indices
    validation: Indices
    order: Callable[[int], Indices]
    facts: Mapping[str, Any] = field(default_factory=dict)
    views: Callable[[int, Indices], Views] | None = None


def training_part(how: Mapping[str, Any], params: Mapping[str, Any]) -> Training:
    """The training part of a job's data set.

    Args:
        how: What execution needs: the data set and where it is.
        params: Parameters of the state: data and seeds.

    Raises:
        InputError: A control cannot change anything of it.
        StateFailure: The data changed since the run began.
    """
    examples = bench.examples(how, "train")
    seeds = params["seeds"]
    held_back = params["data"]["validation"]
    whole, validation = np.arange(len(examples)), np.arange(0)
    if held_back:
        whole, validation = split(len(examples), held_back, Stream("split", seeds["split"]))
    order_seed = seeds.get("order", 0)
    choice = DataChoice.model_validate(how["dataset"])
    if choice.corrupt is None:
        order = _order(whole, order_seed, len(whole))
        views = _views(choice.augment, seeds, len(examples), len(whole))
        return Training(examples, whole, whole, validation, order, views=views)
    drawn = tuple((name, seeds[name]) for name in (*choice.corrupt.streams, "split") if name in seeds)
    spoilt = _spoilt(choice, how["folder"], how["fingerprint"], drawn, held_back)
    changed = Examples(spoilt.images, spoilt.labels, examples.scale, examples.shift)
    order = _order(spoilt.indices, order_seed, len(whole))
    facts = {"corruption": asdict(spoilt.evidence)}
    views = _views(choice.augment, seeds, len(examples), len(spoilt.indices))
    return Training(changed, order(0), spoilt.indices, validation, order, facts, views)


def _order(indices: Indices, seed: int, length: int) -> Callable[[int], Indices]:
    stream = Stream("order", seed)
    return lambda epoch: epoch_order(indices, stream, epoch, length)


def _views(
    augmentation: Augmentation | None, seeds: Mapping[str, int], count: int, distinct: int
) -> Callable[[int, Indices], Views] | None:
    # A criterion has no seed of it: only a training does.
    if augmentation is None or "augmentation" not in seeds:
        return None
    stream = Stream("augmentation", seeds["augmentation"])
    return lambda epoch, order: epoch_views(augmentation, order, count, distinct, stream, epoch)


@lru_cache(maxsize=2)
def _spoilt(
    choice: DataChoice, folder: str, fingerprint: str, seeds: tuple[tuple[str, int], ...], held_back: int
) -> Corrupted:
    """Once for the many trainings that a worker runs on the same."""
    found, index_of = bench.dataset(choice.name, folder, fingerprint), dict(seeds)
    whole = np.arange(len(found.train_labels))
    if held_back:
        whole = split(len(whole), held_back, Stream("split", index_of["split"]))[0]
    corruption = choice.corrupt or Corruption(examples=1.0)
    return corrupt(
        found.train_images,
        found.train_labels,
        found.info.classes,
        whole,
        corruption,
        lambda name: Stream(name, index_of[name]),
    )
