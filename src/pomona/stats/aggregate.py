"""Summaries over replicates of several tasks, with stratified bootstrap intervals.

Scores are one list of replicates for every task, of any lengths: a mapping from task to scores, or a table
(replicates, tasks). A resample draws replicates anew within each task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import trim_mean

from pomona.core.errors import InputError
from pomona.stats.draws import Draws
from pomona.stats.given import level_of, sample, table, whole
from pomona.stats.result import Result

Floats = NDArray[np.float64]
Scores = Mapping[str, Any] | ArrayLike

DRAWS = 1_999


def interquartile_mean(scores: Scores, *, level: float = 0.95, seed: int = 0, draws: int = DRAWS) -> Result:
    """The mean of the middle half of all scores: less at the mercy of single runs than the mean.

    Source:
        Agarwal et al. 2021, arXiv:2108.13264; ``scipy.stats.trim_mean``.
    """
    tasks = tasks_of(scores)
    resampled = _resampled([tasks], lambda one: _trimmed(np.concatenate(one, axis=-1)), seed, draws)
    seen = float(trim_mean(np.concatenate(tasks), 0.25))
    return _result("interquartile mean", seen, resampled, [tasks], level)


def probability_of_improvement(
    a: Scores, b: Scores, *, level: float = 0.95, seed: int = 0, draws: int = DRAWS
) -> Result:
    """The chance that a run of a beats one of b on a task taken at random; ties count as half.

    Raises:
        InputError: The arms have different tasks.

    Source:
        Agarwal et al. 2021, arXiv:2108.13264: the mean over tasks of the Mann-Whitney U / (n m).
    """
    _same_tasks(a, b)
    left, right = tasks_of(a), tasks_of(b)

    def improvement(one: Sequence[Floats], other: Sequence[Floats]) -> Floats:
        return np.asarray(np.mean([_beats(x, y) for x, y in zip(one, other, strict=True)], axis=0))

    seen = float(improvement(left, right))
    resampled = _resampled([left, right], improvement, seed, draws)
    return _result("probability of improvement", seen, resampled, [left, right], level)


def performance_profile(
    scores: Scores, thresholds: ArrayLike, *, level: float = 0.95, seed: int = 0, draws: int = DRAWS
) -> tuple[Result, ...]:
    """For each threshold the share of runs, averaged over tasks, that score above it.

    Each interval is for its threshold alone, not for the whole curve.

    Source:
        Dolan and More 2002; Agarwal et al. 2021, arXiv:2108.13264 (run-score distributions).
    """
    tasks, levels = tasks_of(scores), sample(thresholds, "thresholds", 1)

    def above(one: Sequence[Floats]) -> Floats:
        return np.asarray(np.mean([(task[..., None] > levels).mean(axis=-2) for task in one], axis=0))

    seen, resampled = above(tasks), _resampled([tasks], above, seed, draws)
    return tuple(
        _result(f"share above {threshold:g}", float(share), column, [tasks], level)
        for threshold, share, column in zip(levels, seen, resampled.T, strict=True)
    )


def tasks_of(scores: Scores) -> list[Floats]:
    """The replicates of every task.

    Raises:
        InputError: There is no task, or one has fewer than two replicates.
    """
    if isinstance(scores, Mapping):
        if not scores:
            raise InputError("scores: expected at least one task, got none")
        return [sample(values, f"task {name!r}") for name, values in scores.items()]
    return list(table(scores, "scores", "replicates", "tasks").T)


def _same_tasks(a: Scores, b: Scores) -> None:
    names = [list(x) if isinstance(x, Mapping) else [*range(len(tasks_of(x)))] for x in (a, b)]
    if names[0] != names[1]:
        raise InputError(f"both arms need the same tasks in the same order, got {names[0]} and {names[1]}")


def _trimmed(values: Floats) -> Floats:
    return np.asarray(trim_mean(values, 0.25, axis=-1))


def _beats(a: Floats, b: Floats) -> Floats:
    left, right = a[..., :, None], b[..., None, :]
    return np.asarray(((left > right) + 0.5 * (left == right)).mean(axis=(-2, -1)))


def _resampled(
    arms: Sequence[Sequence[Floats]], statistic: Callable[..., Floats], seed: int, draws: int
) -> Floats:
    """The statistic of resamples, drawn within each task of each arm."""
    source, count = Draws("stratified bootstrap", seed), whole(draws, "draws", 100)
    drawn = [[task[source.indices(task.size, count, task.size)] for task in arm] for arm in arms]
    return np.asarray(statistic(*drawn))


def _result(
    method: str, seen: float, resampled: Floats, arms: Sequence[Sequence[Floats]], level: float
) -> Result:
    tails = [(1 - level_of(level)) / 2, (1 + level) / 2]
    low, high = (float(end) for end in np.quantile(resampled, tails))
    fewest = min(task.size for arm in arms for task in arm)
    notes = (f"{fewest} replicates a task: percentile intervals cover too seldom",) if fewest < 10 else ()
    return Result(f"{method}, stratified bootstrap", seen, low, high, level, None, fewest, notes=notes)
