"""Which states or lineages are rows of a regression."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pomona.core.errors import InputError, unknown
from pomona.graph.expression import ORDERS, And, Call, Expression, Not, Or, Text
from pomona.studies.hypotheses.spec import Regression

if TYPE_CHECKING:
    from pomona.studies.points import Point, Population
    from pomona.studies.study import Study

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
}


@dataclass(frozen=True)
class RowPlace:
    """Where a row lies: of a lineage, which has all levels, without one."""

    step: str
    replicate: int
    arm: Mapping[str, str]
    level: int = 0


Condition = Callable[["Point | RowPlace"], bool]


def selected(population: Population, model: Regression) -> Iterator[Point]:
    """The points of a study that a regression has rows for, in the study's order.

    A state that several steps speak of, as the dense one of every arm, counts once for each arm that it
    begins: level 0 is a row of that lineage. Ensembles are made of other rows, and no rows unless ``where``
    names steps.
    """
    study = population.study
    condition = row_condition(study, model)
    steps = study.order if "step" in names_in(model) else study.networks
    return (point for point in population.points if point.step in steps and condition(point))


def row_condition(study: Study, model: Regression) -> Condition:
    """Whether a point or a lineage is a row: ``where`` over step, level, replicate and factors.

    Raises:
        InputError: The grammar is broken, or a name or label is not known.
    """
    if model.where is None:
        return lambda point: True
    source = Text("rows", model.where)
    return _condition(source.parse(), source, study)


def names_in(model: Regression) -> set[str]:
    """The names that ``where`` compares: ``step``, ``level``, ``replicate``, factors.

    Raises:
        InputError: The grammar is broken.
    """
    return set(_names(Text("rows", model.where).parse())) if model.where is not None else set()


def _names(tree: Expression) -> Iterator[str]:
    if isinstance(tree, Not):
        yield from _names(tree.part)
    elif isinstance(tree, (And, Or)):
        for part in tree.parts:
            yield from _names(part)
    else:
        yield tree.name.text


def _condition(tree: Expression, source: Text, study: Study) -> Condition:
    if isinstance(tree, Not):
        inner = _condition(tree.part, source, study)
        return lambda point: not inner(point)
    if isinstance(tree, (And, Or)):
        parts = [_condition(part, source, study) for part in tree.parts]
        together = all if isinstance(tree, And) else any
        return lambda point: together(part(point) for part in parts)
    name = tree.name.text
    if isinstance(tree, Call) or tree.subscripts:
        raise source.error(f"expected a comparison of {name!r}", tree.name)
    if name in ("level", "replicate"):
        return _number(tree.operator, [_value(source, word) for word in tree.values], name)
    known = {"step": list(study.order), **{f: list(labels) for f, labels in study.factors.items()}}
    if name not in known:
        raise source.error(unknown("name", name, ["level", "replicate", *known]), tree.name)
    if tree.operator in ORDERS:
        raise source.error(f"{name!r} has labels, no order: expected ==, != or in", tree.name)
    for word in tree.values:
        if word.text not in known[name]:
            raise source.error(unknown(f"label of {name!r}", word.text, known[name]), word)
    labels = {word.text for word in tree.values}
    return lambda point: (point.step if name == "step" else point.arm.get(name)) in labels


def _number(operator: str, values: list[float], name: str) -> Condition:
    if operator == "in":
        return lambda point: getattr(point, name) in values
    compare = _COMPARE[operator]
    return lambda point: compare(getattr(point, name), values[0])


def _value(source: Text, word: object) -> float:
    number = getattr(word, "number", None)
    if number is None:
        raise InputError(f"{source.what} {source.text!r}: expected a number, got {word!r}")
    return float(number)
