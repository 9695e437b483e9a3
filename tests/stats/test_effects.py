from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.nonparametric import rank_compare_2indep

from pomona.core.errors import InputError
from pomona.stats.effects import _noncentrality, cohen_dz, superiority, superiority_unpaired


def test_noncentrality_limits_are_the_published_ones():
    # Kelley 2007, Journal of Statistical Software 20(8): conf.limits.nct(2.83, 126) is .8337502 to 4.815359.
    assert _noncentrality(126, 0.975, 2.83) == pytest.approx(0.8337502, abs=1e-6)
    assert _noncentrality(126, 0.025, 2.83) == pytest.approx(4.815359, abs=1e-6)


@given(st.floats(-3, 3), st.integers(3, 40))
@settings(max_examples=50, deadline=None)
def test_dz_interval_puts_the_observed_t_in_its_tails(shift, n):
    values = np.random.default_rng(n).normal(shift, 1, n)
    found = cohen_dz(values)
    assert found.estimate == pytest.approx(values.mean() / values.std(ddof=1))
    for end, tail in ((found.low, 0.975), (found.high, 0.025)):
        assert stats.nct.cdf(found.statistic, n - 1, end * np.sqrt(n)) == pytest.approx(tail, abs=1e-6)
    mirrored = cohen_dz(-values)
    assert (mirrored.low, mirrored.high) == (pytest.approx(-found.high), pytest.approx(-found.low))
    assert cohen_dz(1000 * values).low == pytest.approx(found.low)


def test_dz_of_equal_differences_is_none():
    assert cohen_dz([2, 3], [1, 2]).estimate is None


@pytest.mark.parametrize(("wins", "n"), [(0, 5), (3, 5), (5, 5), (7, 20)])
def test_superiority_is_clopper_and_pearson_without_ties(wins, n):
    values = np.r_[np.ones(wins), -np.ones(n - wins)] * np.arange(1, n + 1)
    theirs = stats.binomtest(wins, n).proportion_ci(0.95)
    found = superiority(values)
    assert found.estimate == wins / n
    assert (found.low, found.high) == (
        pytest.approx(theirs.low, rel=1e-12),
        pytest.approx(theirs.high, rel=1e-12),
    )


def test_superiority_counts_ties_as_half_and_bounds_them_both_ways():
    found = superiority([1, 2, 3, 4], [0, 2, 2, 5])
    assert found.estimate == 0.625
    assert found.low == pytest.approx(stats.binomtest(2, 4).proportion_ci().low)
    assert found.high == pytest.approx(stats.binomtest(3, 4).proportion_ci().high)
    assert found.notes == ("1 of 4 pairs are tied and count as half",)


def test_superiority_unpaired_is_that_of_statsmodels():
    a, b = [1.0, 2.5, 3.0, 5.0], [0.5, 2.0, 2.5, 4.0, 6.0]
    found, theirs = superiority_unpaired(a, b), rank_compare_2indep(a, b)
    assert found.estimate == theirs.prob1 == np.mean([(x > y) + (x == y) / 2 for x in a for y in b])
    assert (found.p, found.notes) == (
        None,
        ("fewer than 20 replicates in an arm: no p, test by permutation",),
    )
    many = [np.linspace(0, 1, 20) ** 2, np.linspace(0.1, 1.3, 21)]
    assert superiority_unpaired(*many).p == rank_compare_2indep(*many).pvalue
    apart = superiority_unpaired([3, 4], [1, 2])
    assert (apart.estimate, apart.low, apart.p) == (1, None, None)
    assert superiority_unpaired([1, 1], [1, 1]).estimate == 0.5


def test_effects_refuse_one_pair_and_what_is_not_finite():
    with pytest.raises(InputError, match="at least 2 numbers"):
        cohen_dz([1], [0])
    with pytest.raises(InputError, match="is inf"):
        superiority([1, float("inf")])
