"""The tables of accuracies: a short one at a few levels, and the full one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pomona.report.evidence import Evidence
from pomona.report.numbers import density, known, percent, plus_minus


@dataclass(frozen=True)
class Cell:
    """An arm at a level, as it is printed.

    Args:
        level: Pruning level.
        density: Mean density, in percent.
        n: Replicates with a value.
        accuracy: Mean and half of its interval, in percent.
        mean: Mean, in percent.
        sd: Sample SD, in percentage points.
        interval: Ends of the 95 % t interval, in percent.
        failures: Replicates without a value.
        at_chance: Replicates whose accuracy is not above chance.
    """

    level: int
    density: str
    n: int
    accuracy: str
    mean: str
    sd: str
    interval: str
    failures: int
    at_chance: int


def full_table(evidence: Evidence) -> dict[str, list[Cell]]:
    """Every level of every arm, by the arm's name."""
    found: dict[str, list[Cell]] = {arm.name: [] for arm in evidence.arms}
    for row in evidence.summary().to_dict("records"):
        found[row["arm"]].append(_cell(row, evidence.accuracy_digits))
    return found


def short_table(evidence: Evidence, count: int = 5) -> tuple[list[int], dict[str, list[Cell | None]]]:
    """A few levels, and the cells of every arm at these; None where an arm has no such level."""
    full = full_table(evidence)
    levels = spread(sorted({cell.level for cells in full.values() for cell in cells}), count)
    by_level = {name: {cell.level: cell for cell in cells} for name, cells in full.items()}
    return levels, {name: [cells.get(level) for level in levels] for name, cells in by_level.items()}


def spread(levels: Sequence[int], count: int) -> list[int]:
    """The first level, the last, and some between at even distances.

    >>> spread(range(13), 5)
    [0, 3, 6, 9, 12]
    """
    if len(levels) <= count:
        return list(levels)
    last = len(levels) - 1
    return [levels[round(i * last / (count - 1))] for i in range(count)]


def runs_at_chance(evidence: Evidence) -> Iterator[tuple[str, list[int], int]]:
    """Arms with runs at chance: name, levels, and how many runs."""
    for name, cells in full_table(evidence).items():
        flagged = [cell for cell in cells if cell.at_chance]
        if flagged:
            yield name, [cell.level for cell in flagged], sum(cell.at_chance for cell in flagged)


def _cell(row: dict[str, float], digits: int) -> Cell:
    mean, low, high = row["mean"], row["low"], row["high"]
    return Cell(
        level=int(row["level"]),
        density=density(row["density"]),
        n=int(row["n"]),
        accuracy=plus_minus(mean, low, high, digits),
        mean=percent(mean, digits),
        sd=percent(row["sd"], digits),
        interval=f"{percent(low, digits)} to {percent(high, digits)}" if known(low) else "–",
        failures=int(row["failures"]),
        at_chance=int(row["at_chance"]),
    )
