from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pomona.core.errors import InputError
from pomona.stats.aggregate import interquartile_mean, performance_profile, probability_of_improvement

SCORES = np.random.default_rng(0).normal([0, 1, 2], 1, (10, 3))


def test_interquartile_mean_is_the_mean_of_the_middle_half():
    assert interquartile_mean(SCORES).estimate == pytest.approx(
        stats.trim_mean(SCORES.ravel(), 0.25), rel=1e-12
    )
    assert interquartile_mean({"one": [0, 1, 2, 100], "two": [1, 1, 2, -50]}).estimate == 1.25
    found = interquartile_mean(SCORES)
    assert found.low < found.estimate < found.high
    # A run that is far out changes it less than the mean.
    wild = SCORES.copy()
    wild[0, 0] = 1e6
    assert abs(interquartile_mean(wild).estimate - found.estimate) < 0.2


def test_resamples_stay_within_their_task():
    # Tasks far apart without spread within: whatever is drawn, the aggregate is the same.
    found = interquartile_mean({"easy": [0.0] * 3, "hard": [5.0] * 3})
    assert (found.low, found.high) == (found.estimate, found.estimate)


@given(
    st.lists(st.integers(0, 5), min_size=2, max_size=6), st.lists(st.integers(0, 5), min_size=2, max_size=6)
)
@settings(max_examples=30, deadline=None)
def test_probability_of_improvement_is_mann_whitneys_u(a, b):
    u = stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))
    found = probability_of_improvement({"t": a, "s": [1, 1]}, {"t": b, "s": [0, 0]}, draws=100)
    assert found.estimate == pytest.approx((u + 1) / 2)
    assert 0 <= found.low <= found.high <= 1
    back = probability_of_improvement({"t": b, "s": [0, 0]}, {"t": a, "s": [1, 1]}, draws=100)
    assert back.estimate == pytest.approx(1 - found.estimate)


def test_performance_profile_falls_from_one_to_zero():
    profile = performance_profile(SCORES, [-10, 0, 1, 10])
    shares = [result.estimate for result in profile]
    assert shares[0] == 1
    assert shares[-1] == 0
    assert shares == sorted(shares, reverse=True)
    assert shares[1] == pytest.approx((SCORES > 0).mean())
    assert all(result.low <= result.estimate <= result.high for result in profile)


def test_aggregates_are_their_seed_and_warn_of_few_replicates():
    assert interquartile_mean(SCORES, seed=1) == interquartile_mean(SCORES, seed=1)
    assert interquartile_mean(SCORES, seed=1).low != interquartile_mean(SCORES, seed=2).low
    assert "5 replicates a task" in interquartile_mean(SCORES[:5]).notes[0]


def test_aggregates_refuse_tasks_that_do_not_match():
    with pytest.raises(InputError, match=r"the same tasks in the same order, got \['t'\] and \['s'\]"):
        probability_of_improvement({"t": [1, 2]}, {"s": [1, 2]})
    with pytest.raises(InputError, match="task 't': expected a list of at least 2 numbers"):
        interquartile_mean({"t": [1]})
    with pytest.raises(InputError, match="at least one task, got none"):
        interquartile_mean({})
