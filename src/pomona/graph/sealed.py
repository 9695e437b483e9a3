"""What finished states and probes hold in the ledger, as the digests that their entries of the chain keep."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

Kind = Literal["state", "probe"]
KINDS: tuple[Kind, ...] = ("state", "probe")

# What is kept of it beside the rows that it left.
_FINISHED = {
    "state": "SELECT key, facts FROM states WHERE status = 'done'",
    "probe": "SELECT key, '' FROM probes WHERE status = 'done'",
}
# Size on disk and whether a file is there are left out: they change, and the digest says what it was.
_LEFT = {
    "state": "SELECT state, name, digest, tensors FROM outputs{} ORDER BY state, name",
    "probe": "SELECT probe, quantity, layer, class, value FROM measurements{}"
    " ORDER BY probe, quantity, layer, class",
}
# So many quantities of a probe are told.
_TOLD = 8


@dataclass(frozen=True)
class Held:
    """What the tables hold of all states, or of all probes.

    Args:
        contents: Digest of what each finished one holds, by key.
        stray: Keys of those that are not finished, or not there at all, and have rows all the same.
    """

    contents: dict[str, str]
    stray: set[str]


def held(read: sqlite3.Connection, kind: Kind) -> Held:
    """Read a kind of node as a whole: one pass over what they left, in the order in which it is stored."""
    finished = dict(rows(read, _FINISHED[kind]))
    contents, stray = {}, set()
    for key, group in groupby(rows(read, _LEFT[kind].format("")), itemgetter(0)):
        if key in finished:
            contents[key] = digest(kind, finished[key], [row[1:] for row in group])
        else:
            stray.add(key)
    bare = {key: digest(kind, finished[key], []) for key in finished.keys() - contents.keys()}
    return Held(contents | bare, stray)


def content(read: sqlite3.Connection, kind: Kind, key: str) -> str:
    """Digest of what one finished state or probe holds, as the tables give it back."""
    ((_, facts),) = rows(read, f"{_FINISHED[kind]} AND key = ?", key)
    left = rows(read, _LEFT[kind].format(f" WHERE {kind} = ?"), key)
    return digest(kind, facts, [row[1:] for row in left])


def digest(kind: Kind, facts: str, left: Sequence[tuple[Any, ...]]) -> str:
    """SHA-256 of what a state or probe holds.

    Args:
        kind: ``state`` or ``probe``.
        facts: What the recipe said of the state, as the ledger keeps it; empty for a probe.
        left: Name, digest and tensors of each output by name; or quantity, layer, class and value of each
            measurement by the first three.

    A list in JSON, where every type has a form of its own and a float is written with every bit.
    """
    return hashlib.sha256(_json([kind, facts, left]).encode()).hexdigest()


def named(read: sqlite3.Connection, key: str) -> str:
    """A state or probe in the words of a sentence, by what the ledger knows of it."""
    for (recipe,) in rows(read, "SELECT recipe FROM states WHERE key = ?", key).fetchall():
        return f"state {short(key)} ({recipe})"
    sql = "SELECT state FROM probe_states WHERE probe = ? ORDER BY position"
    of = " and ".join(short(state) for (state,) in rows(read, sql, key).fetchall())
    for (name,) in rows(read, "SELECT name FROM probes WHERE key = ?", key).fetchall():
        return f"probe {short(key)} ({name} of state {of})" if of else f"probe {short(key)} ({name})"
    return f"state or probe {short(key)}"


def edited(read: sqlite3.Connection, kind: Kind, key: str) -> str:
    """What to say of a state or probe that is not what was committed. One digest cannot tell more."""
    if kind == "state":
        return f"facts or digests of files of {named(read, key)} were changed after it was computed"
    sql = "SELECT DISTINCT quantity FROM measurements WHERE probe = ? ORDER BY quantity"
    measured = [str(quantity) for (quantity,) in rows(read, sql, key).fetchall()]
    if len(measured) > _TOLD:
        measured = [*measured[: _TOLD - 1], "another quantity"]
    first, last = measured[:-1], measured[-1:]
    which = " or ".join(filter(None, [", ".join(first), *last])) or "every number"
    return f"{which} of {named(read, key)} was changed after it was measured"


def short(subject: object) -> str:
    """A digest by its beginning, a name as it is."""
    text = str(subject)
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def rows(read: sqlite3.Connection, sql: str, *values: object) -> sqlite3.Cursor:
    """The rows of a query as plain tuples, one at a time."""
    cursor = read.cursor()
    cursor.row_factory = None
    return cursor.execute(sql, values)


def _odd(value: object) -> object:
    # Bytes, which no table of ours holds: they have a form that nothing else has, so that they are found.
    return {"odd": repr(value)}


_json = json.JSONEncoder(separators=(",", ":"), check_circular=False, default=_odd).encode
