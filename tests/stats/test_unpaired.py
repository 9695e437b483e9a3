from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from pomona.core.errors import InputError
from pomona.stats.reach import smallest_p
from pomona.stats.unpaired import permutation, unpaired, welch

# Cushny and Peebles: hours of sleep gained with two drugs, as in Student 1908 and R's `sleep`.
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_welch_gives_the_published_numbers_of_the_sleep_data():
    # R: t.test(extra ~ group, sleep): t = -1.8608, df = 17.776, p = .07939, interval -3.3654832 to .2054832.
    found = welch(DRUG_1, DRUG_2)
    assert found.statistic == pytest.approx(-1.8608, abs=5e-5)
    assert found.df == pytest.approx(17.776, abs=5e-4)
    assert found.p == pytest.approx(0.07939, abs=5e-6)
    assert (found.low, found.high) == (pytest.approx(-3.3654832), pytest.approx(0.2054832))


@pytest.mark.parametrize("side", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("sizes", [(3, 3), (4, 6), (7, 2)])
def test_permutation_is_scipys_and_the_enumeration(sizes, side):
    rng = np.random.default_rng(sum(sizes))
    a, b = (rng.integers(0, 20, size) / 4 for size in sizes)
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis), n_resamples=np.inf,
        alternative=side, vectorized=True,
    )  # fmt: skip
    found = permutation(a, b, alternative=side)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-12)
    pooled = np.concatenate([a, b])
    sums = [sum(split) for split in itertools.combinations(pooled, a.size)]
    if side == "greater":
        assert found.p == pytest.approx(np.mean([s >= a.sum() - 1e-9 for s in sums]), rel=1e-12)


def test_permutation_with_many_replicates_is_drawn_from_its_seed():
    a, b = np.random.default_rng(0).normal(0, 1, (2, 15))
    found = permutation(a, b, seed=1, draws=4999)
    assert found.method == "permutation, 4999 drawn"
    assert found == permutation(a, b, seed=1, draws=4999)
    assert found.p == pytest.approx(welch(a, b).p, abs=0.03)


def test_permutation_of_three_against_three_cannot_go_below_a_tenth():
    found = permutation([4, 5, 6], [1, 2, 3])
    assert found.p == found.smallest_p == smallest_p("permutation", 3) == 0.1
    assert "it cannot reach 0.05" in found.notes[0]


def test_equal_values_and_single_values():
    assert welch([1, 1], [1, 1]).p == 1
    assert welch([1, 1], [2, 2]).p is None
    single = permutation([9], [1, 2, 3])
    assert (single.p, single.low) == (0.5, None)
    with pytest.raises(InputError, match="b: expected a list of at least 2 numbers"):
        welch([1, 2], [1])
    with pytest.raises(InputError, match="unknown unpaired test 'welsh'; did you mean 'welch'"):
        unpaired("welsh", [1, 2], [1, 2])
