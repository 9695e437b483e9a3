"""A store: one folder with blobs, the ledger, checkpoints and the reports made from them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import BlobLost, InputError, StoreError
from pomona.graph.blobs import Arrays, BlobStore, pack, tensor_digest, unpack
from pomona.graph.jobs import Job
from pomona.graph.ledger import Ledger, Output
from pomona.graph.masks import Masks, pack_masks, unpack_masks
from pomona.graph.nodes import Graph
from pomona.graph.writing import FULL, make_folder, write_atomically, write_error

if TYPE_CHECKING:
    from pomona.graph.query import Query
    from pomona.graph.states import States

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
        """The key of the one state that begins with a prefix, or that alone has it as a tag.

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
            return self._tagged(prefix)
        shown = ", ".join(f"{row['key'][: max(12, len(prefix) + 4)]} ({row['recipe']})" for row in rows)
        raise InputError(f"several states have a key that begins with {prefix!r}: {shown}; give more of it")

    def _tagged(self, tag: str) -> str:
        rows = self.ledger.rows("SELECT state FROM tags WHERE tag = ? ORDER BY state", [tag])
        if len(rows) == 1:
            return str(rows[0]["state"])
        if not rows:
            raise InputError(f"no state in {self.folder} has a key that begins with {tag!r}, or it as a tag")
        shown = ", ".join(str(row["state"])[:12] for row in rows[:3])
        raise InputError(f"{len(rows)} states have the tag {tag!r}: {shown}; give the key of one")

    def states(self, query: Query | str | None = None) -> States:
        """The states that a query finds, or all. Nothing is read until it is asked for.

        >>> store.states("recipe == train and accuracy > 0.9").frame()  # doctest: +SKIP

        Raises:
            InputError: The query is not one (says where), or the store does not know a name of it.
        """
        from pomona.graph.states import States

        return States(self, query)

    def weights(self, key: str) -> dict[str, NDArray[Any]]:
        """Weights, biases and buffers of a finished state."""
        with _advice(key):
            return self.files.read_weights(self._output(key, "weights").digest)

    def masks(self, key: str) -> tuple[dict[str, NDArray[np.bool_]], dict[str, str]]:
        """Masks of a finished state and the kind of each layer, by parameter name."""
        with _advice(key):
            return self.files.read_masks(self._output(key, "masks").digest)

    def let_go(self, states: Sequence[str]) -> None:
        """Drop the weights of finished states; digests, masks and results stay."""
        found = [o for left in self.ledger.outputs(states).values() for o in left.values() if not o.dropped]
        self.ledger.drop_outputs(states)
        self.remove(output.digest for output in found if output.name == "weights")

    def remove(self, digests: Iterable[str]) -> None:
        """Remove blobs that no state keeps."""
        # In the lock that also a commit holds while it looks whether its files are there.
        with self.ledger.transaction() as write:
            for digest in digests:
                sql = "SELECT 1 FROM outputs WHERE digest = ? AND dropped_at IS NULL LIMIT 1"
                if write.execute(sql, (digest,)).fetchone() is None:
                    self.blobs.remove(digest)

    def graph(self, keys: Iterable[str], probes: Iterable[str] = ()) -> Graph:
        """States and probes with all that they descend from, as they were planned.

        Raises:
            StoreError: The ledger is damaged: a state is not what its key says, or its parent is not there.
        """
        graph = Graph()
        measured = [self.ledger.probe(key) for key in probes]
        waiting = [*keys, *(state for probe in measured for state in probe.states)]
        while waiting:
            key = waiting[-1]
            if key in graph.states:
                waiting.pop()
                continue
            state = self.ledger.state(key)
            before = [parent for parent in state.parents if parent not in graph.states]
            if before:
                waiting += before
            else:
                graph.add(state)
                waiting.pop()
        for probe in measured:
            graph.measure(probe)
        return graph

    def _output(self, key: str, name: str) -> Output:
        output = self.ledger.outputs([key]).get(key, {}).get(name)
        if output is None:
            rows = self.ledger.rows("SELECT status FROM states WHERE key = ?", [key])
            status = rows[0]["status"] if rows else "not in this store"
            raise StoreError(f"state {key[:12]} has no {name}: it is {status}")
        if output.dropped:
            raise StoreError(
                f"the {name} of state {key[:12]} were let go; 'pomona restore {key[:12]}' computes them again"
            )
        return output


@contextlib.contextmanager
def _advice(key: str) -> Iterator[None]:
    try:
        yield
    except BlobLost as error:
        text = f"{error}; 'pomona restore {key[:12]}' computes it again"
        raise BlobLost(error.digest, text) from None


class Files:
    """The files of a store, for workers: they read and write blobs and never open the ledger.

    Args:
        folder: The store.
        scratch: Folder that takes what is written, where the store is not to be changed.
    """

    def __init__(self, folder: Path, scratch: Path | None = None) -> None:
        self.folder = folder
        self.blobs = BlobStore(folder)
        self.written = BlobStore(scratch) if scratch else self.blobs
        self.checkpoints = (scratch or folder) / "checkpoints"

    @classmethod
    def of(cls, job: Job) -> Files:
        """Those that a job reads and writes."""
        return cls(Path(job.store), Path(job.scratch) if job.scratch else None)

    def write_weights(self, arrays: Arrays) -> Output:
        """Store the weights, biases and buffers of a state."""
        blob = self.written.write(arrays)
        return Output("weights", blob.digest, blob.size_bytes, blob.tensors)

    def write_masks(self, masks: Masks, kinds: Mapping[str, str]) -> Output:
        """Store masks, one bit a weight."""
        blob = self.written.write(*pack_masks(masks, kinds))
        return Output("masks", blob.digest, blob.size_bytes, blob.tensors)

    def write_predictions(self, arrays: Arrays) -> Output:
        """Store what a state says of examples."""
        blob = self.written.write(arrays)
        return Output("predictions", blob.digest, blob.size_bytes, blob.tensors)

    def describe(self, name: str, digest: str) -> Output:
        """A blob that is there already, as an output."""
        tensors = {key: tensor_digest(array) for key, array in self.blobs.read(digest)[0].items()}
        return Output(name, digest, self.blobs.path(digest).stat().st_size, tensors)

    def lacks(self, digest: str) -> bool:
        """Whether a blob is not there, or not what its name says."""
        return all(blobs.check(digest) is not None for blobs in (self.written, self.blobs))

    def read_weights(self, digest: str) -> dict[str, NDArray[Any]]:
        """The tensors of a blob of weights."""
        return self.blobs.read(digest)[0]

    def read_predictions(self, digest: str) -> dict[str, NDArray[Any]]:
        """The tensors of a blob of predictions."""
        return self.blobs.read(digest)[0]

    def read_masks(self, digest: str) -> tuple[dict[str, NDArray[np.bool_]], dict[str, str]]:
        """The masks of a blob and the kind of each layer."""
        return unpack_masks(*self.blobs.read(digest))

    def write_checkpoint(self, key: str, arrays: Arrays, about: Mapping[str, Any]) -> None:
        """Replace the checkpoint of an unfinished state."""
        content = pack(arrays, about)
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        name = f"{key}.{hashlib.sha256(content).hexdigest()}.safetensors"
        write_atomically(self.checkpoints / name, content, self.written.temporary)
        self._drop(key, keep=name)

    def read_checkpoint(self, key: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
        """The last checkpoint of a state; None where there is none, or none that is whole."""
        for path in sorted(self._checkpoints(key), key=_age, reverse=True):
            with contextlib.suppress(OSError, StoreError):
                content = path.read_bytes()
                if path.name == f"{key}.{hashlib.sha256(content).hexdigest()}.safetensors":
                    return unpack(content)
        return None

    def drop_checkpoint(self, key: str) -> None:
        """Remove what a finished state no longer needs."""
        self._drop(key)

    def _drop(self, key: str, keep: str = "") -> None:
        for path in self._checkpoints(key):
            if path.name != keep:
                path.unlink(missing_ok=True)

    def _checkpoints(self, key: str) -> list[Path]:
        # A pattern would be compiled anew for each key.
        with contextlib.suppress(FileNotFoundError), os.scandir(self.checkpoints) as found:
            return [Path(entry.path) for entry in found if entry.name.startswith(f"{key}.")]
        return []


def _age(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _prepare(folder: Path) -> None:
    try:
        make_folder(folder)
        for part in ("blobs", "tmp", "checkpoints", "logs"):
            make_folder(folder / part)
        probe = folder / "tmp" / f"write-test-{uuid.uuid4().hex}"
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in FULL:
            raise write_error(folder, error) from None
        raise StoreError(
            f"the store {folder} cannot be written: {error.strerror or error}. "
            "Name a folder that can be with --store."
        ) from None
