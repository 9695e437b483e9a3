"""Compiles the recorder, and runs cases of the workload under it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("recorder.c")
ROOT = Path(__file__).parents[2]


class Recorder:
    """The compiled library.

    Args:
        folder: Takes it.

    Raises:
        LookupError: There is no compiler here.
    """

    def __init__(self, folder: Path) -> None:
        compiler = next(
            (name for name in (os.environ.get("CC"), "cc", "gcc", "clang") if name and shutil.which(name)),
            None,
        )
        if compiler is None or not sys.platform.startswith("linux"):
            raise LookupError("the recorder needs Linux and a C compiler")
        self.library = folder / "recorder.so"
        flags = ["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-pthread"]
        subprocess.run([compiler, *flags, "-o", str(self.library), str(SOURCE)], check=True)

    def case(self, folder: Path, **what: int) -> dict[str, Any]:
        """One run in a folder of its own; ``fail_at`` with ``errno``, or ``kill_at``, say what befalls it."""
        folder.mkdir(parents=True, exist_ok=True)
        names = ("store", "log", "acknowledged", "outcome")
        return {**{name: str(folder / name) for name in names}, **what}

    def run(self, cases: list[dict[str, Any]]) -> list[int]:
        """Run cases one after the other; gives the status of each, negative for a signal."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.workload", str(self.library)],
            input="".join(json.dumps(case) + "\n" for case in cases),
            env={**os.environ, "LD_PRELOAD": str(self.library), "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return [int(line) for line in done.stdout.splitlines()]
