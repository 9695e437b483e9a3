"""The probes that read masks and weights alone: their structure, sizes and movement."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pomona.graph.jobs import Context, Job, Outcome, Stored
from pomona.graph.ledger import Measurement
from pomona.graph.store import Files
from pomona.measures.layout import Layout
from pomona.measures.structure import mask_structure
from pomona.measures.weights import magnitude_sd, moved, rank_correlation, weight_stability
from pomona.pruning.layers import axes_of, groups_of

_FINAL = ("weight-magnitude", "weight-sd")
_INITIAL = ("initial-magnitude", "initial-sd")


def measure_moving_stability(job: Job, files: Files, context: Context) -> Outcome:
    """How far the surviving weights moved between two levels, of those that both levels' trainings moved."""
    ends, starts = job.states[:2], job.states[2:]
    weights, begun = ([_weights(state, files) for state in states] for states in (ends, starts))
    masks = [files.read_masks(state.outputs["masks"])[0] for state in ends]
    rows = []
    for name in masks[0]:
        trained = [masks[i][name] & moved(begun[i][name], weights[i][name]) for i in (0, 1)]
        found = weight_stability(weights[0][name], weights[1][name], *trained)
        rows.append(Measurement("moving-stability", found, name))
    return Outcome(measurements=tuple(rows))


def measure_rank_correlation(job: Job, files: Files, context: Context) -> Outcome:
    """Whether the surviving weights keep their order of magnitude between two levels, per layer."""
    weights = [_weights(state, files) for state in job.states]
    masks = [files.read_masks(state.outputs["masks"])[0] for state in job.states]
    rows = []
    for name in masks[0]:
        found = rank_correlation(weights[0][name], weights[1][name], masks[0][name], masks[1][name])
        rows.append(Measurement("rank-correlation", found, name))
    return Outcome(measurements=tuple(rows))


def measure_weight_magnitude(job: Job, files: Files, context: Context) -> Outcome:
    """Mean |w| and SD of the kept weights, and of the initial values of the same ones."""
    masks = files.read_masks(job.states[0].outputs["masks"])[0]
    rows = []
    for state, names in zip(job.states, (_FINAL, _INITIAL), strict=True):
        weights = _weights(state, files)
        kept = {name: weights[name][mask] for name, mask in masks.items()}
        parts = {"": [*kept.values()], **{name: [part] for name, part in kept.items()}}
        for layer, values in parts.items():
            found = zip(names, magnitude_sd(values), strict=True)
            rows += [Measurement(quantity, value, layer) for quantity, value in found]
    return Outcome(measurements=tuple(rows))


def measure_changed_density(job: Job, files: Files, context: Context) -> Outcome:
    """Share of weights that are kept and changed since their start, and of survivors that stood still."""
    state, initial, *start = job.states
    weights, masks = _weights(state, files), files.read_masks(state.outputs["masks"])[0]
    kept = {name: int(mask.sum()) for name, mask in masks.items()}

    def changed(since: Stored) -> dict[str, int]:
        before = _weights(since, files)
        return {name: int((mask & moved(before[name], weights[name])).sum()) for name, mask in masks.items()}

    rows = _shares("changed-density", changed(initial), {name: mask.size for name, mask in masks.items()})
    # Of a state that was not trained there is no start of its training.
    for before in start:
        trained = changed(before)
        rows += _shares("unmoved", {name: kept[name] - trained[name] for name in kept}, kept)
    return Outcome(measurements=tuple(rows))


def measure_mask_structure(job: Job, files: Files, context: Context) -> Outcome:
    """How far the kept weights of a layer lie in whole inputs and outputs, beside a random mask."""
    masks, kinds = files.read_masks(job.states[0].outputs["masks"])
    rows = []
    for name, mask in masks.items():
        found = mask_structure(mask, Layout(*axes_of(kinds[name]), groups_of(kinds[name])))
        for side, lines in (("column", found.columns), ("row", found.rows)):
            values = {
                f"{side}-dispersion": lines.dispersion,
                f"{side}-clustering": lines.clustering,
                f"empty-{side}s": lines.empty,
                f"chance-empty-{side}s": lines.chance_empty,
            }
            rows += [Measurement(quantity, value, name) for quantity, value in values.items()]
    return Outcome(measurements=tuple(rows))


WEIGHT_PROBES = {
    "mask-structure": measure_mask_structure,
    "moving-stability": measure_moving_stability,
    "rank-correlation": measure_rank_correlation,
    "weight-magnitude": measure_weight_magnitude,
    "changed-density": measure_changed_density,
}


def _shares(quantity: str, counts: Mapping[str, int], of: Mapping[str, int]) -> list[Measurement]:
    """Each layer's share and that of all, None of nothing."""
    pairs = [("", sum(counts.values()), sum(of.values())), *((name, counts[name], of[name]) for name in of)]
    return [Measurement(quantity, count / all_ if all_ else None, name) for name, count, all_ in pairs]


def _weights(state: Stored, files: Files) -> Mapping[str, np.ndarray]:
    return files.read_weights(state.outputs["weights"])
