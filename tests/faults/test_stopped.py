"""A sample of the points at which a process or the machine can stop; ``make faults`` tries all of them."""

from __future__ import annotations

import errno
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from .examine import Recording, Trial, killed, record, starved, stopped, stopped_twice
from .recorder import Recorder
from .replay import Disk, read_log, taken


def sample(trials: Iterable[Trial], size: int) -> list[Trial]:
    """Some of the trials, the same ones each time."""
    found = list(trials)
    assert len(found) >= size
    return random.Random(5).sample(found, size)


def test_recording_has_all_that_a_store_does(recording: Recording) -> None:
    """Drafts, renames and syncs of files and folders; commits; write-ahead logs carried over into the ledger."""
    assert recording.points("r", "blobs/")
    assert recording.points("r", "checkpoints/")
    assert recording.points("u", "checkpoints/")
    assert recording.points("m", "blobs/")
    assert recording.points("s", "ledger.sqlite-wal")
    assert len(recording.points("w", "ledger.sqlite-wal")) > 100
    assert len([n for n in recording.points("s") if recording.changes[n - 1].path == "ledger.sqlite"]) > 5
    assert "failed" in recording.expected.values()
    assert len(recording.promised(recording.changes[-1].end)) == len(recording.expected)
    # Not all of it at the end: most is promised while the rest is under way.
    late = recording.promised(recording.changes[len(recording.changes) * 3 // 4].end)
    assert 3 < len(late) < len(recording.expected)


def test_disk_plays_the_whole_run(recorder: Recorder, recording: Recording, tmp_path: Path) -> None:
    """What is played again to its end is, byte for byte, what the run left."""
    case = recorder.case(tmp_path)
    assert recorder.run([case]) == [0]
    disk = Disk()
    for change in read_log(Path(case["log"]), Path(case["store"])):
        disk.apply(change)
    assert disk.killed() == taken(Path(case["store"]))


def test_nothing_is_lost_wherever_it_stops(recording: Recording, fast: Path) -> None:
    trials = list(stopped(recording, fast / "image"))
    assert len(trials) > 1000
    for _, trial in sample(trials, 40):
        trial()


def test_nothing_is_lost_when_the_next_run_stops_too(
    recorder: Recorder, recording: Recording, fast: Path
) -> None:
    """The first one is killed when it has renamed a blob, before that name is on disk."""
    for point in recording.points("r", "blobs/")[:2]:
        for _, trial in sample(stopped_twice(recorder, recording, point, fast), 10):
            trial()


def test_nothing_is_lost_while_an_older_store_is_migrated(recorder: Recorder, fast: Path) -> None:
    old = record(recorder, fast, old=True)
    migration = old.points("c", "owners/")[0]
    assert migration > 30
    found = (trial for trial in stopped(old, fast / "image", seeds=3) if _point(trial) < migration)
    for _, trial in sample(found, 20):
        trial()


def _point(trial: Trial) -> int:
    return int(trial[0].rpartition("after change ")[2].partition(" ")[0])


def test_run_goes_on_where_a_process_was_killed(recorder: Recorder, recording: Recording, fast: Path) -> None:
    points = random.Random(6).sample(range(1, len(recording.changes)), 12)
    for _, trial in killed(recorder, recording, points, fast):
        trial()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_says_so_and_loses_nothing(
    recorder: Recorder, recording: Recording, fast: Path, error: int
) -> None:
    first, *others = recording.points("cmw")
    points = [first, *random.Random(7).sample(others, 12)]
    for _, trial in starved(recorder, recording, points, error, fast):
        trial()
