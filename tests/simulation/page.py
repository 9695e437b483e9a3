"""Tables of simulated rates, each beside what it should be, and the page that shows them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from numpy.random import Generator, default_rng

SEED = 20_210_607
# Monte Carlo standard errors that are no chance any more, with some hundreds of rates.
FAR = 4.0


def rng(*key: int) -> Generator:
    """A generator of its own for every table; not the library's draws, so that these cannot agree with themselves."""
    return default_rng([SEED, *key])


@dataclass(frozen=True)
class Rate:
    """A share of studies.

    Args:
        labels: What was simulated, one for each leading column.
        found: The share.
        studies: Of how many.
        low: The lowest share that is as it should be; None where it is shown for comparison.
        high: The highest, before Monte Carlo error.
        exact: The true share, where theory gives it.
        slack: Monte Carlo standard errors that are allowed beyond low and high.
    """

    labels: tuple[object, ...]
    found: float
    studies: int
    low: float | None = None
    high: float | None = None
    exact: float | None = None
    slack: float = 2.0

    @property
    def error(self) -> float:
        """Monte Carlo standard error, at the bound."""
        at = self.high if self.high is not None and self.high < 1 else self.low if self.low else self.found
        return math.sqrt(at * (1 - at) / self.studies)

    @property
    def holds(self) -> bool | None:
        """Whether it is as it should be; None where it is shown for comparison."""
        return self.within(self.slack)

    def within(self, slack: float) -> bool | None:
        """The same with another number of Monte Carlo standard errors allowed."""
        if self.low is None and self.high is None:
            return None
        above = self.low is None or self.found >= self.low - slack * self.error
        return above and (self.high is None or self.found <= self.high + slack * self.error)

    def cells(self) -> list[str]:
        """The row of the page."""
        bounds = [f"{x:.3f}" for x in (self.low, self.high) if x is not None]
        should = " to ".join(bounds) if len(bounds) == 2 else (("at most " if self.low is None else "at least ") + bounds[0]
                                                              if bounds else "for comparison")  # fmt: skip
        verdict = {True: "holds", False: "**does not hold**", None: ""}[self.holds]
        exact = "" if self.exact is None else f"{self.exact:.4f}"
        return [*map(str, self.labels), f"{self.found:.4f}", exact, f"{self.error:.4f}", should, verdict]


@dataclass(frozen=True)
class Table:
    """Rates of one question.

    Args:
        title: Of its section.
        text: What is simulated and what should hold.
        columns: Names of the labels.
        rates: Its rows.
    """

    title: str
    text: str
    columns: Sequence[str]
    rates: Sequence[Rate] = field(default_factory=list)

    def markdown(self) -> str:
        """The section of the page."""
        head = [*self.columns, "found", "theory", "MC error", "should be", ""]
        rows = [head, ["---"] * len(head), *(rate.cells() for rate in self.rates)]
        return "\n".join(
            [f"## {self.title}", "", self.text, "", *("| " + " | ".join(r) + " |" for r in rows), ""]
        )

    def failing(self) -> list[Rate]:
        """What is not as it should be."""
        return [rate for rate in self.rates if rate.holds is False]


def write(tables: Iterable[Table], folder: Path, studies: int, seconds: float) -> Path:
    """The page of all tables."""
    tables = list(tables)
    judged = sum(rate.holds is not None for table in tables for rate in table.rates)
    failing = sum(len(table.failing()) for table in tables)
    head = (
        f"# Simulated studies\n\n{studies} studies a cell unless a table says otherwise; seed {SEED}; {seconds:.0f} s. "
        f"{judged - failing} of {judged} rates are as they should be. Bounds allow two Monte Carlo standard errors, "
        f"so that about one in forty of the rates that lie at their bound exceeds it by chance.\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "simulation.md"
    page.write_text("\n".join([head, *(table.markdown() for table in tables)]), encoding="utf-8")
    return page
