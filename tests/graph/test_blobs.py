from __future__ import annotations

import errno
import hashlib
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pomona.core.errors import StoreError, StoreWriteError
from pomona.graph.blobs import BlobStore, pack, tensor_digest, unpack, write_atomically

WEIGHTS = {
    "fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fc.bias": np.array([-0.0, np.inf], dtype=np.float64),
    "norm.batches": np.array(7, dtype=np.int64),
    "empty": np.empty((0, 3), dtype=np.uint8),
}
kinds = st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_, np.float16])
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
arrays = st.dictionaries(
    st.text(min_size=1, max_size=8), kinds.flatmap(lambda kind: hnp.arrays(kind, shapes)), max_size=4
)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


@given(arrays, st.dictionaries(st.text(), st.integers() | st.text()))
def test_pack_round_trip_keeps_type_shape_and_bytes(
    given_arrays: dict[str, np.ndarray], about: dict[str, Any]
) -> None:
    found, found_about = unpack(pack(given_arrays, about))
    assert found_about == about
    assert found.keys() == given_arrays.keys()
    for name, array in given_arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@given(arrays)
def test_pack_does_not_depend_on_the_order_of_the_tensors(given_arrays: dict[str, np.ndarray]) -> None:
    about = {"b": 1, "a": {"d": 2, "c": 3}}
    turned = {"a": {"c": 3, "d": 2}, "b": 1}
    assert pack(given_arrays, about) == pack(dict(reversed(given_arrays.items())), turned)


def test_pack_does_not_depend_on_the_memory_order() -> None:
    array = np.arange(12.0).reshape(3, 4)
    for same in (np.asfortranarray(array), np.repeat(array, 2, axis=1)[:, ::2]):
        assert pack({"w": same}) == pack({"w": array})
        assert tensor_digest(same) == tensor_digest(array)


def test_pack_golden() -> None:
    """A change here gives every blob another digest: what is shared would be stored again."""
    content = pack(WEIGHTS, {"layers": ["fc"]})
    assert (
        hashlib.sha256(content).hexdigest()
        == "5635de678a5af3f08b3e6a87874ae4e1895bf6a55f6c0aa24318bcccb8a41884"
    )
    assert (
        tensor_digest(WEIGHTS["fc.weight"])
        == "4fed0bbe2a904eab133fd772cb779bb1f07564156c21a036ab9cb9cd77547e5d"
    )


def test_tensor_digest_counts_type_shape_and_bytes() -> None:
    zeros = [
        np.zeros(4, np.float32),
        np.zeros((2, 2), np.float32),
        np.zeros(4, np.int32),
        np.zeros(2, np.float64),
    ]
    zeros += [-zeros[0], np.zeros((4, 1), np.float32), np.zeros((), np.float32), np.zeros(1, np.float32)]
    assert len({tensor_digest(array) for array in zeros}) == len(zeros)


def test_write_names_a_blob_by_its_content(blobs: BlobStore) -> None:
    blob = blobs.write(WEIGHTS, {"x": 1})
    path = blobs.path(blob.digest)
    assert path == blobs.folder / "blobs" / blob.digest[:2] / f"{blob.digest}.safetensors"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == blob.digest
    assert path.stat().st_size == blob.size_bytes
    assert blob.tensors == {name: tensor_digest(array) for name, array in WEIGHTS.items()}
    found, about = blobs.read(blob.digest)
    assert about == {"x": 1}
    assert {name: tensor_digest(array) for name, array in found.items()} == blob.tensors
    assert not any(blobs.temporary.iterdir())


def test_write_the_same_content_once(blobs: BlobStore) -> None:
    first = blobs.write(WEIGHTS)
    before = blobs.path(first.digest).stat()
    assert blobs.write(dict(WEIGHTS)) == first
    after = blobs.path(first.digest).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert blobs.write(WEIGHTS, {"other": 1}).digest != first.digest


def test_write_heals_a_blob_that_has_changed(blobs: BlobStore) -> None:
    blob = blobs.write(WEIGHTS)
    blobs.path(blob.digest).write_bytes(b"")
    assert blobs.write(WEIGHTS) == blob
    assert blobs.read(blob.digest)[0].keys() == WEIGHTS.keys()


_whole = pack(WEIGHTS, {"x": 1})


@given(st.integers(0, len(_whole) - 1), st.integers(1, 255))
def test_read_finds_any_changed_byte(
    tmp_path_factory: pytest.TempPathFactory, position: int, change: int
) -> None:
    blobs = BlobStore(tmp_path_factory.getbasetemp() / "flipped")
    digest = blobs.write(WEIGHTS, {"x": 1}).digest
    content = bytearray(_whole)
    content[position] ^= change
    blobs.path(digest).write_bytes(content)
    with pytest.raises(StoreError, match=f"blob {digest[:12]} is corrupt: .* has the SHA-256"):
        blobs.read(digest)


@pytest.mark.parametrize("size", [0, 1, 8, 100, len(_whole) - 1])
def test_read_finds_a_truncated_file(blobs: BlobStore, size: int) -> None:
    digest = blobs.write(WEIGHTS, {"x": 1}).digest
    os.truncate(blobs.path(digest), size)
    with pytest.raises(StoreError, match="is corrupt"):
        blobs.read(digest)


def test_read_a_missing_file_says_where_it_should_be(blobs: BlobStore) -> None:
    with pytest.raises(StoreError) as caught:
        blobs.read("ab" * 32)
    assert str(caught.value) == f"blob abababababab is missing: expected the file {blobs.path('ab' * 32)}"


def test_read_a_folder_in_its_place(blobs: BlobStore) -> None:
    blobs.path("ab" * 32).mkdir(parents=True)
    with pytest.raises(StoreError, match=r"blob abababababab cannot be read from .*: Is a directory"):
        blobs.read("ab" * 32)


@pytest.mark.parametrize("content", [b"", b"\x01" * 40, _whole[:50], b"\x02\0\0\0\0\0\0\0{}"])
def test_unpack_refuses_what_is_no_file_of_tensors(content: bytes) -> None:
    with pytest.raises(StoreError, match="not a file of tensors as stored here"):
        unpack(content)


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_write_on_a_full_disk_says_so_and_leaves_nothing(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, where, full)
    with pytest.raises(
        StoreWriteError, match=r"the disk is full: .*safetensors could not be written"
    ) as caught:
        blobs.write(WEIGHTS)
    assert "free some space, then run the same command again" in str(caught.value)
    monkeypatch.undo()
    assert [path for path in blobs.folder.rglob("*") if path.is_file()] == []
    assert blobs.read(blobs.write(WEIGHTS).digest)[0].keys() == WEIGHTS.keys()


def test_write_on_a_disk_that_fills_in_the_middle_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draft is a link to a device without room, so that the kernel itself reports it."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    monkeypatch.setattr("pomona.graph.blobs.uuid.uuid4", lambda: uuid.UUID(int=0))
    draft = tmp_path / "tmp" / "a.bin.00000000"
    draft.parent.mkdir()
    draft.symlink_to("/dev/full")
    with pytest.raises(StoreWriteError, match="the disk is full"):
        write_atomically(tmp_path / "a.bin", b"x" * 100, tmp_path / "tmp")
    assert not draft.is_symlink()
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize("part", ["blobs", "tmp", "."])
def test_write_where_a_file_is_in_the_way_of_the_folder(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "store"
    blocked = folder / part
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("a file")
    with pytest.raises(StoreWriteError, match=r"could not be written: (Not a directory|File exists)"):
        BlobStore(folder).write(WEIGHTS)
    assert blocked.read_text() == "a file"


def test_write_keeps_the_old_file_when_the_new_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.bin"
    write_atomically(target, b"old", tmp_path / "tmp")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(StoreWriteError, match=r"a\.bin could not be written: broken"):
        write_atomically(target, b"new", tmp_path / "tmp")
    assert target.read_bytes() == b"old"
    assert not any((tmp_path / "tmp").iterdir())
