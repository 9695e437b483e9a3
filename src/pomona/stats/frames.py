"""From a tidy frame to the pairs that a test compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pomona.core.errors import InputError, unknown


@dataclass(frozen=True)
class Pairs:
    """Two arms, paired.

    Args:
        a: Values of the first arm. Shape (n,).
        b: Values of the second, in the same order.
        keys: What they are paired by, such as the replicate.
        lost: Keys that lack a value in one arm or both, failures among them: survivors alone are compared.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    keys: tuple[Any, ...]
    lost: tuple[Any, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be said of pairs that are missing."""
        if not self.lost:
            return ()
        names = ", ".join(map(str, self.lost))
        return (f"{len(self.lost)} of {len(self.lost) + len(self.keys)} pairs are incomplete: {names}",)


def pairs(
    frame: pd.DataFrame, outcome: str, arm: str, a: Any, b: Any, by: str | Sequence[str] = "replicate"
) -> Pairs:
    """The values of two arms, one of each for every key.

    Args:
        frame: Tidy: one row for each arm and key. A missing outcome is a failed run.
        outcome: Column that is compared.
        arm: Column that tells the arms apart.
        a: Its value for the first arm.
        b: Its value for the second.
        by: Column or columns that pair.

    Raises:
        InputError: A column or an arm is unknown, or an arm has several rows for one key: some factor is then
            neither fixed nor averaged.
    """
    names = [by] if isinstance(by, str) else list(by)
    for name in (outcome, arm, *names):
        if name not in frame.columns:
            raise InputError(unknown("column", name, [str(column) for column in frame.columns]))
    sides = [_arm(frame, outcome, arm, value, names) for value in (a, b)]
    joined = pd.concat(sides, axis=1, keys=["a", "b"]).sort_index()
    complete = joined.dropna()
    lost = joined.index.difference(complete.index)
    return Pairs(
        complete["a"].to_numpy(np.float64),
        complete["b"].to_numpy(np.float64),
        tuple(complete.index),
        tuple(lost),
    )


def _arm(frame: pd.DataFrame, outcome: str, arm: str, value: Any, names: list[str]) -> pd.Series[Any]:
    rows = frame[frame[arm] == value]
    if rows.empty:
        raise InputError(unknown(f"arm of column {arm!r}", value, sorted(map(str, frame[arm].unique()))))
    indexed = rows.set_index(names)[outcome]
    double = indexed.index[indexed.index.duplicated()]
    if len(double):
        count = int((indexed.index == double[0]).sum())
        raise InputError(
            f"{arm} {value!r} has {count} rows for {', '.join(names)} {double[0]}: "
            f"fix, match or average the other factors first"
        )
    return indexed
