"""A real study, killed at random moments and run again each time, until it has been struck so often.

    python -m tests.faults.kills [KILLS]

Says what each strike hit; ends with status 1 if a store that came through has other bits than one that nothing
befell. Half of the strikes meet each engine.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pomona.graph.store import Store

from .recorder import ROOT
from .workload import contents

KILLS = 200
# So that a run computes for about as long as it takes to begin.
EPOCHS = {"lanes": 300, "torch": 20}
_LATEST_SECONDS = 5.0


def command(engine: str, store: Path) -> list[str]:
    """The iterative-pruning study, on data that needs no download."""
    changes = [
        "replicates=1",
        "steps.ticket.repeat=3",
        "let.data.clean.name=digits",
        "steps.dense.init={name: fc, options: {hidden: 100-50}}",
        f"let.train.full.duration={EPOCHS[engine]}ep",
        f"engine={engine}",
    ]
    study = [sys.executable, "-m", "pomona", "run", "iterative-pruning", "--preset", "quick"]
    return [
        *study,
        *(part for c in changes for part in ("--set", c)),
        "--store",
        str(store),
        "--workers",
        "2",
    ]


def start(engine: str, store: Path) -> subprocess.Popen[bytes]:
    """A run of it, whose words go to a file beside the store."""
    store.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(store.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(command(engine, store), cwd=ROOT, env=environment, stdout=log, stderr=log)


def strike(process: subprocess.Popen[bytes], draw: random.Random) -> str | None:
    """Kill a run, some of it, or one that is stopping; gives what was hit, None where it had ended."""
    workers = _children(process.pid)
    how = draw.choice(
        ["the coordinator", "all of it", "a worker" if workers else "the coordinator", "stopping"]
    )
    if process.poll() is not None:
        return None
    if how == "a worker":
        # The run goes on with another one; that is one strike of two.
        _kill(draw.choice(workers))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=draw.uniform(0, 2))
        return how
    if how == "stopping":
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=draw.uniform(0, 1.5))
    if how == "all of it":
        for worker in workers:
            _kill(worker)
    process.kill()
    process.wait()
    return how


def come_through(engine: str, store: Path, kills: int, draw: random.Random, before: int, total: int) -> int:
    """Run a study to its end through up to some kills; gives how many have struck."""
    struck = 0
    while True:
        process = start(engine, store)
        if struck == kills:
            status = process.wait()
        else:
            at_work = draw.random() < 0.8 and _comes_to_work(process, store)
            moment = draw.uniform(0, _LATEST_SECONDS)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=moment)
            how = strike(process, draw)
            if how is not None:
                struck += 1
                when = f"{moment:.1f} s after it {'came to its work' if at_work else 'was started'}"
                done = f"{_finished(store)} states done"
                print(f"{before + struck} of {total}: {engine}, {how}, {when}, {done}", flush=True)
            status = process.wait()
        if status == 0:
            return struck
        # A run that something else ended than us has a fault of its own.
        ended_by_us = status in (-signal.SIGKILL, -signal.SIGINT, 130)
        assert ended_by_us, f"{engine}: ended with {status}; its words: {store.with_suffix('.log')}"


def check(engine: str, kills: int, folder: Path, before: int = 0, total: int | None = None) -> None:
    """As many stores as it takes to be struck so often, each compared with one that nothing befell.

    Raises:
        AssertionError: One has other bits, or a run ended in error.
    """
    total = kills if total is None else total
    draw = random.Random(f"{engine} {kills}")
    assert start(engine, folder / "whole").wait() == 0, f"see {folder / 'whole.log'}"
    expected = _contents(folder / "whole")
    struck = number = 0
    while struck < kills:
        store = folder / f"struck-{number}"
        struck += come_through(engine, store, kills - struck, draw, before + struck, total)
        number += 1
        found = _contents(store)
        assert found == expected, f"{store} has other bits than {folder / 'whole'}"
        print(f"{engine}: store {number} came through with the same bits", flush=True)


def _contents(folder: Path) -> dict[str, Any]:
    with Store(folder, create=False) as store:
        faults = [fault for digest in store.blobs.scan() if (fault := store.blobs.check(digest))]
        assert not faults, faults
        return contents(store)


def _finished(folder: Path) -> int:
    if not (folder / "ledger.sqlite").exists():
        return 0
    with Store(folder) as store:
        return sum(status == "done" for status in store.ledger.statuses("states").values())


def _comes_to_work(process: subprocess.Popen[bytes], store: Path) -> bool:
    """Wait until a run says that it is there, or ends before that."""
    began = time.time()
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if any(lock.stat().st_mtime >= began for lock in store.glob("owners/*.lock")):
                return True
        time.sleep(0.01)
    return False


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def main(kills: int) -> None:
    """Half of the kills for each engine; a folder of a failure is kept, to be looked at."""
    folder = Path(tempfile.mkdtemp(prefix="pomona-kills-"))
    began = time.monotonic()
    check("lanes", kills // 2, folder / "lanes", 0, kills)
    check("torch", kills - kills // 2, folder / "torch", kills // 2, kills)
    shutil.rmtree(folder)
    print(f"{kills} kills in {time.monotonic() - began:.0f} s: the same bits")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else KILLS)
