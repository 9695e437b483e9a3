"""What a user is told when the database of a store cannot be used."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

from pomona.core.errors import StoreError, StoreWriteError
from pomona.graph.tables import FORMAT

# SQLite says no more than this of a file that it cannot begin, of its index and of every quota.
_NO_REASON = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
_SOME_BYTES = bytes(1 << 16)


def wrong_format(path: Path, found: int) -> str:
    """What to tell of a file whose format is not ours."""
    if found > FORMAT:
        return (
            f"{path} is a store of format {found}; this version of Pomona reads format {FORMAT}. "
            "Use the newer version that wrote it, or name another folder with --store. Nothing was changed."
        )
    return f"{path} is an SQLite file but not the ledger of a Pomona store; name another folder with --store"


def damaged(path: Path, how: str) -> str:
    """What to tell of a ledger that something else has changed."""
    return f"the ledger {path} is damaged: {how}. Nothing was changed; put a copy of it in its place"


def explained(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> StoreError:
    """An error of SQLite in our words."""
    text = str(error)
    if "full" in text or (_code(error) in _NO_REASON and _no_room(path.parent)):
        return StoreWriteError(
            f"the disk is full: the ledger {path} could not be written. What was finished is kept: free some "
            "space, then run the same command again."
        )
    if "readonly" in text:
        return StoreWriteError(f"the ledger {path} could not be written: {text}")
    # What SQLite cites of a damaged schema need not be text at all.
    if "not a database" in text or "malformed" in text or isinstance(error, UnicodeDecodeError):
        return StoreError(f"{path} is not a readable ledger ({text}); name another folder with --store")
    if "locked" in text:
        return StoreError(f"the ledger {path} is in use by another process that does not let go of it")
    return StoreError(f"the ledger {path}: {text}")


def _code(error: Exception) -> int:
    # Errors of Python's own module have none.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _no_room(folder: Path) -> bool:
    """Whether nothing more can be written to a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_SOME_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return False
