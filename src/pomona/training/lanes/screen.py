"""What stands against a network before its ``forward`` is read: its parameters, hooks and modes."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import torch
from torch import nn

from pomona.training.lanes.capture import shown


def screened(module: nn.Module) -> list[str]:
    """Every reason that the parameters and modules give by themselves, each with its path."""
    return _of_parameters(module) + _of_modules(module)


def _of_parameters(module: nn.Module) -> list[str]:
    reasons = []
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
        path, _, key = name.rpartition(".")
        reasons += [f"{shown(module, path)}: {key} {fault}" for fault in _faults(parameter)]
    for tied in names.values():
        if len(tied) > 1:
            path = shown(module, tied[0].rpartition(".")[0])
            reasons.append(f"{path}: {' and '.join(tied)} are one tensor; the lane engine shares no weights")
    return reasons


def _faults(parameter: Any) -> list[str]:
    if type(parameter) is not nn.Parameter:
        return [f"is a {type(parameter).__name__}; expected a plain nn.Parameter with a shape"]
    kind = str(parameter.dtype).removeprefix("torch.")
    faults = []
    if parameter.dtype != torch.float32:
        faults.append(f"is {kind}; the lane engine computes in float32")
    if not parameter.requires_grad:
        faults.append("is frozen (requires_grad=False); the lane engine trains every parameter")
    if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
        faults.append("has hooks on its gradient; the lane engine calls none")
    return faults


def _of_modules(module: nn.Module) -> list[str]:
    reasons = []
    for path, part in module.named_modules():
        where = shown(module, path)
        if part._forward_hooks or part._forward_pre_hooks:
            reasons.append(f"{where}: it has forward hooks; the lane engine calls none")
        if part._backward_hooks or part._backward_pre_hooks:
            reasons.append(f"{where}: it has backward hooks; the lane engine calls none")
        if any(_own_method(part, name) for name in ("train", "eval")):
            reasons.append(f"{where}: it has a train() or eval() of its own; what that does cannot be read")
    return reasons


def _own_method(part: nn.Module, name: str) -> bool:
    return name in vars(part) or getattr(type(part), name) is not getattr(nn.Module, name)


def unused(module: nn.Module, used: Set[str]) -> list[str]:
    """A reason for each module with parameters that no call takes: the engine's state has no place for them.

    Args:
        module: The network.
        used: Names of the parameters that some call takes.
    """
    idle: dict[str, list[str]] = {}
    for name, _ in module.named_parameters():
        if name not in used:
            path, _, key = name.rpartition(".")
            idle.setdefault(path, []).append(key)
    return [
        f"{shown(module, path)}: forward does not use {' and '.join(keys)}; the lane engine holds only what "
        "it computes with"
        for path, keys in idle.items()
    ]
