"""Two lineages walked side by side, to find where they part."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pomona.graph.fields import Field, differing, line_differences
from pomona.graph.ledger import Ledger
from pomona.graph.reading import read


@dataclass(frozen=True)
class Ancestor:
    """A state as its lineage needs it.

    Args:
        key: Its identity.
        recipe: Name of the recipe.
        version: Of the recipe.
        params: Its parameters.
        parents: Keys, in the recipe's order.
        status: ``planned``, ``done`` or ``failed``.
        sources: Name by digest of the users' functions that it uses: ``mine.py:net``.
    """

    key: str
    recipe: str
    version: int
    params: dict[str, Any]
    parents: tuple[str, ...]
    status: str
    sources: dict[str, str]

    @property
    def identity(self) -> dict[str, Any]:
        """What its key is made of, but for the parents."""
        return {"recipe": self.recipe, "version": self.version, "params": self.params}


@dataclass(frozen=True)
class Parting:
    """Two states at the same position of two lineages whose own fields differ."""

    a: Ancestor
    b: Ancestor
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Code:
    """A user's function that differs.

    Args:
        path: The field that holds its digest.
        name: As the study writes it: ``mine.py:net``.
        lines: A unified diff of the normalised sources; none where one of them is not on record.
    """

    path: str
    name: str
    lines: tuple[str, ...]


class Lineages:
    """The states that some states descend from, and these themselves.

    Args:
        ledger: Where they are.
        keys: Of states in it.
    """

    def __init__(self, ledger: Ledger, keys: Iterable[str]) -> None:
        self._ledger = ledger
        self.states: dict[str, Ancestor] = {}
        self.read(keys)

    def read(self, keys: Iterable[str]) -> None:
        """Take more states in, with what they descend from."""
        for key in keys:
            if key not in self.states:
                self._read(key)

    def above(self, key: str) -> list[str]:
        """What a state descends from, nearest first, each once."""
        found = dict.fromkeys(self.states[key].parents)
        waiting = deque(found)
        while waiting:
            for parent in self.states[waiting.popleft()].parents:
                if parent not in found:
                    found[parent] = None
                    waiting.append(parent)
        return list(found)

    def partings(self, a: str, b: str) -> list[Parting]:
        """Where two lineages differ by themselves, and not only by what they descend from; ancestors first.

        Parents are compared by position. Below a pair of different recipes nothing is compared.
        """
        found: list[Parting] = []
        # Without recursion: a lineage may be longer than Python's stack.
        waiting, seen = [(a, b, False)], set()
        while waiting:
            key_a, key_b, parents_done = waiting.pop()
            if key_a == key_b or ((key_a, key_b) in seen and not parents_done):
                continue
            seen.add((key_a, key_b))
            one, other = self.states[key_a], self.states[key_b]
            pairs = [] if one.recipe != other.recipe else list(zip(one.parents, other.parents, strict=False))
            if not parents_done:
                waiting.append((key_a, key_b, True))
                waiting += [(*pair, False) for pair in reversed(pairs)]
                continue
            fields = differing(one.identity, other.identity)
            if len(one.parents) != len(other.parents):
                fields.append(Field("parents", str(len(one.parents)), str(len(other.parents))))
            if fields:
                found.append(Parting(one, other, tuple(fields)))
        return found

    def code(self, parting: Parting) -> list[Code]:
        """The users' functions that differ at a parting."""
        found = []
        for field in parting.fields:
            texts = [self._text(digest) for digest in (field.a, field.b)]
            if texts != [None, None] or field.path.rpartition(".")[2] == "source":
                name = parting.b.sources.get(field.b) or parting.a.sources.get(field.a) or field.path
                known = texts[0] is not None and texts[1] is not None
                lines = line_differences(texts[0] or "", texts[1] or "", name) if known else []
                found.append(Code(field.path, name, tuple(lines)))
        return found

    def _text(self, digest: str) -> str | None:
        """The text of a source as a reader wants it: each definition without its name before it."""
        rows = self._ledger.rows("SELECT text FROM sources WHERE digest = ?", [digest])
        if not rows:
            return None
        definitions = filter(None, rows[0]["text"].split("\0"))
        return "\n".join(definition.partition("\n")[2] for definition in definitions)

    def _read(self, key: str) -> None:
        rows = self._ledger.rows(
            "WITH RECURSIVE line(key) AS (VALUES (?) UNION SELECT p.parent FROM parents p JOIN line"
            " ON p.child = line.key) SELECT s.* FROM line JOIN states s ON s.key = line.key",
            [key],
        )
        links = self._ledger.rows(
            "WITH RECURSIVE line(key) AS (VALUES (?) UNION SELECT p.parent FROM parents p JOIN line"
            " ON p.child = line.key) SELECT p.* FROM line JOIN parents p ON p.child = line.key"
            " ORDER BY p.child, p.position",
            [key],
        )
        parents: dict[str, list[str]] = {}
        for link in links:
            parents.setdefault(link["child"], []).append(link["parent"])
        for row in rows:
            self.states[row["key"]] = Ancestor(
                key=row["key"],
                recipe=row["recipe"],
                version=row["version"],
                params=read(self._ledger, row["params"], f"parameters of {row['key'][:12]}"),
                parents=tuple(parents.get(row["key"], ())),
                status=row["status"],
                sources=_sources(read(self._ledger, row["how"], f"execution of {row['key'][:12]}")),
            )


def _sources(how: dict[str, Any]) -> dict[str, str]:
    """Names of users' functions by the digest of their source, from what execution needs."""
    found = {digest: name for name, digest in how.get("sources", {}).items()}
    function = how.get("function")
    if function is not None:
        found[function["source"]] = function["name"]
        for path, name, digest in function["depends_on"].values():
            found[digest] = f"{Path(path).name}:{name}" if name else Path(path).name
    return found
