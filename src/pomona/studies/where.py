"""Conditions over factors: ``treatment == rewind or method in [l1-unstructured, l1-structured]``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pomona.core.errors import unknown
from pomona.graph.expression import And, Call, Expression, Not, Or, Text

Arm = Mapping[str, str]
Condition = Callable[[Arm], bool]


def parse_condition(text: str, factors: Mapping[str, Sequence[str]]) -> Condition:
    """Read a condition: ``==``, ``!=``, ``in``, ``not in``, ``and``, ``or``, ``not`` and parentheses.

    Args:
        text: As written in the study.
        factors: The labels of every factor.

    Raises:
        InputError: The grammar is broken, or a factor or label is not known (names the nearest).
    """
    source = Text("condition", text, operators=("==", "!="))
    return _condition(source.parse(), source, factors)


def _condition(tree: Expression, source: Text, factors: Mapping[str, Sequence[str]]) -> Condition:
    if isinstance(tree, Not):
        inner = _condition(tree.part, source, factors)
        return lambda arm: not inner(arm)
    if isinstance(tree, (And, Or)):
        parts = [_condition(part, source, factors) for part in tree.parts]
        together = all if isinstance(tree, And) else any
        return lambda arm: together(part(arm) for part in parts)
    factor = tree.name.text
    if factor not in factors:
        raise source.error(unknown("factor", factor, factors), tree.name)
    if isinstance(tree, Call) or tree.subscripts:
        raise source.error(f"expected ==, !=, in or not in after {factor!r}", tree.name)
    for word in tree.values:
        if word.text not in factors[factor]:
            raise source.error(unknown(f"label of factor {factor!r}", word.text, factors[factor]), word)
    labels = {word.text for word in tree.values}
    return lambda arm: arm[factor] in labels
