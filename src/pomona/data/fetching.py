"""Getting a data set into the cache from the first source that gives the right bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pomona.core.errors import DataError
from pomona.core.reference import Reference, is_reference
from pomona.data import cache, own
from pomona.data.attempt import Attempt, Source
from pomona.data.cache import CacheError, Report
from pomona.data.catalogue import DATASETS, DatasetInfo
from pomona.data.choice import check_name
from pomona.data.local import expected_files, local_sources
from pomona.data.packages import package_sources
from pomona.data.parts import Parts
from pomona.data.publishers import publisher_sources


def sources(name: str) -> list[Source]:
    """Where a data set of the catalogue can be had, in the order in which it is tried."""
    if name == "digits":
        return [Source("scikit-learn", lambda attempt: _digits())]
    return [*local_sources(name), *publisher_sources(name), *package_sources(name)]


def cache_path(name: str, folder: Path | None = None) -> Path:
    """The cache's file of a data set, there or not.

    Raises:
        InputError: The name is unknown, or the user's file or function does not exist.
    """
    check_name(name)
    if is_reference(name):
        return own.cache_path(Reference.parse(name, folder))
    return cache.cache_root() / f"{name}.data"


def is_cached(name: str, folder: Path | None = None) -> bool:
    """Whether a data set is in the cache and whole, by its size; digests are checked by ``load``."""
    try:
        found = cache.read_info(cache_path(name, folder))
    except DataError:
        return False
    return is_reference(name) or found == DATASETS[name]


def fetch(name: str, folder: Path | None = None, report: Report | None = None, force: bool = False) -> Path:
    """Make sure that a data set is in the cache.

    A user's function runs once for each version of its source; what it reads from other files is not
    part of the source, so after a change there ``force`` runs it again.

    Args:
        name: A name of the catalogue, or ``mine.py:load``.
        folder: What a user's path is relative to; the working directory unless given.
        report: Told one line at a time what is tried and how far it is.
        force: Replace what is in the cache.

    Returns:
        The cache's file.

    Raises:
        InputError: The name is unknown, or the user's function fails or returns something else.
        DataError: No source gave the right bytes (lists all that were tried), or the cache cannot be written.
    """
    path = cache_path(name, folder)
    tell = report or (lambda line: None)
    if not force and is_cached(name, folder):
        return path
    with cache.locked(path, tell) as alone:
        if not force and is_cached(name, folder):  # another process was first
            return path
        if alone:
            cache.sweep(path)
        if is_reference(name):
            tell(f"{name}: decoding")
            info, parts = own.decode(name, Reference.parse(name, folder))
        else:
            info = DATASETS[name]
            parts = _first_right(info, path.parent, lambda line: tell(f"{name}: {line}"))
        cache.write(path, info, parts)
        tell(f"{name}: ready in {path}")
    return path


def _first_right(info: DatasetInfo, root: Path, report: Report) -> Parts:
    attempt = Attempt(info.name, root, report)
    failures: list[str] = []
    for source in sources(info.name):
        report(f"trying {source.title}")
        try:
            parts = source.parts(attempt)
            parts.check(info)
            return parts
        except CacheError:
            raise
        except (DataError, OSError) as error:
            failures.append(f"{source.title}: {error}")
            report(f"failed: {error}")
    raise DataError(_nowhere(info, failures))


def _nowhere(info: DatasetInfo, failures: list[str]) -> str:
    lines = "\n".join(f"  - {line}" for line in failures)
    return (
        f"{info.title} could not be had. Tried:\n{lines}\n"
        f"To use a copy of your own, put {expected_files(info.name)} into a folder "
        "and set POMONA_DATA to that folder."
    )


def _digits() -> Parts:
    from sklearn.datasets import load_digits

    found = load_digits()
    # Whole-number arithmetic: 8 of 16 would be exactly 127.5.
    values = found.images.astype(np.int64)
    images = ((values * 255 + 8) // 16).astype(np.uint8)[:, None]
    labels = found.target.astype(np.uint8)
    train_count = DATASETS["digits"].train_count
    return Parts(images[:train_count], labels[:train_count], images[train_count:], labels[train_count:])
