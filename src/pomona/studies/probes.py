"""The probes: how each kind of measurement is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from pomona.core.errors import InputError
from pomona.graph.jobs import Context, Job, Outcome, Stored
from pomona.graph.ledger import Measurement
from pomona.graph.store import Files
from pomona.measures.chance import chance_distance, chance_distance_of_all
from pomona.measures.connectivity import effective_masks
from pomona.measures.layout import Layout
from pomona.measures.masks import hamming_distance, jaccard_distance, layerwise
from pomona.measures.predictions import at_chance, chance_accuracy
from pomona.measures.weights import weight_stability
from pomona.pruning.layers import axes_of, groups_of
from pomona.studies import bench
from pomona.studies.landscape_probes import measure_linear_connectivity
from pomona.studies.predicted import PREDICTION_PROBES
from pomona.studies.pruned import holds_values
from pomona.studies.weight_probes import WEIGHT_PROBES
from pomona.training.evaluate import evaluate
from pomona.training.placing import place

ProbeFunction = Callable[[Job, Files, Context], Outcome]


def measure_evaluate(job: Job, files: Files, context: Context) -> Outcome:
    """Accuracy and loss, in total and per class, on the test or the validation part."""
    part = job.params["part"]
    examples = bench.examples(job.how, "test" if part == "test" else "train")
    indices = None if part == "test" else bench.parts(len(examples), job.params)[1]
    weights = bench.weights_of(job.states[0], files)
    found = evaluate(
        bench.network(job.how),
        weights,
        examples,
        indices,
        job.how["classes"],
        device=job.device,
        engine=bench.engine_of(job.params),
    )
    chance = chance_accuracy(found.count)
    correct, total = int(found.correct.sum()), int(found.count.sum())
    rows = [
        Measurement("accuracy", found.accuracy),
        Measurement("loss", found.loss if np.isfinite(found.loss) else None),
        Measurement("chance", chance),
        Measurement("at-chance", float(at_chance(correct, total, chance))),
    ]
    for class_, (right, count) in enumerate(zip(found.correct, found.count, strict=True)):
        share = float(right / count) if count else None
        rows += [
            Measurement("class-accuracy", share, class_=class_),
            Measurement("class-count", float(count), class_=class_),
        ]
    return Outcome(measurements=tuple(rows))


def measure_mask_distance(job: Job, files: Files, context: Context) -> Outcome:
    """Jaccard and Hamming distance of two masks, and the Jaccard distance of independent masks like them."""
    a, b = job.states
    masks_a, kinds = files.read_masks(a.outputs["masks"])
    masks_b = files.read_masks(b.outputs["masks"])[0]
    rows = []
    for quantity, measure in (("jaccard-distance", jaccard_distance), ("hamming-distance", hamming_distance)):
        found = layerwise(measure, masks_a, masks_b)
        rows.append(Measurement(quantity, found.total))
        rows += [Measurement(quantity, value, name) for name, value in found.layers.items()]
    for name, mask in masks_a.items():
        kept = int(mask.sum()), int(masks_b[name].sum())
        layout = Layout(*axes_of(kinds[name]), groups_of(kinds[name]))
        try:
            units = _granularity(a, name), _granularity(b, name)
            chance = chance_distance(mask.shape, *kept, *units, layout)
        except InputError:
            # There is no closed form for masks of these two structures: the distance stands alone.
            chance = None
        rows.append(Measurement("chance-distance", chance, name))
    rows.append(Measurement("chance-distance", chance_distance_of_all(masks_a, masks_b)))
    return Outcome(measurements=tuple(rows))


def measure_weight_stability(job: Job, files: Files, context: Context) -> Outcome:
    """How far the surviving weights moved between two levels, per layer."""
    before, after = job.states
    weights = [files.read_weights(state.outputs["weights"]) for state in (before, after)]
    masks = [files.read_masks(state.outputs["masks"])[0] for state in (before, after)]
    rows = []
    for name in masks[0]:
        found = weight_stability(weights[0][name], weights[1][name], masks[0][name], masks[1][name])
        value = None if found is None or not np.isfinite(found) else float(found)
        rows.append(Measurement("weight-stability", value, name))
    return Outcome(measurements=tuple(rows))


def measure_effective_density(job: Job, files: Files, context: Context) -> Outcome:
    """Share of weights on a live path from input to output, per layer and in total."""
    masks = files.read_masks(job.states[0].outputs["masks"])[0]
    weights = bench.weights_of(job.states[0], files)
    if holds_values(job.states[0]):
        # What is held at a value is a connection as any other, though it is not trained.
        masks = {name: mask | (weights[name].numpy() != 0) for name, mask in masks.items()}
    channels, height, width = job.how["input_shape"]
    module = bench.network(job.how)
    place(module, weights, torch.device("cpu"))
    live = effective_masks(module, masks, (channels, height, width))
    rows = [Measurement("effective-density", _share(live))]
    rows += [Measurement("effective-density", _share({name: m}), name) for name, m in live.items()]
    return Outcome(measurements=tuple(rows))


PROBES: dict[str, ProbeFunction] = {
    "evaluate": measure_evaluate,
    "linear-connectivity": measure_linear_connectivity,
    "mask-distance": measure_mask_distance,
    "weight-stability": measure_weight_stability,
    "effective-density": measure_effective_density,
    **WEIGHT_PROBES,
    **PREDICTION_PROBES,
}


def _granularity(state: Stored, layer: str) -> str:
    return str(state.facts.get("granularity", {}).get(layer, "weight"))


def _share(masks: Mapping[str, np.ndarray]) -> float:
    return sum(int(m.sum()) for m in masks.values()) / sum(m.size for m in masks.values())
