"""The probe that walks the straight line between two networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pomona.graph.jobs import Context, Job, Outcome
from pomona.graph.ledger import Measurement
from pomona.graph.store import Files
from pomona.measures.landscape import between, crossing, places
from pomona.studies import bench
from pomona.studies.landscape import place_text
from pomona.training.evaluate import evaluate


def measure_linear_connectivity(job: Job, files: Files, context: Context) -> Outcome:
    """Error and loss on the test part along the line from one state to another, and their barriers."""
    module, examples = bench.network(job.how), bench.examples(job.how, "test")
    a, b = (files.read_weights(state.outputs["weights"]) for state in job.states)
    held = [name for name, _ in module.named_buffers()]
    engine, classes = bench.engine_of(job.params), job.how["classes"]
    along = places(job.params["points"])
    found = []
    for at in along:
        weights = {name: torch.from_numpy(np.array(array)) for name, array in between(a, b, at, held).items()}
        found.append(evaluate(module, weights, examples, None, classes, device=job.device, engine=engine))
    errors = [int((one.count - one.correct).sum()) / int(one.count.sum()) for one in found]
    rows = [*_crossed("", errors), *_crossed("loss-", [one.loss for one in found])]
    for at, error, one in zip(along, errors, found, strict=True):
        loss = one.loss if np.isfinite(one.loss) else None
        rows.append(Measurement("error-along", error, place_text(at)))
        rows.append(Measurement("loss-along", loss, place_text(at)))
    return Outcome(measurements=tuple(rows))


def _crossed(prefix: str, errors: Sequence[float]) -> list[Measurement]:
    found = crossing(errors)
    return [
        Measurement(f"{prefix}barrier", found.barrier if found else None),
        Measurement(f"{prefix}instability", found.instability if found else None),
    ]
