"""The cache: one file per data set, read by memory map.

A file is a line ``pomona data 1 <header bytes>``, the data set's description as JSON, spaces up to the
header's size, and the bytes of the four parts one after the other. It is written under a temporary name,
synced and renamed, so a reader sees a whole file or none.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pomona.core.errors import DataError
from pomona.data.catalogue import DatasetInfo
from pomona.data.parts import Parts

Report = Callable[[str], None]

_MAGIC = "pomona data 1"
_PAGE_BYTES = 4096


class CacheError(DataError):
    """The cache's folder cannot be written: no other source can help."""


def cache_root() -> Path:
    """The folder of the cache: the environment's ``POMONA_CACHE``, or the user's cache folder."""
    given = os.environ.get("POMONA_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("pomona"))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say a failed write of the cache as what it is.

    Raises:
        CacheError: A full disk, a folder without write permission and the like.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise CacheError(
            f"the data cache cannot be written: {path}: {reason}. "
            "Make room or set POMONA_CACHE to a folder that can be written."
        ) from error


@contextlib.contextmanager
def locked(path: Path, report: Report) -> Iterator[bool]:
    """Let one process at a time fetch a data set. The lock goes with the process that holds it.

    Yields:
        Whether nobody else can be at it; False on a system without such locks.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.with_name(path.name + ".lock"), "ab")  # noqa: SIM115 (closed below)
    with lock:
        yield _wait_for(lock, path, report)


def sweep(path: Path) -> None:
    """Remove what processes that were killed left behind. Callers hold the lock."""
    for leftover in path.parent.glob(f".{path.stem}-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _wait_for(lock: BinaryIO, path: Path, report: Report) -> bool:
    try:
        import fcntl
    except ImportError:  # no such locks on this system: two fetches are wasteful, not wrong
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        report(f"{path.stem}: another process is fetching it; waiting")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        return False
    return True


def write(path: Path, info: DatasetInfo, parts: Parts) -> None:
    """Write a data set's file atomically. Callers hold the lock.

    Raises:
        CacheError: It cannot be written; nothing is left behind.
    """
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(_header(info))
                for part in parts:
                    file.write(np.ascontiguousarray(part).data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def read_info(path: Path) -> DatasetInfo:
    """Read a file's description and check its size against it.

    Raises:
        DataError: The file is missing, damaged or truncated.
    """
    return _read_header(path)[0]


def read(path: Path) -> tuple[DatasetInfo, Parts]:
    """Map a file's parts into memory, read-only, and check their digests.

    Raises:
        DataError: The file is missing, damaged or truncated (says which part).
    """
    info, start = _read_header(path)
    mapped = np.asarray(np.memmap(path, np.uint8, "r"))
    arrays = []
    for shape in _shapes(info):
        end = start + int(np.prod(shape))
        arrays.append(mapped[start:end].reshape(shape))
        start = end
    parts = Parts(*arrays)
    try:
        parts.check(info)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return info, parts


def _header(info: DatasetInfo) -> bytes:
    described = json.dumps(asdict(info)).encode() + b"\n"
    pages = -(-(len(_MAGIC) + 24 + len(described)) // _PAGE_BYTES)
    first = f"{_MAGIC} {pages * _PAGE_BYTES}\n".encode()
    return (first + described).ljust(pages * _PAGE_BYTES)


def _read_header(path: Path) -> tuple[DatasetInfo, int]:
    try:
        with open(path, "rb") as file:
            magic, _, size = file.readline(64).decode("ascii").strip().rpartition(" ")
            if magic != _MAGIC or not size.isdigit():
                raise DataError(f"{path}: not a data file of this version")
            header_bytes = int(size)
            info = _info(json.loads(file.readline(header_bytes)))
        expected_bytes = header_bytes + sum(int(np.prod(shape)) for shape in _shapes(info))
        found_bytes = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged header: {error}") from error
    if found_bytes != expected_bytes:
        raise DataError(f"{path}: truncated: {found_bytes} bytes, expected {expected_bytes}")
    return info, header_bytes


def _info(read: dict[str, object]) -> DatasetInfo:
    return DatasetInfo(**{key: tuple(v) if isinstance(v, list) else v for key, v in read.items()})  # type: ignore[arg-type]


def _shapes(info: DatasetInfo) -> list[tuple[int, ...]]:
    train, test = info.train_count, info.test_count
    return [(train, *info.shape), (train,), (test, *info.shape), (test,)]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
