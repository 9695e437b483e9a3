"""The chain of a ledger: what was committed or registered, one entry after the other, sealed by their links.

A link is the SHA-256 of the link before it and of all that its entry says. So an entry that is changed, taken
out or moved breaks the chain where it stood, and a result that is edited no longer is what its entry says.

What a chain alone cannot show: that its last entries were cut off together with what they speak of, or that
somebody who may write the file has written all of it anew. A head that was written down elsewhere, in a
registry or a letter, settles both: see ``holds``. That is why the head is printed where a study is registered
and in reports.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pomona.core.canonical import digest
from pomona.core.errors import StoreError
from pomona.graph.faults import explained
from pomona.graph.sealed import KINDS, Kind, content, edited, held, named, rows, short

if TYPE_CHECKING:
    from pomona.graph.ledger import Ledger

# What the first entry follows.
START = digest("the chain of a Pomona ledger")
ADOPTED = "adopted"
_SEALED = (*KINDS, ADOPTED)
_COLUMNS = "number, at, kind, subject, content, link"


@dataclass(frozen=True)
class Entry:
    """One link of the chain.

    Args:
        number: 1 for the first; no number is left out.
        at: When it was written, in seconds since 1970.
        kind: ``state`` or ``probe`` for a result; ``adopted`` for one that was there when the chain of a
            store of an earlier format began; else a word of who appended it, such as ``registered``.
        subject: What it is about: the key of a state or probe, a digest, the name of a study.
        content: Of a result the SHA-256 of what it holds; else a text of who appended it.
        link: SHA-256 of the link before it and of everything above.
    """

    number: int
    at: float
    kind: str
    subject: str
    content: str
    link: str


@dataclass(frozen=True)
class Break:
    """One thing that is not as it was written.

    Args:
        number: Of the entry that shows it; None where there is no entry.
        subject: What it is about, as in an entry; empty where that is lost.
        what: A sentence for the user.
    """

    number: int | None
    subject: str
    what: str


def append(ledger: Ledger, kind: str, subject: str, content: str) -> Entry:
    """Add an entry, in a transaction of its own or as part of the one that is open.

    Args:
        ledger: Whose chain.
        kind: What was done, in a word. ``state``, ``probe`` and ``adopted`` are the ledger's own.
        subject: What it was done to.
        content: All that it is to vouch for, such as a JSON document.

    Raises:
        StoreError: It could not be written.
    """
    with ledger.transaction() as write:
        return _add(write, kind, subject, content)


def seal(write: sqlite3.Connection, kind: Kind, key: str) -> None:
    """Add the entry of a state or probe that the transaction has just finished."""
    _add(write, kind, key, content(write, kind, key))


def adopt(write: sqlite3.Connection) -> None:
    """Begin the chain of a ledger that had none with all that is finished in it, as it is now."""
    for kind in KINDS:
        for key, found in sorted(held(write, kind).contents.items(), key=str):
            _add(write, ADOPTED, key, found)


def entries(ledger: Ledger, kind: str | None = None, subject: str | None = None) -> list[Entry]:
    """The entries of the chain in their order: all, or those of a kind, of a subject, or of both."""
    given = {"kind": kind, "subject": subject}
    wanted = {name: value for name, value in given.items() if value is not None}
    where = " AND ".join(f"{name} = ?" for name in wanted) or "1"
    sql = f"SELECT {_COLUMNS} FROM chain WHERE {where} ORDER BY number"
    return [Entry(*row) for row in ledger.rows(sql, list(wanted.values()))]


def head(ledger: Ledger) -> str:
    """The link of the last entry, which stands for all before it; of an empty chain what comes first."""
    found = ledger.rows("SELECT link FROM chain ORDER BY number DESC LIMIT 1")
    return str(found[0]["link"]) if found else START


def holds(ledger: Ledger, head: str) -> bool:
    """Whether a head that was written down earlier is one of the chain's links.

    Where it is and ``check`` finds nothing, every result up to that entry is what it was then, but for those
    that ``revised`` names. Where it is not, the end of the chain was cut off, or it was written anew.
    """
    return head == START or bool(ledger.rows("SELECT 1 FROM chain WHERE link = ? LIMIT 1", [head]))


def check(ledger: Ledger) -> list[Break]:
    """Walk the chain and compare what its entries say with what the tables hold.

    Found are entries that were changed, taken out or moved; states and probes whose results are not what was
    committed; results without an entry, and entries whose results are gone. Not found is what a chain alone
    cannot show; see the top of this module.

    Raises:
        StoreError: The ledger cannot be read.
    """
    with _moment(ledger) as read:
        breaks, last = _walk(read)
        return breaks + _compare(read, last)


def revised(ledger: Ledger) -> list[str]:
    """A sentence for each result that was computed again with other numbers, by what the entries say.

    The chain is unbroken there, and yet it deserves a look: who edits a result can append an entry to match.
    """
    with _moment(ledger) as read:
        return [
            f"{named(read, subject)} was computed again with other numbers (entry {number:,})"
            for number, subject in _revised(read)
        ]


def revised_keys(ledger: Ledger) -> set[str]:
    """Keys of the states and probes that ``revised`` speaks of."""
    with _moment(ledger) as read:
        return {str(subject) for _, subject in _revised(read)}


def _revised(read: sqlite3.Connection) -> list[tuple[int, str]]:
    marks = ",".join("?" * len(_SEALED))
    sql = (
        "SELECT number, subject FROM (SELECT number, subject, content, LAG(content) OVER"
        f" (PARTITION BY subject ORDER BY number) AS before FROM chain WHERE kind IN ({marks}))"
        " WHERE content != before ORDER BY number"
    )
    return [(number, subject) for number, subject in rows(read, sql, *_SEALED).fetchall()]


def _add(write: sqlite3.Connection, kind: str, subject: str, content: str) -> Entry:
    found = rows(write, "SELECT number, link FROM chain ORDER BY number DESC LIMIT 1").fetchone()
    number, before = found or (0, START)
    at = time.time()
    # A link before it that is no text any more must not stop a run: the entry before is found by ``check``.
    made = _link(str(before), number + 1, at, kind, subject, content)
    if made is None or number + 1 >= 2**63:
        raise StoreError(f"the ledger is damaged: its chain cannot go on after entry {number}")
    entry = Entry(number + 1, at, kind, subject, content, made)
    values = (entry.number, entry.at, entry.kind, entry.subject, entry.content, entry.link)
    write.execute(f"INSERT INTO chain ({_COLUMNS}) VALUES (?,?,?,?,?,?)", values)
    return entry


def _link(before: str, *said: Any) -> str | None:
    """The link of an entry; None where a field is of a type that none of ours has."""
    try:
        return digest([before, *said])
    except (TypeError, ValueError):
        return None


def _walk(read: sqlite3.Connection) -> tuple[list[Break], dict[str, tuple[int, str | None]]]:
    """Breaks of the chain; and of each result the last entry: its number, its content where it is whole."""
    breaks: list[Break] = []
    last: dict[str, tuple[int, str | None]] = {}
    before: tuple[str, ...] = (START,)
    expected = 1
    for number, at, kind, subject, said, link in rows(read, f"SELECT {_COLUMNS} FROM chain ORDER BY number"):
        if number > expected:
            breaks.append(_missing(expected, number - 1))
            before = ()
        made = [_link(one, number, at, kind, subject, said) for one in before]
        whole = link in made or not before
        if not whole:
            breaks.append(Break(number, str(subject), _changed(number, kind, subject)))
        if kind in _SEALED:
            last[subject] = number, said if whole else None
        # Where only the link of an entry was changed, the next one still follows what it was.
        before = (str(link),) if whole else (str(link), made[0] or "")
        expected = number + 1
    return breaks, last


def _missing(first: int, to: int) -> Break:
    which = f"entry {first:,} is" if first == to else f"entries {first:,} to {to:,} are"
    return Break(first, "", f"{which} missing")


def _changed(number: int, kind: str, subject: str) -> str:
    text = f"entry {number:,} ({kind} {short(subject)}) was changed after it was written"
    return text if number <= 1 else f"{text}, or entry {number - 1:,} was and its link made to fit"


def _compare(read: sqlite3.Connection, last: dict[str, tuple[int, str | None]]) -> list[Break]:
    """What the tables hold that is not what the entries say."""
    breaks: list[Break] = []
    found: set[str] = set()
    unknown: set[str] = set()
    for kind in KINDS:
        now = held(read, kind)
        found |= now.contents.keys()
        unknown |= (now.stray | now.contents.keys()) - last.keys()
        for key, is_now in now.contents.items():
            number, was = last.get(key, (None, None))
            if was is not None and was != is_now:
                breaks.append(Break(number, key, edited(read, kind, key)))
    for key in unknown:
        breaks.append(Break(None, str(key), f"{named(read, key)} has results that no entry speaks of"))
    for key in last.keys() - found:
        number = last[key][0]
        text = f"{named(read, key)} was finished (entry {number:,}) and no longer is"
        breaks.append(Break(number, str(key), text))
    return sorted(breaks, key=lambda one: (one.number is None, one.number or 0, one.subject))


@contextmanager
def _moment(ledger: Ledger) -> Iterator[sqlite3.Connection]:
    """The ledger as it is at one moment, whatever others commit meanwhile. Nobody waits for it."""
    read = ledger.connection
    inside = read.in_transaction
    try:
        if not inside:
            read.execute("BEGIN")
        yield read
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise explained(ledger.path, error) from None
    finally:
        if not inside and read.in_transaction:
            read.execute("ROLLBACK")
