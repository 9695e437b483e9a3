"""Processes of one thread that do jobs when told, and rounds in which the jobs take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from lane_works import Side
from training_loop import MEMORY

# A job, ready to be measured: does a part of the work and says how many steps or examples it was.
Work = Callable[[], int]


class Skipped(Exception):
    """Why a side cannot do a job on this machine."""


class Process:
    """A process that does the jobs of one side, one at a time.

    Args:
        command: Starts it; it has to run ``serve``.
    """

    def __init__(self, command: Sequence[str]) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **MEMORY, **threads},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def tell(self, job: str, seconds: float | None) -> None:
        """Have a job measured for so long, at least one part of it; None prepares it only."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([job, seconds]) + "\n")

    def answer(self) -> tuple[int, float] | str:
        """Count and seconds of what it was told, or why it cannot do it.

        Raises:
            SystemExit: It ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a process ended; its message is above")
        found = json.loads(line)
        return found if isinstance(found, str) else (found[0], found[1])

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def serve(prepare: Callable[[str], Work]) -> None:
    """Do what standard input asks for, as ``Process.tell`` writes it."""
    ready: dict[str, Work] = {}
    for line in sys.stdin:
        job, seconds = json.loads(line)
        try:
            if job not in ready:
                ready[job] = prepare(job)
        except Skipped as reason:
            print(json.dumps(str(reason)), flush=True)
            continue
        print(json.dumps((0, 0) if seconds is None else _measure(ready[job], seconds)), flush=True)


def _measure(work: Work, seconds: float) -> tuple[int, float]:
    count, begin = 0, time.perf_counter()
    while True:
        count += work()
        elapsed = time.perf_counter() - begin
        if elapsed >= seconds:
            return count, elapsed


def measure(
    sides: Sequence[Side], command: Callable[[Side], Sequence[str]], repeats: int, seconds: float
) -> dict[Side, list[float] | str]:
    """Have sides do their jobs in turns.

    Args:
        sides: What is compared. Jobs of the same name and number of processes share these.
        command: Starts a process of a side.
        repeats: Rounds.
        seconds: Time of one measurement, at least one part of the work.

    Returns:
        For each side the rate of each round, of all its processes together; or why it was skipped.
    """
    processes: dict[tuple[str, int], list[Process]] = {}
    rates: dict[Side, list[float] | str] = {}
    try:
        for side in sides:
            key = side.name, side.processes
            if key not in processes:
                processes[key] = [Process(command(side)) for _ in range(side.processes)]
            try:
                _together(processes[key], side.job, None)
                rates[side] = []
            except Skipped as reason:
                rates[side] = str(reason)
        running = [side for side in sides if not isinstance(rates[side], str)]
        for number in range(repeats):
            # The order turns, so that no side always follows the same other.
            turn = number % max(len(running), 1)
            for side in running[turn:] + running[:turn]:
                count, elapsed = _together(processes[side.name, side.processes], side.job, seconds)
                found = rates[side]
                assert isinstance(found, list)
                found.append(count / elapsed)
    finally:
        for process in (p for group in processes.values() for p in group):
            process.end()
    return rates


def _together(processes: Sequence[Process], job: str, seconds: float | None) -> tuple[int, float]:
    """Count of all processes and the time of the slowest."""
    for process in processes:
        process.tell(job, seconds)
    answers = [process.answer() for process in processes]
    for found in answers:
        if isinstance(found, str):
            raise Skipped(found)
    return sum(found[0] for found in answers), max(found[1] for found in answers)
