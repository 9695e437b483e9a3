"""A folder of the user's own copies, named by the environment's ``POMONA_DATA``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from pomona.core.errors import DataError
from pomona.data.attempt import Attempt, Source
from pomona.data.formats import (
    CIFAR_BINARY_FILES,
    CIFAR_PNG_FILES,
    IDX_FILES,
    Files,
    from_cifar_binary,
    from_cifar_png,
    from_idx,
    idx_names,
)
from pomona.data.parts import Parts

Layout = tuple[tuple[str, ...], Callable[[Files], Parts]]

_IDX: Layout = (tuple(idx_names()), from_idx)
LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "mnist": (_IDX,),
    "fashion-mnist": (_IDX,),
    "cifar-10": ((CIFAR_BINARY_FILES, from_cifar_binary), (CIFAR_PNG_FILES, from_cifar_png)),
}

# Besides the folder itself and one with the data set's name: where torchvision puts them.
_SUBFOLDERS = {
    "mnist": "MNIST/raw",
    "fashion-mnist": "FashionMNIST/raw",
    "cifar-10": "cifar-10-batches-bin",
}


def local_sources(name: str) -> list[Source]:
    """The user's folder as a source: each of its subfolders that has such files."""
    given = os.environ.get("POMONA_DATA")
    if not given or name not in LAYOUTS:
        return []
    root = Path(given).expanduser().absolute()
    folders = [root / name, root / _SUBFOLDERS[name], root]
    found = [
        Source(f"the folder {folder}", partial(_parts, folder, layout))
        for folder in folders
        for layout in LAYOUTS[name]
        if any((folder / file).is_file() for file in layout[0])
    ]
    return found or [Source(f"the folder {root} (POMONA_DATA)", partial(_nothing, name, root))]


def expected_files(name: str) -> str:
    """The files that a user's folder must hold, for a message."""
    if name == "cifar-10":
        return "data_batch_1.bin to data_batch_5.bin and test_batch.bin"
    return ", ".join(f"{file}[.gz]" for file in IDX_FILES)


def folder_files(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Those of the named files that the folder has."""
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _parts(folder: Path, layout: Layout, attempt: Attempt) -> Parts:
    names, decode = layout
    return decode(folder_files(folder, names))


def _nothing(name: str, root: Path, attempt: Attempt) -> Parts:
    state = "no such files in it" if root.is_dir() else "there is no such folder"
    raise DataError(f"{state}; expected {expected_files(name)}")
