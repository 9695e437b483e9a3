"""How numbers and times are said in a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(0.034), duration(14.2), duration(250), duration(7300)
    ('0.03 s', '14 s', '4 min 10 s', '2 h 1 min')
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(stamp: float | None) -> str:
    """A time stamp as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stamp)) if stamp else "-"


def size(count: int) -> str:
    """A number of bytes.

    >>> size(512), size(240_000), size(3_000_000)
    ('512 B', '240.0 kB', '3.0 MB')
    """
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def rows(table: Sequence[tuple[str, ...]], head: tuple[str, ...] | None = None) -> str:
    """Columns of text, aligned, two spaces apart."""
    every = [head, *table] if head else table
    if not every:
        return ""
    widths = [max(len(row[i]) for row in every) for i in range(len(every[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in every]
    return "\n".join(lines)


def as_json(table: pd.DataFrame) -> str:
    """A table as a list of objects, one a row. Floats keep every bit, which pandas' own JSON does not."""
    known = table.astype(object).where(table.notna(), None)
    return json.dumps(known.to_dict("records"), indent=1, allow_nan=False)
