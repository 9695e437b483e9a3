"""Pruning any ``torch.nn.Module`` in one call: no study, no store, and the module stays what it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pomona.core.errors import InputError, unknown
from pomona.core.reference import is_reference
from pomona.core.streams import Stream
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.evidence import Batch, Loss, gather
from pomona.pruning.given import scored
from pomona.pruning.kinds import layer_kinds
from pomona.pruning.layers import kind_of, touched
from pomona.pruning.masks import apply_masks
from pomona.pruning.method import METHODS, Method, parse_amount
from pomona.pruning.pools import touched_by
from pomona.pruning.prune import Gather, Pruned, prune
from pomona.pruning.scoring import Evidence

Selected = str | type[nn.Module] | Callable[[str, str], bool]


def prune_module(
    module: nn.Module,
    method: Any,
    amount: float | str | Mapping[str, Any] | None = None,
    *,
    density: float | str | Mapping[str, Any] | None = None,
    masks: Mapping[str, Tensor] | None = None,
    initial: Mapping[str, Tensor] | None = None,
    batch: Batch | tuple[Tensor, Tensor] | None = None,
    loss: Loss | None = None,
    seed: int = 0,
    layers: Selected | Iterable[Selected] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Pruned:
    """Choose what to prune of a module. The module is read; ``mask_module`` and ``hold_masks`` change it.

    Two names of one parameter are one entry, under the first name of ``named_parameters``. Convolutions
    (plain, grouped, transposed), linear layers, embeddings and attention can be pruned; ``kinds`` adds
    anything else.

    Args:
        module: Any module, on any device, of any floating type, in any mode.
        method: A name of ``METHODS`` or of a criterion (``"snip"``); fields of a method as a study has them
            (``{"criterion": "magnitude", "scope": "global"}``); a ``Method``; or scores: a tensor for each
            parameter, or a function from a weight to them. Larger is kept, signs count. As the ``criterion``
            of the fields they go with any scope and granularity.
        amount: Fraction of what remains that goes: ``0.2``, ``"20%"``, or one by layer, kind, ``default``.
        density: Instead of it, the fraction of everything that is left.
        masks: What was kept until now, True = kept; dense where there is none. Not changed.
        initial: Weights at the start of the training, for criteria that compare with them.
        batch: Inputs and targets, for criteria that run the network.
        loss: From outputs and targets to the mean loss of a batch; cross-entropy by default.
        seed: Of what is drawn; the same one draws the same.
        layers: Names, patterns, kinds, module types, or a function of (parameter, kind) that says which are
            pruned; by default those of the method.
        kinds: What can be pruned and as what kind, by parameter name, instead of what ``layer_kinds`` finds.

    Returns:
        Masks under the names of ``named_parameters``, on the devices of the parameters, and an audit.

    Raises:
        InputError: Something that does not fit the module or is missing; says what.
        StateFailure: A weight or a score is NaN (says where).
    """
    parameters = _parameters(module)
    found = _prunable(module, parameters, kinds)
    read, scores = _method(method)
    if read.pruned != "zero":
        raise InputError(
            f"method: pruned {read.pruned!r} is for studies; of a module pruned weights are zero"
        )
    if layers is not None:
        read = read.model_copy(update={"layers": _selected(layers, module, found)})
    weights = {name: _plain(parameters[name]) for name in found}
    before = {name: mask.detach().cpu() for name, mask in (masks or {}).items()}
    if scores is not None:
        read, gathered = scored(read, scores, weights, touched(read.layers, found))
    else:
        gathered = _gather(module, found, read, initial, batch, loss)
    pruned = prune(
        weights,
        before,
        found,
        read,
        None if amount is None else parse_amount(amount),
        density=None if density is None else parse_amount(density),
        evidence=gathered,
        stream=lambda name: Stream("mask", seed, name),
    )
    placed = {name: mask.to(parameters[name].device) for name, mask in pruned.masks.items()}
    return dataclasses.replace(pruned, masks=placed)


def _parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    found = dict(module.named_parameters())
    buffers = {name for name, _ in module.named_buffers()}
    for name in found:
        if name.endswith("_orig") and f"{name.removesuffix('_orig')}_mask" in buffers:
            raise InputError(
                f"{name.removesuffix('_orig')} was pruned with torch.nn.utils.prune; take weights and masks "
                "over with pomona.pruning.foreign.from_torch_prune, or make them permanent with prune.remove"
            )
    return found


def _prunable(
    module: nn.Module, parameters: Mapping[str, nn.Parameter], kinds: Mapping[str, str] | None
) -> dict[str, str]:
    found = dict(kinds) if kinds is not None else layer_kinds(module)
    for name in found:
        if name not in parameters:
            raise InputError(unknown("parameter", name, parameters, where="kinds"))
        if is_lazy(parameters[name]) or parameters[name].is_meta:
            raise InputError(f"{name} has no values yet: compute one batch, or load weights, before pruning")
    if not found:
        raise InputError(
            f"{type(module).__name__} has no weight that can be pruned: expected convolutions, linear "
            "layers, embeddings or attention; name others with kinds={'name': 'linear'}"
        )
    return found


def _method(written: Any) -> tuple[Method, Any]:
    """The method, and the scores where they are given instead of a criterion."""
    if isinstance(written, Method):
        return written, None
    if isinstance(written, str):
        if written in METHODS:
            return METHODS[written], None
        if written in CRITERIA or is_reference(written):
            return _validated({"criterion": written}), None
        raise InputError(unknown("method", written, [*METHODS, *CRITERIA]))
    if isinstance(written, Mapping) and not any(isinstance(value, Tensor) for value in written.values()):
        fields = dict(written)
        given = fields.get("criterion")
        if isinstance(given, Tensor) or callable(given) or _are_scores(given):
            return _validated({**fields, "criterion": "magnitude"}), given
        return _validated(fields), None
    if isinstance(written, (Mapping, Tensor)) or callable(written):
        return Method(criterion="magnitude"), written
    raise InputError(
        "method: expected a name, the fields of a method, a tensor of scores for each parameter or a "
        f"function from a weight to its scores, got {type(written).__name__}"
    )


def _validated(fields: Mapping[str, Any]) -> Method:
    try:
        return Method.model_validate(fields)
    except ValidationError as error:
        faults = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
        said = [f"{place}: {text}" if place else text for place, text in faults]
        raise InputError(f"method: {'; '.join(said).replace('Value error, ', '')}") from None


def _are_scores(given: object) -> bool:
    return isinstance(given, Mapping) and any(isinstance(value, Tensor) for value in given.values())


def _selected(
    layers: Selected | Iterable[Selected], module: nn.Module, kinds: Mapping[str, str]
) -> tuple[str, ...]:
    given = [layers] if isinstance(layers, str) or callable(layers) else list(layers)
    names: set[str] = set()
    for one in given:
        if isinstance(one, str):
            names.update(touched([one], kinds))
        elif isinstance(one, type):
            names.update(_inside(one, module))
        else:
            names.update(name for name, text in kinds.items() if one(name, kind_of(text)))
    found = tuple(name for name in kinds if name in names)
    if not found:
        raise InputError(f"layers: {layers!r} selects none of {', '.join(kinds)}")
    return found


def _inside(kind: type, module: nn.Module) -> set[str]:
    """First names of the parameters in modules of a type."""
    first = {id(parameter): name for name, parameter in module.named_parameters()}
    parts = (part for part in module.modules() if isinstance(part, kind))
    return {first[id(parameter)] for part in parts for parameter in part.parameters()}


def _gather(
    module: nn.Module,
    kinds: Mapping[str, str],
    method: Method,
    initial: Mapping[str, Tensor] | None,
    batch: Batch | tuple[Tensor, Tensor] | None,
    loss: Loss | None,
) -> Gather:
    """What ``prune`` asks for evidence: of the layers that the method touches."""
    names = touched_by(method, kinds)
    units = {name: method.granularity_of(kind_of(kinds[name]), where=name) for name in names}

    def gathered(evidence: Collection[str], masks: Mapping[str, Tensor]) -> Evidence:
        found: dict[str, Mapping[str, Tensor]] = {}
        if "initial" in evidence:
            found["initial"] = _initial(initial, kinds)
        wanted = [name for name in evidence if name != "initial"]
        if wanted:
            if batch is not None and not isinstance(batch, (Batch, tuple, list)):
                raise InputError(
                    f"batch: expected a pair of tensors (inputs, targets), got {type(batch).__name__}"
                )
            if batch is None:
                raise InputError(
                    f"the criterion {method.named!r} needs examples: give batch=(inputs, targets)"
                )
            parameters = dict(module.named_parameters())
            here = {name: mask.to(parameters[name].device) for name, mask in masks.items()}
            there = gather(
                wanted,
                module,
                apply_masks({name: parameters[name] for name in kinds}, here),
                {name: here[name] for name in units},
                {name: kinds[name] for name in units},
                Batch(*batch) if isinstance(batch, (tuple, list)) else batch,
                loss=loss,
                granularities=units,
            )
            for name, tensors in there.items():
                found[name] = {key: _plain(tensor) for key, tensor in tensors.items()}
        return found

    return gathered


def _initial(initial: Mapping[str, Tensor] | None, kinds: Mapping[str, str]) -> dict[str, Tensor]:
    if initial is None:
        raise InputError("the criterion compares with the weights at the start: give initial=state_dict")
    for name in kinds:
        if name not in initial:
            raise InputError(unknown("parameter", name, initial, where="initial"))
    return {name: _plain(initial[name]) for name in kinds}


def _plain(tensor: Tensor) -> Tensor:
    """On the CPU, contiguous; half types as float32, which holds each of their values."""
    found = tensor.detach().cpu().contiguous()
    return found.float() if found.dtype in (torch.float16, torch.bfloat16) else found
