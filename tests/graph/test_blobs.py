from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pomona.core.errors import BlobLost, StoreError, StoreWriteError
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
    where = re.escape(str(blobs.path(digest)))
    with pytest.raises(BlobLost, match=f"blob {digest[:12]} is corrupt: {where} has ") as caught:
        blobs.read(digest)
    assert caught.value.digest == digest
    assert (
        blobs.check(digest)
        == f"blob {digest[:12]} is corrupt: {blobs.path(digest)} has the SHA-256 "
        + (hashlib.sha256(content).hexdigest()[:12])
    )


def test_read_finds_every_other_length(blobs: BlobStore) -> None:
    digest = blobs.write(WEIGHTS, {"x": 1}).digest
    for content in (*(_whole[:size] for size in range(len(_whole))), _whole + b"\0", b"\0" + _whole):
        blobs.path(digest).write_bytes(content)
        for size_bytes in (None, len(_whole)):
            with pytest.raises(BlobLost, match=f"is corrupt: .* has {len(content)} bytes, "):
                blobs.read(digest, size_bytes)
        assert "is corrupt" in (blobs.check(digest) or "")


def test_read_of_a_size_that_is_known(blobs: BlobStore) -> None:
    blob = blobs.write(WEIGHTS, {"x": 1})
    assert blobs.read(blob.digest, blob.size_bytes)[1] == {"x": 1}
    with pytest.raises(BlobLost, match=f"has {len(_whole)} bytes, expected {len(_whole) + 1}"):
        blobs.read(blob.digest, blob.size_bytes + 1)


def test_read_takes_no_memory_for_a_file_that_has_grown(blobs: BlobStore) -> None:
    """Of a terabyte, all of it a hole, only the header is read."""
    blob = blobs.write(WEIGHTS)
    os.truncate(blobs.path(blob.digest), 1 << 40)
    with pytest.raises(BlobLost, match=f"has {1 << 40} bytes, not as many as its header says"):
        blobs.read(blob.digest)


def test_read_a_missing_file_says_where_it_should_be(blobs: BlobStore) -> None:
    with pytest.raises(StoreError) as caught:
        blobs.read("ab" * 32)
    assert str(caught.value) == f"blob abababababab is missing: expected the file {blobs.path('ab' * 32)}"


def test_read_a_folder_in_its_place(blobs: BlobStore) -> None:
    blobs.path("ab" * 32).mkdir(parents=True)
    for look in (blobs.read, blobs.check):
        with pytest.raises(StoreError, match=r"blob abababababab cannot be read from .*: Is a directory"):
            look("ab" * 32)
    with pytest.raises(StoreWriteError, match=r"blob abababababab cannot be removed from .*: Is a directory"):
        blobs.remove("ab" * 32)


def test_read_no_link_and_no_pipe_in_its_place(blobs: BlobStore, tmp_path: Path) -> None:
    digest = blobs.write(WEIGHTS, {"x": 1}).digest
    path, elsewhere = blobs.path(digest), tmp_path / "elsewhere"
    path.rename(elsewhere)

    def link(to: Path) -> Callable[[], None]:
        return lambda: path.symlink_to(to)

    for make, what in (
        (link(elsewhere), "is a link, not a file"),
        (link(Path("/dev/zero")), "is a link, not a file"),
        (link(path), "is a link, not a file"),
        (lambda: os.mkfifo(path), "is not a file"),
    ):
        make()
        text = f"blob {digest[:12]} is corrupt: {path} {what}"
        with pytest.raises(BlobLost) as caught:
            blobs.read(digest)
        assert (str(caught.value), blobs.check(digest)) == (text, text)
        assert blobs.scan() == {}
        # What may not be there is in nobody's way.
        assert blobs.write(WEIGHTS, {"x": 1}).digest == digest
        assert blobs.check(digest) is None
        blobs.remove(digest)
        assert not os.path.lexists(path)
    assert elsewhere.read_bytes() == _whole


def test_read_without_permission_says_so(blobs: BlobStore) -> None:
    """It may be whole, so nothing more is said of it. The superuser is stopped by a folder that is none."""
    digest = blobs.write(WEIGHTS).digest
    folder = blobs.path(digest).parent
    reason = "Permission denied"
    if os.geteuid():
        folder.chmod(0)
    else:
        folder.rename(folder.with_name("gone"))
        folder.write_text("a file")
        reason = "Not a directory"
    for look in (blobs.read, blobs.check):
        with pytest.raises(
            StoreError, match=f"blob {digest[:12]} cannot be read from .*: {reason}"
        ) as caught:
            look(digest)
        assert not isinstance(caught.value, BlobLost)
    folder.chmod(0o700)


@pytest.mark.parametrize(
    "digest", ["", "ab", "AB" * 32, "../" + "a" * 61, "a" * 63 + "\0", "a" * 64 + "\n", 7]
)
def test_path_of_what_is_no_digest_is_refused(blobs: BlobStore, digest: Any) -> None:
    for look in (blobs.path, blobs.read, blobs.check, blobs.remove):
        with pytest.raises(StoreError, match=r"names no blob of .*: expected 64 hex digits"):
            look(digest)


def tensors(header: object, data: bytes = b"") -> bytes:
    """A file of tensors as somebody else might write one."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def one(dtype: str, shape: list[int], begin: int, end: int, data: bytes) -> bytes:
    about = {"__metadata__": {"pomona": "{}"}}
    return tensors({**about, "w": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}, data)


BAD = {
    "nothing": b"",
    "noise": b"\x01" * 40,
    "part": _whole[:50],
    "no description": tensors({}),
    "no header": tensors(b""),
    "header longer than the file": (1 << 20).to_bytes(8, "little") + b"{}",
    "header of 2**63 bytes": (1 << 63).to_bytes(8, "little") + b"{}",
    "header of 2**64 - 1 bytes": b"\xff" * 8 + b"{}",
    "2**60 numbers": one("F32", [1 << 60], 0, 4, b"abcd"),
    "2**64 bytes, which overflow to none": one("F32", [1 << 62], 0, 0, b""),
    "sides whose product overflows": one("F32", [1 << 32, 1 << 32], 0, 0, b""),
    "none of 2**62": one("F32", [0, 1 << 62], 0, 0, b""),
    "a hundred sides": one("F32", [1] * 100, 0, 4, b"abcd"),
    "a negative side": one("F32", [-2], 0, 8, b"x" * 8),
    "an end beyond the file": one("F32", [200], 0, 800, b"x" * 8),
    "an end before the beginning": one("F32", [0], 8, 0, b"x" * 8),
    "a gap": one("F32", [1], 4, 8, b"x" * 8),
    "bytes after the end": one("F32", [1], 0, 4, b"x" * 8),
    "overlapping tensors": tensors(
        {
            "__metadata__": {"pomona": "{}"},
            "v": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "w": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        },
        b"x" * 12,
    ),
    "a type that NumPy lacks": one("BF16", [2], 0, 4, b"abcd"),
    "a type that nobody has": one("X", [2], 0, 4, b"abcd"),
    "a name of no characters": tensors(b'{"\xff":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "a header without end": tensors(b'{"a":' + b"[" * 200_000),
    "a description without end": tensors({"__metadata__": {"pomona": "[" * 200_000}}),
    "a description that is a list": tensors({"__metadata__": {"pomona": "[]"}}),
    "a number of 5000 digits": tensors({"__metadata__": {"pomona": "1" * 5000}}),
}


@pytest.mark.parametrize("what", BAD)
def test_unpack_refuses_what_is_no_file_of_tensors(blobs: BlobStore, what: str) -> None:
    with pytest.raises(StoreError, match="not a file of tensors as stored here"):
        unpack(BAD[what])
    # Also where its name is right, as in a store from somebody else.
    digest = hashlib.sha256(BAD[what]).hexdigest()
    write_atomically(blobs.path(digest), BAD[what], blobs.temporary)
    assert blobs.check(digest) is None
    with pytest.raises(StoreError, match=r"not a file of tensors as stored here|is corrupt: "):
        blobs.read(digest)


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


def test_write_that_the_kernel_ends_in_the_middle_of_a_file(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StoreWriteError, match=r"a\.bin could not be written: File too large"):
            write_atomically(tmp_path / "a.bin", b"x" * 10_000, tmp_path / "tmp")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


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


def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file and folder that is synced from here on."""
    found: list[Path] = []
    sync = os.fsync

    def note(handle: int) -> None:
        found.append(Path(f"/proc/self/fd/{handle}").readlink())
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    return found


def test_write_syncs_the_file_then_every_name_on_its_path(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = synced(monkeypatch)
    path = blobs.path(blobs.write(WEIGHTS).digest)
    assert [p for p in found if p.parent != blobs.temporary] == [
        blobs.folder.parent,
        blobs.folder,
        blobs.blobs,
        path.parent,
    ]
    assert [p.name.rpartition(".")[0] for p in found if p.parent == blobs.temporary] == [path.name]
    assert found.index(path.parent) == len(found) - 1


def test_write_of_what_is_there_syncs_its_name(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that renamed it may have been killed before it came to that."""
    path = blobs.path(blobs.write(WEIGHTS).digest)
    found = synced(monkeypatch)
    blobs.write(WEIGHTS)
    assert found == [path.parent]


def test_write_syncs_a_folder_that_another_process_made(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(pack(WEIGHTS)).hexdigest()
    blobs.path(digest).parent.mkdir(parents=True)
    found = synced(monkeypatch)
    assert blobs.write(WEIGHTS).digest == digest
    assert blobs.blobs in found
    assert blobs.path(digest).parent in found


def draft(blobs: BlobStore, name: str, size: int = 5, age_seconds: float = 3600) -> Path:
    blobs.temporary.mkdir(parents=True, exist_ok=True)
    path = blobs.temporary / name
    path.write_bytes(b"x" * size)
    when = time.time() - age_seconds
    os.utime(path, (when, when))
    return path


def test_sweep_removes_old_drafts_that_nobody_holds(blobs: BlobStore) -> None:
    assert (blobs.drafts(), blobs.sweep()) == ({}, 0)
    gone = [draft(blobs, "a", 5), draft(blobs, "b", 0), draft(blobs, "c", 7, age_seconds=-3600)]
    young, held = draft(blobs, "d", age_seconds=10), draft(blobs, "e")
    (blobs.temporary / "folder").mkdir()
    (blobs.temporary / "link").symlink_to(young)
    with open(held, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert blobs.drafts() == dict(zip(gone, (5, 0, 7), strict=True))
        assert blobs.sweep() == 3
        assert [path for path in (*gone, young, held) if path.exists()] == [young, held]
    assert blobs.sweep() == 1
    assert sorted(path.name for path in blobs.temporary.iterdir()) == ["d", "folder", "link"]


def test_sweep_leaves_the_draft_of_a_writer_that_takes_long(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Swept from another process while the file is written, synced and renamed, however old it is."""
    code = f"from pathlib import Path; from pomona.graph.blobs import BlobStore; print(BlobStore(Path({str(blobs.folder)!r})).sweep())"
    swept: list[str] = []

    def slowly(real: Callable[..., None]) -> Callable[..., None]:
        def act(*arguments: Any) -> None:
            for path in blobs.temporary.iterdir():
                os.utime(path, (0, 0))
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            swept.append(done.stdout.strip())
            real(*arguments)

        return act

    blobs.write({"another": np.zeros(1)})
    monkeypatch.setattr(os, "fsync", slowly(os.fsync))
    monkeypatch.setattr(os, "replace", slowly(os.replace))
    digest = blobs.write(WEIGHTS).digest
    assert len(swept) >= 3
    assert set(swept) == {"0"}
    assert blobs.check(digest) is None


def test_write_goes_on_when_its_draft_was_taken_for_abandoned(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between making the file and holding it, for longer than a file may lie there unheld."""
    lock, removed = fcntl.flock, []

    def late(file: IO[bytes], how: int) -> None:
        if not removed:
            os.utime(file.name, (0, 0))
            removed.append(file.name)
            assert blobs.sweep() == 1
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    digest = blobs.write(WEIGHTS).digest
    assert len(removed) == 1
    assert blobs.check(digest) is None
    assert not any(blobs.temporary.iterdir())


def test_scan_lists_blobs_and_nothing_else(blobs: BlobStore) -> None:
    assert blobs.scan() == {}
    written = [blobs.write({"w": np.full(i, 1.0)}) for i in range(20)]
    folder = blobs.path(written[0].digest).parent
    other = "00" if folder.name != "00" else "01"
    (blobs.blobs / "a file").write_text("")
    (folder / "notes.txt").write_text("")
    (folder / f"{written[0].digest}.safetensors.bak").write_text("")
    (folder / f"{other}{'a' * 62}.safetensors").write_text("in the wrong folder")
    (folder / f"{folder.name}{'b' * 62}.safetensors").mkdir()
    (folder / f"{folder.name}{'c' * 62}.safetensors").symlink_to(blobs.path(written[0].digest))
    assert blobs.scan() == {blob.digest: blob.size_bytes for blob in written}
    blobs.remove(written[0].digest)
    blobs.remove(written[0].digest)
    assert blobs.scan() == {blob.digest: blob.size_bytes for blob in written[1:]}


def test_scan_of_a_folder_that_is_none_says_so(blobs: BlobStore) -> None:
    blobs.folder.mkdir()
    blobs.blobs.write_text("a file")
    with pytest.raises(StoreError, match="blobs cannot be read: Not a directory"):
        blobs.scan()


def test_check_says_what_is_wrong(blobs: BlobStore) -> None:
    digest = blobs.write(WEIGHTS).digest
    assert blobs.check(digest) is None
    assert (
        blobs.check("ab" * 32) == f"blob abababababab is missing: expected the file {blobs.path('ab' * 32)}"
    )
