"""The terms of a query, each as a condition of SQL on a state ``s`` or on a place ``l`` that it stands at."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pomona.core.errors import FailureKind, InputError, nearest, unknown
from pomona.graph import values
from pomona.graph.expression import ORDERS, Call, Comparison, Text, Word
from pomona.graph.ledger import Ledger
from pomona.graph.vocabulary import DEFAULT_PART, Vocabulary

# Of a place: one of the steps, replicates, levels and arms of studies that a state stands for.
_PLACES = ("study", "step", "replicate", "level")
_OF_STATES = ("recipe", "status", "kind", "tag", "key", "distance", "density")
TERMS = (*_OF_STATES, *_PLACES)
_CALLS = ("ancestors", "descendants")
_STATUSES = ("planned", "done", "failed")
_DENSITY = (
    "(SELECT 1.0 * SUM(json_extract(j.value, '$[0]')) / SUM(json_extract(j.value, '$[1]'))"
    " FROM json_each(s.facts, '$.kept') j)"
)


@dataclass(frozen=True)
class Condition:
    """A condition of SQL that is true or false and never NULL, but for one on a place that is none.

    Args:
        sql: With a ``?`` for each value.
        values: To be bound.
        of_place: Whether it is about a place ``l``.
    """

    sql: str
    values: tuple[Any, ...] = ()
    of_place: bool = False


class Terms:
    """Turns the terms of one query into conditions.

    Args:
        source: The query, for errors.
        ledger: Of the store that it is asked of.
        find: Gives the key of the one state that begins with a prefix.
    """

    def __init__(self, source: Text, ledger: Ledger, find: Callable[[str], str]) -> None:
        self._source = source
        self._known = Vocabulary(ledger)
        self._ledger = ledger
        self._find = find
        ledger.connection.create_function("pomona_holds", 4, values.holds, deterministic=True)
        ledger.connection.create_function("pomona_has", 2, values.has, deterministic=True)

    def call(self, call: Call) -> Condition:
        """``ancestors(KEY)`` and ``descendants(KEY)``, the state itself not included."""
        if call.name.text not in _CALLS:
            raise self._error(unknown("function", call.name.text, _CALLS), call.name)
        try:
            key = self._find(call.argument.text)
        except InputError as error:
            raise self._error(str(error), call.argument) from None
        from_, to = ("child", "parent") if call.name.text == "ancestors" else ("parent", "child")
        return Condition(
            f"s.key IN (WITH RECURSIVE line(key) AS (SELECT {to} FROM parents WHERE {from_} = ? UNION"
            f" SELECT p.{to} FROM parents p JOIN line ON p.{from_} = line.key) SELECT key FROM line)",
            (key,),
        )

    def comparison(self, asked: Comparison) -> Condition:
        """Any other term."""
        name = asked.name.text
        prefix, _, rest = name.partition(".")
        if prefix == "params" and rest and not asked.name.quoted:
            return self._parameter(asked, rest)
        if name in TERMS and not asked.name.quoted:
            self._unsubscripted(asked)
            return self._plain(name, asked)
        if prefix == "measured" and rest:
            return self._measured(asked, rest)
        if prefix == "arm" and rest in self._known.factors:
            return self._factor(asked, rest)
        quantity, part = self._quantity(name)
        if self._known.is_measured(quantity):
            return self._measurement(asked, quantity, part)
        if name in self._known.factors:
            return self._factor(asked, name)
        return self._measured(asked, name)

    def _plain(self, name: str, asked: Comparison) -> Condition:
        if name == "key":
            return self._key(asked)
        if name in ("replicate", "level"):
            return self._numeric(f"l.{name}", asked, of_place=True)
        if name == "distance":
            return self._numeric("s.distance", asked)
        if name == "density":
            return self._numeric(_DENSITY, asked)
        words = self._texts(asked)
        if name in ("study", "step"):
            self._check_column("labels", name, asked)
            return _among(f"l.{name}", words, of_place=True)
        if name == "recipe":
            self._check_column("states", name, asked)
            return _among("s.recipe", words)
        if name == "status":
            self._check(name, asked, _STATUSES)
            return _among("s.status", words)
        if name == "kind":
            self._check(name, asked, get_args(FailureKind))
            last = (
                "SELECT kind FROM attempts WHERE node = s.key AND status = 'failed' ORDER BY id DESC LIMIT 1"
            )
            inner = _among(f"({last})", words)
            return Condition(f"COALESCE({inner.sql}, 0)", inner.values)
        inner = _among("tag", words)
        return Condition(f"s.key IN (SELECT state FROM tags WHERE {inner.sql})", inner.values)

    def _key(self, asked: Comparison) -> Condition:
        prefixes = self._texts(asked)
        found = []
        for word in prefixes:
            if len(word) > 64 or not set(word.lower()) <= set("0123456789abcdef"):
                given = next(entry for entry in asked.values if entry.text == word)
                raise self._error(f"expected the beginning of a key as '3fa1', got {word!r}", given)
            low = word.lower()
            found.append(Condition("s.key >= ? AND s.key < ?", (low, low + "g")))
        return together("OR", found)

    def _factor(self, asked: Comparison, factor: str) -> Condition:
        self._unsubscripted(asked)
        words = self._texts(asked)
        self._check(factor, asked, sorted(self._known.factors[factor]), f"label of factor {factor!r}")
        arms = [text for text, arm in self._known.arms.items() if arm.get(factor) in words]
        return _among("l.arm", arms, of_place=True)

    def _parameter(self, asked: Comparison, dotted: str) -> Condition:
        path: list[str | int] = list(dotted.split("."))
        for word in asked.subscripts:
            path.append(int(word.text) if not word.quoted and word.text.isdecimal() else word.text)
        for word in asked.values:
            if asked.operator in ORDERS and word.number is None:
                raise self._error(f"{asked.operator} expects a number, got {word.text!r}", word)
        written = json.dumps(path)
        if not self._ledger.rows("SELECT 1 FROM states WHERE pomona_has(params, ?) LIMIT 1", [written]):
            known = self._known.paths()
            if known:
                raise self._error(unknown("parameter", dotted, known), asked.name)
        sign = "==" if asked.operator == "in" else asked.operator
        bound = (written, sign, values.described(asked.values))
        return Condition("pomona_holds(s.params, ?, ?, ?)", bound)

    def _quantity(self, name: str) -> tuple[str, str]:
        """A quantity and the part of the data: a name that has a dot itself goes before."""
        quantity, dot, part = name.rpartition(".")
        if not dot or self._known.is_measured(name):
            return name, DEFAULT_PART
        return quantity, part

    def _measured(self, asked: Comparison, name: str) -> Condition:
        quantity, part = self._quantity(name)
        # Where nothing was measured yet, it may be the name of anything.
        if self._known.quantities and not self._known.is_measured(quantity):
            factors = sorted(self._known.factors)
            known = [*TERMS, "params.", *(f"{call}()" for call in _CALLS), *factors, *self._known.quantities]
            raise self._error(unknown("term", asked.name.text, known), asked.name)
        return self._measurement(asked, quantity, part)

    def _measurement(self, asked: Comparison, quantity: str, part: str) -> Condition:
        layer, class_ = "", -1
        for word in asked.subscripts:
            if word.text.isdecimal() and len(word.text) < 10 and not word.quoted:
                class_ = int(word.text)
            else:
                layer = word.text
        if self._known.quantities:
            self._check_measurement(asked, quantity, part, layer, class_)
        inner = self._numeric("m.value", asked, nothing=True)
        return Condition(
            # CROSS JOIN keeps the order: the other way round would take minutes in a large store.
            "s.key IN (SELECT ps.state FROM measurements m CROSS JOIN probes p ON p.key = m.probe"
            " CROSS JOIN probe_states ps ON ps.probe = m.probe"
            f" WHERE m.quantity = ? AND m.layer = ? AND m.class = ? AND {inner.sql}"
            " AND COALESCE(json_extract(p.params, '$.part'), ?) = ?)",
            (quantity, layer, class_, *inner.values, DEFAULT_PART, part),
        )

    def _check_measurement(
        self, asked: Comparison, quantity: str, part: str, layer: str, class_: int
    ) -> None:
        if not self._known.has_part(quantity, part):
            there = ", ".join(f"{quantity}.{name}" for name in self._known.parts(quantity))
            raise self._error(
                f"{quantity} was not measured on the part {part!r}; there is {there}", asked.name
            )
        if not self._known.is_measured(quantity, layer, class_):
            known = self._known.subscripts(quantity)
            written = quantity + "".join(f"[{word.text}]" for word in asked.subscripts)
            close = nearest(written, known)
            hint = f"; did you mean {close!r}?" if close else "."
            shown = ", ".join(known[:12]) + (", .." if len(known) > 12 else "")
            raise self._error(f"there is no {written!r}{hint} Measured: {shown}", asked.name)

    def _numeric(
        self, column: str, asked: Comparison, of_place: bool = False, nothing: bool = False
    ) -> Condition:
        """A number compared; ``none``, where it is allowed, is a measurement that gave no number."""
        if nothing and asked.operator == "==" and asked.values[0].text == "none":
            return Condition(f"{column} IS NULL")
        numbers = []
        for word in asked.values:
            if word.number is None:
                raise self._error(f"{asked.name.text} is a number, got {word.text!r}", word)
            # SQLite has no larger integers.
            numbers.append(word.number if abs(word.number) < 2**63 else float(word.number))
        if asked.operator == "in":
            sql = f"{column} IN ({','.join('?' * len(numbers))})"
        else:
            sql = f"{column} {asked.operator} ?"
        return Condition(f"COALESCE({sql}, 0)" if column == _DENSITY else sql, tuple(numbers), of_place)

    def _texts(self, asked: Comparison) -> list[str]:
        if asked.operator in ORDERS:
            name, given = asked.name.text, asked.operator
            raise self._error(f"{name} is text: expected ==, !=, in or not in, got {given!r}", asked.name)
        return [word.text for word in asked.values]

    def _check_column(self, table: str, column: str, asked: Comparison) -> None:
        for word in asked.values:
            if not self._known.has(table, column, word.text):
                self._check(column, asked, self._known.column(table, column))

    def _check(self, name: str, asked: Comparison, known: Sequence[str], what: str = "") -> None:
        for word in asked.values:
            if known and word.text not in known:
                raise self._error(unknown(what or name, word.text, known), word)

    def _unsubscripted(self, asked: Comparison) -> None:
        if asked.subscripts:
            raise self._error(f"{asked.name.text} has no subscripts", asked.subscripts[0])

    def _error(self, message: str, word: Word) -> InputError:
        return self._source.error(message, word)


def together(sign: str, parts: Sequence[Condition]) -> Condition:
    """Conditions joined by AND or OR, as a balanced tree: SQLite limits the depth of an expression."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    a, b = together(sign, parts[:half]), together(sign, parts[half:])
    return Condition(f"({a.sql} {sign} {b.sql})", (*a.values, *b.values), a.of_place or b.of_place)


def _among(column: str, texts: Sequence[str], of_place: bool = False) -> Condition:
    if len(texts) == 1:
        return Condition(f"{column} = ?", (texts[0],), of_place)
    return Condition(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(texts),), of_place)
