import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from pomona.core.errors import InputError
from pomona.measures.chance import chance_distance
from pomona.measures.masks import jaccard_distance

UNITS = ["weight", "channel-in", "channel-out"]


def all_masks(shape, kept, granularity):
    """Every mask of a granularity that keeps this many weights."""
    if granularity == "weight":
        for chosen in itertools.combinations(range(int(np.prod(shape))), kept):
            mask = np.zeros(int(np.prod(shape)), dtype=bool)
            mask[list(chosen)] = True
            yield mask.reshape(shape)
        return
    axis = 1 if granularity == "channel-in" else 0
    channel = int(np.prod(shape)) // shape[axis]
    for chosen in itertools.combinations(range(shape[axis]), kept // channel):
        mask = np.zeros(shape, dtype=bool)
        mask.swapaxes(0, axis)[list(chosen)] = True
        yield mask


@pytest.mark.parametrize("a", UNITS)
@pytest.mark.parametrize("b", UNITS)
@pytest.mark.parametrize(("kept_a", "kept_b"), [(4, 4), (4, 0), (0, 0), (4, 8), (8, 8)])
def test_chance_distance_is_the_mean_over_all_masks(a, b, kept_a, kept_b):
    shape = (2, 4)
    pairs = itertools.product(all_masks(shape, kept_a, a), all_masks(shape, kept_b, b))
    expected = np.mean([jaccard_distance(x, y) for x, y in pairs])
    assert chance_distance(shape, kept_a, kept_b, a, b) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "kept_a", "b", "kept_b"),
    [
        ("weight", 300, "weight", 700),
        ("weight", 300, "channel-in", 400),
        ("channel-in", 400, "channel-in", 800),
        ("channel-out", 250, "channel-out", 500),
        ("channel-in", 400, "channel-out", 500),
    ],
)
def test_chance_distance_is_what_random_masks_have(a, kept_a, b, kept_b):
    shape, generator = (40, 25), np.random.default_rng(0)

    def draw(kept, granularity):
        if granularity == "weight":
            return (generator.permutation(1000) < kept).reshape(shape)
        size = shape[1] if granularity == "channel-in" else shape[0]
        channels = generator.permutation(size) < kept * size // 1000
        return np.broadcast_to(channels if granularity == "channel-in" else channels[:, None], shape)

    mean = np.mean([jaccard_distance(draw(kept_a, a), draw(kept_b, b)) for _ in range(1000)])
    assert chance_distance(shape, kept_a, kept_b, a, b) == pytest.approx(mean, abs=0.01)


@given(st.integers(1, 300), st.data())
def test_chance_distance_is_the_hypergeometric_expectation(size, data):
    a, b = (data.draw(st.integers(0, size)) for _ in range(2))
    common = np.arange(max(0, a + b - size), min(a, b) + 1)
    union = np.maximum(a + b - common, 1)
    mass = hypergeom.pmf(common, size, a, b)
    expected = float((mass * (a + b - 2 * common) / union).sum()) if a + b else 0.0
    assert chance_distance((size, 1), a, b) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.5), (0.01, 0.2), (0.9, 0.1), (0.001, 0.001)])
def test_chance_distance_of_large_layers_tends_to_the_ratio(p, q):
    size = 100_000_000
    found = chance_distance((10_000, 10_000), int(p * size), int(q * size))
    assert found == pytest.approx(1 - p * q / (p + q - p * q), abs=1e-6)


@given(st.integers(0, 60), st.integers(0, 60))
def test_chance_distance_does_not_depend_on_the_order(a, b):
    assert chance_distance((6, 10), a, b) == pytest.approx(chance_distance((6, 10), b, a), abs=1e-12)


def test_chance_distance_of_full_masks_is_zero():
    assert chance_distance((6, 10), 60, 60) == 0
    assert chance_distance((6, 10), 0, 0) == 0
    assert chance_distance((6, 10), 0, 5) == 1


def test_chance_distance_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="unknown granularity 'channel'; did you mean 'channel-in'"):
        chance_distance((6, 10), 10, 10, "channel")
    with pytest.raises(InputError, match=r"keeps whole channels of 6 weights, got 10"):
        chance_distance((6, 10), 10, 10, "channel-in")
    with pytest.raises(InputError, match=r"from 0 to the 60 weights of shape \(6, 10\), got 61"):
        chance_distance((6, 10), 61, 10)
    with pytest.raises(InputError, match=r"shape \(60,\) has no channel-in"):
        chance_distance((60,), 10, 10, "channel-in")
