"""What a statistic answers with: estimate, interval, p, n and how it was found."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Result:
    """One number, its interval and its test. It prints as one line and its notes.

    Args:
        method: The procedure in words.
        estimate: The number that is estimated.
        low: Lower end of its interval; minus infinity where nothing bounds it, None where there is none.
        high: Upper end.
        level: Level of the interval, such as .95.
        p: p-value; None where nothing is tested or the data cannot give one.
        n: Number of units of replication.
        statistic: The test statistic, where there is one.
        df: Its degrees of freedom.
        alternative: Direction of the test and of the interval, or ``equivalence``.
        smallest_p: The smallest p that the test can reach with this n; None where there is no bound.
        notes: Warnings, and what was done to zeros, ties and the like.
    """

    method: str
    estimate: float | None
    low: float | None
    high: float | None
    level: float
    p: float | None
    n: int
    statistic: float | None = None
    df: float | None = None
    alternative: str = "two-sided"
    smallest_p: float | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.method}: {number(self.estimate)}"]
        if self.low is not None and self.high is not None:
            parts.append(f"[{number(self.low)}, {number(self.high)}] at {100 * self.level:g} %")
        if self.p is not None:
            parts.append(f"p {p_text(self.p)} ({self.alternative})")
        parts.append(f"n = {self.n}")
        return ", ".join(parts) + "".join(f"\n  {note}" for note in self.notes)

    def noted(self, *notes: str) -> Result:
        """The same with further notes."""
        return replace(self, notes=self.notes + notes)


def number(value: float | None) -> str:
    """Four significant digits; a dash for nothing.

    >>> number(0.123456), number(None)
    ('0.1235', '-')
    """
    return "-" if value is None else f"{value:.4g}"


def p_text(p: float) -> str:
    """A p-value with its relation sign.

    >>> p_text(0.0625), p_text(1e-9)
    ('= 0.0625', '< 0.0001')
    """
    return "< 0.0001" if p < 1e-4 else f"= {p:.4g}"


def defined(value: float) -> float | None:
    """None for NaN: a number that does not exist is said, not computed with."""
    return None if math.isnan(value) else float(value)
