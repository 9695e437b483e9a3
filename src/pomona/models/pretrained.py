"""A pretrained state_dict as the start: checked against the network, all faults reported together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pomona.core.errors import InputError, ProblemsError, nearest
from pomona.models.choice import StartWeights


def pretrained(
    weights: StartWeights, expected: Mapping[str, Tensor], folder: Path | None = None
) -> dict[str, Tensor]:
    """Read a state_dict that fits a network.

    Args:
        weights: Which file, and its digest where one is given.
        expected: What the network has: names, shapes and types, in the order of ``state_dict``.
        folder: What a relative path is relative to.

    Returns:
        A tensor for each expected name, in its order, shape and type. Another floating type is converted.

    Raises:
        InputError: The file cannot be had, is not the one that was meant, or is not a state_dict; a torch
            file without a digest is refused, and the message gives the digest to write down.
        ProblemsError: Names or shapes differ; says every one of them.
    """
    path = weights.path(folder)
    actual = weights.digest(folder)
    if path.suffix == ".safetensors":
        found = _read_safetensors(path)
    elif weights.sha256 is None:
        raise InputError(
            f"weights: {path.name} is a pickle, which is opened only if its digest is written down; "
            f"if you trust where it comes from, add\n  sha256: {actual}"
        )
    else:
        found = _read_torch(path)
    problems = _problems(found, expected)
    if problems:
        raise ProblemsError(f"weights: {path.name} does not fit the network", problems)
    return {name: found[name].to(like.dtype).contiguous() for name, like in expected.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"weights: {path} cannot be read as safetensors: {error}") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        # weights_only is torch's restricted unpickler: tensors and plain containers, no code.
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise InputError(
            f"weights: {path} cannot be read as a state_dict: {type(error).__name__}: {line}"
        ) from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise InputError(f"weights: {path} holds {type(loaded).__name__}, expected tensors by name")
    return {str(name): tensor.detach() for name, tensor in loaded.items()}


def _problems(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    problems = []
    extra = [name for name in found if name not in expected]
    missing = [name for name in expected if name not in found]
    for name in missing:
        close = nearest(name, extra)
        problems.append(f"missing {name}" + (f" (the file has {close})" if close else ""))
    for name in extra:
        close = nearest(name, missing)
        problems.append(f"unexpected {name}" + (f" (the network has {close})" if close else ""))
    for name, like in expected.items():
        given = found.get(name)
        if given is None:
            continue
        if given.shape != like.shape:
            problems.append(f"{name}: shape {_shape(given)}, the network has {_shape(like)}")
        elif given.is_floating_point() != like.is_floating_point() or given.is_complex():
            problems.append(f"{name}: type {given.dtype}, the network has {like.dtype}")
        elif not bool(torch.isfinite(given).all()):
            problems.append(f"{name}: not all values are finite")
    return problems


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "scalar"
