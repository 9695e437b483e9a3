from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .many import check
from .recorder import ROOT


@pytest.mark.parametrize("kills", [0, 2])
def test_processes_on_one_store_compute_nothing_twice(fast: Path, kills: int) -> None:
    check(fast / "store", processes=4, states=200, kills=kills)


def test_processes_open_a_store_at_the_same_moment(fast: Path) -> None:
    """One that is new, and one of an earlier format: one of them makes or changes it, the others wait."""
    command = [sys.executable, "-m", "tests.faults.together", str(fast), "15"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
