import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError, PomonaError
from pomona.measures.landscape import Crossing, between, crossing, places

ERRORS = st.lists(st.floats(0, 1), min_size=2, max_size=30)
LOSSES = st.lists(st.floats(0, 1e6), min_size=2, max_size=30)


def test_places_are_even_and_hold_both_ends() -> None:
    assert places(11) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert places(2) == [0.0, 1.0]
    with pytest.raises(InputError, match="at least 2 points, got 1"):
        places(1)


def test_the_barrier_of_known_paths() -> None:
    # Ends of one error: both definitions are the height of the peak.
    assert crossing([0.1, 0.6, 0.1]) == Crossing(0.5, 0.5, 0.5)
    # A straight rise climbs over nothing, though its worst point is half of the way above the mean.
    assert crossing([0.0, 0.25, 0.5, 0.75, 1.0]) == Crossing(0.0, 0.5, 0.0)
    # At 3/4 the line between the ends is at 0.4, and their mean at 0.3.
    found = crossing([0.1, 0.2, 0.3, 0.9, 0.5])
    assert found is not None
    assert (found.barrier, found.instability, found.at) == pytest.approx((0.5, 0.6, 0.75))
    # A valley is no barrier.
    assert crossing([0.5, 0.0, 0.25]) == Crossing(0.0, 0.125, 0.0)


@given(LOSSES)
def test_the_barrier_is_the_largest_height_over_the_line(errors: list[float]) -> None:
    found = crossing(errors)
    steps = len(errors) - 1
    heights = [
        e - (errors[0] + i / steps * (errors[-1] - errors[0])) for i, e in enumerate(errors[1:-1], start=1)
    ]
    scale = 1e-12 * max(1.0, *errors)
    assert found is not None
    assert found.barrier == pytest.approx(max([0.0, *heights]), abs=scale)
    assert found.instability == pytest.approx(max(errors) - (errors[0] + errors[-1]) / 2, abs=scale)
    assert found.barrier >= 0
    assert found.instability >= 0


@given(ERRORS)
def test_both_directions_have_the_same_barrier_to_the_bit(errors: list[float]) -> None:
    there, back = crossing(errors), crossing(errors[::-1])
    assert there is not None
    assert back is not None
    assert (there.barrier, there.instability) == (back.barrier, back.instability)


@given(st.floats(0, 1e6), st.integers(2, 50))
def test_equal_errors_have_a_barrier_of_exactly_zero(error: float, points: int) -> None:
    assert crossing([error] * points) == Crossing(0.0, 0.0, 0.0)


def test_the_place_is_the_first_of_several() -> None:
    found = crossing([0.0, 1.0, 0.5, 1.0, 0.0])
    assert found == Crossing(1.0, 1.0, 0.25)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_there_is_no_barrier_where_an_error_is_not_finite(bad: float) -> None:
    assert crossing([0.1, bad, 0.1]) is None
    with pytest.raises(InputError, match="at least 2 points, got 0"):
        crossing([])


def net(seed: int, dtype: type = np.float32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"weight": rng.normal(size=(3, 4)).astype(dtype), "bias": rng.normal(size=3).astype(dtype)}


def test_between_is_the_straight_line_in_each_weight() -> None:
    a, b = net(0), net(1)
    for place in places(7):
        found = between(a, b, place)
        for name in a:
            exact = (1 - place) * a[name].astype(np.float64) + place * b[name].astype(np.float64)
            assert found[name].dtype == np.float32
            assert np.array_equal(found[name], exact.astype(np.float32))


def test_between_starts_and_ends_at_the_weights_themselves() -> None:
    a, b = net(0), net(1)
    a["weight"][0, 0] = -0.0
    b["weight"][1, 1] = np.inf  # 0 times infinity would not be a
    for place, whole in ((0.0, a), (1.0, b)):
        found = between(a, b, place)
        assert all(found[name].tobytes() == whole[name].tobytes() for name in whole)


@given(st.integers(0, 1000), st.integers(2, 50))
def test_between_a_network_and_itself_there_is_only_itself(seed: int, points: int) -> None:
    a = net(seed)
    for place in places(points):
        found = between(a, a, place)
        assert all(np.array_equal(found[name], a[name]) for name in a)


def test_what_is_kept_between_is_the_union_of_both_masks() -> None:
    a, b = net(0), net(1)
    kept_a = np.random.default_rng(2).random((3, 4)) < 0.5
    kept_b = np.random.default_rng(3).random((3, 4)) < 0.5
    a["weight"] *= kept_a
    b["weight"] *= kept_b
    assert (kept_a & ~kept_b).any()
    for place in places(11)[1:-1]:
        found = between(a, b, place)["weight"]
        assert np.array_equal(found != 0, kept_a | kept_b)
        alone = kept_a & ~kept_b
        assert found[alone] == pytest.approx((1 - place) * a["weight"][alone])


def test_buffers_are_held_and_must_be_equal() -> None:
    a, b = net(0), net(1)
    a["index"] = b["index"] = np.array([2, 0, 1])
    found = between(a, b, 0.5, held=["index"])
    assert np.array_equal(found["index"], a["index"])
    assert found["index"].dtype == a["index"].dtype
    b = {**b, "index": np.array([2, 1, 0])}
    for place in (0.0, 0.5):
        with pytest.raises(InputError, match="index is a buffer with other values in the two networks"):
            between(a, b, place, held=["index"])


def test_networks_that_do_not_fit_are_refused() -> None:
    a = net(0)
    with pytest.raises(InputError, match=r"bias: expected one shape, got \(3,\) and \(4,\)"):
        between(a, {**a, "bias": np.zeros(4, np.float32)}, 0.5)
    with pytest.raises(PomonaError, match="unknown tensor 'extra'"):
        between(a, {**a, "extra": a["bias"]}, 0.5)
    with pytest.raises(InputError, match=r"from 0 to 1, got 1\.5"):
        between(a, a, 1.5)
