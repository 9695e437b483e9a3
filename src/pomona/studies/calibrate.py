"""The measured speed of this machine, for a plan that has no rates on record yet."""

from __future__ import annotations

from collections.abc import Mapping

from pomona.core.errors import InputError
from pomona.graph.jobs import Context, Failed, Job, Outcome, Stopped
from pomona.graph.nodes import State
from pomona.graph.pool import Executor, Progress
from pomona.graph.store import Files

SECONDS = 2.0
_KIND = "calibrate"


def calibrate(
    states: Mapping[str, State], workers: int, executor: Executor, store: str, device: str
) -> dict[str, float]:
    """Optimizer steps a second of one worker while all of them work, by class of cost.

    Args:
        states: One training state for each class of cost.
        workers: How many work at the same time.
        executor: Where they work.
        store: A folder; nothing is written there.
        device: Where to compute.

    Raises:
        InputError: A network fails.
    """
    rates: dict[str, float] = {}
    for cost, state in states.items():
        job = Job(cost, _KIND, state.params, state.how, (), store, device)
        for worker in range(workers):
            executor.submit(worker, job)
        ended: list[Outcome | Failed | Stopped] = []
        while len(ended) < workers:
            ended += [event.what for event in executor.poll(0.1) if not isinstance(event.what, Progress)]
        found = [float(e.facts["steps_per_second"]) for e in ended if isinstance(e, Outcome)]
        reasons = [e.reason for e in ended if isinstance(e, Failed)]
        if reasons:
            raise InputError(f"the speed of {cost!r} cannot be measured: {reasons[0]}")
        rates[cost] = sum(found) / len(found)
    return rates


def measure_rate(job: Job, files: Files, context: Context) -> Outcome:
    """The job of one worker: train made-up images for two seconds."""
    from pomona.studies import bench
    from pomona.training.calibrate import steps_per_second

    channels, height, width = job.how["input_shape"]
    rate = steps_per_second(
        bench.network(job.how),
        (channels, height, width),
        job.how["train"]["batch_size"],
        seconds=SECONDS,
        device=job.device,
        random_forward="dropout" in job.params["seeds"],
        engine=bench.engine_of(job.params),
    )
    return Outcome(facts={"steps_per_second": rate})
