"""State that belongs to the whole process: one thread at a time may lend it, change it or rest on it."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator

import numpy as np

# Held wherever jobs on threads of one process would disturb one another: while global generators are lent,
# while a user's file is imported, while a module is traced (which replaces the calls of all modules) and
# while a module is called. One lock for all of it, so that there is no order of locks to get wrong; the
# thread that holds it may take it again.
LOCK = threading.RLock()


@contextlib.contextmanager
def lent_generators(seed: int) -> Iterator[None]:
    """Seed the global generators of NumPy and Python for the block, alone, and restore them after it.

    The generators of torch are lent inside of it, by the rooms that know torch.

    Args:
        seed: 0 or more.
    """
    with LOCK:
        python, arrays = random.getstate(), np.random.get_state()
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)
