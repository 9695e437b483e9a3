"""The name of the engine that computes a training, as it enters an identity. Costs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# `numerics` grows whenever the same request may give other bits.
ENGINE: Mapping[str, str | int] = MappingProxyType({"name": "torch", "numerics": 1, "precision": "float32"})


def engine_on(device: str = "cpu") -> dict[str, str | int]:
    """The engine on a device: the bits of a GPU differ, so it is another engine.

    >>> engine_on("cuda:0")["name"]
    'torch-cuda'
    """
    kind = device.split(":")[0]
    return {**ENGINE, "name": "torch" if kind == "cpu" else f"torch-{kind}"}
