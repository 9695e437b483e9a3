"""Evidence of one parameter, filled from streams."""

import math

import torch

from pomona.core.streams import Stream
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.granularity import WEIGHT, rows_of

POSITIVE = ("flow", "squared_gradient", "curvature", "inverse_curvature", "input_norm")
SIGNED = ("weight", "initial", "gradient", "hessian_gradient")
OTHER = ("mask", "n", "stream", "activation_mean", "activation_zeros")


def evidence_for(shape, unit=WEIGHT, kind="linear", n=2.0, dtype=torch.float32, index=0):
    """Every kind of evidence: distinct values, about a third of the weights pruned, the first one kept."""
    count = math.prod(shape)

    def normal(name):
        return torch.from_numpy(Stream("init", index, name).normal(count)).reshape(shape)

    mask = torch.from_numpy(Stream("mask", index).uniform(count)).reshape(shape) > 0.3
    mask.reshape(-1)[:1] = True
    found = {"mask": mask, "n": n, "stream": Stream("mask", index, "w", 2)}
    found |= {name: normal(name).to(dtype) for name in ("weight", "initial")}
    found |= {name: normal(name) for name in ("gradient", "hessian_gradient")}
    found |= {name: normal(name).abs() + 0.01 for name in POSITIVE}
    if unit.form.startswith("channel"):
        units = len(rows_of(mask, unit, kind))
        for name in ("activation_mean", "activation_zeros"):
            found[name] = torch.from_numpy(Stream("init", index, name).uniform(units))
    return found


def scores(name, evidence, unit=WEIGHT, kind="linear"):
    return CRITERIA[name].score(evidence, unit, kind)


def has_meaning(name, unit):
    criterion = CRITERIA[name]
    return str(unit) in criterion.only if criterion.only else True
