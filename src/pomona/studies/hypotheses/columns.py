"""Regressions over lineages: which lineages are rows, and what may be read of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pomona.core.errors import unknown
from pomona.studies.hypotheses.readable import measure_faults, place_faults, unreadable
from pomona.studies.hypotheses.rows import RowPlace, names_in, row_condition
from pomona.studies.hypotheses.spec import LINEAGE, Regression
from pomona.studies.schema import QUANTITIES

if TYPE_CHECKING:
    from pomona.studies.study import Study


def steps_of(study: Study, model: Regression) -> list[str]:
    """The steps whose lineages are rows: those that ``where`` names, else one.

    That one is the last that reaches every factor which the regression names and that has every column.
    Ensembles have to be named.
    """
    if "step" in names_in(model):
        return [step for step in study.order if _arms(study, model, step)]
    named = set(mentioned(_written(model), study.factors)) | (names_in(model) & set(study.factors))
    reaching = [step for step in study.networks if named <= study.reach[step]]
    having = [step for step in reaching if not any(_unreadable(study, model, step))]
    return (having or reaching or study.networks)[-1:]


def row_arms(study: Study, model: Regression) -> list[tuple[str, dict[str, str]]]:
    """Step and labels of every arm of which some replicate is a row."""
    return [(step, arm) for step in steps_of(study, model) for arm in _arms(study, model, step)]


def mentioned(text: str, names: Iterable[str]) -> list[str]:
    """The names that stand in a formula.

    >>> mentioned("final ~ early + Q('learning-rate')", ["early", "late", "learning-rate"])
    ['early', 'learning-rate']
    """
    return [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]


def column_faults(study: Study, model: Regression) -> Iterator[tuple[str, str]]:
    """What is wrong with a regression over lineages, by column; without one of the rows as a whole."""
    if model.rows != LINEAGE:
        return
    found = [("", fault) for fault in _name_faults(study, model)]
    for name, of in model.columns.items():
        found += [(name, fault) for fault in [*measure_faults(study, of), *_quantity_faults(model, name)]]
    yield from found
    if found:
        return
    steps = steps_of(study, model)
    if not any(_arms(study, model, step) for step in steps):
        said = f"'where: {model.where}' leaves none of them" if model.where else "it has no arm"
        yield "", f"there is no lineage of step {' or '.join(steps) or 'any'}: {said}"
    yield from dict.fromkeys(fault for step in steps for fault in _unreadable(study, model, step))


def _name_faults(study: Study, model: Regression) -> Iterator[str]:
    for name in model.columns:
        if name in study.factors:
            yield f"column {name!r} has the name of a factor; give it another"
        elif not mentioned(model.formula, [name]):
            yield f"column {name!r} is not in the formula {model.formula!r}; leave it out, or name it there"
    if "level" in names_in(model):
        yield "a lineage has all of its levels: 'where' takes factors, step and replicate, no level"


def _quantity_faults(model: Regression, name: str) -> Iterator[str]:
    of = model.columns[name]
    known = QUANTITIES.get(of.measure, ())
    if known and of.quantity is None and of.measure not in known:
        yield f"{of.measure} has several numbers: give 'quantity', {' or '.join(known)}"
    elif known and of.quantity is not None and of.quantity not in known:
        yield unknown("quantity", of.quantity, known, where=of.measure)


def _unreadable(study: Study, model: Regression, step: str) -> Iterator[tuple[str, str]]:
    """What the lineages of a step can never have, by column."""
    for name, of in model.columns.items():
        yield from ((name, fault) for fault in place_faults(study, step, of))
        for arm in _arms(study, model, step):
            yield from ((name, fault) for fault in unreadable(study, step, arm, of))


def _arms(study: Study, model: Regression, step: str) -> list[dict[str, str]]:
    """Arms of a step of which ``where`` takes some replicate."""
    condition = row_condition(study, model)
    replicates = range(study.spec.replicates)
    return [arm for arm in study.arms_of(step) if any(condition(RowPlace(step, r, arm)) for r in replicates)]


def _written(model: Regression) -> str:
    return " ".join([model.formula, *model.cluster])
