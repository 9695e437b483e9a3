"""The recipes: how each kind of state is made from its parents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pomona.core.errors import InputError, Interrupted, StateFailure, unknown
from pomona.core.step import Step
from pomona.core.streams import Stream
from pomona.graph.jobs import Context, Job, Outcome, Stored
from pomona.graph.ledger import Output
from pomona.graph.store import Files
from pomona.models.build import initial_weights
from pomona.models.choice import ModelChoice
from pomona.pruning.kinds import layer_kinds
from pomona.pruning.layers import layer_of
from pomona.pruning.masks import apply_masks
from pomona.studies import bench
from pomona.studies.bench import Tensors
from pomona.studies.checkpoints import import_state
from pomona.studies.examples import training_part
from pomona.studies.gradual import During
from pomona.studies.predicted import PREDICTION_RECIPES
from pomona.studies.pruned import (
    carried,
    check_alive,
    check_weights,
    control_state,
    facts_of,
    holds_values,
    masked_state,
    prune_state,
    treat_state,
)
from pomona.training.checkpoint import Checkpoint, CheckpointError
from pomona.training.config import Train
from pomona.training.loop import Trained, train

Recipe = Callable[[Job, Files, Context], Outcome]


def init_state(job: Job, files: Files, context: Context) -> Outcome:
    """A fresh network, all weights kept."""
    how = job.how
    choice = ModelChoice.model_validate(how["model"])
    channels, height, width = how["input_shape"]
    folder = Path(how["folder"])
    bench.check_sources(how)
    if choice.weights is not None and choice.weights.digest(folder) != job.params["model"]["weights"]:
        raise StateFailure("error", f"{choice.weights.file} changed since the run began; run it again")
    seed = job.params.get("seeds", {}).get("init", 0)  # pretrained weights consume none
    draw = job.params.get("draw", 0)
    weights = initial_weights(choice, (channels, height, width), how["classes"], seed, folder, draw)
    kinds = layer_kinds(bench.network(how))
    masks = {name: torch.ones(weights[name].shape, dtype=torch.bool) for name in kinds}
    return masked_state(weights, masks, kinds, files, {})


def train_state(job: Job, files: Files, context: Context) -> Outcome:
    """The parent's weights, trained under its masks from step 0 to the end."""
    return _train(job.states[0], job, job.params, job.how, job.snapshots, files, context)


def snapshot_state(job: Job, files: Files, context: Context) -> Outcome:
    """A moment of a run that is done already: the run again, up to there."""
    run = job.states[0]
    at = str(job.params["at"])
    outcome = _train(run.parents[0], job, run.params, run.how, (at,), files, context, only_snapshot=True)
    if at not in outcome.snapshots:
        raise StateFailure("bad input", f"the training stopped before {at}")
    return Outcome(outputs=outcome.snapshots[at])


def transfer_state(job: Job, files: Files, context: Context) -> Outcome:
    """The masks of the first parent on the second one's weights; layers named fresh stay dense."""
    masked, target = job.states
    masks = bench.masks_of(masked, files)[0]
    kinds = bench.masks_of(target, files)[1]
    weights = bench.weights_of(target, files)
    layers = {layer_of(name): name for name in kinds}
    layers["head"] = list(kinds)[-1]
    unknown_layers = [unknown("layer", name, layers) for name in job.params["fresh"] if name not in layers]
    if unknown_layers:
        raise InputError(f"map: {unknown_layers[0]}")
    fresh = {layers[name] for name in job.params["fresh"]}
    moved = {}
    for name in kinds:
        shape = tuple(weights[name].shape)
        if name in fresh:
            moved[name] = torch.ones(shape, dtype=torch.bool)
        elif name in masks and tuple(masks[name].shape) == shape:
            moved[name] = masks[name]
        else:
            found = tuple(masks[name].shape) if name in masks else "none"
            raise InputError(
                f"the mask of {name} has the shape {found}, the network {shape}; leave the layer dense with "
                f"map: {{{layer_of(name)}: fresh}}"
            )
    own = bench.masks_of(target, files)[0]
    check_alive({name: mask for name, mask in moved.items() if name not in fresh}, own)
    moved |= {name: own[name] for name in fresh}
    facts = {"granularity": facts_of(masked).get("granularity", {})}
    return masked_state(apply_masks(weights, moved), moved, kinds, files, facts)


def join_state(job: Job, files: Files, context: Context) -> Outcome:
    """The consensus of the parents' masks, on the first parent's weights."""
    found = [bench.masks_of(parent, files) for parent in job.states]
    kinds = found[0][1]
    needed = {"all": len(found), "any": 1, "majority": len(found) // 2 + 1}[job.params["masks"]]
    votes = {name: torch.stack([masks[name] for masks, _ in found]).sum(0) for name in kinds}
    masks = {name: count >= needed for name, count in votes.items()}
    weights = apply_masks(bench.weights_of(job.states[0], files), masks)
    facts = {"granularity": job.states[0].facts.get("granularity", {})}
    return masked_state(weights, masks, kinds, files, facts)


RECIPES: dict[str, Recipe] = {
    "init": init_state,
    "train": train_state,
    "snapshot": snapshot_state,
    "prune": prune_state,
    "treat": treat_state,
    "control": control_state,
    "transfer": transfer_state,
    "join": join_state,
    "import": import_state,
    **PREDICTION_RECIPES,
}


def _train(
    parent: Stored,
    job: Job,
    params: Mapping[str, Any],
    how: Mapping[str, Any],
    snapshots: tuple[str, ...],
    files: Files,
    context: Context,
    only_snapshot: bool = False,
) -> Outcome:
    """Train with checkpoints under the job's key, so that an interrupted run goes on from there."""
    data = training_part(how, params)
    dropout = Stream("dropout", params["seeds"]["dropout"]) if "dropout" in params["seeds"] else None
    masks, kinds = bench.masks_of(parent, files)
    during = During(params, how, kinds) if "during" in params else None
    checkpoint, taken = _resumed(job.node, snapshots, how, files)

    def finished() -> bool:
        return only_snapshot and set(snapshots) <= set(taken)

    def described(weights: Tensors, now: Tensors) -> tuple[Output, ...]:
        if during is None:
            return bench.write_weights(weights, files), bench.same_masks(parent, files)
        return bench.write_weights(weights, files), bench.write_masks(now, kinds, files)

    def keep_snapshot(at: Step, weights: Tensors, now: Tensors) -> None:
        taken[str(at)] = described(weights, now)

    def keep_checkpoint(now: Checkpoint) -> None:
        if finished():
            return
        tensors, record = now.parts()
        arrays = {key: tensor.contiguous().numpy() for key, tensor in tensors.items()}
        left = {at: [asdict(output) for output in outputs] for at, outputs in taken.items()}
        files.write_checkpoint(job.node, arrays, {**record, "snapshots": left})

    def attempt() -> Trained:
        return train(
            bench.network(how),
            bench.weights_of(parent, files),
            masks,
            data.examples,
            data.indices,
            data.validation,
            Train.model_validate(how["train"]),
            order=data.order,
            dropout_seed=lambda step: dropout.seed(step) if dropout else 0,
            device=job.device,
            engine=bench.engine_of(params),
            snapshots=[Step.parse(at) for at in snapshots],
            on_snapshot=keep_snapshot,
            checkpoint=checkpoint,
            on_checkpoint=keep_checkpoint,
            interrupted=lambda: finished() or context.interrupted(),
            on_progress=context.progress,
            random_forward=dropout is not None,
            frozen=holds_values(parent),
            prune_at=during.steps if during is not None else (),
            on_prune=during.prune if during is not None else None,
            views=data.views,
        )

    try:
        try:
            trained = attempt()
        except CheckpointError:
            # It is of no use, and the training is whole without it.
            files.drop_checkpoint(job.node)
            checkpoint, taken = None, {}
            trained = attempt()
    except Interrupted:
        if finished():
            return Outcome(snapshots=taken)
        raise
    check_weights(trained.weights, trained.masks, held=holds_values(parent))
    facts = {
        **carried(parent),
        **(during.facts(parent, trained.masks) if during is not None else {}),
        **data.facts,
        "steps": trained.steps,
        "stopped_at": str(trained.stopped_at) if trained.stopped_at else None,
        "checks": [list(check) for check in trained.checks],
    }
    first = Train.model_validate(how["train"]).first(how["steps_per_epoch"])
    steps_taken = trained.steps - (checkpoint.step - first if checkpoint else 0)
    outputs = described(trained.weights, trained.masks)
    return Outcome(outputs, facts, snapshots=taken, steps_taken=steps_taken)


def _resumed(
    node: str, snapshots: tuple[str, ...], how: Mapping[str, Any], files: Files
) -> tuple[Checkpoint | None, dict[str, tuple[Output, ...]]]:
    """The last checkpoint with the snapshots taken before it.

    None where there is none, where it cannot be read, or where it has passed a snapshot that is wanted now.
    """
    found = files.read_checkpoint(node)
    if found is None:
        return None, {}
    arrays, about = found
    tensors = {key: torch.from_numpy(array.copy()) for key, array in arrays.items()}
    try:
        checkpoint = Checkpoint.from_parts(tensors, about)
        taken = {at: tuple(Output(**output) for output in left) for at, left in about["snapshots"].items()}
    except (CheckpointError, AttributeError, KeyError, TypeError):
        return None, {}
    if not set(snapshots) <= {*taken, *_later(snapshots, checkpoint.step, how)}:
        return None, {}
    # Nothing refers to the files of snapshots while the training is unfinished, so they may have been freed.
    if any(files.lacks(output.digest) for left in taken.values() for output in left):
        return None, {}
    return checkpoint, taken


def _later(snapshots: tuple[str, ...], step: int, how: Mapping[str, Any]) -> set[str]:
    """Snapshots that a run resumed at a step still passes."""
    return {at for at in snapshots if Step.parse(at).iterations(how["steps_per_epoch"]) > step}
