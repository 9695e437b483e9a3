from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from pomona.core.errors import InputError
from pomona.stats.bootstrap import bca, percentile, resamples, two_level
from pomona.stats.intervals import summarise, t_interval

SKEWED = np.random.default_rng(0).lognormal(0, 1, 30)


def median(values):
    return np.median(values, axis=-1)


@pytest.mark.parametrize("statistic", [lambda x: x.mean(axis=-1), lambda x: x.std(axis=-1)])
def test_bca_and_percentile_are_scipys_on_the_same_resamples(statistic):
    drawn = SimpleNamespace(bootstrap_distribution=resamples(SKEWED, statistic, 3, 1999))
    for ours, name in ((bca, "BCa"), (percentile, "percentile")):
        theirs = stats.bootstrap(
            (SKEWED,), lambda x, axis: statistic(np.moveaxis(x, axis, -1)), n_resamples=0,
            bootstrap_result=drawn, method=name, confidence_level=0.9,
        ).confidence_interval  # fmt: skip
        found = ours(SKEWED, statistic, level=0.9, seed=3, draws=1999)
        assert (found.low, found.high) == (
            pytest.approx(theirs.low, rel=1e-12),
            pytest.approx(theirs.high, rel=1e-12),
        )


def test_bca_of_few_replicates_is_the_t_interval_and_says_so():
    values = SKEWED[:19]
    found = bca(values)
    assert (found.low, found.high) == (summarise(values).low, summarise(values).high)
    assert found.method == "t interval"
    assert "n = 19 is below 20" in found.notes[0]
    assert bca(SKEWED[:20]).method == "BCa bootstrap"
    assert "covers too seldom" in bca(values, median).notes[0]


def test_bootstrap_is_its_seed_and_constant_data_have_no_width():
    assert percentile(SKEWED, seed=1) == percentile(SKEWED, seed=1)
    assert percentile(SKEWED, seed=1).low != percentile(SKEWED, seed=2).low
    constant = bca(np.full(25, 0.5))
    assert (constant.low, constant.high) == (0.5, 0.5)


def test_two_level_is_wider_than_either_error_alone():
    rng = np.random.default_rng(1)
    rows, columns = rng.normal(0, 0.1, (6, 1)), rng.normal(0, 1, (1, 50))
    given = rows + columns + rng.normal(0, 0.5, (6, 50))
    found = two_level(given)
    assert found.estimate == pytest.approx(given.mean())
    by_example = t_interval(given.mean(axis=0))
    assert found.high - found.low > by_example.high - by_example.low
    assert found == two_level(given)
    assert two_level(given, np.zeros_like(given)) == found
    # The variance that resampling rows and columns has, in closed form (Owen 2007, theorem 3).
    r, c, rows_, columns_ = 6, 50, given.mean(axis=1), given.mean(axis=0)
    closed = rows_.var() / r + columns_.var() / c + (given.var() - rows_.var() - columns_.var()) / (r * c)
    one, two = rows_.var(ddof=1) / r, columns_.var(ddof=1) / c
    df = (one + two) ** 2 / (one**2 / 5 + two**2 / 49)
    half = stats.t.ppf(0.975, df) * np.sqrt(closed + one / r)
    assert found.df == pytest.approx(df)
    assert found.high - found.estimate == pytest.approx(half, rel=0.05)
    flat = two_level(np.full((3, 4), 0.25))
    assert (flat.low, flat.high) == (0.25, 0.25)


def test_two_level_refuses_tables_that_do_not_match():
    with pytest.raises(InputError, match=r"a has shape \(3, 4\) and b \(3, 5\)"):
        two_level(np.ones((3, 4)), np.ones((3, 5)))
    with pytest.raises(InputError, match="expected a table of at least 2 replicates x 1 examples"):
        two_level(np.ones((1, 4)))
    with pytest.raises(InputError, match="draws: expected an integer of at least 100, got 5"):
        two_level(np.ones((3, 4)), draws=5)


def test_t_interval_of_one_value_is_none():
    assert t_interval([0.5]).low is None
    assert t_interval([1.0, 3.0]).high == summarise([1.0, 3.0]).high
