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

# Under what a checkpoint that holds an optimizer too keeps the network.
_WRAPPED = ("state_dict", "model_state_dict")


def pretrained(
    weights: StartWeights,
    expected: Mapping[str, Tensor],
    folder: Path | None = None,
    tied: Mapping[str, str] | None = None,
) -> dict[str, Tensor]:
    """Read a state_dict that fits a network.

    Args:
        weights: Which file, and its digest where one is given.
        expected: What the network has: names, shapes and types, in the order of ``state_dict``.
        folder: What a relative path is relative to.
        tied: The expected name by each other name of the same tensor. A file has one of them or all.

    Returns:
        A tensor for each expected name, in its order, shape and type. Another floating type is converted.

    Raises:
        InputError: As ``read_tensors``.
        ProblemsError: As ``fitted``.
    """
    return fitted(read_tensors(weights, folder), expected, weights.path(folder).name, tied)


def read_tensors(weights: StartWeights, folder: Path | None = None) -> dict[str, Tensor]:
    """Read the tensors of a file by name, whatever they are.

    Args:
        weights: Which file, and its digest where one is given.
        folder: What a relative path is relative to.

    Raises:
        InputError: The file cannot be had, is not the one that was meant, or is not a state_dict; a torch
            file without a digest is refused, and the message gives the digest to write down.
    """
    path = weights.path(folder)
    actual = weights.digest(folder)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if weights.sha256 is None:
        raise InputError(
            f"weights: {path.name} is a pickle, which is opened only if its digest is written down; "
            f"if you trust where it comes from, add\n  sha256: {actual}"
        )
    return _read_torch(path)


def fitted(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    file: str,
    tied: Mapping[str, str] | None = None,
) -> dict[str, Tensor]:
    """Tensors in the order, shapes and types of a network.

    Args:
        found: By name.
        expected: As in ``pretrained``.
        file: What a message calls them.
        tied: As in ``pretrained``.

    Raises:
        ProblemsError: Names or shapes differ, or tied tensors do; says every one of them.
    """
    single, problems = _untwinned(found, tied or {})
    problems += _problems(single, expected)
    if problems:
        raise ProblemsError(f"weights: {file} does not fit the network", problems)
    return {name: single[name].to(like.dtype).contiguous() for name, like in expected.items()}


def _untwinned(found: Mapping[str, Tensor], tied: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str]]:
    """Each tied tensor under its first name alone, and where two of its names differ."""
    single = {name: tensor for name, tensor in found.items() if name not in tied}
    problems = []
    for name, first in tied.items():
        if name in found and not torch.equal(single.setdefault(first, found[name]), found[name]):
            problems.append(f"{name} and {first} are one tensor in the network, but differ")
    return single, problems


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
    for key in _WRAPPED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
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
