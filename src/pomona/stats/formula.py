"""From a formula and a frame to a model that can be fitted, or to what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from pomona.core.errors import InputError, unknown

# What a formula may call besides its columns and what Python itself has; no variable of ours is in reach.
FUNCTIONS = {
    "np": np,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "abs": np.abs,
}


def model_of(maker: Callable[..., Any], frame: pd.DataFrame, formula: str, **options: Any) -> Any:
    """A statsmodels model by formula over complete rows, with independent terms.

    Raises:
        InputError: The formula cannot be read, a column is unknown or incomplete, or terms are collinear.
    """
    if formula.count("~") != 1:
        raise InputError(f"formula {formula!r}: expected 'outcome ~ terms'")
    try:
        with np.errstate(all="ignore"):
            model = maker(formula, _plain(frame), eval_env=dict(FUNCTIONS), **options)
    except Exception as error:
        raise InputError(_unreadable(str(error), formula, frame)) from None
    if model.exog.shape[0] < len(frame):
        lost = len(frame) - model.exog.shape[0]
        raise InputError(
            f"formula {formula!r}: {lost} of {len(frame)} rows have missing values; leave them out"
        )
    rank = np.linalg.matrix_rank(model.exog)
    if rank < model.exog.shape[1]:
        raise InputError(
            f"formula {formula!r}: {model.exog.shape[1]} terms of rank {rank}: some are the sum of others, "
            f"or constant. Terms: {', '.join(model.exog_names)}"
        )
    if model.exog.shape[0] <= model.exog.shape[1]:
        raise InputError(f"formula {formula!r}: {model.exog.shape[1]} terms need more than {len(frame)} rows")
    return model


def _unreadable(message: str, formula: str, frame: pd.DataFrame) -> str:
    missing = re.search(r"(?:name|no data named) '([^']+)'", message)
    if missing:
        return unknown("column", missing[1], [*map(str, frame.columns), *FUNCTIONS], f"formula {formula!r}")
    if "invalid syntax" in message:
        hint = "a column whose name is no Python name, such as class, is written Q('class')"
        return f"formula {formula!r}: cannot be read; {hint}"
    if "inf or nans" in message:
        return f"formula {formula!r}: a term is infinite or not a number in some row (log of 0?)"
    return f"formula {formula!r}: {message.splitlines()[0] if message else 'cannot be read'}"


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of pandas' own whole numbers as NumPy's, which formulas can read."""
    kinds = {
        str(name): "float64" if column.isna().any() else "int64"
        for name, column in frame.items()
        if isinstance(column.dtype, pd.Int64Dtype)
    }
    return frame.astype(kinds) if kinds else frame
