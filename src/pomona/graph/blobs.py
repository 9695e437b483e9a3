"""Content-addressed files of tensors: written whole or not at all, checked whenever they are read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pomona.core.errors import StoreError, StoreWriteError

Arrays = Mapping[str, NDArray[Any]]


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
        """Where a blob of this digest lies."""
        return self.blobs / digest[:2] / f"{digest}.safetensors"

    def write(self, arrays: Arrays, about: Mapping[str, Any] | None = None) -> Blob:
        """Store tensors and a small JSON description, and say under which digest.

        Raises:
            StoreWriteError: The disk is full or the folder cannot be written; nothing half-written remains.
        """
        content = pack(arrays, about)
        digest = hashlib.sha256(content).hexdigest()
        target = self.path(digest)
        # A file that is there is left alone, unless it is no longer what its name says.
        if not _holds(target, content):
            write_atomically(target, content, self.temporary)
        tensors = {name: tensor_digest(array) for name, array in arrays.items()}
        return Blob(digest, len(content), tensors)

    def read(self, digest: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The tensors and the description of a blob.

        Raises:
            StoreError: It is missing, or its bytes are not those of the digest.
        """
        target = self.path(digest)
        try:
            content = target.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"blob {digest[:12]} is missing: expected the file {target}") from None
        except OSError as error:
            raise StoreError(f"blob {digest[:12]} cannot be read from {target}: {error.strerror}") from None
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise StoreError(f"blob {digest[:12]} is corrupt: {target} has the SHA-256 {found[:12]}")
        return unpack(content)


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
        return arrays, json.loads(header["__metadata__"]["pomona"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise StoreError(f"not a file of tensors as stored here: {error}") from None


def tensor_digest(array: NDArray[Any]) -> str:
    """SHA-256 over the type, the shape and the bytes of one tensor."""
    head = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def write_atomically(target: Path, content: bytes, temporary: Path) -> None:
    """Write a file so that it has either its whole content or is not there.

    Raises:
        StoreWriteError: The disk is full or a folder cannot be written.
    """
    draft = temporary / f"{target.name}.{uuid.uuid4().hex[:8]}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir(parents=True, exist_ok=True)
        with open(draft, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
        _sync_folder(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise write_error(target, error) from None


def write_error(target: Path, error: OSError) -> StoreWriteError:
    """What to tell a user when a file of the store could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreWriteError(
            f"the disk is full: {target} could not be written. What was finished is kept: free some space, "
            "then run the same command again."
        )
    return StoreWriteError(f"{target} could not be written: {error.strerror or error}")


def _holds(target: Path, content: bytes) -> bool:
    try:
        return target.read_bytes() == content
    except OSError:
        return False


def _sync_folder(folder: Path) -> None:
    # The rename itself must reach the disk before the ledger says that the blob is there.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
