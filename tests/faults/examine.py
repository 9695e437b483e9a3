"""Whether a store that was stopped at some point is what it should be, and whether work goes on from there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pomona.graph.store import LEDGER, Store

from .recorder import Recorder
from .replay import Change, Disk, Image, build, read_log, taken
from .together import make_old
from .workload import complete, contents, graph

Contents = Mapping[str, Any]
# A name, and what raises AssertionError where something is lost, half-written or other than it should be.
Trial = tuple[str, Callable[[], None]]


@dataclass(frozen=True)
class Recording:
    """A run that nothing disturbed.

    Args:
        changes: What it did to its folder.
        promises: What it had committed, by the length of the log when the commit had returned.
        expected: What its store holds in the end.
        before: What its folder held when it began.
    """

    changes: list[Change]
    promises: list[tuple[int, dict[str, Any]]]
    expected: Contents
    before: Image

    def promised(self, end: int) -> dict[str, Any]:
        """What was committed before a point of the log."""
        return {key: value for at, found in self.promises if at <= end for key, value in found.items()}

    def points(self, kinds: str, where: str = "") -> list[int]:
        """Numbers of the changes of some kinds, whose target lies below a folder of the store."""
        changes = enumerate(self.changes, 1)
        return [n for n, c in changes if c.kind in kinds and (c.other or c.path).startswith(where)]


def record(recorder: Recorder, folder: Path, old: bool = False) -> Recording:
    """Have the workload run to its end, and read what it did; ``old`` begins with a store of the first format."""
    case = recorder.case(folder)
    store = Path(case["store"])
    if old:
        make_old(store)
    before = taken(store)
    assert recorder.run([case]) == [0]
    assert Path(case["outcome"]).read_text() == "done"
    changes = read_log(Path(case["log"]), store)
    with Store(store) as opened:
        return Recording(changes, _promises(case), contents(opened), before)


def stopped(
    recording: Recording,
    folder: Path,
    seeds: int = 1,
    disk: Disk | None = None,
    before: str = "",
    owed: Contents | None = None,
) -> Iterator[Trial]:
    """Every image of every point: killed, all that was not synced lost, a random part of it lost.

    Args:
        recording: What is played again.
        folder: Takes the images.
        seeds: How many random parts a point.
        disk: What it began with, where not all of it was safe.
        before: What to say of how that came about.
        owed: What had been promised before that.
    """
    disk, seen = disk or Disk(recording.before), set()
    for point, change in enumerate(recording.changes, 1):
        disk.apply(change)
        promised = {**(owed or {}), **recording.promised(change.end)}
        images = {"killed": disk.killed(), "power lost": disk.lost_power()}
        images |= {f"power lost, part {n}": disk.lost_some(point * 1000 + n) for n in range(seeds)}
        for what, image in images.items():
            mark = _mark(image), len(promised)
            if mark not in seen:
                seen.add(mark)
                name = f"{before}{what} after change {point} ({change.kind} {change.path})"
                yield name, partial(_examine, name, image, promised, recording.expected, folder)


def stopped_twice(recorder: Recorder, recording: Recording, point: int, folder: Path) -> Iterator[Trial]:
    """As ``stopped`` for the run that follows one that was killed: what that one left is not all on disk."""
    disk = Disk(recording.before)
    for change in recording.changes[:point]:
        disk.apply(change)
    shutil.rmtree(folder, ignore_errors=True)
    build(disk.killed(), folder / "store")
    second = record(recorder, folder)
    assert second.expected == recording.expected
    owed = recording.promised(recording.changes[point - 1].end)
    yield from stopped(second, folder / "image", 1, disk, f"killed after change {point}, run again, ", owed)


def killed(recorder: Recorder, recording: Recording, points: Iterable[int], folder: Path) -> Iterator[Trial]:
    """The process really ended before each of some changes."""
    for case, status in _runs(recorder, folder, [{"kill_at": point} for point in points]):
        name = f"killed before change {case['kill_at']}"
        assert status == -signal.SIGKILL, f"{name}: ended with {status}"
        yield name, partial(_go_on, name, Path(case["store"]), _promised(case), recording.expected)


def starved(
    recorder: Recorder, recording: Recording, points: Iterable[int], error: int, folder: Path
) -> Iterator[Trial]:
    """The disk is full from each of some changes on; then there is room again."""
    runs = [{"fail_at": point, "errno": error} for point in points]
    for case, _ in _runs(recorder, folder, runs):
        name = f"{errno.errorcode[error]} from change {case['fail_at']} on"
        yield name, partial(_starved, name, case, recording.expected)


def _runs(
    recorder: Recorder, folder: Path, runs: list[dict[str, int]], size: int = 50
) -> Iterator[tuple[dict[str, Any], int]]:
    for first in range(0, len(runs), size):
        shutil.rmtree(folder, ignore_errors=True)
        cases = [recorder.case(folder / str(n), **run) for n, run in enumerate(runs[first : first + size])]
        yield from zip(cases, recorder.run(cases), strict=True)


def _examine(name: str, image: Image, promised: Contents, expected: Contents, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    build(image, folder)
    _go_on(name, folder, promised, expected)


def _starved(name: str, case: dict[str, Any], expected: Contents) -> None:
    outcome = Path(case["outcome"]).read_text()
    assert outcome.startswith("StoreWriteError: the disk is full: "), f"{name}: it ended with {outcome}"
    assert outcome.endswith("free some space, then run the same command again."), f"{name}: {outcome}"
    _go_on(name, Path(case["store"]), _promised(case), expected)


def _go_on(name: str, folder: Path, promised: Contents, expected: Contents) -> None:
    """Look for what was promised in the store of a process that is gone, and run its graph to the end."""
    _grow_old(folder)
    with Store(folder) as store:
        _look(name, store, promised)
        complete(store, graph())
        _look(f"{name}, then run again", store, expected)
        extra = contents(store).keys() - expected.keys()
        assert not extra, f"{name}: {extra} should not be there"
    drafts = [*folder.glob("tmp/*"), *folder.glob("*draft*")]
    assert not drafts, f"{name}: {drafts} are left"
    for copy in folder.glob(f"{LEDGER}.format-*"):
        with contextlib.closing(sqlite3.connect(copy)) as kept:
            assert kept.execute("PRAGMA user_version").fetchone()[0] == 1, f"{name}: {copy} is not as it was"
            assert kept.execute("PRAGMA integrity_check").fetchone()[0] == "ok", f"{name}: {copy} is damaged"


def _look(name: str, store: Store, promised: Contents) -> None:
    found = contents(store)
    for key, value in promised.items():
        assert found.get(key) == value, f"{name}: {key[:12]} was {value}, is {found.get(key)}"
    there = store.blobs.scan()
    for key, value in found.items():
        for digest in value.values() if isinstance(value, dict) else ():
            assert digest in there, f"{name}: {key[:12]} is done, but its blob {digest[:12]} is missing"
    for digest in there:
        fault = store.blobs.check(digest)
        assert fault is None, f"{name}: {fault}"


def _grow_old(folder: Path) -> None:
    """What a process left half-written is removed when it has lain for a while."""
    for draft in folder.glob("tmp/*"):
        os.utime(draft, (0, 0))


def _promises(case: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    lines = [json.loads(line) for line in Path(case["acknowledged"]).read_text().splitlines()]
    return [(line["at"], line["found"]) for line in lines]


def _promised(case: dict[str, Any]) -> dict[str, Any]:
    return dict(itertools.chain.from_iterable(found.items() for _, found in _promises(case)))


def _mark(image: Image) -> str:
    whole = hashlib.sha256()
    for path in sorted(image):
        content = image[path]
        whole.update(f"{path}\0{-1 if content is None else len(content)}\0".encode())
        whole.update(content or b"")
    return whole.hexdigest()
