"""Where a worker's jobs arrive: the recipe or probe by its name."""

from __future__ import annotations

import torch

from pomona.core.errors import InputError, unknown
from pomona.graph.jobs import Context, Job, Outcome
from pomona.graph.store import Files
from pomona.studies.calibrate import measure_rate
from pomona.studies.custom import execute_custom
from pomona.studies.probes import PROBES
from pomona.studies.recipes import RECIPES


def execute(job: Job, context: Context) -> Outcome:
    """Compute one state or probe.

    Raises:
        InputError: The recipe is not known to this version.
        StateFailure: It cannot be computed; says which kind of failure it is.
    """
    found = {**RECIPES, **PROBES, "calibrate": measure_rate}.get(job.name)
    if "function" in job.how:
        found = execute_custom
    if found is None:
        raise InputError(unknown("recipe", job.name, [*RECIPES, *PROBES]))
    # A new thread takes on the number of threads that torch was told when it first asks for it. If its first
    # operation is a convolution, it would ask too late and compute that on all cores.
    torch.get_num_threads()
    return found(job, Files.of(job), context)
