from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pomona.data.catalogue import DATASETS, DatasetInfo
from pomona.data.formats import IDX_FILES
from pomona.data.parts import Parts
from pomona.data.publishers import PUBLISHERS


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has an empty cache of its own and no folder of the user's."""
    root = tmp_path / "cache"
    monkeypatch.setenv("POMONA_CACHE", str(root))
    monkeypatch.delenv("POMONA_DATA", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return root


@pytest.fixture
def parts() -> Parts:
    return make_parts(1, 6, 5)


@pytest.fixture
def small_mnist(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> DatasetInfo:
    """MNIST replaced by a small generated set that no source has yet."""
    return be_small("mnist", parts, monkeypatch)


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


def make_parts(
    channels: int, height: int, width: int, train: int = 40, test: int = 10, seed: int = 7
) -> Parts:
    words = np.random.default_rng(seed)

    def images(count: int) -> np.ndarray:
        return words.integers(0, 256, (count, channels, height, width), dtype=np.uint8)

    def labels(count: int) -> np.ndarray:
        return (np.arange(count) % 10).astype(np.uint8)

    return Parts(images(train), labels(train), images(test), labels(test))


def be_small(name: str, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> DatasetInfo:
    """Put a small set in a known one's place and shut every source of the known one."""
    channels, height, width = parts.train_images.shape[1:]
    info = replace(
        DATASETS[name],
        shape=(channels, height, width),
        train_count=len(parts.train_labels),
        test_count=len(parts.test_labels),
        digests=parts.digests(),
    )
    monkeypatch.setitem(DATASETS, name, info)
    monkeypatch.setitem(PUBLISHERS, name, ())
    monkeypatch.setattr("pomona.data.fetching.package_sources", lambda name: [])
    return info


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def idx_files(parts: Parts, packed: bool = False) -> dict[str, bytes]:
    arrays = (parts.train_images[:, 0], parts.train_labels, parts.test_images[:, 0], parts.test_labels)
    files = {name: idx_bytes(array) for name, array in zip(IDX_FILES, arrays, strict=True)}
    return {f"{name}.gz": gzip.compress(data) for name, data in files.items()} if packed else files


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@dataclass
class Server:
    """A web server on this machine that can break off, forget ranges and fail.

    ``break_after[path]`` holds, for each coming answer, after how many bytes of the body it breaks off.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    break_after: dict[str, list[int]] = field(default_factory=dict)
    ranges: bool = True
    wrong_ranges: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name, wanted = request.path.rpartition("/")[2], request.headers.get("Range")
        self.asked.append((name, wanted))
        if name not in self.files:
            request.send_error(404)
            return
        data = self.files[name]
        start = int(wanted[len("bytes=") : -1]) if wanted and self.ranges else 0
        if wanted and start >= len(data) and self.ranges:
            request.send_error(416)
            return
        request.send_response(206 if wanted and self.ranges else 200)
        if wanted and self.ranges:
            told = start + 1 if self.wrong_ranges else start
            request.send_header("Content-Range", f"bytes {told}-{len(data) - 1}/{len(data)}")
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        breaks = self.break_after.get(name)
        body = data[start:]
        request.wfile.write(body[: breaks.pop(0)] if breaks else body)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
