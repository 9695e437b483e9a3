"""The name of the engine that computes a training, as it enters an identity. Costs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pomona.core.errors import InputError, unknown

ENGINES = ("lanes", "torch")

# `numerics` grows whenever the same request may give other bits.
_TORCH: Mapping[str, str | int] = MappingProxyType({"name": "torch", "numerics": 1, "precision": "float32"})
_LANES: Mapping[str, str | int] = MappingProxyType({"name": "lanes", "numerics": 2, "precision": "float32"})


def check_engine(name: str, device: str) -> None:
    """Check that there is such an engine on a device.

    Args:
        name: ``lanes`` or ``torch``.
        device: Where it is to compute.

    Raises:
        InputError: There is not; says what to use.
    """
    if name not in ENGINES:
        raise InputError(unknown("engine", name, ENGINES))
    if name == "lanes" and _kind(device) != "cpu":
        raise InputError(f"the lane engine computes on the CPU, not on {device}: use `engine: torch`")


def engine_record(name: str, device: str = "cpu") -> dict[str, str | int]:
    """What an identity says of an engine. The bits of a GPU differ, so torch on it is another engine.

    >>> engine_record("torch", "cuda:0")["name"]
    'torch-cuda'

    Args:
        name: ``lanes`` or ``torch``.
        device: Where it computes.

    Raises:
        InputError: There is no such engine on the device.
    """
    check_engine(name, device)
    if name == "lanes":
        return dict(_LANES)
    kind = _kind(device)
    return {**_TORCH, "name": "torch" if kind == "cpu" else f"torch-{kind}"}


def _kind(device: str) -> str:
    return device.split(":")[0]
