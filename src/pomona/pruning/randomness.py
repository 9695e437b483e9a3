"""Global random state is lent to a user's criterion and then given back as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from pomona.core.global_state import lent_generators


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU generators of torch, NumPy and Python for the block, and restore them after it.

    The generators belong to the process: other threads wait until the block is left.

    Args:
        seed: 0 or more.
    """
    with lent_generators(seed), torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would seed the generators of devices, which are not given back.
        torch.default_generator.manual_seed(seed)
        yield
