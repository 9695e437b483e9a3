"""Tags and notes: what people say about states. They may change at any time and are in no key."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from pomona.core.errors import InputError
from pomona.graph.ledger import Ledger

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


@dataclass(frozen=True)
class Note:
    """A remark on a state."""

    text: str
    written_at: float


def tag(ledger: Ledger, keys: Iterable[str], name: str) -> int:
    """Give a tag to states; says how many had it not.

    Raises:
        InputError: No name of a tag, or a key that is not of a state here.
    """
    return _change(ledger, keys, name, "INSERT OR IGNORE INTO tags (state, tag) VALUES (?,?)")


def untag(ledger: Ledger, keys: Iterable[str], name: str) -> int:
    """Take a tag from states; says how many had it.

    Raises:
        InputError: As ``tag``.
    """
    return _change(ledger, keys, name, "DELETE FROM tags WHERE state = ? AND tag = ?")


def note(ledger: Ledger, key: str, text: str) -> None:
    """Add a note to a state.

    Raises:
        InputError: It is empty, or the key is not of a state here.
    """
    if not text.strip():
        raise InputError("expected the text of a note, got nothing")
    _check_keys(ledger, [key])
    with ledger.transaction() as write:
        row = (key, time.time(), text.strip())
        write.execute("INSERT INTO notes (state, written_at, text) VALUES (?,?,?)", row)


def notes(ledger: Ledger, key: str) -> list[Note]:
    """The notes on a state, oldest first."""
    rows = ledger.rows("SELECT text, written_at FROM notes WHERE state = ? ORDER BY id", [key])
    return [Note(row["text"], row["written_at"]) for row in rows]


def tag_counts(ledger: Ledger, but: Container[str] = ()) -> dict[str, int]:
    """All tags, and how many states have them; some states may be left out."""
    rows = ledger.rows("SELECT tag, state FROM tags ORDER BY tag")
    return dict(Counter(row["tag"] for row in rows if row["state"] not in but))


def _change(ledger: Ledger, keys: Iterable[str], name: str, sql: str) -> int:
    if not _NAME.fullmatch(name):
        raise InputError(f"the name of a tag is up to 100 letters, digits and . _ -, got {name!r}")
    wanted = list(dict.fromkeys(keys))
    _check_keys(ledger, wanted)
    with ledger.transaction() as write:
        return write.executemany(sql, [(key, name) for key in wanted]).rowcount if wanted else 0


def _check_keys(ledger: Ledger, keys: Sequence[str]) -> None:
    sql = "SELECT key FROM states WHERE key IN (SELECT value FROM json_each(?))"
    there = {row["key"] for row in ledger.rows(sql, [json.dumps(keys)])}
    for key in keys:
        if key not in there:
            raise InputError(f"no state here has the key {key!r}")
