"""Files that are there whole or not at all, whatever stops the process or the machine.

A draft is written and synced under another name and renamed; its folder and that one's name are synced before
anything says that the file is there. A draft is locked for as long as it is written, so that what a killed
process left can be told from what another is writing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pomona.core.errors import StoreError, StoreWriteError

FULL = (errno.ENOSPC, errno.EDQUOT)

# A draft that nobody holds is given this long: its writer may have made it and not yet locked it.
_DRAFT_SECONDS = 60.0
# Folders whose names this process has synced.
_on_disk: set[Path] = set()


def write_atomically(target: Path, content: bytes, temporary: Path) -> None:
    """Write a file so that it has either its whole content or is not there.

    Raises:
        StoreWriteError: The disk is full or a folder cannot be written.
    """
    try:
        make_folder(target.parent)
        temporary.mkdir(parents=True, exist_ok=True)
        with _draft(temporary, target.name) as (path, file):
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(path, target)
        sync_folder(target.parent)
    except OSError as error:
        raise write_error(target, error) from None


def make_durable(target: Path) -> None:
    """Have the name of a file on disk that another process may have renamed just before it was killed.

    Raises:
        StoreWriteError: A folder cannot be synced.
    """
    try:
        make_folder(target.parent)
        sync_folder(target.parent)
    except OSError as error:
        raise write_error(target, error) from None


def write_error(target: Path, error: OSError) -> StoreWriteError:
    """What to tell a user when a file of the store could not be written."""
    if error.errno in FULL:
        return StoreWriteError(
            f"the disk is full: {target} could not be written. What was finished is kept: free some space, "
            "then run the same command again."
        )
    return StoreWriteError(f"{target} could not be written: {error.strerror or error}")


def make_folder(folder: Path) -> None:
    """Make a folder, and have its name on disk: what lies in it would be lost with it."""
    if folder in _on_disk and folder.is_dir():
        return
    try:
        folder.mkdir()
    except FileNotFoundError:
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
    except FileExistsError:
        if not folder.is_dir():
            raise
    # Also where it was there: the process that made it may not have come to this.
    sync_folder(folder.parent)
    _on_disk.add(folder)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk, before anything says that the files are there."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return  # one may write into it, but not open it
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems know no such thing.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def drafts_in(folder: Path) -> dict[Path, int]:
    """Half-written files of processes that are gone, with their sizes in bytes."""
    found = {}
    for path in _old_files(folder):
        with _abandoned(path) as size:
            if size is not None:
                found[path] = size
    return found


def sweep_drafts(folder: Path) -> int:
    """Remove half-written files of processes that are gone, never one in use; says how many."""
    removed = 0
    for path in _old_files(folder):
        with _abandoned(path) as size:
            if size is not None:
                with contextlib.suppress(OSError):
                    path.unlink()
                    removed += 1
    return removed


def entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing where there is none.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"the folder {folder} cannot be read: {error.strerror}") from None


def open_plainly(path: str, flags: int) -> int:
    """Open what is no link, which could lead anywhere, and do not wait for a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _old_files(folder: Path) -> list[Path]:
    found = []
    for entry in entries(folder):
        with contextlib.suppress(OSError):
            about = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(about.st_mode) and abs(time.time() - about.st_mtime) > _DRAFT_SECONDS:
                found.append(Path(entry.path))
    return found


@contextlib.contextmanager
def _draft(folder: Path, name: str) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file that is held for as long as it is written; removed where that fails."""
    path = folder / f"{name}.{uuid.uuid4().hex[:8]}"
    with open(path, "xb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink == 0:
            # Stopped for so long before it could be held that it was taken for abandoned.
            with _draft(folder, name) as another:
                yield another
            return
        try:
            yield path, file
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise


@contextlib.contextmanager
def _abandoned(path: Path) -> Iterator[int | None]:
    """The size of a draft that nobody holds, which is held meanwhile; None where somebody does."""
    with contextlib.ExitStack() as held:
        try:
            file = held.enter_context(open(path, "rb", opener=open_plainly))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = os.fstat(file.fileno()).st_size
        except OSError:
            yield None
            return
        yield size
