"""Global random state is lent to a user's criterion and then given back as it was."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU generators of torch, NumPy and Python for the block, and restore them after it.

    The generators belong to the process: two threads must not be in such a block at the same time.

    Args:
        seed: 0 to 2**32 - 1.
    """
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: that would seed the generators of devices, which are not given back.
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
