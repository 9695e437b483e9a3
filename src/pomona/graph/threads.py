"""An executor on threads of the calling process, for jobs whose work is native code."""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from pomona.graph.jobs import Execute, Failed, Job, Outcome, Stopped, attempt, load_entry
from pomona.graph.pool import Event, Progress
from pomona.graph.printing import own_streams, streams_by_thread

_JOIN_SECONDS = 1.0


class ThreadContext:
    """A job's view of the coordinator in the main thread."""

    def __init__(self, worker: int, said: queue.SimpleQueue[Event], stop: threading.Event) -> None:
        self.worker = worker
        self.said = said
        self.stop = stop
        self.last_said = 0.0

    def interrupted(self) -> bool:
        """Whether the coordinator asked to stop."""
        return self.stop.is_set()

    def progress(self, done: int, total: int) -> None:
        """Say how far the job is, at most five times a second."""
        now = time.monotonic()
        if now - self.last_said > 0.2:
            self.last_said = now
            self.said.put(Event(self.worker, Progress(done, total)))


class ThreadPool:
    """Threads of this process. They take turns but where native code lets go of the interpreter.

    What a job cannot survive, as a crash of native code, the process cannot survive either; a job that does
    not stop when it is asked to is left behind, as not finished. If one is still at work when the process
    ends, the process ends at once: native code must not come back to an interpreter that is gone.

    Args:
        entry: The function that executes jobs, as ``package.module:function``. It is called by several
            threads at once.
        size: Number of threads.
        logs: Folder for what jobs print.
    """

    def __init__(self, entry: str, size: int, logs: Path) -> None:
        self.entry = entry
        self.size = size
        self.logs = logs
        self.threads: dict[int, threading.Thread] = {}
        self.busy: set[int] = set()
        self._execute: Execute | None = None
        self._orders: dict[int, queue.SimpleQueue[Job | None]] = {}
        self._said: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._status = 1
        self._streams = contextlib.ExitStack()

    def submit(self, worker: int, job: Job) -> None:
        """Hand over a job; a thread is started at its first one."""
        if worker not in self.threads:
            self._start(worker)
        self.busy.add(worker)
        # A copy, as a process would get: what a user's function changes in it is its own.
        self._orders[worker].put(Job.read(job.write()))

    def poll(self, timeout_seconds: float) -> Sequence[Event]:
        """What the threads said."""
        events: list[Event] = []
        with contextlib.suppress(queue.Empty):
            events.append(self._said.get(timeout=timeout_seconds))
            while True:
                events.append(self._said.get_nowait())
        self.busy -= {event.worker for event in events if not isinstance(event.what, Progress)}
        return events

    def stop(self, grace_seconds: float) -> Sequence[Event]:
        """Let running jobs write their checkpoints, then leave the threads to themselves."""
        self._stop.set()
        said: list[Event] = []
        deadline = time.monotonic() + grace_seconds
        while self.busy and time.monotonic() < deadline:
            said += self.poll(0.05)
        self.kill()
        return said

    def kill(self) -> None:
        """Have idle threads end, and busy ones as soon as their jobs do; what these find is not kept."""
        if isinstance(sys.exception(), KeyboardInterrupt):
            self._status = 130
        self._stop.set()
        for worker, thread in self.threads.items():
            self._orders[worker].put(None)
            if worker not in self.busy:
                thread.join(_JOIN_SECONDS)
        self._streams.close()
        if not self._at_work():
            atexit.unregister(self._leave)

    def _start(self, worker: int) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        if self._execute is None:
            # Here and not in the threads, so that no two import the same at once.
            self._execute = load_entry(self.entry)
            self._streams.enter_context(streams_by_thread())
            atexit.register(self._leave)
        log = open(  # noqa: SIM115 (the thread closes it)
            self.logs / f"worker-{worker}.log", "a", buffering=1, encoding="utf-8", errors="backslashreplace"
        )
        self._orders[worker] = queue.SimpleQueue()
        # A daemon: the end of the process does not wait for it.
        thread = threading.Thread(
            target=self._work, args=(worker, self._execute, log), name=f"pomona-worker-{worker}", daemon=True
        )
        self.threads[worker] = thread
        thread.start()

    def _work(self, worker: int, execute: Execute, log: TextIO) -> None:
        context = ThreadContext(worker, self._said, self._stop)
        with own_streams(log):
            while (job := self._orders[worker].get()) is not None:
                self._said.put(Event(worker, _result(execute, job, context)))

    def _at_work(self) -> bool:
        return any(thread.is_alive() for thread in self.threads.values())

    def _leave(self) -> None:
        """At the end of the process: wait for nobody who is still at work."""
        self.kill()
        if self._at_work():
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(self._status)


def _result(execute: Execute, job: Job, context: ThreadContext) -> Outcome | Failed | Stopped:
    if context.interrupted():
        return Stopped()
    try:
        return attempt(execute, job, context)
    except BaseException as error:  # a user's code may raise anything, as KeyboardInterrupt
        reason = "".join(traceback.format_exception_only(error)).strip()
        return Failed("error", reason, traceback.format_exc())
