"""The publishers' own servers."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pomona.core.errors import DataError
from pomona.data.attempt import Attempt, Source
from pomona.data.download import download
from pomona.data.formats import CIFAR_BINARY_FILES, IDX_FILES, Files, from_cifar_binary, from_idx
from pomona.data.parts import Parts


@dataclass(frozen=True)
class Publisher:
    """A server and the files on it that make up a data set.

    Args:
        title: How it is called.
        base: URL of its folder, with the last slash.
        files: Names in that folder.
        decode: Makes the four arrays of the files, or of the members of the one archive.
    """

    title: str
    base: str
    files: tuple[str, ...]
    decode: Callable[[Files], Parts]


_IDX_GZ = tuple(f"{name}.gz" for name in IDX_FILES)

PUBLISHERS: dict[str, tuple[Publisher, ...]] = {
    "mnist": (
        Publisher("PyTorch's copy", "https://ossci-datasets.s3.amazonaws.com/mnist/", _IDX_GZ, from_idx),
        Publisher("CVDF's copy", "https://storage.googleapis.com/cvdf-datasets/mnist/", _IDX_GZ, from_idx),
    ),
    "fashion-mnist": (
        Publisher(
            "Zalando Research",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            _IDX_GZ,
            from_idx,
        ),
    ),
    "cifar-10": (
        Publisher(
            "University of Toronto",
            "https://www.cs.toronto.edu/~kriz/",
            ("cifar-10-binary.tar.gz",),
            from_cifar_binary,
        ),
    ),
}


def publisher_sources(name: str) -> list[Source]:
    """The publishers of a data set, in the order in which they are tried."""
    return [Source(f"{p.title} ({p.base})", partial(_parts, p)) for p in PUBLISHERS.get(name, ())]


def archive_members(path: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """The wanted members of a tar archive by base name; nothing is unpacked to disk.

    Raises:
        DataError: The archive is damaged or truncated.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                base = member.name.rpartition("/")[2]
                stream = archive.extractfile(member) if base in wanted and member.isfile() else None
                if stream is not None:
                    found[base] = stream.read()
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{path.name}: truncated or damaged: {error}") from error
    return found


def _parts(publisher: Publisher, attempt: Attempt) -> Parts:
    paths = {
        name: download(publisher.base + name, attempt.downloads, attempt.report, attempt.hosts)
        for name in publisher.files
    }
    try:
        if len(paths) == 1:
            (archive,) = paths.values()
            return publisher.decode(archive_members(archive, CIFAR_BINARY_FILES))
        return publisher.decode({name: path.read_bytes() for name, path in paths.items()})
    finally:
        # Decoded once, rightly or wrongly, they are of no more use; a broken one must not be met again.
        for path in paths.values():
            path.unlink(missing_ok=True)
