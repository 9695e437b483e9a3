"""A data set by name: what it is, and its arrays in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pomona.core.errors import DataError
from pomona.core.reference import is_reference
from pomona.data import cache
from pomona.data.cache import Report
from pomona.data.catalogue import DATASETS, DatasetInfo
from pomona.data.choice import check_name
from pomona.data.fetching import fetch
from pomona.data.parts import Bytes


@dataclass(frozen=True)
class Dataset:
    """A data set with its arrays: read-only views of one memory-mapped file, shared by all processes.

    Args:
        info: What it is.
        train_images: uint8, N x C x H x W.
        train_labels: uint8, N.
        test_images: uint8, N x C x H x W.
        test_labels: uint8, N.
    """

    info: DatasetInfo
    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes


def describe(name: str, folder: Path | None = None) -> DatasetInfo:
    """What a data set is. The catalogue's need not be fetched for it; a user's function runs if it is new.

    Args:
        name: A name of the catalogue, or ``mine.py:load``.
        folder: What a user's path is relative to; the working directory unless given.

    Raises:
        InputError: The name is unknown, or the user's function fails or returns something else.
        DataError: The cache cannot be written.
    """
    check_name(name)
    if not is_reference(name):
        return DATASETS[name]
    return replace(cache.read_info(fetch(name, folder)), name=name, title=name)


def load(name: str, folder: Path | None = None, report: Report | None = None) -> Dataset:
    """A data set's arrays, fetched if the cache does not have them, with their digests checked.

    Args:
        name: A name of the catalogue, or ``mine.py:load``.
        folder: What a user's path is relative to; the working directory unless given.
        report: Told one line at a time what is tried and how far it is.

    Raises:
        InputError: The name is unknown, or the user's function fails or returns something else.
        DataError: It can be had nowhere, or the cache cannot be written.
    """
    path = fetch(name, folder, report)
    try:
        info, parts = cache.read(path)
    except DataError as error:
        if report is not None:
            report(f"{name}: the copy in the cache is damaged ({error}); getting it again")
        info, parts = cache.read(fetch(name, folder, report, force=True))
    return Dataset(replace(info, name=name, title=name) if is_reference(name) else info, *parts)
