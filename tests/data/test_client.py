from __future__ import annotations

import os
import select
import sys
from pathlib import Path

import pytest

from pomona.core.errors import DataError
from pomona.data.client import run_client


def test_client_runs_in_the_folder(tmp_path: Path) -> None:
    run_client(["touch", "here"], tmp_path, seconds=30)
    assert (tmp_path / "here").exists()


def test_missing_client_is_a_failed_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no-such-client is not installed"):
        run_client(["no-such-client", "pack"], tmp_path, seconds=30)


def test_failing_client_is_quoted_with_the_line_that_says_why(tmp_path: Path) -> None:
    said = "echo npm error X; echo 'npm error failed, reason: refused' >&2; echo 'npm error log in /x'"
    with pytest.raises(DataError, match=r"sh failed: npm error failed, reason: refused$"):
        run_client(["sh", "-c", f"{said}; exit 1"], tmp_path, seconds=30)
    with pytest.raises(DataError, match="sh failed: second"):
        run_client(["sh", "-c", "echo first; echo second; exit 2"], tmp_path, seconds=30)
    with pytest.raises(DataError, match="sh failed: it said nothing"):
        run_client(["sh", "-c", "exit 2"], tmp_path, seconds=30)


def test_pip_is_called_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^pip failed: "):
        run_client([sys.executable, "-m", "pip", "no-such-command"], tmp_path, seconds=60)


def test_client_that_hangs_is_ended_with_its_helpers(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        script = "sleep 600 > pipe & echo $! > started; wait"
        with pytest.raises(DataError, match=r"sh did not finish within 0\.5 s"):
            run_client(["sh", "-c", script], tmp_path, seconds=0.5)
        # The helper held the pipe's other end: that it closes within the wait means that the helper is gone.
        ready, _, _ = select.select([reading], [], [], 30)
        assert ready
        assert os.read(reading, 1) == b""
    finally:
        os.close(reading)
