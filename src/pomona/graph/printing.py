"""What a thread's job prints goes to the thread's log; everybody else prints as before."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

_STREAMS = ("stdin", "stdout", "stderr")
_own = threading.local()


class _ByThread:
    """Stands for a stream of ``sys``: a thread's own where it has one, else the one that was there before."""

    def __init__(self, name: str, usual: TextIO) -> None:
        self._name, self._usual = name, usual

    def __getattr__(self, attribute: str) -> Any:
        return getattr(getattr(_own, self._name, self._usual), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(getattr(_own, self._name, self._usual))


@contextlib.contextmanager
def own_streams(log: TextIO) -> Iterator[None]:
    """In this thread, print to a log and read nothing, wherever ``streams_by_thread`` is in force.

    Only what goes through ``sys`` is caught: a child process of a job has the streams of this process.

    Args:
        log: Closed in the end.
    """
    with log, open(os.devnull) as nothing:
        _own.stdin, _own.stdout, _own.stderr = nothing, log, log
        try:
            yield
        finally:
            del _own.stdin, _own.stdout, _own.stderr


@contextlib.contextmanager
def streams_by_thread() -> Iterator[None]:
    """For the block, let the streams of ``sys`` be those that each thread has."""
    usual = {name: getattr(sys, name) for name in _STREAMS}
    # A process without a terminal may have none.
    ours = {name: _ByThread(name, stream) for name, stream in usual.items() if stream is not None}
    for name, stream in ours.items():
        setattr(sys, name, stream)
    try:
        yield
    finally:
        for name, stream in ours.items():
            # Whoever put another in its place meanwhile takes that away themselves.
            if getattr(sys, name) is stream:
                setattr(sys, name, usual[name])
