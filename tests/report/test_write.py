from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pomona.core.errors import StoreWriteError
from pomona.report.write import report_path, write_report
from pomona.studies.results import Results


def test_report_lies_in_the_store_with_its_figures(plain_results: Results) -> None:
    path = write_report(plain_results)
    assert path == report_path(plain_results) == plain_results.store.folder / "reports/plain/index.html"
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(file.name for file in (path.parent / "figures").iterdir()) == [
        "accuracy.csv",
        "accuracy.png",
        "accuracy.svg",
    ]


def test_report_goes_to_the_folder_that_is_named(plain_results: Results, tmp_path: Path) -> None:
    path = write_report(plain_results, tmp_path / "deep" / "folder")
    assert path == tmp_path / "deep" / "folder" / "index.html"
    assert sorted(file.name for file in path.parent.iterdir()) == ["figures", "index.html"]


def test_report_written_twice_is_the_same(plain_results: Results, tmp_path: Path) -> None:
    first = write_report(plain_results, tmp_path / "a").read_bytes()
    assert write_report(plain_results, tmp_path / "b").read_bytes() == first


def test_report_says_which_file_cannot_be_written(plain_results: Results, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(StoreWriteError, match=r"taken/figures/accuracy\.svg could not be written"):
        write_report(plain_results, tmp_path / "taken")


def test_report_on_a_full_disk_leaves_no_page(
    plain_results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreWriteError, match="the disk is full"):
        write_report(plain_results, tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
