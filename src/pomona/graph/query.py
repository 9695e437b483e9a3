"""Queries over the states of a store, in one text form: ``recipe == train and accuracy > 0.9``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pomona.graph.expression import And, Call, Comparison, Expression, Not, Or, Text
from pomona.graph.ledger import Ledger
from pomona.graph.terms import Condition, Terms, together


@dataclass(frozen=True)
class Query:
    """A condition on states; queries combine with ``&``, ``|`` and ``~``.

    A comparison holds where a state has such a value, and ``!=`` and ``not`` where that is not so: ``tag !=
    keep`` finds the states without this tag. What ``and`` joins about the places that a state stands at
    (study, step, replicate, level, factors) must hold of one and the same place.

    Args:
        text: As in docs/provenance.md.

    Raises:
        InputError: The grammar is broken (says where). Names are checked against a store when it is asked.
    """

    text: str
    _tree: Expression = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tree", Text("query", self.text).parse())

    def __and__(self, other: Query) -> Query:
        return Query(f"({self.text}) and ({other.text})")

    def __or__(self, other: Query) -> Query:
        return Query(f"({self.text}) or ({other.text})")

    def __invert__(self) -> Query:
        return Query(f"not ({self.text})")

    def __str__(self) -> str:
        return self.text

    def condition(self, ledger: Ledger, find: Callable[[str], str]) -> Condition:
        """As a condition of SQL on the state ``s``.

        Args:
            ledger: Of the store that is asked.
            find: Gives the key of the one state that begins with a prefix.

        Raises:
            InputError: The store does not know a name (says the nearest, and what it has).
        """
        return _Compiler(Terms(Text("query", self.text), ledger, find)).whole(self._tree)


class _Compiler:
    """Each negation, and the whole, asks whether a state has a place of which something holds."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def whole(self, tree: Expression) -> Condition:
        """Whether some place of the state, or no place at all, makes an expression true."""
        if isinstance(tree, Or):
            return together("OR", [self.whole(part) for part in tree.parts])
        if isinstance(tree, And):
            # What is not about places need not be asked of each.
            parts = [self._of_one(part) for part in tree.parts]
            about = [part for part in parts if part.of_place]
            apart = [part for part in parts if not part.of_place]
            if about:
                apart.append(_somewhere(together("AND", about)))
            return together("AND", apart)
        found = self._of_one(tree)
        return _somewhere(found) if found.of_place else found

    def _of_one(self, tree: Expression) -> Condition:
        """Whether one place makes an expression true."""
        if isinstance(tree, Comparison):
            return self._terms.comparison(tree)
        if isinstance(tree, Call):
            return self._terms.call(tree)
        if isinstance(tree, Not):
            inner = self.whole(tree.part)
            return Condition(f"NOT ({inner.sql})", inner.values)
        sign = "AND" if isinstance(tree, And) else "OR"
        return together(sign, [self._of_one(part) for part in tree.parts])


def _somewhere(of_place: Condition) -> Condition:
    sql = f"SELECT 1 FROM (SELECT 1) LEFT JOIN labels l ON l.state = s.key WHERE {of_place.sql}"
    return Condition(f"EXISTS ({sql})", of_place.values)
