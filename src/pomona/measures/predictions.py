"""Predictions to numbers: accuracies, whether they beat guessing, agreement of networks, their average."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError

Counts = Sequence[int] | NDArray[np.integer]
Classes = Sequence[int] | NDArray[np.integer]


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


def agreement(a: Classes, b: Classes) -> float:
    """Share of examples of which two networks predict the same class, right or wrong.

    Args:
        a: Predicted class of each example. Shape ``(n,)``.
        b: The other network's, of the same examples.

    Raises:
        InputError: The shapes differ, there is no example, or a class is no whole number.

    Source:
        Paganini & Forde 2020, arXiv:2001.05050, Figure 14; theirs is the number, not the share, of examples.

    >>> agreement([3, 1, 4, 1], [3, 1, 4, 5])
    0.75
    """
    first, second = _both(a, b)
    return float(np.count_nonzero(first == second) / len(first))


def kappa(a: Classes, b: Classes, classes: int) -> float | None:
    """Cohen's kappa: agreement beyond that of independent guesses with the same shares of the classes.

    Args:
        a: Predicted class of each example, from 0. Shape ``(n,)``.
        b: The other network's, of the same examples.
        classes: How many classes there are. One that nobody predicts changes nothing.

    Returns:
        1 for equal predictions, 0 for what chance gives, below 0 for less. None where both predict one and
        the same class throughout: chance then agrees on everything too, and kappa is 0 / 0.

    Raises:
        InputError: As ``agreement``; or a class is out of range.

    Source:
        Cohen 1960, Educational and Psychological Measurement 20.
    """
    first, second = _both(a, b)
    for predicted in (first, second):
        if predicted.min() < 0 or predicted.max() >= classes:
            wrong = int(predicted.min() if predicted.min() < 0 else predicted.max())
            raise InputError(f"expected predicted classes from 0 to {classes - 1}, got {wrong}")
    # In whole numbers, n squared times each share: 0 / 0 is then met exactly.
    n, same = len(first), int(np.count_nonzero(first == second))
    counts = (np.bincount(predicted, minlength=classes) for predicted in (first, second))
    chance = sum(int(x) * int(y) for x, y in zip(*counts, strict=True))
    return None if chance == n * n else (n * same - chance) / (n * n - chance)


def averaged(probabilities: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
    """The prediction of an ensemble: the mean of its members' probabilities.

    The class that it predicts is the ``argmax`` of a row; of tied classes that is the first. Sums of float16
    are exact in float64, so the order of members that are stored as such makes no difference.

    Args:
        probabilities: Of each member, shape ``(n, classes)``.

    Returns:
        Shape ``(n, classes)``.

    Raises:
        InputError: There is no member, or shapes differ.

    Source:
        Paganini & Forde 2020, arXiv:2001.05050, Table 2.
    """
    shapes = [member.shape for member in probabilities]
    if not shapes:
        raise InputError("an average needs at least one member, got none")
    if len(shapes[0]) != 2 or len(set(shapes)) > 1:
        raise InputError(
            f"expected probabilities of one shape (n, classes), got {', '.join(map(str, shapes))}"
        )
    total = np.zeros(shapes[0], np.float64)
    for member in probabilities:
        total += member
    return (total / len(shapes)).astype(np.float32)


def _both(a: Classes, b: Classes) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    first, second = np.asarray(a), np.asarray(b)
    if first.ndim != 1 or first.shape != second.shape:
        raise InputError(f"expected two predictions for each example, got {first.shape} and {second.shape}")
    if not len(first):
        raise InputError("agreement needs at least one example, got none")
    for predicted in (first, second):
        if not np.issubdtype(predicted.dtype, np.integer):
            raise InputError(f"expected predicted classes as whole numbers, got {predicted.dtype}")
    return first, second
