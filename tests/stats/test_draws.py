from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from pomona.core.canonical import canonical
from pomona.core.errors import InputError
from pomona.stats.draws import Draws, chunks


def test_words_are_philox_keyed_by_purpose_and_seed():
    key = hashlib.sha256(canonical({"draws": "bootstrap", "seed": 3})).digest()[:16]
    raw = np.random.Philox(key=int.from_bytes(key, "little")).random_raw(10)
    source = Draws("bootstrap", 3)
    assert [*source.words(4), *source.words(6)] == raw.tolist()
    # From the words by arithmetic alone: the upper 52 bits.
    assert Draws("bootstrap", 3).indices(7, 10).tolist() == [
        int(((int(w) >> 12) + 0.5) * 2.0**-52 * 7) for w in raw
    ]
    bits = [bit for w in raw for byte in int(w).to_bytes(8, "little") for bit in f"{byte:08b}"]
    assert Draws("bootstrap", 3).signs(10, 64).ravel().tolist() == [1.0 - 2 * int(bit) for bit in bits]


def test_first_draws_are_pinned():
    # They must not change with a library's version: p-values and intervals would.
    assert Draws("bootstrap", 0).indices(5, 8).tolist() == PINNED


def test_draws_are_what_they_are_called():
    source = Draws("test", 0)
    assert stats.kstest(source.uniform(20_000), "uniform").pvalue > 0.001
    assert stats.kstest(source.normal(20_000), "norm").pvalue > 0.001
    assert abs(source.signs(20_000).mean()) < 0.03
    orders = source.orders(4, 5_000)
    assert (np.sort(orders, axis=1) == np.arange(4)).all()
    assert np.unique(orders, axis=0).shape == (24, 4)


def test_purposes_and_seeds_are_independent_and_a_seed_is_an_integer():
    found = [Draws(purpose, seed).words(4).tolist() for purpose in ("a", "b") for seed in (0, 1)]
    assert len({tuple(words) for words in found}) == 4
    for bad in (-1, 1.5, True, None):
        with pytest.raises(InputError, match="expected a seed that is an integer of 0 or more, got"):
            Draws("a", bad)


def test_chunks_add_up():
    assert sum(chunks(10_001, 1000)) == 10_001
    assert max(chunks(10_001, 1000)) * 1000 <= 2**22
    assert list(chunks(3, 2**30)) == [1, 1, 1]


PINNED = [4, 3, 4, 2, 4, 3, 3, 4]
