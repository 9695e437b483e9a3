"""What a user is told when the database of a store cannot be used."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pomona.core.errors import StoreError, StoreWriteError
from pomona.graph.tables import FORMAT


def wrong_format(path: Path, found: int) -> str:
    """What to tell of a file whose format is not ours."""
    if found > FORMAT:
        return (
            f"{path} is a store of format {found}; this version of Pomona reads format {FORMAT}. "
            "Use the newer version that wrote it, or name another folder with --store. Nothing was changed."
        )
    return f"{path} is an SQLite file but not the ledger of a Pomona store; name another folder with --store"


def explained(path: Path, error: sqlite3.Error) -> StoreError:
    """An error of SQLite in our words."""
    text = str(error)
    if "full" in text:
        return StoreWriteError(
            f"the disk is full: the ledger {path} could not be written. What was finished is kept: free some "
            "space, then run the same command again."
        )
    if "readonly" in text:
        return StoreWriteError(f"the ledger {path} could not be written: {text}")
    if "not a database" in text or "malformed" in text:
        return StoreError(f"{path} is not a readable ledger ({text}); name another folder with --store")
    if "locked" in text:
        return StoreError(f"the ledger {path} is in use by another process that does not let go of it")
    return StoreError(f"the ledger {path}: {text}")
