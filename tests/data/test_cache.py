from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import DataError
from pomona.data import cache as cache_module
from pomona.data.cache import CacheError, cache_root, locked, read, read_info, sweep, write
from pomona.data.catalogue import DatasetInfo
from pomona.data.parts import Parts


@pytest.fixture
def path(cache: Path) -> Path:
    return cache / "mnist.data"


def test_root_is_the_users_cache_unless_given(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_root() == cache
    monkeypatch.delenv("POMONA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_root().name == "pomona"
    assert cache_root() != cache


def test_round_trip_is_exact_and_read_only(path: Path, small_mnist: DatasetInfo, parts: Parts) -> None:
    write(path, small_mnist, parts)
    info, found = read(path)
    assert info == read_info(path) == small_mnist
    for got, want in zip(found, parts, strict=True):
        assert np.array_equal(got, want)
        with pytest.raises(ValueError, match="read-only"):
            got[0] = 0
    assert [file.name for file in path.parent.iterdir()] == ["mnist.data"]


def test_description_may_be_longer_than_a_page(path: Path, small_mnist: DatasetInfo, parts: Parts) -> None:
    from dataclasses import replace

    long = replace(small_mnist, source="x" * 10_000)
    write(path, long, parts)
    assert read(path)[0] == long


def test_one_changed_bit_is_found(path: Path, small_mnist: DatasetInfo, parts: Parts) -> None:
    write(path, small_mnist, parts)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert read_info(path) == small_mnist
    with pytest.raises(DataError, match="test labels: wrong digest"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a data file"),
        (b"pomona data 2 4096\n{}", "not a data file of this version"),
        (b"pomona data 1 4096\n{]", "damaged header"),
        (b"pomona data 1 4096\n{}", "damaged header"),
        (b"pomona data 1 4096\n[1]", "damaged header"),
        (b"\xff\xfe\x00garbage", "damaged header"),
    ],
)
def test_foreign_content_is_refused(path: Path, content: bytes, message: str) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(path)


def test_truncation_is_found_from_the_size(path: Path, small_mnist: DatasetInfo, parts: Parts) -> None:
    write(path, small_mnist, parts)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"truncated: \d+ bytes, expected \d+"):
        read_info(path)


def test_full_disk_is_said_and_leaves_the_old_file(
    path: Path, small_mnist: DatasetInfo, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, small_mnist, parts)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache_module.os, "fsync", full)
    with pytest.raises(CacheError, match=r"cannot be written: .*No space left on device.*POMONA_CACHE"):
        write(path, small_mnist, parts)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["mnist.data"]


def test_unwritable_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(CacheError, match=r"cannot be written: .*POMONA_CACHE"),
        locked(tmp_path / "file" / "mnist.data", print),
    ):
        pass


def test_sweep_removes_only_what_was_left_of_this_set(path: Path) -> None:
    path.parent.mkdir()
    for name in (".mnist-123.tmp", ".fashion-mnist-123.tmp", "mnist.data"):
        (path.parent / name).touch()
    (path.parent / ".mnist-package").mkdir()
    (path.parent / ".mnist-package" / "big.tgz").touch()
    sweep(path)
    assert sorted(file.name for file in path.parent.iterdir()) == [".fashion-mnist-123.tmp", "mnist.data"]
