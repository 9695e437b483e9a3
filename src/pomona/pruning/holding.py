"""Masks on a live module: pruned weights made zero, and kept zero while any optimizer trains it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pomona.core.errors import InputError, unknown
from pomona.pruning.prune import Pruned

# Where a module keeps its hold: an attribute that is no tensor, so that no state_dict has it.
_PLACE = "_pomona_hold"


def mask_module(
    module: nn.Module,
    masks: Mapping[str, Tensor] | Pruned,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Make pruned weights exactly zero, in place. Parameters, names and their order stay what they are.

    Args:
        module: Its values are changed; both names of a tied parameter, since they are one.
        masks: What ``prune_module`` gave, or its masks alone: bool, True = kept, by parameter name.
        weights: New values of the survivors, where a criterion moves them (``Pruned.weights`` of ``obs``).

    Raises:
        InputError: A mask is of no parameter, or has another shape or type. Nothing is changed then.
    """
    if isinstance(masks, Pruned):
        weights = masks.weights
    kept = masks.masks if isinstance(masks, Pruned) else masks
    with torch.no_grad():
        for name, (parameter, where) in _pruned(module, kept).items():
            if weights is not None and name in weights:
                parameter.copy_(weights[name])
            parameter.masked_fill_(where, 0)


class Hold:
    """What keeps pruned weights zero. Made by ``hold_masks``; ``remove`` lets go.

    A hook on each parameter makes the gradient of pruned weights zero as soon as it is there. That is enough
    for optimizers that treat every weight by itself: weight, gradient, momentum and moments are all zero,
    weight decay is a multiple of the weight, so every update is zero too. It is a hook on the gradient, not
    on the module: the module is scripted, compiled, exported and copied as if there were none.
    """

    def __init__(self, held: Mapping[str, tuple[nn.Parameter, Tensor]]) -> None:
        self._held = dict(held)
        self._handles: list[Any] = [_hook(parameter, where) for parameter, where in self._held.values()]

    def remove(self) -> None:
        """Let the weights go: from now on they train again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep the promise for an optimizer that mixes the entries of a matrix (``Muon``), or has a past.

        Its state is made zero for pruned weights now, and the weights after each of its steps.
        """
        _forget(optimizer, self._held)
        self._handles.append(optimizer.register_step_post_hook(lambda *_: self._make_zero()))

    def _make_zero(self) -> None:
        with torch.no_grad():
            for parameter, where in self._held.values():
                parameter.masked_fill_(where.to(parameter.device), 0)

    def __deepcopy__(self, memo: dict[int, Any]) -> Hold:
        # The copy of a module holds the copies of its parameters, unless it was let go.
        held = {name: (copy.deepcopy(p, memo), where) for name, (p, where) in self._held.items()}
        return Hold(held if self._handles else {})

    def __reduce__(self) -> tuple[Any, ...]:
        return Hold, (self._held if self._handles else {},)


def hold_masks(
    module: nn.Module, masks: Mapping[str, Tensor], optimizer: torch.optim.Optimizer | None = None
) -> Hold:
    """Make pruned weights zero, and keep them exactly zero at every moment of a training that follows.

    Loading other weights into the module is not training: mask it again then. A hold takes the place of an
    earlier one, and a copy of the module has its own.

    Args:
        module: Trained with any optimizer of torch, by ``backward`` and ``step``.
        masks: Bool, True = kept, by parameter name.
        optimizer: Needed where it has taken steps before, or mixes the entries of a matrix as ``Muon`` does.

    Returns:
        A handle: ``remove()`` ends it.

    Raises:
        InputError: A mask is of no parameter, or has another shape or type.
    """
    pruned = _pruned(module, masks)
    before = module.__dict__.get(_PLACE)
    if before is not None:
        before.remove()
    mask_module(module, masks)
    hold = Hold(pruned)
    module.__dict__[_PLACE] = hold
    if optimizer is not None:
        hold.follow(optimizer)
    return hold


def zero_optimizer_state(
    optimizer: torch.optim.Optimizer, module: nn.Module, masks: Mapping[str, Tensor]
) -> None:
    """Forget what an optimizer knows of pruned weights: momentum and moments become zero there.

    Args:
        optimizer: Of any kind that keeps tensors of a parameter's shape.
        module: Whose parameters it trains.
        masks: Bool, True = kept, by parameter name.

    Raises:
        InputError: A mask that does not fit; LBFGS, whose past is of all parameters at once.
    """
    _forget(optimizer, _pruned(module, masks))


def _forget(optimizer: torch.optim.Optimizer, held: Mapping[str, tuple[nn.Parameter, Tensor]]) -> None:
    if isinstance(optimizer, torch.optim.LBFGS) and optimizer.state:
        raise InputError("LBFGS keeps one past of all parameters: make a new one after pruning")
    for parameter, where in held.values():
        for kept in optimizer.state.get(parameter, {}).values():
            if isinstance(kept, Tensor) and kept.shape == parameter.shape:
                kept.masked_fill_(where.to(kept.device), 0)


def _pruned(module: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, tuple[nn.Parameter, Tensor]]:
    """Each masked parameter and where it is pruned, checked before anything is changed."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    found = {}
    for name, mask in masks.items():
        if name not in parameters:
            raise InputError(unknown("masked parameter", name, parameters))
        parameter = parameters[name]
        if mask.dtype != torch.bool or mask.shape != parameter.shape:
            raise InputError(
                f"mask of {name!r}: expected bool of shape {tuple(parameter.shape)} (True = kept), got "
                f"{mask.dtype} of {tuple(mask.shape)}"
            )
        found[name] = (parameter, ~mask.to(parameter.device))
    return found


def _hook(parameter: nn.Parameter, where: Tensor) -> Any:
    """Zero the gradient of pruned entries whenever one has been accumulated."""

    def zero(held: Tensor) -> None:
        gradient = held.grad
        if gradient is None:
            return
        if gradient.is_sparse:
            held.grad = _sparse_zeroed(gradient, where)
        else:
            # Filled, not multiplied: an infinite gradient times 0 is NaN.
            gradient.masked_fill_(where.to(gradient.device), 0)

    if parameter.grad is not None:
        zero(parameter)
    # A frozen parameter takes no hook, but may be trained later.
    trained = parameter.requires_grad
    parameter.requires_grad_(True)
    handle = parameter.register_post_accumulate_grad_hook(zero)  # type: ignore[no-untyped-call]
    parameter.requires_grad_(trained)
    return handle


def _sparse_zeroed(gradient: Tensor, where: Tensor) -> Tensor:
    """A sparse gradient of an embedding: only some of its rows are there."""
    rows = gradient.coalesce()
    values = rows.values().masked_fill(where.to(gradient.device)[tuple(rows.indices())], 0)
    return torch.sparse_coo_tensor(
        rows.indices(), values, rows.shape, is_coalesced=True, check_invariants=False
    )
