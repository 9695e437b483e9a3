"""The recipes that change masks, and the values of weights under them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pomona.core.canonical import digest
from pomona.core.errors import InputError, StateFailure
from pomona.core.streams import Stream
from pomona.graph.jobs import Context, Job, Outcome, Stored
from pomona.graph.nodes import SNAPSHOT
from pomona.graph.store import Files
from pomona.pruning.actions import check_pruned, pruned_values
from pomona.pruning.allocation import densities_of
from pomona.pruning.audit import Audit
from pomona.pruning.control_evidence import ControlEvidence, mask_evidence, values_evidence
from pomona.pruning.controls import random_mask, rearrange
from pomona.pruning.criterion import NETWORK_EVIDENCE
from pomona.pruning.evidence import Batch, gather
from pomona.pruning.layers import kind_of, layer_of
from pomona.pruning.masks import apply_masks
from pomona.pruning.method import EXAMPLES, Method, inverted
from pomona.pruning.pools import touched_by
from pomona.pruning.prune import Gather, Pruned, prune
from pomona.pruning.stopping import parse_stop
from pomona.pruning.treatments import Treatment, treat
from pomona.studies import bench
from pomona.studies.bench import Tensors
from pomona.studies.examples import training_part
from pomona.studies.resolve import LIKE
from pomona.training.batches import Batches
from pomona.training.evaluate import evaluate

# What is known of masks and of the values under them, carried along with them.
CARRIED = ("kept", "granularity", "collapsed", "pruned")
# Of them what a moment of a training has, though its masks may be larger than those at the end.
_OF_MOMENTS = ("granularity", "pruned")
# Fields of a method whose random masks share the numbers of a replicate.
_PLAIN = ("criterion", "granularity", "scope", "layers")


def prune_state(job: Job, files: Files, context: Context) -> Outcome:
    """Smaller masks by scoring the parent's weights; what is pruned is zero, or held at a value."""
    parent, params = job.states[0], job.params
    bench.check_sources(job.how)
    method = Method.model_validate(job.how["method"])
    weights = bench.weights_of(parent, files)
    masks, kinds = bench.masks_of(parent, files)
    _check_stop(job, parent, weights)
    initial = bench.weights_of(job.states[1], files) if method.reads_initial else None
    density = params.get("density")
    if density == LIKE:
        density = densities_of(bench.masks_of(job.states[-1], files)[0])

    def pruned_by(chosen: Method) -> Pruned:
        return prune(
            weights,
            masks,
            kinds,
            chosen,
            params.get("amount"),
            params.get("rounding", "nearest"),
            density=density,
            evidence=evidence_of(job.how, params, chosen, weights, kinds, initial, holds_values(parent)),
            stream=mask_stream(params),
            folder=Path(job.how["folder"]),
        )

    pruned = pruned_by(method)
    check_audit(masks, pruned)
    values = None
    if method.pruned != "zero":
        values = pruned_values(method.pruned, weights, initial, pruned.masks)
    after = apply_masks(pruned.weights, pruned.masks, values)
    check_pruned(after, pruned.masks, method.pruned, initial)
    facts = mask_facts(parent, pruned.audit)
    if method.pruned != "zero":
        facts["pruned"] = method.pruned
    if method.inverted:
        facts["control"] = _inversion(pruned_by(inverted(method)), pruned)
    return masked_state(after, pruned.masks, kinds, files, facts)


def treat_state(job: Job, files: Files, context: Context) -> Outcome:
    """The masks of the first parent, on what the treatment makes of the second one's weights.

    Of a control of weights a third parent is what it is held against.
    """
    masked, target = job.states[:2]
    params = job.params
    masks, kinds = bench.masks_of(masked, files)
    treatment = Treatment(name=params["treatment"], fan=params.get("fan", "in"))
    before, goal = bench.weights_of(masked, files), bench.weights_of(target, files)
    check_alive(masks, bench.masks_of(target, files)[0])
    values = None
    if holds_values(masked):
        values = {name: before[name].masked_fill(mask, 0) for name, mask in masks.items()}

    def stream(parameter: str) -> Stream:
        return Stream("treatment", params["seeds"]["treatment"], parameter, params["level"])

    weights = treat(
        treatment, before, masks, goal, kinds, stream_of=stream if "seeds" in params else None, values=values
    )
    facts = carried(masked)
    if "control" in params:
        plain = apply_masks(bench.weights_of(job.states[2], files), masks, values)
        facts["control"] = asdict(values_evidence(params["control"], plain, weights, masks))
    return Outcome((bench.write_weights(weights, files), bench.same_masks(masked, files)), facts=facts)


def control_state(job: Job, files: Files, context: Context) -> Outcome:
    """Other masks with the counts of the parent's, on its weights."""
    masked, params = job.states[0], job.params
    masks, kinds = bench.masks_of(masked, files)

    def stream(parameter: str) -> Stream:
        # Each control draws its own: two of one mask are two masks.
        label = f"{params['control']} {parameter}"
        return Stream("control", params["seeds"]["control"], label, params["level"])

    units = facts_of(masked).get("granularity", {})
    if params["control"] == "rearrange":
        found = rearrange(masks, kinds, units, stream)
    else:
        found = random_mask(masks, stream)
        units = dict.fromkeys(units, "weight")
    # Weights that another mask pruned are gone: the control's mask is for the weights of a dense state.
    weights = apply_masks(bench.weights_of(masked, files), found.tensors)
    facts = {"control": asdict(found.evidence), "granularity": units}
    return masked_state(weights, found.tensors, kinds, files, facts)


def evidence_of(
    how: Mapping[str, Any],
    params: Mapping[str, Any],
    method: Method,
    weights: Mapping[str, Tensor],
    kinds: Mapping[str, str],
    initial: Mapping[str, Tensor] | None,
    held: bool = False,
) -> Gather | None:
    """What gathers the evidence that a method's criterion reads; None where it reads none.

    Args:
        how: What execution needs: the network, the data.
        params: Parameters of the state: data and seeds.
        method: The method.
        weights: What is scored.
        kinds: Every prunable parameter and its kind.
        initial: The weights at the start; None where they are not read.
        held: Whether pruned weights are held at values that need not be zero.
    """
    if not method.needs:
        return None

    units = units_of(method, kinds)
    touched_kinds = {name: kinds[name] for name in units}

    def found(names: Collection[str], masks: Mapping[str, Tensor]) -> dict[str, Any]:
        of_network = [name for name in names if name in NETWORK_EVIDENCE]
        gathered: dict[str, Any] = {}
        if of_network:
            # Layers that the method leaves alone are part of the network, with the weights that they have.
            now = {name: masks[name] for name in units}
            network = bench.network(how)
            gathered |= gather(
                of_network, network, weights, now, touched_kinds, batch(), granularities=units, held=held
            )
        if "initial" in names:
            assert initial is not None
            gathered["initial"] = {name: initial[name] for name in kinds}
        return gathered

    def batch() -> Batch:
        if not method.reads_data:
            shape = tuple(how["input_shape"])
            return Batch(torch.ones(1, *shape), torch.zeros(1, dtype=torch.long))
        data = training_part(how, params)
        # Of the examples that train, drawn anew at every level; a larger number holds a smaller one.
        drawn = Stream("mask", params["seeds"]["mask"], "examples", params.get("level"))
        count = method.examples or EXAMPLES
        if count > len(data.distinct):
            raise InputError(f"examples: {count} are asked for, and {len(data.distinct)} train")
        chosen = data.distinct[drawn.permutation(len(data.distinct))[:count]]
        inputs, labels = Batches(data.examples, torch.device("cpu")).gather(chosen)
        return Batch(inputs, labels)

    return found


def units_of(method: Method, kinds: Mapping[str, str]) -> dict[str, str]:
    """The granularity of every parameter that a method touches."""
    return {
        name: method.granularity_of(kind_of(kinds[name]), layer_of(name))
        for name in touched_by(method, kinds)
    }


def mask_stream(params: Mapping[str, Any]) -> Callable[[str], Stream] | None:
    """The mask stream of a parameter; None where nothing is drawn.

    Random masks of one replicate that are declared in the plain way share their numbers, whatever the amount:
    pairs of arms differ in what is compared. Those that reach a density, or have an allocation and the like,
    have numbers of their own, so that their masks are independent of the plain ones.
    """
    seed = params.get("seeds", {}).get("mask")
    if seed is None:
        return None
    more = {name: value for name, value in params["method"].items() if name not in _PLAIN}
    if "density" in params or more:
        form = digest({"method": more, "density": params.get("density")})[:12]
        return lambda parameter: Stream("mask", seed, f"{parameter} {form}", params.get("level"))
    return lambda parameter: Stream("mask", seed, parameter, params.get("level"))


def facts_of(state: Stored) -> Mapping[str, Any]:
    """What is known of a state's masks; of a moment of a training what is known of the training's."""
    if state.recipe != SNAPSHOT or not state.parents:
        return state.facts
    return {key: state.parents[0].facts[key] for key in _OF_MOMENTS if key in state.parents[0].facts}


def check_audit(before: Mapping[str, Tensor], pruned: Pruned) -> None:
    """Check that exactly what was asked for is gone, and that nothing is back.

    Raises:
        StateFailure: It is not so.
    """
    for name, mask in pruned.masks.items():
        if bool((mask & ~before[name]).any()):
            raise StateFailure("error", f"the new mask of {name} keeps weights that were pruned before")
    audit = pruned.audit
    if audit.achieved != audit.requested:
        raise StateFailure("error", f"{audit.requested} units were to be pruned, {audit.achieved} were")


def mask_facts(parent: Stored, audit: Audit) -> dict[str, Any]:
    """What is kept on record of a prune."""
    granularities = {layer.parameter: layer.unit for layer in audit.layers if layer.unit}
    return {
        "audit": asdict(audit),
        "collapsed": list(audit.collapsed),
        "granularity": {**facts_of(parent).get("granularity", {}), **granularities},
    }


def masked_state(
    weights: Tensors, masks: Tensors, kinds: Mapping[str, str], files: Files, facts: Mapping[str, Any]
) -> Outcome:
    """A state with masks of its own, checked before it counts."""
    check_weights(weights, masks, "pruned" in facts)
    counts = {name: [int(mask.sum()), mask.numel()] for name, mask in masks.items()}
    outputs = (bench.write_weights(weights, files), bench.write_masks(masks, kinds, files))
    return Outcome(outputs, {**facts, "kept": counts})


def carried(masked: Stored) -> dict[str, Any]:
    """What is known of masks, for a state that has the same ones."""
    known = facts_of(masked)
    return {key: known[key] for key in CARRIED if key in known}


def holds_values(masked: Stored) -> bool:
    """Whether pruned weights of a state are held at values that need not be zero."""
    return "pruned" in facts_of(masked)


def check_weights(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], held: bool = False) -> None:
    """Before a state counts: what is pruned is zero unless it is held at a value, and no value is NaN.

    Raises:
        StateFailure: It is not so.
    """
    if not held:
        check_pruned(weights, masks)
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise StateFailure("diverged", f"{name} has values that are not finite")


def check_alive(masks: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Check that weights which a mask keeps were not pruned by another one.

    Args:
        masks: What is to be kept.
        own: The masks of the state that the weights are of.

    Raises:
        StateFailure: Some were: they would start at exactly zero and not test the mask.
    """
    dead = {name: int((mask & ~own[name]).sum()) for name, mask in masks.items() if name in own}
    if any(dead.values()):
        raise StateFailure(
            "bad input",
            f"{sum(dead.values())} weights that the mask keeps were pruned by another mask, first in "
            f"{next(name for name, count in dead.items() if count)}; take the weights of a dense state, as "
            "in weights: dense@0",
        )


def _check_stop(job: Job, parent: Stored, weights: Tensors) -> None:
    """Prune no further where a rule of the method says so."""
    for written in job.params.get("stop", ()):
        rule = parse_stop(written)
        if rule.least is None:
            collapsed = facts_of(parent).get("collapsed")
            if collapsed:
                raise StateFailure("stopped", f"{written}: {', '.join(collapsed)} keeps no weight")
            continue
        how, params = job.how["judged"], {"data": job.params["judged"], "seeds": job.params["seeds"]}
        examples = bench.examples(how, "train")
        validation = bench.parts(len(examples), params)[1]
        if len(validation) == 0:
            raise InputError(
                f"stop: {written!r} is judged on the validation part; give the data validation: 5000"
            )
        found = evaluate(bench.network(job.how), weights, examples, validation, job.how["classes"])
        if found.accuracy < rule.least:
            raise StateFailure("stopped", f"{written}: it is {found.accuracy:.4f}")


def _inversion(plain: Pruned, inverted: Pruned) -> dict[str, Any]:
    """How many places the inverted scores changed in each layer.

    Raises:
        StateFailure: None, although something was pruned.
    """
    layers = [
        mask_evidence(name, layer.unit or "weight", layer.achieved > 0, plain.masks[name], mask)
        for (name, mask), layer in zip(inverted.masks.items(), inverted.audit.layers, strict=True)
    ]
    evidence = ControlEvidence("invert", tuple(layers))
    if inverted.audit.achieved and not evidence.changed:
        raise StateFailure(
            "bad input",
            "control invert: the mask is that of the scores as they are; where all that is left has one "
            "score, as in a network whose outputs no longer change, there is nothing to turn",
        )
    return asdict(evidence)
