"""A store: one folder with blobs, the ledger, checkpoints and the reports made from them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError, StoreError
from pomona.graph.blobs import Arrays, BlobStore, pack, tensor_digest, unpack, write_atomically
from pomona.graph.ledger import Ledger, Output
from pomona.graph.masks import Masks, pack_masks, unpack_masks

DEFAULT_STORE = Path("pomona-store")
LEDGER = "ledger.sqlite"


class Store:
    """What one study or many have computed.

    Args:
        folder: Where it lies. Made where there is none, unless ``create`` is false.
        create: Whether a folder without a store becomes one.

    Raises:
        StoreError: There is no store and none may be made, the folder cannot be written, or the store is of
            a newer version.
    """

    def __init__(self, folder: Path | str = DEFAULT_STORE, create: bool = True) -> None:
        self.folder = Path(folder).absolute()
        ledger = self.folder / LEDGER
        if not create and not ledger.is_file():
            raise StoreError(
                f"there is no store in {self.folder}; run a study first, or name one with --store"
            )
        if create:
            _prepare(self.folder)
        self.ledger = Ledger(ledger, create)
        self.blobs = BlobStore(self.folder)
        self.files = Files(self.folder)

    def close(self) -> None:
        """Let go of the ledger."""
        self.ledger.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find(self, prefix: str) -> str:
        """The key of the one state that begins with a prefix.

        Raises:
            InputError: None does, or several do (names the first few).
        """
        low = prefix.lower()
        rows = self.ledger.rows(
            "SELECT key, recipe FROM states WHERE key >= ? AND key < ? ORDER BY key LIMIT 4", (low, low + "g")
        )
        if len(rows) == 1:
            return str(rows[0]["key"])
        if not rows:
            raise InputError(f"no state in {self.folder} has a key that begins with {prefix!r}")
        shown = ", ".join(f"{row['key'][: max(12, len(prefix) + 4)]} ({row['recipe']})" for row in rows)
        raise InputError(f"several states have a key that begins with {prefix!r}: {shown}; give more of it")

    def weights(self, key: str) -> dict[str, NDArray[Any]]:
        """Weights, biases and buffers of a finished state."""
        return self.files.read_weights(self._output(key, "weights").digest)

    def masks(self, key: str) -> tuple[dict[str, NDArray[np.bool_]], dict[str, str]]:
        """Masks of a finished state and the kind of each layer, by parameter name."""
        return self.files.read_masks(self._output(key, "masks").digest)

    def _output(self, key: str, name: str) -> Output:
        outputs = self.ledger.outputs([key]).get(key, {})
        if name not in outputs:
            rows = self.ledger.rows("SELECT status FROM states WHERE key = ?", [key])
            status = rows[0]["status"] if rows else "not in this store"
            raise StoreError(f"state {key[:12]} has no {name}: it is {status}")
        return outputs[name]


class Files:
    """The files of a store, for workers: they read and write blobs and never open the ledger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = BlobStore(folder)
        self.checkpoints = folder / "checkpoints"

    def write_weights(self, arrays: Arrays) -> Output:
        """Store the weights, biases and buffers of a state."""
        blob = self.blobs.write(arrays)
        return Output("weights", blob.digest, blob.size_bytes, blob.tensors)

    def write_masks(self, masks: Masks, kinds: Mapping[str, str]) -> Output:
        """Store masks, one bit a weight."""
        blob = self.blobs.write(*pack_masks(masks, kinds))
        return Output("masks", blob.digest, blob.size_bytes, blob.tensors)

    def describe(self, name: str, digest: str) -> Output:
        """A blob that is there already, as an output."""
        tensors = {key: tensor_digest(array) for key, array in self.blobs.read(digest)[0].items()}
        return Output(name, digest, self.blobs.path(digest).stat().st_size, tensors)

    def read_weights(self, digest: str) -> dict[str, NDArray[Any]]:
        """The tensors of a blob of weights."""
        return self.blobs.read(digest)[0]

    def read_masks(self, digest: str) -> tuple[dict[str, NDArray[np.bool_]], dict[str, str]]:
        """The masks of a blob and the kind of each layer."""
        return unpack_masks(*self.blobs.read(digest))

    def write_checkpoint(self, key: str, arrays: Arrays, about: Mapping[str, Any]) -> None:
        """Replace the checkpoint of an unfinished state."""
        content = pack(arrays, about)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        name = f"{key}.{hashlib.sha256(content).hexdigest()}.safetensors"
        write_atomically(self.checkpoints / name, content, self.blobs.temporary)
        self._drop(key, keep=name)

    def read_checkpoint(self, key: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
        """The last checkpoint of a state; None where there is none, or none that is whole."""
        for path in sorted(self.checkpoints.glob(f"{key}.*.safetensors"), key=_age, reverse=True):
            with contextlib.suppress(OSError, StoreError):
                content = path.read_bytes()
                if path.name == f"{key}.{hashlib.sha256(content).hexdigest()}.safetensors":
                    return unpack(content)
        return None

    def drop_checkpoint(self, key: str) -> None:
        """Remove what a finished state no longer needs."""
        self._drop(key)

    def _drop(self, key: str, keep: str = "") -> None:
        for path in self.checkpoints.glob(f"{key}.*.safetensors"):
            if path.name != keep:
                path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _prepare(folder: Path) -> None:
    try:
        for part in ("blobs", "tmp", "checkpoints", "logs"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        probe = folder / "tmp" / f"write-test-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise StoreError(
            f"the store {folder} cannot be written: {error.strerror or error}. "
            "Name a folder that can be with --store."
        ) from None
