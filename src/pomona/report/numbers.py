"""How a report writes numbers."""

from __future__ import annotations

import math
import time


def known(value: float | None) -> bool:
    """Whether a number is there: neither None nor the NaN that a table has for it."""
    return value is not None and not math.isnan(value)


def percent(value: float | None, digits: int = 2) -> str:
    """A share as a percentage with fixed digits, without its sign.

    >>> percent(0.9731), percent(None)
    ('97.31', '–')
    """
    return f"{100 * value:.{digits}f}" if value is not None and known(value) else "–"


def density(value: float | None) -> str:
    """A density as a percentage of three digits.

    >>> density(1.0), density(0.5118), density(0.0115), density(0.000304)
    ('100', '51.2', '1.15', '0.0304')
    """
    if value is None or not known(value):
        return "–"
    share = 100 * value
    if share == 0:
        return "0"
    # Rounding may carry into a new digit: 9.996 is 10.0.
    digits = max(0, 2 - math.floor(math.log10(float(f"{share:.3g}"))))
    return f"{share:.{digits}f}"


def plus_minus(mean: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """A mean with half of its interval, in percent.

    >>> plus_minus(0.9731, 0.9711, 0.9751)
    '97.31 ± 0.20'
    """
    text = percent(mean, digits)
    if low is not None and high is not None and known(low) and known(high):
        text += f" ± {percent((high - low) / 2, digits)}"
    return text


def plain(value: float) -> str:
    """A number as short as it is exact.

    >>> plain(0.01), plain(2.0), plain(1e-08)
    ('0.01', '2', '1e-08')
    """
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def moment(stamp: float | None) -> str:
    """A time stamp as date and time of this machine."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(stamp)) if stamp else "–"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(0.4), duration(75), duration(7320)
    ('0.4 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return (
        f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
    )


def ranges(numbers: list[int]) -> str:
    """Whole numbers, with runs written short.

    >>> ranges([3, 4, 5, 7])
    '3–5, 7'
    """
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)
