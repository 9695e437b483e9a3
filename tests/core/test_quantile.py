from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from pomona.core.quantile import normal_quantile

KNOWN = [(2.0**-53, -8.209536151601387), (1e-10, -6.361340902404056), (0.975, 1.9599639845400545)]


@given(st.floats(min_value=1e-300, max_value=1 - 2**-53))
def test_normal_quantile_agrees_with_scipy(probability: float) -> None:
    found = float(normal_quantile(np.array([probability]))[0])
    assert found == pytest.approx(norm.ppf(probability), rel=1e-14, abs=1e-300)


def test_normal_quantile_agrees_with_scipy_on_a_grid() -> None:
    probability = (np.arange(200_000) + 0.5) / 200_000
    np.testing.assert_allclose(normal_quantile(probability), norm.ppf(probability), rtol=1e-14, atol=0)


@pytest.mark.parametrize(("probability", "expected"), KNOWN)
def test_normal_quantile_known_values(probability: float, expected: float) -> None:
    assert float(normal_quantile(np.array(probability))) == pytest.approx(expected, rel=3e-15)


def test_normal_quantile_at_the_edges_of_its_regions() -> None:
    edges = [0.075, 0.925, math.exp(-25), 1 - 2**-53, 2.0**-53, 5e-324, 0.5]
    near = np.array([np.nextafter(p, side) for p in edges for side in (0, p, 1)])
    near = near[(near > 0) & (near < 1)]
    np.testing.assert_allclose(normal_quantile(near), norm.ppf(near), rtol=1e-14, atol=0)


@given(st.floats(min_value=2.0**-53, max_value=0.5))
def test_normal_quantile_is_odd_around_a_half(probability: float) -> None:
    above = 1.0 - probability
    found = normal_quantile(np.array([1.0 - above, above]))
    assert found[0] == -found[1]


def test_normal_quantile_rises() -> None:
    probability = np.sort(np.random.default_rng(5).random(100_000))
    probability = np.concatenate([np.geomspace(1e-300, 1e-3, 10_000), probability[probability > 1e-3]])
    assert (np.diff(normal_quantile(probability)) >= 0).all()


def test_normal_quantile_keeps_shape_and_input() -> None:
    probability = np.full((2, 3), 0.25)
    assert normal_quantile(probability).shape == (2, 3)
    assert (probability == 0.25).all()
    assert normal_quantile(np.empty(0)).shape == (0,)


def test_normal_quantile_golden_bits() -> None:
    """The bits of initial weights hang on these: one that changes breaks every store."""
    found = normal_quantile(np.array([1e-12, 0.01, 0.3, 0.5, 0.6, 0.999]))
    assert [value.hex() for value in found.tolist()] == [
        "-0x1.c234fba57a32ap+2",
        "-0x1.29c5c4630ff0ep+1",
        "-0x1.0c7e39582c5fap-1",
        "0x0.0p+0",
        "0x1.036d6c4a04b59p-2",
        "0x1.8b8cbb7204470p+1",
    ]
    grid = np.concatenate([(np.arange(100_000) + 0.5) / 100_000, 2.0 ** -np.arange(1, 1000)])
    bits = normal_quantile(grid).astype("<f8").tobytes()
    assert (
        hashlib.sha256(bits).hexdigest() == "8bab56c05c8e353d67c06e6841859d25b6899542a0ffd0b207081e48bf9b22d8"
    )
