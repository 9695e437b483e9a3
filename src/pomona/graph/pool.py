"""Executors on this machine: a pool of processes, and the calling process itself."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from pomona.graph.jobs import Failed, Job, Outcome, Stopped, attempt, load_entry, read_result
from pomona.graph.nodes import from_json

# One thread a process: two intra-op threads on a small model collapse when anything else runs. The malloc
# settings keep large temporaries from being given back to the kernel and faulted in again at every step.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
}


@dataclass(frozen=True)
class Progress:
    """A running job is this far."""

    done: int
    total: int


@dataclass(frozen=True)
class Event:
    """Something that a worker said about its job."""

    worker: int
    what: Progress | Outcome | Failed | Stopped


class Executor(Protocol):
    """Where jobs run."""

    size: int

    def submit(self, worker: int, job: Job) -> None:
        """Give a job to an idle worker."""
        ...

    def poll(self, timeout_seconds: float) -> Sequence[Event]:
        """What was said since; waits at most this long for the first word."""
        ...

    def stop(self, grace_seconds: float) -> Sequence[Event]:
        """Ask all to stop, wait for their last words, then end them."""
        ...


class HereExecutor:
    """Runs every job in the calling process, one after the other: for debugging and small work."""

    size = 1

    def __init__(self, entry: str) -> None:
        self.execute = load_entry(entry)
        self.said: list[Event] = []
        self.on_progress: Callable[[Progress], None] = lambda progress: None
        self.asked_to_stop = False

    def interrupted(self) -> bool:
        """Whether Ctrl-C was pressed while the job runs."""
        return self.asked_to_stop

    def progress(self, done: int, total: int) -> None:
        """Pass it on at once."""
        self.on_progress(Progress(done, total))

    def submit(self, worker: int, job: Job) -> None:
        """Run the job to its end; on Ctrl-C to its checkpoint.

        Raises:
            KeyboardInterrupt: After Ctrl-C; at once if it is pressed again.
        """
        # A copy, as a process would get: what a user's function changes in it is its own.
        own = Job.read(job.write())
        with self._gentle_interrupt():
            self.said.append(Event(worker, attempt(self.execute, own, self)))
        if self.asked_to_stop:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def _gentle_interrupt(self) -> Iterator[None]:
        """Ctrl-C sets a flag that the job asks for, where signals can be caught: in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def ask(number: int, frame: object) -> None:
            if self.asked_to_stop:
                raise KeyboardInterrupt
            self.asked_to_stop = True

        signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def poll(self, timeout_seconds: float) -> Sequence[Event]:
        """The results so far."""
        said, self.said = self.said, []
        return said

    def stop(self, grace_seconds: float) -> Sequence[Event]:
        """Nothing runs between calls."""
        return self.poll(0)


class LocalPool:
    """Processes of this machine, each with one thread. A process that dies is replaced.

    Args:
        entry: The function that executes jobs, as ``package.module:function``.
        size: Number of processes.
        logs: Folder for what jobs print.
    """

    def __init__(self, entry: str, size: int, logs: Path) -> None:
        self.entry = entry
        self.size = size
        self.logs = logs
        self.selector = selectors.DefaultSelector()
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.pending: dict[int, bytes] = dict.fromkeys(range(size), b"")
        self.busy: set[int] = set()
        self.oom_kills = oom_kills()

    def submit(self, worker: int, job: Job) -> None:
        """Send a job; a worker is started at its first one."""
        if worker not in self.processes:
            self._start(worker)
        self.busy.add(worker)
        # A worker that died since is found by the end of its output.
        self._send(worker, job.write())

    def poll(self, timeout_seconds: float) -> Sequence[Event]:
        """What the workers said; the end of one is a failure of its job."""
        events: list[Event] = []
        said = self.selector.select(timeout_seconds)
        for ready, _ in said:
            worker = ready.data
            content = os.read(ready.fd, 1 << 16)
            if not content:
                events.append(Event(worker, self._bury(worker)))
                continue
            *lines, self.pending[worker] = (self.pending[worker] + content).split(b"\n")
            events += [Event(worker, _read(line)) for line in lines]
        if not said:
            # The output of a dead worker does not end while a process that its job started holds it open.
            gone = [worker for worker, process in self.processes.items() if process.poll() is not None]
            events += [Event(worker, self._bury(worker)) for worker in gone]
        self.busy -= {event.worker for event in events if not isinstance(event.what, Progress)}
        return events

    def stop(self, grace_seconds: float) -> Sequence[Event]:
        """Let running jobs write their checkpoints, then end the processes."""
        for worker in self.busy:
            self._send(worker, "stop")
        said: list[Event] = []
        deadline = time.monotonic() + grace_seconds
        while self.busy and time.monotonic() < deadline:
            said += self.poll(0.05)
        self.kill()
        return said

    def kill(self) -> None:
        """End the processes now, and the pool with them."""
        for worker in list(self.processes):
            self.processes[worker].kill()
            self._bury(worker)
        self.selector.close()

    def _start(self, worker: int) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        with open(self.logs / f"worker-{worker}.log", "ab") as log:
            process = subprocess.Popen(
                # -P: a file in the working folder must not stand in for a module of the same name.
                [sys.executable, "-P", "-m", "pomona.graph.worker", self.entry],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **_ENVIRONMENT},
                # Its own session: Ctrl-C reaches the coordinator alone, which then asks for checkpoints.
                start_new_session=True,
            )
        self.processes[worker] = process
        self.pending[worker] = b""
        self.selector.register(_pipe(process.stdout), selectors.EVENT_READ, worker)

    def _send(self, worker: int, line: str) -> None:
        pipe = _pipe(self.processes[worker].stdin)
        with contextlib.suppress(BrokenPipeError):
            pipe.write(line.encode() + b"\n")
            pipe.flush()

    def _bury(self, worker: int) -> Failed:
        process = self.processes.pop(worker)
        self.selector.unregister(_pipe(process.stdout))
        self.busy.discard(worker)
        code = process.wait()
        _close(process)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        if code == -signal.SIGKILL and oom_kills() > self.oom_kills:
            self.oom_kills = oom_kills()
            return Failed(
                "out of memory", f"worker {worker} was killed by the system, which had no memory left"
            )
        return Failed("lost worker", f"worker {worker} {how}; its log: {self.logs / f'worker-{worker}.log'}")


def oom_kills() -> int:
    """Processes that the system has killed because memory ran out; 0 where it does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def _read(line: bytes) -> Progress | Outcome | Failed | Stopped:
    raw = from_json(line.decode())
    return Progress(*raw["value"]) if raw["type"] == "Progress" else read_result(raw)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            _pipe(pipe).close()
