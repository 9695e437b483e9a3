"""A package registry's client as a child process: bounded in time, and gone when we go."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pomona.core.errors import DataError

# What the line that gives the reason has in it: npm, npm, apt-get, pip.
_TELLING = ("reason:", "Not Found", "E: ", "No matching")


def run_client(command: Sequence[str], folder: Path, seconds: float) -> None:
    """Run a client in a folder.

    Args:
        command: Program and arguments.
        folder: Its working directory.
        seconds: How long it may take.

    Raises:
        DataError: It is not installed, takes too long or fails (with the line that says why).
    """
    name = "pip" if "pip" in command else command[0]
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise DataError(f"{name} is not installed") from None
    except OSError as error:
        raise DataError(f"{name} cannot be run: {error.strerror or error}") from error
    try:
        written, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise DataError(f"{name} did not finish within {seconds:g} s") from None
    finally:
        _end(process)
    if process.returncode != 0:
        raise DataError(f"{name} failed: {_said(written)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        # The whole group: clients start helpers of their own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _said(written: bytes) -> str:
    lines = [line.strip() for line in written.decode("utf-8", "replace").splitlines() if line.strip()]
    telling = [line for line in lines if any(words in line for words in _TELLING)]
    return ([*telling[:1], *lines[-1:], "it said nothing"])[0][:300]
