"""A worker process: ``python -m pomona.graph.worker package.module:function``.

It reads jobs from standard input and answers on what was standard output when it started. It dies with
its parent: when the parent is gone its input ends, and a thread that waits for nothing else ends the
process, whatever a job is doing.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import sys
import threading
import time
from typing import BinaryIO

from pomona.graph.jobs import Job, Stopped, attempt, load_entry, write_result

_PR_SET_PDEATHSIG = 1


class PipeContext:
    """A job's view of the coordinator at the other end of the pipe."""

    def __init__(self, answers: BinaryIO) -> None:
        self.answers = answers
        self.stop = threading.Event()
        self.last_said = 0.0

    def interrupted(self) -> bool:
        """Whether the coordinator asked to stop."""
        return self.stop.is_set()

    def progress(self, done: int, total: int) -> None:
        """Say how far the job is, at most five times a second."""
        now = time.monotonic()
        if now - self.last_said > 0.2:
            self.last_said = now
            self.say(json.dumps({"type": "Progress", "value": [done, total]}))

    def say(self, line: str) -> None:
        """Send one line."""
        self.answers.write(line.encode() + b"\n")
        self.answers.flush()


def main(entry: str) -> None:
    """Execute jobs until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a user's code prints goes to the log, not between the answers
    sys.stdout = os.fdopen(1, "w", buffering=1)
    orders = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # and it cannot read a job away
    os.close(nothing)
    _end_with_parent()
    context = PipeContext(answers)
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders, jobs, context.stop), daemon=True).start()
    execute = load_entry(entry)
    while True:
        line = jobs.get()
        result = Stopped() if context.stop.is_set() else attempt(execute, Job.read(line), context)
        context.say(write_result(result))


def _end_with_parent() -> None:
    """Have Linux end this process with its parent, also while a job's C code lets no thread run."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _listen(orders: BinaryIO, jobs: queue.SimpleQueue[str], stop: threading.Event) -> None:
    for raw in orders:
        line = raw.decode()
        if line.startswith("stop"):
            stop.set()
        else:
            jobs.put(line)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
