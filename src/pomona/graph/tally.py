"""How far a run is, and what failed in it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from pomona.core.errors import FailureKind


@dataclass
class Tally:
    """How far a run is. Counts are of states; probes are counted apart.

    Args:
        states: All states of the graph: in the end cached, done, elsewhere, failed or blocked.
        elsewhere: States that other processes computed meanwhile.
        restored: States whose files were gone and are there again; they count as cached too.
        verified: States and probes that were computed a second time, to compare.
        work_steps: Optimizer steps of what is still wanted; those of a failure and of what it blocks are not.
        steps_finished: Optimizer steps of finished states.
        workers: What each worker is at: its label, and the share that is done.
    """

    states: int = 0
    cached: int = 0
    done: int = 0
    elsewhere: int = 0
    restored: int = 0
    verified: int = 0
    failed: int = 0
    blocked: int = 0
    probes: int = 0
    probes_done: int = 0
    work_steps: int = 0
    steps_finished: int = 0
    started: float = field(default_factory=time.monotonic)
    workers: dict[int, tuple[str, float]] = field(default_factory=dict)
    underway: dict[int, float] = field(default_factory=dict)

    @property
    def steps_done(self) -> float:
        """Optimizer steps of finished states and of those that run."""
        return self.steps_finished + sum(self.underway.values())

    @property
    def steps_per_second(self) -> float:
        """Optimizer steps a second of all workers since the start."""
        return self.steps_done / max(time.monotonic() - self.started, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Forecast from the rate so far; None before there is one."""
        if self.steps_done <= 0:
            return None
        return (self.work_steps - self.steps_done) / self.steps_per_second

    def at(self, worker: int, label: str, share: float, work_steps: int) -> None:
        """A worker is this far with a job of so many steps."""
        self.workers[worker] = (label, share)
        self.underway[worker] = share * work_steps

    def idle(self, worker: int) -> None:
        """A worker has ended its job; what it had said of its progress no longer counts."""
        self.workers.pop(worker, None)
        self.underway.pop(worker, None)


@dataclass(frozen=True)
class Failure:
    """A state or probe that failed, and how many descendants wait for it in vain."""

    node: str
    label: str
    kind: FailureKind
    reason: str
    blocked: int
