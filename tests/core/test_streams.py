from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from pomona.core.canonical import canonical
from pomona.core.errors import InputError
from pomona.core.streams import STREAMS, Stream

_WORD = 2**64 - 1

streams = st.builds(
    Stream,
    st.sampled_from(STREAMS),
    st.integers(0, 10**9),
    st.none() | st.text(max_size=5),
    st.none() | st.integers(0, 30),
)


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 as Salmon et al. 2011 describe it, in whole numbers."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (second >> 64) ^ c1 ^ k0, second & _WORD, (first >> 64) ^ c3 ^ k1, first & _WORD
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & _WORD, (k1 + 0xBB67AE8584CAA73B) & _WORD
    return [c0, c1, c2, c3]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
        ([_WORD] * 4, [_WORD] * 2, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0"),
        (
            [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],
            [0x452821E638D01377, 0xBE5466CF34E90C6C],
            "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
        ),
    ],
)
def test_philox_of_this_file_gives_the_known_answers(
    counter: list[int], key: list[int], expected: str
) -> None:
    """The known-answer vectors of Random123; the generator above is then the oracle for ours."""
    assert philox(counter, key) == [int(word, 16) for word in expected.split()]


@given(streams, st.integers(0, 10**12), st.integers(0, 9))
def test_stream_words_are_philox_from_counter_block_one(stream: Stream, start: int, count: int) -> None:
    key = stream.key()
    blocks = range(start // 4 + 1, (start + count) // 4 + 2)
    words = [word for block in blocks for word in philox([block, 0, 0, 0], [key & _WORD, key >> 64])]
    found = stream.words(count, start)
    assert found.dtype == np.uint64
    assert found.tolist() == words[start % 4 : start % 4 + count]


def test_stream_golden() -> None:
    """Initial weights, orders and random masks of every store hang on these: a change breaks them all."""
    init = Stream("init", 0, "conv1.weight")
    assert init.key() == 0x2C978AE5CE4967E2B47591275035089A
    assert [f"{word:016x}" for word in init.words(4).tolist()] == [
        "54f4b557f94026c0",
        "33ba4af91cfd60f2",
        "8bfcd2401b3ac851",
        "d9b88a61ba6d6624",
    ]
    assert [f"{word:016x}" for word in Stream("mask", 7, "fc.weight", 3).words(5).tolist()] == [
        "2561c0b8630841c0",
        "f1680901f2d4e5de",
        "e16c2d56ed31491d",
        "65bc3a95e48b5ee3",
        "35e5fda142cb1ba7",
    ]
    assert init.uniform(2).tolist() == [0.33185895345491234, 0.20206135351053467]
    assert [value.hex() for value in init.normal(4).tolist()] == [
        "-0x1.bd387daf391ffp-2",
        "-0x1.ab26de0ac85d3p-1",
        "0x1.e1e24ad2f345bp-4",
        "0x1.09d88a2ff77f6p+0",
    ]
    assert Stream("order", 2).permutation(8).tolist() == [4, 7, 2, 6, 5, 3, 1, 0]
    assert Stream("order", 2).permutation(8, 1).tolist() == [5, 2, 7, 0, 1, 6, 4, 3]
    assert Stream("dropout", 1).seed(0) == 8813307051220776893


@given(st.integers(0, 50), st.integers(0, 50))
def test_stream_any_part_can_be_drawn_alone(start: int, count: int) -> None:
    stream = Stream("order", 3)
    whole = stream.words(100)
    assert (stream.words(count, start) == whole[start : start + count]).all()
    assert (stream.uniform(count, start) == stream.uniform(100)[start : start + count]).all()
    assert (stream.normal(count, start) == stream.normal(100)[start : start + count]).all()


@given(streams, streams)
def test_streams_that_differ_in_any_part_draw_other_words(a: Stream, b: Stream) -> None:
    assert (a == b) == (a.words(4).tolist() == b.words(4).tolist())


def test_stream_each_part_of_the_name_counts() -> None:
    base = Stream("mask", 1, "fc.weight", 2)
    others = [
        Stream("init", 1, "fc.weight", 2),
        Stream("mask", 2, "fc.weight", 2),
        Stream("mask", 1, "fc.bias", 2),
        Stream("mask", 1, None, 2),
        Stream("mask", 1, "", 2),
        Stream("mask", 1, "fc.weight", 3),
        Stream("mask", 1, "fc.weight"),
        Stream("mask", 1, "fc.weight", 0),
    ]
    assert len({stream.key() for stream in (base, *others)}) == 9


def test_stream_key_is_made_of_the_canonical_form() -> None:
    form = canonical({"stream": "mask", "index": 1, "parameter": None, "level": 2})
    assert form.startswith(b"d4:")
    expected = int.from_bytes(hashlib.sha256(form).digest()[:16], "little")
    assert Stream("mask", 1, level=2).key() == expected


def test_stream_uniform_is_in_its_range_and_uniform() -> None:
    found = Stream("augmentation", 0).uniform(100_000)
    assert found.min() >= 0
    assert found.max() < 1
    assert kstest(found, "uniform").pvalue > 0.001


def test_stream_uniform_takes_the_upper_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    extremes = np.array([0, 2**11 - 1, 2**11, 2**64 - 1], dtype=np.uint64)
    monkeypatch.setattr(Stream, "words", lambda self, count, start=0: extremes)
    assert Stream("init", 0).uniform(4).tolist() == [0.0, 0.0, 2.0**-53, 1 - 2.0**-53]


def test_stream_normal_is_finite_at_the_extremes_and_symmetric(monkeypatch: pytest.MonkeyPatch) -> None:
    extremes = np.array([0, 2**64 - 1], dtype=np.uint64)
    monkeypatch.setattr(Stream, "words", lambda self, count, start=0: extremes)
    low, high = Stream("init", 0).normal(2).tolist()
    assert low == -high == pytest.approx(-8.2095361516, rel=1e-9)


def test_stream_normal_is_normal() -> None:
    assert kstest(Stream("init", 5).normal(100_000), "norm").pvalue > 0.001


@given(st.integers(0, 200), st.integers(0, 5), st.integers(0, 100))
def test_stream_permutation_is_the_stable_argsort_of_its_words(count: int, turn: int, index: int) -> None:
    stream = Stream("order", index)
    found = stream.permutation(count, turn)
    assert sorted(found.tolist()) == list(range(count))
    words = stream.words(count, turn * count).tolist()
    assert found.tolist() == sorted(range(count), key=words.__getitem__)


def test_stream_permutation_ties_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    tied = np.array([5, 1, 5, 1] * 20, dtype=np.uint64)
    monkeypatch.setattr(Stream, "words", lambda self, count, start=0: tied)
    expected = [i for i in range(80) if i % 2] + [i for i in range(80) if i % 2 == 0]
    assert Stream("order", 0).permutation(80).tolist() == expected


def test_stream_rounds_have_their_own_permutations() -> None:
    found = {tuple(Stream("order", 0).permutation(50, turn).tolist()) for turn in range(20)}
    assert len(found) == 20


def test_stream_seeds_are_63_bits_and_differ() -> None:
    seeds = [Stream("dropout", 4).seed(position) for position in range(100)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("name", "index", "message"),
    [
        ("inti", 0, "unknown seed stream 'inti'; did you mean 'init'\\? Known: init, order"),
        ("order", -1, "the seed index of stream 'order' must be 0 or more, got -1"),
    ],
)
def test_stream_refuses(name: str, index: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Stream(name, index)


def test_stream_leaves_global_random_state_alone() -> None:
    before = np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index, union-attr]
    stream = Stream("init", 9)
    drawn = stream.normal(10), stream.uniform(10), stream.permutation(10), stream.seed()
    assert len(drawn) == 4
    assert (np.random.get_state()[1] == before[0]).all()  # type: ignore[index]
    assert random.getstate() == before[1]
