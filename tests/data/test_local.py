from __future__ import annotations

from pathlib import Path

import pytest

from pomona.core.errors import DataError
from pomona.data.catalogue import DatasetInfo
from pomona.data.fetching import fetch
from pomona.data.parts import Parts

from .conftest import be_small, idx_files, make_parts, write_files
from .test_formats import cifar_binary, cifar_png


@pytest.mark.parametrize("place", [".", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_folder_is_used(
    place: str,
    packed: bool,
    parts: Parts,
    small_mnist: DatasetInfo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_files(tmp_path / "own" / place, idx_files(parts, packed))
    monkeypatch.setenv("POMONA_DATA", str(tmp_path / "own"))
    lines: list[str] = []
    assert fetch("mnist", report=lines.append).exists()
    assert lines[0] == f"mnist: trying the folder {tmp_path / 'own' / place}"


@pytest.mark.parametrize("layout", [cifar_binary, cifar_png])
def test_folder_of_cifar_may_have_either_layout(
    layout: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make_parts(3, 32, 32)
    be_small("cifar-10", parts, monkeypatch)
    assert callable(layout)
    write_files(tmp_path / "own" / "cifar-10-batches-bin", layout(parts))
    monkeypatch.setenv("POMONA_DATA", str(tmp_path / "own"))
    assert fetch("cifar-10").exists()


def test_folder_with_another_set_in_the_same_form_is_refused(
    small_mnist: DatasetInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "own", idx_files(make_parts(1, 6, 5, seed=8)))
    monkeypatch.setenv("POMONA_DATA", str(tmp_path / "own"))
    with pytest.raises(DataError, match=r"the folder .*own: train images: wrong digest"):
        fetch("mnist")


def test_folder_without_files_says_which_are_expected(
    small_mnist: DatasetInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POMONA_DATA", str(tmp_path))
    with pytest.raises(
        DataError, match=r"POMONA_DATA\): no such files in it; expected train-images-idx3-ubyte"
    ):
        fetch("mnist")
    monkeypatch.setenv("POMONA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="there is no such folder"):
        fetch("mnist")
