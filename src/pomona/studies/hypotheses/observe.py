"""What was observed of a hypothesis: one number of each arm and replicate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pomona.stats.intervals import t_interval
from pomona.stats.result import Result
from pomona.studies.hypotheses.cells import FLOOR, Cell, cells, pilot_cells
from pomona.studies.hypotheses.spec import Estimand, Hypothesis
from pomona.studies.hypotheses.tables import rows_of as rows_of
from pomona.studies.hypotheses.values import at_chance, never_below, unit_of, value_of
from pomona.studies.results import Results


@dataclass(frozen=True)
class Replicate:
    """One unit of replication.

    Args:
        replicate: Its number.
        a: The first arm; of an interaction its contrast at the first label.
        b: The second arm, or what the first is held against; of an interaction the contrast at the second.
        difference: a - b; None where one of them is missing.
        at_chance: Whether every arm is at chance wherever it was read.
        lost: Why there is no difference; empty where there is one.
        pending: Whether something of it is still to be computed, by the next run at the latest.
        bounds: Lineages that end before they fall below a value: their numbers are only bounds.
        lineages: Of so many.
    """

    replicate: int
    a: float | None
    b: float | None
    difference: float | None
    at_chance: bool
    lost: str
    pending: bool = False
    bounds: int = 0
    lineages: int = 0


@dataclass(frozen=True)
class Observed:
    """What was observed of a contrast.

    Args:
        unit: Of a, b and the difference: ``share`` stands for percent and points.
        rows: One for each replicate.
        floor: Noise floor where masks or predictions are compared: the same arms with other data orders.
        notes: What has to be said of the numbers.
    """

    unit: str
    rows: tuple[Replicate, ...]
    floor: Result | None
    notes: tuple[str, ...]

    @property
    def complete(self) -> list[Replicate]:
        """The replicates with a difference."""
        return [row for row in self.rows if row.difference is not None]

    @property
    def means(self) -> tuple[float, float] | None:
        """The means of a and b over the complete replicates; None where there is none."""
        rows = [(row.a, row.b) for row in self.complete if row.a is not None and row.b is not None]
        return (sum(a for a, _ in rows) / len(rows), sum(b for _, b in rows) / len(rows)) if rows else None

    @property
    def differences(self) -> NDArray[np.float64]:
        """Differences of the complete replicates. Shape (n,)."""
        return np.array([row.difference for row in self.complete], dtype=np.float64)


def observe(
    results: Results, hypothesis: Hypothesis, pilot: bool = False, replicates: Sequence[int] | None = None
) -> Observed:
    """One difference a replicate, for a hypothesis with a contrast.

    Args:
        results: What a store holds.
        hypothesis: With a contrast.
        pilot: Of the pilot's replicates instead of the others.
        replicates: Only these; all unless given.
    """
    of = _estimand(hypothesis)
    found = pilot_cells(results.population, hypothesis) if pilot else cells(results.population, hypothesis)
    wanted = [cell for cell in found if replicates is None or cell.replicate in replicates]
    by_replicate: dict[int, list[Cell]] = {}
    for cell in wanted:
        by_replicate.setdefault(cell.replicate, []).append(cell)
    rows = tuple(_replicate(results, hypothesis, number, own) for number, own in by_replicate.items())
    return Observed(unit_of(of), rows, _floor(results, of, wanted), tuple(_notes(results, of, wanted)))


def _estimand(hypothesis: Hypothesis) -> Estimand:
    assert hypothesis.of is not None, "a regression has rows_of"
    return hypothesis.of


def _replicate(results: Results, hypothesis: Hypothesis, number: int, found: Sequence[Cell]) -> Replicate:
    of, contrast = _estimand(hypothesis), hypothesis.contrast
    assert contrast is not None
    arms: dict[str, list[Cell]] = {}
    for cell in found:
        if cell.side != FLOOR:
            arms.setdefault(cell.side, []).append(cell)
    settled = {side: _mean(results, own, of) for side, own in arms.items()}
    lost = "; ".join(f"{_side(side)}: {why}" for side, (value, why) in settled.items() if value is None)
    value = {side: number for side, (number, _) in settled.items()}
    if contrast.across:
        a, b = _less(value, "a", "b"), _less(value, "a2", "b2")
    elif contrast.value == "floor":
        a, b = value.get("a"), _floor_of(results, of, found)
        lost = lost or ("" if b is not None else "there is no noise floor: nothing of another data order")
    else:
        a, b = value.get("a"), value.get("b", contrast.value or 0.0)
    excluded = _excluded(results, hypothesis, arms) if not lost else ""
    missing = bool(lost or excluded) or a is None or b is None
    lineages = [cell for own in arms.values() for cell in own]
    flags = [
        at_chance(results, cell.points, of) and (not cell.others or at_chance(results, cell.others, of))
        for cell in lineages
    ]
    return Replicate(
        number,
        a,
        b,
        None if missing or a is None or b is None else a - b,
        bool(flags) and all(flags),
        lost or excluded or ("an arm has no state" if missing else ""),
        any(_pending(results, cell) for cell in found),
        sum(never_below(results, cell.points, of) for cell in lineages),
        len(lineages),
    )


def _less(value: Mapping[str, float | None], first: str, second: str) -> float | None:
    """The first side less the second; the first alone where the contrast has no second."""
    left = value.get(first)
    if second not in value:
        return left
    right = value[second]
    return None if left is None or right is None else left - right


def _side(side: str) -> str:
    return {"a2": "a at the second label", "b2": "b at the second label"}.get(side, side)


def _mean(results: Results, found: Sequence[Cell], of: Estimand) -> tuple[float | None, str]:
    """The mean over what is averaged or matched; missing where any is."""
    values = []
    for cell in found:
        value, why = value_of(results, cell.points, of, cell.probes if of.to is not None else None)
        if value is None:
            return None, why
        values.append(value)
    return sum(values) / len(values), ""


def _excluded(results: Results, hypothesis: Hypothesis, arms: Mapping[str, Sequence[Cell]]) -> str:
    """Why the registered rule leaves a replicate out; empty where it does not."""
    of = _estimand(hypothesis)
    for rule in hypothesis.exclude:
        for side, found in arms.items():
            for cell in found:
                if rule == "at-chance" and at_chance(results, (*cell.points, *cell.others), of):
                    return f"excluded by the rule {rule}: {_side(side)}"
                if rule == "layer-collapse" and any(results.collapsed(point) for point in cell.points):
                    return f"excluded by the rule {rule}: {_side(side)}"
    return ""


def _pending(results: Results, cell: Cell) -> bool:
    """Whether a state or a measurement of it is still to come.

    What diverged, lost a layer or was stopped is final; other failures are tried again by the next run.
    """
    own = [point.state.key for point in cell.points]
    probes = [probe for read in cell.probes for probe in read]
    return any(key in results.lost_states and not results.blocked(key) for key in own) or any(
        results.status_of(probe) != "done"
        and not results.final(probe.key)
        and not any(map(results.blocked, probe.states))
        for probe in probes
    )


def pending_rows(results: Results, hypothesis: Hypothesis, replicates: Sequence[int] | None = None) -> int:
    """Cells of a hypothesis that are still to come."""
    found = cells(results.population, hypothesis)
    return sum(
        _pending(results, cell) for cell in found if replicates is None or cell.replicate in replicates
    )


def _floor_of(results: Results, of: Estimand, found: Sequence[Cell]) -> float | None:
    """The noise floor of one replicate: the mean over the arms that have masks of other data orders."""
    values = [
        value
        for cell in found
        if cell.side == FLOOR and (value := value_of(results, cell.points, of, cell.probes)[0]) is not None
    ]
    return sum(values) / len(values) if values else None


def _floor(results: Results, of: Estimand, found: Sequence[Cell]) -> Result | None:
    by_replicate: dict[int, list[Cell]] = {}
    for cell in found:
        by_replicate.setdefault(cell.replicate, []).append(cell)
    floors = [_floor_of(results, of, own) for own in by_replicate.values()]
    known = [floor for floor in floors if floor is not None]
    return t_interval(known) if known else None


def _notes(results: Results, of: Estimand, found: Sequence[Cell]) -> list[str]:
    bounds = sum(never_below(results, cell.points, of) for cell in found if cell.side != FLOOR)
    if not bounds:
        return []
    many = f"{bounds} lineages end" if bounds > 1 else "1 lineage ends"
    return [f"{many} before {of.measure} falls below {of.below:g}: their last {of.along} stands for them"]
