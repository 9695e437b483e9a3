"""Content-addressed files of tensors: written whole or not at all, checked whenever they are read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pomona.core.errors import BlobLost, StoreError, StoreWriteError
from pomona.graph.writing import (
    drafts_in,
    entries,
    make_durable,
    open_plainly,
    sweep_drafts,
    write_atomically,
)

Arrays = Mapping[str, NDArray[Any]]

_DIGEST = re.compile("[0-9a-f]{64}")
_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")
# Longer headers are not read by the format's own library either.
_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class Blob:
    """A stored file: its digest, its size and the digest of each tensor in it."""

    digest: str
    size_bytes: int
    tensors: Mapping[str, str]


class BlobStore:
    """A folder of safetensors files named by the SHA-256 of their bytes.

    A file appears under its name only by renaming a finished and synced one, so whatever has the name is
    whole; bytes that changed later are found by the digest at every read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs"
        self.temporary = folder / "tmp"

    def path(self, digest: str) -> Path:
        """Where a blob of this digest lies.

        Raises:
            StoreError: It is no SHA-256, as one that was read from a damaged ledger.
        """
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise StoreError(f"{digest!r:.80} names no blob of {self.folder}: expected 64 hex digits")
        return self.blobs / digest[:2] / f"{digest}.safetensors"

    def write(self, arrays: Arrays, about: Mapping[str, Any] | None = None) -> Blob:
        """Store tensors and a small JSON description, and say under which digest.

        Raises:
            StoreWriteError: The disk is full or the folder cannot be written; nothing half-written remains.
        """
        content = pack(arrays, about)
        digest = hashlib.sha256(content).hexdigest()
        target = self.path(digest)
        if self._holds(digest, content):
            # The process that wrote it may have been killed before its name was on disk.
            make_durable(target)
        else:
            write_atomically(target, content, self.temporary)
        tensors = {name: tensor_digest(array) for name, array in arrays.items()}
        return Blob(digest, len(content), tensors)

    def read(
        self, digest: str, size_bytes: int | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The tensors and the description of a blob.

        Args:
            digest: Its SHA-256.
            size_bytes: How long it is, where that is known. A file of another length is not read at all.

        Raises:
            BlobLost: It is missing, or its bytes are not those of the digest.
            StoreError: It cannot be read.
        """
        with self._opened(digest) as file:
            size = os.fstat(file.fileno()).st_size
            if size_bytes is not None and size != size_bytes:
                raise self._corrupt(digest, f"has {size} bytes, expected {size_bytes}")
            # Memory is taken only for what is as long as it says itself.
            if _stated_bytes(file) != size:
                raise self._corrupt(digest, f"has {size} bytes, not as many as its header says")
            file.seek(0)
            content = file.read()
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise self._corrupt(digest, f"has the SHA-256 {found[:12]}")
        return unpack(content)

    def check(self, digest: str) -> str | None:
        """Why a blob is not what its name says; None where it is.

        Raises:
            StoreError: Its bytes cannot be read, so nothing can be said of them.
        """
        try:
            with self._opened(digest) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except BlobLost as error:
            return str(error)
        return None if found == digest else str(self._corrupt(digest, f"has the SHA-256 {found[:12]}"))

    def scan(self) -> dict[str, int]:
        """Size in bytes of every blob by its digest; the content is not looked at.

        Raises:
            StoreError: A folder cannot be read.
        """
        found = {}
        for folder in entries(self.blobs):
            if not folder.is_dir(follow_symlinks=False):
                continue
            for entry in entries(folder.path):
                name = entry.name
                if not _NAME.fullmatch(name) or name[:2] != folder.name:
                    continue
                try:
                    about = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed since
                if stat.S_ISREG(about.st_mode):
                    found[name[:64]] = about.st_size
        return found

    def remove(self, digest: str) -> None:
        """Remove a blob, if it is there.

        Raises:
            StoreWriteError: It cannot be removed.
        """
        target = self.path(digest)
        try:
            target.unlink(missing_ok=True)
        except OSError as error:
            text = f"blob {digest[:12]} cannot be removed from {target}: {error.strerror}"
            raise StoreWriteError(text) from None

    def drafts(self) -> dict[Path, int]:
        """Half-written files of processes that are gone, with their sizes in bytes."""
        return drafts_in(self.temporary)

    def sweep(self) -> int:
        """Remove half-written files of processes that are gone, never one in use; says how many."""
        return sweep_drafts(self.temporary)

    @contextlib.contextmanager
    def _opened(self, digest: str) -> Iterator[FileIO]:
        """A blob's file; what goes wrong while it is read is said in words."""
        target = self.path(digest)
        try:
            with open(target, "rb", buffering=0, opener=open_plainly) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise self._corrupt(digest, "is not a file")
                yield file
        except FileNotFoundError:
            raise BlobLost(digest, f"blob {digest[:12]} is missing: expected the file {target}") from None
        except OSError as error:
            if os.path.islink(target):
                raise self._corrupt(digest, "is a link, not a file") from None
            raise StoreError(f"blob {digest[:12]} cannot be read from {target}: {error.strerror}") from None
        except MemoryError:
            raise StoreError(f"blob {digest[:12]} is larger than the memory: {target}") from None

    def _holds(self, digest: str, content: bytes) -> bool:
        with contextlib.suppress(StoreError), self._opened(digest) as file:
            return os.fstat(file.fileno()).st_size == len(content) and file.read() == content
        return False

    def _corrupt(self, digest: str, what: str) -> BlobLost:
        return BlobLost(digest, f"blob {digest[:12]} is corrupt: {self.path(digest)} {what}")


def pack(arrays: Arrays, about: Mapping[str, Any] | None = None) -> bytes:
    """Tensors as safetensors bytes, equal for equal content."""
    # One metadata entry only: the format does not fix the order of several.
    described = {"pomona": json.dumps(about or {}, sort_keys=True)}
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()}, described)


def unpack(content: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The tensors and the description in safetensors bytes.

    Raises:
        StoreError: The bytes are not a safetensors file of ours.
    """
    try:
        arrays = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = json.loads(header["__metadata__"]["pomona"])
        if not isinstance(about, dict):
            raise ValueError("its description is no object")
        return arrays, about
    except (
        SafetensorError,
        LookupError,
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        raise StoreError(f"not a file of tensors as stored here: {error}") from None


def tensor_digest(array: NDArray[Any]) -> str:
    """SHA-256 over the type, the shape and the bytes of one tensor."""
    head = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def _stated_bytes(file: FileIO) -> int:
    """How long a file is by its own header; -1 where it has none that can be read."""
    try:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(length, _HEADER_BYTES)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return 8 + length + int(max(ends, default=0))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return -1
