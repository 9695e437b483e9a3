"""The names that a store knows: what queries may speak of, and what is told to who misspells one.

Looking for one name is fast in a store of any size; the lists are read only for an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from pomona.graph.ledger import Ledger
from pomona.graph.reading import read

DEFAULT_PART = "test"


class Vocabulary:
    """The names in a ledger.

    Args:
        ledger: Of the store.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @cached_property
    def arms(self) -> dict[str, Mapping[str, str]]:
        """The distinct arms of all studies, by their text in the ledger."""
        rows = self._ledger.rows("SELECT DISTINCT arm FROM labels")
        return {row["arm"]: read(self._ledger, row["arm"], "a label") for row in rows}

    @cached_property
    def factors(self) -> dict[str, set[str]]:
        """The labels of every factor."""
        found: dict[str, set[str]] = {}
        for arm in self.arms.values():
            for factor, label in arm.items():
                found.setdefault(factor, set()).add(label)
        return found

    @cached_property
    def quantities(self) -> list[str]:
        """All that was measured, by name."""
        # Jumps from name to name in the index, where DISTINCT would read all of it.
        rows = self._ledger.rows(
            "WITH RECURSIVE found(name) AS (SELECT MIN(quantity) FROM measurements UNION ALL"
            " SELECT (SELECT MIN(quantity) FROM measurements WHERE quantity > name) FROM found"
            " WHERE name IS NOT NULL) SELECT name FROM found WHERE name IS NOT NULL"
        )
        return [row["name"] for row in rows]

    def is_measured(self, quantity: str, layer: str | None = None, class_: int | None = None) -> bool:
        """Whether there is a number of this name; of a layer and a class where they are given."""
        sql, values = "SELECT 1 FROM measurements WHERE quantity = ?", [quantity]
        if layer is not None:
            sql, values = f"{sql} AND layer = ? AND class = ?", [quantity, layer, class_]  # type: ignore[list-item]
        return bool(self._ledger.rows(f"{sql} LIMIT 1", values))

    def parts(self, quantity: str) -> list[str]:
        """The parts of the data that a quantity was measured on."""
        rows = self._ledger.rows(
            "SELECT DISTINCT COALESCE(json_extract(p.params, '$.part'), ?) AS part FROM measurements m"
            " JOIN probes p ON p.key = m.probe WHERE m.quantity = ? ORDER BY part",
            [DEFAULT_PART, quantity],
        )
        return [row["part"] for row in rows]

    def has_part(self, quantity: str, part: str) -> bool:
        """Whether a quantity was measured on a part of the data."""
        sql = (
            "SELECT 1 FROM measurements m JOIN probes p ON p.key = m.probe WHERE m.quantity = ?"
            " AND COALESCE(json_extract(p.params, '$.part'), ?) = ? LIMIT 1"
        )
        return bool(self._ledger.rows(sql, [quantity, DEFAULT_PART, part]))

    def subscripts(self, quantity: str) -> list[str]:
        """How the numbers of a quantity are written: ``accuracy``, ``class-accuracy[3]``."""
        rows = self._ledger.rows(
            "SELECT DISTINCT layer, class FROM measurements WHERE quantity = ? ORDER BY layer, class",
            [quantity],
        )
        return [
            quantity
            + (f"[{row['layer']}]" if row["layer"] else "")
            + (f"[{row['class']}]" if row["class"] >= 0 else "")
            for row in rows
        ]

    def column(self, table: str, column: str) -> list[str]:
        """The distinct texts of a column of ``states`` or ``labels``."""
        rows = self._ledger.rows(f"SELECT DISTINCT {column} AS name FROM {table} ORDER BY name")
        return [row["name"] for row in rows]

    def has(self, table: str, column: str, text: str) -> bool:
        """Whether a column of ``states`` or ``labels`` has a text somewhere."""
        return bool(self._ledger.rows(f"SELECT 1 FROM {table} WHERE {column} = ? LIMIT 1", [text]))

    def paths(self) -> list[str]:
        """The paths of all parameters of all states: ``train.batch_size``."""
        rows = self._ledger.rows("SELECT DISTINCT params FROM states")
        read_all = (read(self._ledger, row["params"], "parameters of a state") for row in rows)
        return sorted({path for params in read_all for path in _paths(params)})


def _paths(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _paths(inner, f"{place}.{name}" if place else name)
    elif place:
        yield place
