"""Counts of right and wrong predictions to accuracies, and whether they beat guessing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError

Counts = Sequence[int] | NDArray[np.integer]


@dataclass(frozen=True)
class Accuracy:
    """Shares of right predictions, in [0, 1].

    Args:
        total: Over all examples.
        classes: Of each class; NaN for a class without examples.
    """

    total: float
    classes: tuple[float, ...]


def accuracy(correct: Counts, examples: Counts) -> Accuracy:
    """Accuracy in total and per class.

    Args:
        correct: Right predictions of each class.
        examples: Examples of each class.

    Raises:
        InputError: The lengths differ, there is no example, or a class has more right than it has examples.
    """
    right, given = np.asarray(correct, dtype=np.int64), np.asarray(examples, dtype=np.int64)
    if right.ndim != 1 or right.shape != given.shape:
        raise InputError(f"expected two counts for each class, got shapes {right.shape} and {given.shape}")
    bad = np.flatnonzero((right < 0) | (right > given))
    if bad.size:
        raise InputError(f"class {bad[0]}: {right[bad[0]]} right predictions of {given[bad[0]]} examples")
    if given.sum() == 0:
        raise InputError("accuracy needs at least one example, got none")
    classes = np.divide(right, given, out=np.full(right.shape, np.nan), where=given > 0)
    return Accuracy(float(right.sum() / given.sum()), tuple(float(share) for share in classes))


def chance_accuracy(examples: Counts) -> float:
    """The accuracy of always guessing the most frequent class.

    >>> chance_accuracy([1135, 8865])
    0.8865

    Raises:
        InputError: There is no example.
    """
    counts = np.asarray(examples, dtype=np.int64)
    if counts.size == 0 or counts.sum() <= 0:
        raise InputError("chance accuracy needs at least one example, got none")
    return float(counts.max() / counts.sum())


def at_chance(correct: int, total: int, chance: float) -> bool:
    """Whether an accuracy is not above chance by more than two binomial standard errors.

    The standard error is that of guessing, sqrt(chance (1 - chance) / total). Accuracies below chance
    count as at chance: nothing was learned that helps.

    Args:
        correct: Right predictions.
        total: Examples.
        chance: The accuracy of guessing, see ``chance_accuracy``.

    Raises:
        InputError: Counts or chance out of range.
    """
    if not 0 <= correct <= total or total == 0:
        raise InputError(
            f"expected right predictions from 0 to at least one example, got {correct} of {total}"
        )
    if not 0 <= chance <= 1:
        raise InputError(f"expected a chance accuracy from 0 to 1, got {chance}")
    return correct / total <= chance + 2 * math.sqrt(chance * (1 - chance) / total)
