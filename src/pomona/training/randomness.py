"""Global random state is lent to a module for one forward pass and then given back as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from pomona.core.global_state import lent_generators


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators of torch, NumPy and Python for the block, and restore them after it.

    The generators belong to the process: other threads wait until the block is left.

    Args:
        seed: 0 or more.
        device: Whose generator is lent beside the CPU's.
    """
    devices = [device] if device.type == "cuda" else []
    with lent_generators(seed), torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
