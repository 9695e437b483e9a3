"""Every point at which a process or the machine can stop, and every change from which the disk can be full.

    python -m tests.faults.every

says how far it is, and ends with status 1 if anything was lost anywhere.
"""

from __future__ import annotations

import errno
import itertools
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .conftest import MEMORY
from .examine import Trial, killed, record, starved, stopped, stopped_twice
from .ledgers import damaged
from .many import crowd
from .recorder import Recorder
from .together import together

SEEDS = 5


def trials(folder: Path) -> Iterator[tuple[str, Iterator[Trial]]]:
    """All of them, by what befalls the store."""
    recorder = Recorder(folder)
    recording = record(recorder, folder / "whole")
    every = range(1, len(recording.changes) + 1)
    print(f"{len(every)} changes of {len(recording.expected)} results", flush=True)
    yield f"stopped, with {SEEDS} random losses a point", stopped(recording, folder / "image", SEEDS)
    points = [*recording.points("r"), *random.Random(1).sample(every, 10)]
    twice = (_some(stopped_twice(recorder, recording, point, folder / "twice"), point) for point in points)
    yield f"stopped again after {len(points)} kills", itertools.chain.from_iterable(twice)
    yield "killed", killed(recorder, recording, every, folder / "killed")
    old = record(recorder, folder / "old", old=True)
    yield "stopped while an older store is migrated", stopped(old, folder / "image", SEEDS)
    room = recording.points("cmw")
    for error in (errno.ENOSPC, errno.EDQUOT):
        yield errno.errorcode[error], starved(recorder, recording, room, error, folder / "starved")
    yield "many processes", crowd(folder / "many")
    yield "opened together", together(folder / "together", 100)
    yield "damaged ledgers", damaged(folder / "damaged", 5000)


def _some(found: Iterator[Trial], seed: int, size: int = 100) -> list[Trial]:
    return random.Random(seed).sample(list(found), size)


def main() -> int:
    """Try all; gives the number of faults."""
    faults = 0
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        for what, found in trials(Path(folder)):
            count = 0
            for name, trial in found:
                count += 1
                try:
                    trial()
                except Exception as error:
                    faults += 1
                    print(f"FAULT {name}: {type(error).__name__}: {error}", flush=True)
                if count % 500 == 0:
                    print(f"{what}: {count} tried, {faults} faults so far", flush=True)
            print(f"{what}: {count} tried, {faults} faults so far", flush=True)
    return faults


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
