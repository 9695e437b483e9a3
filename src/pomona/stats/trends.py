"""Trends along density or level, on a log scale, with the lineage as the unit of replication."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from pomona.core.errors import InputError
from pomona.stats import paired
from pomona.stats.given import Alternative, alternative_of, bounded, columns_of
from pomona.stats.regression import Regression, ols
from pomona.stats.result import Result


def trend(
    frame: pd.DataFrame,
    outcome: str,
    along: str,
    lineage: str = "replicate",
    *,
    base: float = 2.0,
    log_outcome: bool = False,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> Result:
    """The mean over lineages of each one's own slope per factor of ``base``, with its t test.

    Levels of one run are not independent: a slope is one number of its lineage, and the lineages are counted.

    Args:
        frame: Tidy: one row for each lineage and level.
        outcome: Column that is regressed.
        along: Column on whose logarithm; density, or level from 1.
        lineage: Column of the unit of replication.
        base: 2 gives the change of the outcome when ``along`` doubles.
        log_outcome: Take the outcome's logarithm too, to the same base: a power law's exponent.
        alternative: Direction.
        level: Level of the interval.

    Raises:
        InputError: A column is unknown or incomplete, a value has no logarithm, or a lineage has no two
            different values of ``along``.

    Source:
        Matthews et al. 1990, BMJ 300 (analysis by summary measures); t as ``scipy.stats.ttest_1samp``.
    """
    alternative_of(alternative)
    table = _logged(frame, outcome, along, lineage, base, log_outcome)
    slopes = []
    for name, rows in table.groupby(lineage, sort=True, observed=True):
        x = rows["x"].to_numpy() - rows["x"].mean()
        if not np.ptp(x) > 0:
            raise InputError(f"{lineage} {name!r}: a slope needs two different values of {along!r}")
        slopes.append(float(x @ rows["y"].to_numpy() / (x @ x)))
    if len(slopes) < 2:
        raise InputError(f"column {lineage!r}: a trend needs at least 2 lineages, got {len(slopes)}")
    found = paired.paired_t(slopes, alternative=alternative, level=level)
    return _named(found, f"slope per factor of {base:g} in {along}, t over lineages")


def clustered_trend(
    frame: pd.DataFrame,
    outcome: str,
    along: str,
    lineage: str = "replicate",
    *,
    errors: str = "cr2",
    base: float = 2.0,
    log_outcome: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> Regression:
    """One common slope by least squares, errors clustered by lineage: for lineages of different lengths.

    Args:
        frame: As for ``trend``, and so are the other arguments; the term is called ``x``.
        errors: ``cr2``, ``cluster`` or ``wild``.
    """
    table = _logged(frame, outcome, along, lineage, base, log_outcome)
    return ols(table, "y ~ x", errors=errors, cluster=lineage, level=level, seed=seed)


def _logged(
    frame: pd.DataFrame, outcome: str, along: str, lineage: str, base: float, log_outcome: bool
) -> pd.DataFrame:
    columns_of(frame, [outcome, along, lineage])
    base = bounded(base, "base", 1, np.inf)
    for name in [along, *([outcome] if log_outcome else [])]:
        bad = int((frame[name] <= 0).sum())
        if bad:
            raise InputError(
                f"column {name!r}: {bad} of {len(frame)} values are 0 or less and have no logarithm; "
                f"leave those rows out (level 0 is dense) or use density"
            )
    y = frame[outcome].to_numpy(dtype=np.float64)
    return pd.DataFrame(
        {
            "x": np.log(frame[along].to_numpy(dtype=np.float64)) / np.log(base),
            "y": np.log(y) / np.log(base) if log_outcome else y,
            lineage: frame[lineage].to_numpy(),
        }
    )


def _named(found: Result, method: str) -> Result:
    return replace(found, method=method)
