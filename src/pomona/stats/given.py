"""Checks of what is given to a statistic: each refusal says what was given and what was expected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pomona.core.errors import InputError, unknown

Floats = NDArray[np.float64]
Alternative = Literal["two-sided", "greater", "less"]
ALTERNATIVES: tuple[Alternative, ...] = ("two-sided", "greater", "less")


def sample(values: ArrayLike, what: str = "values", least: int = 2) -> Floats:
    """One list of finite numbers as float64.

    Raises:
        InputError: Not a list, shorter than ``least``, or a number is not finite (says which).
    """
    given = _numbers(values, what)
    if given.ndim != 1 or given.size < least:
        raise InputError(f"{what}: expected a list of at least {least} numbers, got shape {given.shape}")
    return given


def table(values: ArrayLike, what: str, rows: str, columns: str) -> Floats:
    """A table of finite numbers, at least two rows and one column."""
    given = _numbers(values, what)
    if given.ndim != 2 or given.shape[0] < 2 or given.shape[1] < 1:
        raise InputError(
            f"{what}: expected a table of at least 2 {rows} x 1 {columns}, got shape {given.shape}"
        )
    return given


def _numbers(values: ArrayLike, what: str) -> Floats:
    try:
        given = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{what}: expected numbers in lists of equal length, got {_short(values)}") from None
    bad = np.argwhere(~np.isfinite(given))
    if len(bad):
        place = " x ".join(str(i + 1) for i in bad[0])
        raise InputError(
            f"{what}: value {place} of {given.shape} is {given[tuple(bad[0])]}: "
            f"failed replicates are counted apart, leave them out"
        )
    return given


def differences(a: ArrayLike, b: ArrayLike | float, least: int = 2) -> Floats:
    """Differences a - b, pair by pair; ``b`` may be one value that the arm is held against.

    Raises:
        InputError: Unequal lengths, fewer than ``least`` pairs, or a number that is not finite.
    """
    left = sample(a, "a", least)
    right = np.full_like(left, bounded(b, "b")) if np.ndim(b) == 0 else sample(b, "b", least)
    if left.size != right.size:
        raise InputError(
            f"a has {left.size} values and b {right.size}: a paired test needs one of each a replicate"
        )
    # What differs by a few roundings only is equal.
    apart = np.abs(left - right) > 1e-14 * np.maximum(np.abs(left), np.abs(right))
    return np.where(apart, left - right, 0.0)


def bounded(value: Any, what: str, low: float = -np.inf, high: float = np.inf) -> float:
    """One number strictly between ``low`` and ``high``."""
    number = float(value) if isinstance(value, int | float | np.number) else float("nan")
    if not low < number < high:
        bounds = "a finite number" if low == -np.inf else f"a number above {low:g}"
        bounds += f" and below {high:g}" if high < np.inf else ""
        raise InputError(f"{what}: expected {bounds}, got {value!r}")
    return number


def level_of(level: float) -> float:
    """The level of an interval, above 0 and below 1."""
    return bounded(level, "level", 0, 1)


def whole(value: Any, what: str, least: int) -> int:
    """One integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{what}: expected an integer of at least {least}, got {value!r}")
    return int(value)


def one_of(value: str, what: str, choices: Iterable[str]) -> str:
    """A known name."""
    known = list(choices)
    if value not in known:
        raise InputError(unknown(what, value, known))
    return value


def alternative_of(value: str) -> Alternative:
    """One of ``ALTERNATIVES``."""
    return cast(Alternative, one_of(value, "alternative", ALTERNATIVES))


def columns_of(frame: Any, names: Sequence[str], what: str = "column") -> None:
    """Every name is a column of the frame, and no value in it is missing.

    Raises:
        InputError: A column is not there (nearest is named) or has missing values (says how many).
    """
    for name in names:
        if name not in frame.columns:
            raise InputError(unknown(what, name, [str(column) for column in frame.columns]))
        lost = int(frame[name].isna().sum())
        if lost:
            raise InputError(
                f"column {name!r}: {lost} of {len(frame)} values are missing; "
                f"failed runs are counted apart, leave those rows out"
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
