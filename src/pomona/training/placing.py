"""Weights by name go into a module and come out of it again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pomona.core.errors import InputError, ProblemsError, unknown
from pomona.core.tied import twins


def place(module: nn.Module, weights: Mapping[str, Tensor], device: torch.device) -> None:
    """Move a module to a device and copy values into its parameters and buffers, keeping their layout.

    Args:
        module: Changed in place.
        weights: One tensor for each name of ``state_dict``, in any order. A parameter that the module has
            under two names may be there once, under the first.
        device: Where to compute.

    Raises:
        ProblemsError: Names or shapes differ; says every one of them.
    """
    module.to(device)
    own = module.state_dict(keep_vars=True)
    tied = twins(module.named_parameters(remove_duplicate=False))
    check_fit(own, weights, tied)
    with torch.no_grad():
        for name, tensor in own.items():
            if name not in tied:
                tensor.copy_(weights[name])


def check_fit(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], tied: Mapping[str, str] | None = None
) -> None:
    """Check that weights are those of a module.

    Args:
        own: Its ``state_dict``.
        weights: By name, in any order.
        tied: First name by each later name of a tied parameter; such a name may be left out.

    Raises:
        ProblemsError: Names or shapes differ, or two values for one tensor; says every one of them.
    """
    tied = tied or {}
    problems = [f"missing {name}" for name in own if name not in weights and name not in tied]
    problems += [unknown("tensor", name, own) for name in weights if name not in own]
    for name, tensor in own.items():
        if name in weights and weights[name].shape != tensor.shape:
            problems.append(f"{name}: shape {tuple(weights[name].shape)}, expected {tuple(tensor.shape)}")
    for name, first in tied.items():
        if name in weights and first in weights and not torch.equal(weights[name], weights[first]):
            problems.append(f"{name}: one tensor with {first}, but other values are given")
    if problems:
        raise ProblemsError("weights do not fit the module", problems)


def taken(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers: contiguous, on the CPU, in the order of ``state_dict``.

    A parameter that the module has under two names is there once, under the first.
    """
    tied = twins(module.named_parameters(remove_duplicate=False))
    return {
        name: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
        for name, tensor in module.state_dict().items()
        if name not in tied
    }


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes: those that require a gradient, shared ones once.

    Raises:
        InputError: There is none.
    """
    found = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not found:
        raise InputError(f"{type(module).__name__} has no parameter that requires a gradient")
    return found


def unsaved_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Buffers that ``state_dict`` leaves out (``persistent=False``), though a training may change them."""
    saved = module.state_dict()
    return {name: buffer for name, buffer in module.named_buffers() if name not in saved}


def pruned(
    parameters: Mapping[str, Tensor], masks: Mapping[str, Tensor], zero: bool = True
) -> dict[str, Tensor]:
    """Where weights are pruned.

    Args:
        parameters: The present values of all parameters by name.
        masks: Bool, True = kept, by name; a parameter without one is dense.
        zero: Whether pruned weights must be zero already.

    Returns:
        Bool, True = pruned, on the device of the parameter; only for parameters that are pruned somewhere: a
        mask that keeps everything costs nothing.

    Raises:
        InputError: A mask is not of a parameter, has another shape or type, or a pruned weight is not zero.
    """
    found = {}
    for name, mask in masks.items():
        if name not in parameters:
            raise InputError(unknown("parameter", name, parameters, where="mask"))
        weight = parameters[name].detach()
        if mask.dtype != torch.bool or mask.shape != weight.shape:
            raise InputError(
                f"mask of {name}: expected bool of {tuple(weight.shape)}, got {mask.dtype} of "
                f"{tuple(mask.shape)}"
            )
        where = ~mask.to(weight.device)
        live = int(torch.count_nonzero(weight[where])) if zero else 0
        if live:
            raise InputError(f"mask of {name}: {live} pruned weights are not zero at the start of training")
        if bool(where.any()):
            found[name] = where
    return found


def mask_factors(
    module: nn.Module, masks: Mapping[str, Tensor], zero: bool = True
) -> tuple[list[int], list[Tensor]]:
    """What gradients are multiplied with: 1 for kept, 0 for pruned.

    Args:
        module: Holds the present values.
        masks: Bool, True = kept, by name; a parameter without one is dense.
        zero: As for ``pruned``.

    Returns:
        Positions of the parameters that are pruned somewhere among those that are trained, and a factor in
        the type and layout of each. A parameter that is not trained is left out: it stays as it is.

    Raises:
        InputError: As ``pruned``.
    """
    parameters, trained = dict(module.named_parameters()), list(trained_parameters(module))
    found = {name: where for name, where in pruned(parameters, masks, zero).items() if name in trained}
    factors = [torch.empty_like(parameters[name].detach()).copy_(~where) for name, where in found.items()]
    return [trained.index(name) for name in found], factors


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The first parameter or buffer, in the order of ``state_dict``, that holds NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return name
    return None
