"""Masks that shrink in trainings, runs that are stopped, and how what they give is compared."""

from __future__ import annotations

import json

import torch
from safetensors.numpy import load, save

from pomona.training.checkpoint import Checkpoint


class StopAfter:
    """Says that a run is to stop, once it was asked this often."""

    def __init__(self, asked: int):
        self.left = asked

    def __call__(self):
        self.left -= 1
        return self.left < 0


def from_a_file(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint as a store gives it back."""
    tensors, record = checkpoint.parts()
    arrays = load(save({name: tensor.numpy() for name, tensor in tensors.items()}))
    stored = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    return Checkpoint.from_parts(stored, json.loads(json.dumps(record)))


def equal(a, b):
    """Whether tensors have the same names and the same bits."""
    return a.keys() == b.keys() and all(a[name].numpy().tobytes() == b[name].numpy().tobytes() for name in a)


def smallest(share):
    """Prune a share of the kept weights of every matrix, those of the smallest magnitude."""

    def on_prune(step, weights, masks):
        found = {}
        for name in [name for name in weights if name.endswith("weight") and weights[name].ndim > 1]:
            kept = masks.get(name, torch.ones(weights[name].shape, dtype=torch.bool)).flatten().clone()
            score = weights[name].abs().flatten().masked_fill(~kept, -1.0)
            lost = int((~kept).sum()) + int(share * int(kept.sum()))
            kept[score.argsort(stable=True)[:lost]] = False
            found[name] = kept.reshape(weights[name].shape)
        return found

    return on_prune


def nested(weights, densities):
    """Random masks of falling densities, each within the one before."""
    generator = torch.Generator().manual_seed(9)
    names = [name for name in weights if name.endswith("weight") and weights[name].ndim > 1]
    scores = {name: torch.rand(weights[name].shape, generator=generator) for name in names}
    return [{name: score < density for name, score in scores.items()} for density in densities]
