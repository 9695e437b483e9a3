from __future__ import annotations

import random
import threading

import numpy as np
import pytest

from pomona.core.global_state import LOCK, lent_generators


def draw() -> tuple[float, float]:
    return random.random(), float(np.random.rand())


def states() -> tuple[object, list[int]]:
    return random.getstate(), np.random.get_state()[1].tolist()


def test_lent_generators_draw_what_the_seed_says_and_are_given_back() -> None:
    before = states()
    found = []
    for seed in (5, 5, 6, 2**40 + 5):
        with lent_generators(seed):
            found.append(draw())
    assert states() == before
    assert found[0] == found[1]
    assert len({value for pair in found[1:3] for value in pair}) == 4
    # NumPy takes 32 bits of it.
    assert found[3][1] == found[0][1]


def test_generators_are_given_back_after_an_error() -> None:
    before = states()
    with pytest.raises(ZeroDivisionError), lent_generators(1):
        draw()[0] / 0
    assert states() == before
    assert LOCK.acquire(blocking=False)
    LOCK.release()


def test_generators_can_be_lent_within_a_block_of_the_same_thread() -> None:
    with lent_generators(1):
        alone = [draw(), draw()]
    with lent_generators(1):
        found = [draw()]
        with lent_generators(2):
            draw()
        found.append(draw())
    assert found == alone


def test_another_thread_waits_until_the_generators_are_given_back() -> None:
    found: list[tuple[float, float]] = []

    def other() -> None:
        with lent_generators(2):
            found.append(draw())

    with lent_generators(2):
        expected = draw()
    thread = threading.Thread(target=other)
    with lent_generators(1):
        alone = [draw(), draw()]
    with lent_generators(1):
        mine = [draw()]
        thread.start()
        thread.join(0.1)
        mine.append(draw())
        assert found == []
    thread.join()
    assert (mine, found) == (alone, [expected])
