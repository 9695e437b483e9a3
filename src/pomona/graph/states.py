"""The states of a store that a query finds: nothing is read until it is asked for, and no tensor then."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from pomona.graph.query import Query
from pomona.graph.reading import read
from pomona.graph.vocabulary import DEFAULT_PART

if TYPE_CHECKING:
    import pandas as pd

    from pomona.graph.store import Store

_CHUNK = 5000


@dataclass(frozen=True)
class Place:
    """What a state stands for in a study."""

    study: str
    step: str
    replicate: int
    level: int
    arm: Mapping[str, str]

    def __str__(self) -> str:
        return " ".join([self.step, *self.arm.values(), f"replicate {self.replicate}", f"level {self.level}"])


@dataclass(frozen=True)
class StateRecord:
    """What a ledger knows of a state.

    Args:
        key: Its identity.
        recipe: Name of what made it.
        version: Of the recipe.
        status: ``planned``, ``done`` or ``failed``.
        distance: Edges of the shortest line to a root.
        parents: Keys, in the recipe's order.
        tags: In alphabetical order.
        places: What it stands for; that of the fewest factors first, which is the step that made it.
    """

    key: str
    recipe: str
    version: int
    status: str
    distance: int
    parents: tuple[str, ...]
    tags: tuple[str, ...]
    places: tuple[Place, ...]
    _params: str = field(repr=False)
    _facts: str = field(repr=False)
    _store: Store = field(repr=False, compare=False)

    @cached_property
    def params(self) -> dict[str, Any]:
        """Parameters of the recipe."""
        return read(self._store.ledger, self._params, f"parameters of {self.key[:12]}")

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the recipe said about it."""
        return read(self._store.ledger, self._facts, f"facts of {self.key[:12]}")

    @property
    def density(self) -> float | None:
        """Share of the prunable weights that are kept; None where it is not known."""
        kept = self.facts.get("kept", {}).values()
        total = sum(all_ for _, all_ in kept)
        return sum(k for k, _ in kept) / total if total else None

    @property
    def what(self) -> str:
        """What it stands for in a study, in words; empty where it is only on the way to others."""
        return str(self.places[0]) if self.places else ""

    def weights(self) -> dict[str, NDArray[Any]]:
        """Weights, biases and buffers, read now.

        Raises:
            StoreError: It is not done, or its weights were let go.
        """
        return self._store.weights(self.key)

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """Masks by parameter name, True where a weight is kept, read now.

        Raises:
            StoreError: It is not done.
        """
        return self._store.masks(self.key)[0]


class States(Sequence[StateRecord]):
    """States in the order of (distance, key). They are found once, when they are first asked for.

    Args:
        store: Where to look.
        query: Which ones; all by default.
    """

    def __init__(self, store: Store, query: Query | str | None = None) -> None:
        self._store = store
        self._query = Query(query) if isinstance(query, str) else query
        self._found: list[str] | None = None

    @classmethod
    def of(cls, store: Store, keys: Sequence[str]) -> States:
        """The states of some keys, in their order."""
        found = cls(store)
        found._found = list(keys)
        return found

    def keys(self) -> list[str]:
        """Their keys.

        Raises:
            InputError: The store does not know a name of the query.
        """
        return list(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[StateRecord]:
        for start in range(0, len(self._keys), _CHUNK):
            yield from self._read(self._keys[start : start + _CHUNK])

    @overload
    def __getitem__(self, place: int) -> StateRecord: ...
    @overload
    def __getitem__(self, place: slice) -> States: ...
    def __getitem__(self, place: int | slice) -> StateRecord | States:
        if isinstance(place, int):
            return self._read([self._keys[place]])[0]
        return States.of(self._store, self._keys[place])

    def frame(self) -> pd.DataFrame:
        """One state a row.

        Columns: key, recipe, status, distance, tags, study, step, replicate, level and the factors of the
        first place that it stands at, density, and the totals that were measured of it alone: ``accuracy`` on
        the test part, ``accuracy.validation`` on another.
        """
        import pandas as pd

        measured = self.totals()
        rows = []
        for state in self:
            row: dict[str, Any] = {
                name: getattr(state, name) for name in ("key", "recipe", "status", "distance")
            }
            row["tags"] = " ".join(state.tags)
            place = state.places[0] if state.places else None
            row |= {name: getattr(place, name, None) for name in ("study", "step", "replicate", "level")}
            row |= {f"arm.{name}": label for name, label in (place.arm if place else {}).items()}
            rows.append({**row, "density": state.density, **measured.get(state.key, {})})
        columns = {name: None for row in rows for name in row}
        factors = [name for name in columns if name.startswith("arm.")]
        first = ["key", "recipe", "status", "distance", "tags", "study", "step", "replicate", "level"]
        last = sorted(columns.keys() - {*first, *factors, "density"})
        table = pd.DataFrame(rows, columns=[*first, *factors, "density", *last])
        # A factor has its own name, unless something else has it.
        plain = {name: name.removeprefix("arm.") for name in factors}
        table = table.rename(columns={name: new for name, new in plain.items() if new not in table.columns})
        return table.astype({"replicate": "Int64", "level": "Int64"})

    @property
    def _keys(self) -> list[str]:
        if self._found is None:
            sql, values = "", ()
            if self._query is not None:
                condition = self._query.condition(self._store.ledger, self._store.find)
                sql, values = f" WHERE {condition.sql}", condition.values
            rows = self._store.ledger.rows(
                f"SELECT s.key FROM states s{sql} ORDER BY s.distance, s.key", values
            )
            self._found = [row["key"] for row in rows]
        return self._found

    def _read(self, keys: list[str]) -> list[StateRecord]:
        """Those that are still there, with a few reads for all of them."""
        ledger, wanted = self._store.ledger, [json.dumps(keys)]
        among = "IN (SELECT value FROM json_each(?))"
        parents: dict[str, list[str]] = {}
        for row in ledger.rows(f"SELECT * FROM parents WHERE child {among} ORDER BY child, position", wanted):
            parents.setdefault(row["child"], []).append(row["parent"])
        tags: dict[str, list[str]] = {}
        for row in ledger.rows(f"SELECT * FROM tags WHERE state {among} ORDER BY state, tag", wanted):
            tags.setdefault(row["state"], []).append(row["tag"])
        places: dict[str, list[Place]] = {}
        for row in ledger.rows(f"SELECT * FROM labels WHERE state {among}", wanted):
            arm = read(ledger, row["arm"], f"a label of {row['state'][:12]}")
            place = Place(row["study"], row["step"], row["replicate"], row["level"], arm)
            places.setdefault(row["state"], []).append(place)
        rows = {row["key"]: row for row in ledger.rows(f"SELECT * FROM states WHERE key {among}", wanted)}
        return [
            StateRecord(
                key=key,
                recipe=rows[key]["recipe"],
                version=rows[key]["version"],
                status=rows[key]["status"],
                distance=rows[key]["distance"],
                parents=tuple(parents.get(key, ())),
                tags=tuple(tags.get(key, ())),
                places=tuple(sorted(places.get(key, ()), key=_order)),
                _params=rows[key]["params"],
                _facts=rows[key]["facts"],
                _store=self._store,
            )
            for key in keys
            if key in rows
        ]

    def totals(self) -> dict[str, dict[str, float | None]]:
        """What was measured of whole states, by key and name: of probes of that one state.

        ``accuracy`` is of the test part, ``accuracy.validation`` of another.
        """
        found: dict[str, dict[str, float | None]] = {}
        for start in range(0, len(self._keys), _CHUNK):
            rows = self._store.ledger.rows(
                "SELECT ps.state, m.quantity, m.value, COALESCE(json_extract(p.params, '$.part'), ?) AS part"
                " FROM probe_states ps JOIN probes p ON p.key = ps.probe"
                " JOIN measurements m ON m.probe = p.key"
                " WHERE ps.state IN (SELECT value FROM json_each(?)) AND m.layer = '' AND m.class = -1"
                " AND NOT EXISTS (SELECT 1 FROM probe_states o WHERE o.probe = p.key AND o.position = 1)",
                [DEFAULT_PART, json.dumps(self._keys[start : start + _CHUNK])],
            )
            for row in rows:
                part = "" if row["part"] == DEFAULT_PART else f".{row['part']}"
                found.setdefault(row["state"], {})[row["quantity"] + part] = row["value"]
        return found


def _order(place: Place) -> tuple[Any, ...]:
    return len(place.arm), place.study, place.step, place.level, place.replicate, *place.arm.values()
