"""What an audit found, in plain words: only what a reader should look at."""

from __future__ import annotations

from collections.abc import Iterator

from pomona.measures.audit import LayerWiring
from pomona.pruning.granularity import parse_unit
from pomona.pruning.layers import kind_of
from pomona.studies.audits import AuditedLayer, StateAudit

_CHANNELS = ("conv", "conv-transposed")


def findings(audit: StateAudit) -> list[str]:
    """Sentences on the layers in network order, then on the network.

    Args:
        audit: Of a state.
    """
    found = [line for layer in audit.layers for line in _of_layer(layer, audit)]
    return [*found, *_of_network(audit)]


def layer_name(parameter: str) -> str:
    """A layer as it is called in a table.

    >>> layer_name("fc1.weight"), layer_name("attention.in_proj_weight")
    ('fc1', 'attention.in_proj_weight')
    """
    return parameter.removesuffix(".weight")


def _of_layer(layer: AuditedLayer, audit: StateAudit) -> Iterator[str]:
    mask, name = layer.mask, layer_name(layer.mask.parameter)
    if mask.collapsed:
        yield f"{name} is collapsed: it keeps none of its {mask.total:,} weights"
    else:
        yield from _of_channels(layer, name)
    yield from _of_request(layer, name)
    yield from _of_wiring(layer, name)
    if mask.revived:
        meant = (
            "although masks only shrink"
            if audit.maker_recipe in ("prune", "train")
            else (f"which the {audit.maker_recipe} may do")
        )
        yield f"{name} keeps {_weights(mask.revived)} that the masks before had pruned, {meant}"


def _of_channels(layer: AuditedLayer, name: str) -> Iterator[str]:
    mask = layer.mask
    word = "channel" if kind_of(layer.kind) in _CHANNELS else ""
    for side, empty, all_ in (
        ("input", mask.empty_inputs, mask.inputs),
        ("output", mask.empty_outputs, mask.outputs),
    ):
        if empty:
            yield f"{name} keeps {all_ - empty:,} of {all_:,} {side}{' ' if word else ''}{word}s"


def _of_request(layer: AuditedLayer, name: str) -> Iterator[str]:
    if layer.achieved is None or layer.unit is None:
        return
    unit = parse_unit(layer.unit)
    units = "weights" if unit.members_are_units else unit.plural()
    if layer.requested is not None and layer.requested != layer.achieved:
        yield f"{name}: {layer.requested:,} {units} were to go, {layer.achieved:,} went"
    elif layer.requested == 0 and not layer.mask.collapsed:
        yield f"{name}: the prune asked for 0 {units}, so that nothing went"
    if layer.ties_cut:
        yield (
            f"{name}: {layer.ties_cut:,} of {layer.achieved:,} removed {units} had the score of one that "
            f"stayed; the tie rule chose"
        )


def _of_wiring(layer: AuditedLayer, name: str) -> Iterator[str]:
    wiring = layer.mask.wiring
    if wiring is None:
        return
    if not wiring.used:
        yield f"{name} is not used by the network"
        return
    if wiring.without_input is None:
        yield f"{name}: something else than a layer takes its weights, so its units were not judged"
        return
    outputs = f"of {layer.mask.outputs:,} outputs"
    if wiring.without_input:
        verb = "has" if wiring.without_input == 1 else "have"
        yield f"{name}: {wiring.without_input:,} {outputs} {verb} no live input; {_emission(wiring)}"
    if wiring.without_output:
        verb = "reaches" if wiring.without_output == 1 else "reach"
        yield f"{name}: {wiring.without_output:,} {outputs} {verb} no output of the network"
    lost = layer.mask.kept - wiring.effective
    if lost:
        yield f"{name}: {lost:,} of {layer.mask.kept:,} kept weights make no difference to the output"


def _emission(wiring: LayerWiring) -> str:
    emitting, of = wiring.emitting or 0, wiring.without_input or 0
    if not emitting:
        return "none of them has a bias that is not zero" if of > 1 else "its bias is zero"
    what = "a constant, their bias or shift" if emitting > 1 else "a constant, its bias or shift"
    if emitting == of:
        return f"{'all still emit' if of > 1 else 'it still emits'} {what}"
    return f"{emitting:,} of them still {'emit' if emitting > 1 else 'emits'} {what}"


def _of_network(audit: StateAudit) -> Iterator[str]:
    masks = audit.masks
    if masks.effective_density == 0:
        yield "the network is cut: no kept weight lies on a path from the input to the output"
    unchanged = sum(layer.unchanged or 0 for layer in masks.layers)
    if masks.changed_density is None or not unchanged:
        return
    since = "the untrained network" if audit.origin_recipe == "init" else f"the {audit.origin_recipe}"
    if unchanged == masks.kept:
        yield f"all kept weights are as in {since}: they were not trained"
    else:
        yield (
            f"{unchanged:,} of {masks.kept:,} kept weights have exactly the value that {since} gave them, as "
            f"weights without gradient do"
        )


def _weights(count: int) -> str:
    return f"{count:,} weight{'' if count == 1 else 's'}"
