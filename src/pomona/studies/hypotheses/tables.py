"""The rows of a regression, from what a store holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pomona.studies.hypotheses.cells import Lineage, levels_read, lineages_of
from pomona.studies.hypotheses.rows import selected
from pomona.studies.hypotheses.spec import LINEAGE, Regression
from pomona.studies.hypotheses.values import at_chance, never_below, value_of
from pomona.studies.points import Point
from pomona.studies.results import Results

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]


@dataclass(frozen=True)
class _Found:
    """What one state or lineage gives: its rows, or why there are none."""

    rows: Sequence[Row] = ()
    why: str = ""
    at_chance: bool = False
    collapsed: bool = False
    bound: bool = False


@dataclass
class Counts:
    """What became of the states or lineages that a regression speaks of.

    Args:
        there: In the table.
        lost: Without an accuracy, or without one of the named columns.
        why: Lineages that were lost, by reason.
        excluded: Left out, by rule.
        at_chance: Of those in the table: states at chance, lineages of which any accuracy in a column is.
        bounds: Of those in the table: lineages with a number that is only a bound.
    """

    there: int = 0
    lost: int = 0
    why: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)
    at_chance: int = 0
    bounds: int = 0

    def take(self, found: _Found, exclude: Sequence[str]) -> Sequence[Row]:
        """Count what was found, and return the rows that stay."""
        if not found.rows:
            self.lost += 1
            self.why.update([found.why] if found.why else [])
            return ()
        met = {"at-chance": found.at_chance, "layer-collapse": found.collapsed}
        rule = next((rule for rule in exclude if met[rule]), None)
        if rule is not None:
            self.excluded[rule] += 1
            return ()
        self.there += 1
        self.at_chance += found.at_chance
        self.bounds += found.bound
        return found.rows


def rows_of(
    results: Results,
    model: Regression,
    replicates: Sequence[int] | None = None,
    pilot: bool = False,
    exclude: Sequence[str] = (),
) -> pd.DataFrame:
    """The rows of a regression.

    Columns of states: study, step, replicate, lineage (one replicate of an arm), the factors, dataset, level,
    density, sparsity, effective_density, accuracy and loss (test part); of states and classes also class and
    class_share (of the test part), and accuracy is that of the class. Of lineages: study, step, replicate,
    lineage, the factors, dataset and the named columns. Rows without an accuracy, or without a named column,
    are left out: ``attrs`` has what ``Counts`` says.

    Args:
        results: What a store holds.
        model: The regression.
        replicates: Only these; all that are no pilot unless given.
        pilot: Those of the pilot instead.
        exclude: Rules that leave states or lineages out.
    """
    import pandas as pd

    first = results.study.spec.registration.pilot
    counts, rows = Counts(), list[Row]()
    find = _of_lineages if model.rows == LINEAGE else _of_states
    for found in find(
        results, model, lambda r: (r < first) == pilot and (replicates is None or r in replicates)
    ):
        rows += counts.take(found, exclude)
    table = pd.DataFrame(rows)
    table.attrs |= vars(counts)
    return table


def _of_lineages(results: Results, model: Regression, wanted: Callable[[int], bool]) -> Iterator[_Found]:
    for lineage in lineages_of(results.population, model):
        if wanted(lineage.replicate):
            yield _lineage(results, lineage, model)


def _lineage(results: Results, lineage: Lineage, model: Regression) -> _Found:
    """One row: what is read of a lineage, or which column is missing and why."""
    row = _head(results, lineage.points[-1])
    read = {name: levels_read(lineage.points, of) for name, of in model.columns.items()}
    for name, of in model.columns.items():
        row[name], why = value_of(results, read[name], of)
        if why:
            return _Found(why=f"{name}: {why}")
    pairs = [(read[name], of) for name, of in model.columns.items()]
    return _Found(
        [row],
        at_chance=any(at_chance(results, points, of) for points, of in pairs),
        collapsed=any(results.collapsed(point) for points, _ in pairs for point in points),
        bound=any(never_below(results, points, of) for points, of in pairs),
    )


def _of_states(results: Results, model: Regression, wanted: Callable[[int], bool]) -> Iterator[_Found]:
    for point in selected(results.population, model):
        if wanted(point.replicate):
            rows = list(_state(results, point, model))
            flag = results.measured(point.probes["test"]).get(("at-chance", "", -1)) if rows else None
            yield _Found(rows, at_chance=flag == 1.0, collapsed=results.collapsed(point))


def _state(results: Results, point: Point, model: Regression) -> Iterator[Row]:
    """The rows of a state: one, or one for each class; none without an accuracy."""
    if "test" not in point.probes:
        return
    found = results.measured(point.probes["test"])
    accuracy = found.get(("accuracy", "", -1))
    density = results.density(point)
    if accuracy is None or density is None:
        return
    row = {
        **_head(results, point),
        "level": point.level,
        "density": density,
        "sparsity": 1 - density,
        "accuracy": accuracy,
        "loss": found.get(("loss", "", -1)),
    }
    if "effective-density" in point.probes:
        effective = results.measured(point.probes["effective-density"])
        row["effective_density"] = effective.get(("effective-density", "", -1))
    if model.rows == "state":
        yield row
        return
    counts = {class_: n for (quantity, _, class_), n in found.items() if quantity == "class-count" and n}
    total = sum(counts.values())
    for (quantity, _, class_), value in found.items():
        if quantity == "class-accuracy" and value is not None:
            share = counts.get(class_, 0) / total if total else 0.0
            yield {**row, "class": class_, "accuracy": value, "class_share": share}


def _head(results: Results, point: Point) -> Row:
    """What places a row: its step, replicate, arm and data."""
    return {
        "study": results.study.name,
        "step": point.step,
        "replicate": point.replicate,
        "lineage": f"{point.step} {' '.join(point.arm.values())} {point.replicate}",
        **{factor: point.arm.get(factor, "") for factor in results.factors},
        "dataset": point.data.name if point.data is not None else "",
    }
