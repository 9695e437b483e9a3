"""The summary of a study for a terminal."""

from __future__ import annotations

from pomona.report.arms import shorten
from pomona.report.evidence import Evidence
from pomona.report.findings import summary_lines
from pomona.report.tables import Cell, short_table
from pomona.studies.results import Results

_WIDTH = 100
_HEAD = ("level", "density %", "test accuracy %", "n", "missing")
# More arms than this are shown at fewer levels each, so that the summary fits a screen.
_FEW_ARMS = 6


def summary_table(results: Results) -> str:
    """Test accuracy of every arm at a few levels, and how many hypotheses hold; at most 100 columns wide.

    Mean ± half of the 95 % t interval over replicates, or the mean alone where there is one replicate.
    """
    evidence = Evidence(results)
    if not evidence.has_accuracy:
        return f"{evidence.study.name}: no test accuracy has been measured yet"
    _, table = short_table(evidence, 5 if len(evidence.arms) <= _FEW_ARMS else 3)
    rows = {name: [_row(cell) for cell in cells if cell is not None] for name, cells in table.items()}
    every = [_HEAD, *(row for cells in rows.values() for row in cells)]
    widths = [max(len(row[i]) for row in every) for i in range(len(_HEAD))]
    room = _WIDTH - sum(widths) - 2 * len(widths) - len("  at chance: 99")
    names = dict(zip(rows, shorten(list(rows), max(room, 12)), strict=True))
    first = max(len("arm"), *map(len, names.values()))
    lines = [_title(evidence), "", _line("arm", _HEAD, first, widths)]
    for name, cells in rows.items():
        for number, row in enumerate(cells):
            line = _line("" if number else names[name], row[:-1], first, widths)
            lines.append(f"{line}  {row[-1]}".rstrip())
    shown = {cell.level for cells in table.values() for cell in cells if cell is not None}
    if {point.level for point in evidence.population.points} - shown:
        lines += ["", "Not all levels are shown; the report and 'pomona results ... --csv' have them."]
    if judged := summary_lines(evidence.findings, _WIDTH):
        lines += ["", *judged]
    return "\n".join(lines)


def _title(evidence: Evidence) -> str:
    study = evidence.study
    preset = f", preset {study.preset}" if study.preset else ""
    spread = "± half of the 95 % t interval" if evidence.replicates > 1 else "of one replicate"
    return f"{study.name}{preset}: mean {spread}"


def _row(cell: Cell) -> tuple[str, ...]:
    flag = f"at chance: {cell.at_chance}" if cell.at_chance else ""
    missing = str(cell.failures) if cell.failures else "-"
    return (str(cell.level), cell.density, cell.accuracy, str(cell.n), missing, flag)


def _line(name: str, cells: tuple[str, ...], first: int, widths: list[int]) -> str:
    return "  ".join(
        [name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))]
    )
