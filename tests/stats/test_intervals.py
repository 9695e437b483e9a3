import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError
from pomona.stats.intervals import Summary, summarise

VALUES = st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), min_size=2, max_size=30)


@given(VALUES.filter(lambda values: len(set(values)) > 1), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_summarise_agrees_with_scipy(values, confidence):
    found = summarise(values, confidence)
    low, high = scipy.stats.t.interval(
        confidence, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values)
    )
    assert (found.n, found.mean) == (len(values), pytest.approx(np.mean(values)))
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    scale = max(abs(low), abs(high))
    assert (found.low, found.high) == (
        pytest.approx(low, abs=1e-9 * scale),
        pytest.approx(high, abs=1e-9 * scale),
    )


def test_summarise_two_values_has_the_closed_form():
    # The 95 % quantile of t with one degree of freedom is tan(.475 pi).
    found = summarise([1.0, 3.0])
    assert found.sd == pytest.approx(math.sqrt(2))
    assert found.high == pytest.approx(2 + math.tan(0.475 * math.pi))
    assert found.low == pytest.approx(2 - math.tan(0.475 * math.pi))


def test_summarise_one_value_has_no_interval():
    assert summarise([0.9]) == Summary(n=1, mean=0.9, sd=None, low=None, high=None)


@given(st.floats(-1e6, 1e6), st.integers(2, 20))
def test_summarise_equal_values_has_zero_width(value, n):
    assert summarise([value] * n) == Summary(n, value, 0.0, value, value)


@given(VALUES, st.floats(-100, 100))
def test_summarise_follows_a_shift(values, shift):
    one, other = summarise(values), summarise([value + shift for value in values])
    assert other.low == pytest.approx(one.low + shift, rel=1e-6, abs=1e-6)


def test_summarise_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3, 2, (2000, 5))
    found = [summarise(row) for row in draws]
    share = np.mean([x.low <= 3 <= x.high for x in found])
    assert abs(share - 0.95) < 0.02


def test_summarise_widens_with_confidence():
    widths = [x.high - x.low for x in (summarise([1, 2, 4], c) for c in (0.5, 0.9, 0.99))]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


def test_summarise_does_not_change_what_it_is_given():
    values = np.array([3.0, 1.0, 2.0])
    summarise(values)
    assert values.tolist() == [3, 1, 2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_summarise_refuses_what_is_not_finite_and_says_which(bad):
    with pytest.raises(InputError, match=r"value 2 of 3 is (nan|inf): failed replicates are counted apart"):
        summarise([0.1, bad, 0.2])


def test_summarise_refuses_nothing_and_a_table():
    with pytest.raises(InputError, match=r"at least one value, got shape \(0,\)"):
        summarise([])
    with pytest.raises(InputError, match=r"got shape \(2, 2\)"):
        summarise(np.ones((2, 2)))


@pytest.mark.parametrize("confidence", [0, 1, 95, float("nan")])
def test_summarise_refuses_a_confidence_out_of_range(confidence):
    with pytest.raises(InputError, match="confidence above 0 and below 1, got"):
        summarise([1, 2], confidence)
