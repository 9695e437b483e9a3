"""Paired tests against SciPy, against enumeration, and against published examples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pomona.core.errors import InputError
from pomona.stats import exact
from pomona.stats.equivalence import tost
from pomona.stats.paired import paired, paired_t, sign_flip, sign_test, wilcoxon
from pomona.stats.reach import smallest_p

SIDES = ("two-sided", "greater", "less")
# Darwin's maize: heights of crossed less those of self-fertilised plants in eighths of an inch, as in
# Fisher 1935, The Design of Experiments, section 17: 1,726 of 32,768 patterns reach the sum of 314.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
# Hamilton's scale of depression before and after a tranquillizer, nine patients: Hollander and Wolfe, table 3.1.
BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
# Numbers as measures give them: few digits, so ties and zeros occur.
VALUES = st.lists(st.integers(-30, 30).map(lambda x: x / 8), min_size=3, max_size=9)


def enumerated(differences, statistic):
    """One-sided p upwards and downwards over all sign patterns, the slow and plain way."""
    d = np.asarray(differences, dtype=float)
    patterns = [np.array(s) for s in itertools.product((1, -1), repeat=d.size)]
    found = np.array([statistic(d * s) for s in patterns])
    seen = statistic(d)
    return np.mean(found >= seen - 1e-9), np.mean(found <= seen + 1e-9)


def two_sided(up, down):
    return min(1.0, 2 * min(up, down))


def test_sign_flip_gives_fishers_p_of_darwins_maize():
    found = sign_flip(DARWIN)
    assert found.p == 1726 / 32768
    assert found.estimate == pytest.approx(314 / 15)
    # Fisher's t for the same data: 2.148 with 14 degrees of freedom.
    assert paired_t(DARWIN).statistic == pytest.approx(2.148, abs=5e-4)
    assert paired_t(DARWIN).p == pytest.approx(0.0497, abs=5e-5)


def test_wilcoxon_gives_the_published_p_of_the_depression_scale():
    # Hollander and Wolfe: T+ = 5 for after - before, p = .020 one-sided, pseudo-median -.46.
    found = wilcoxon(AFTER, BEFORE, alternative="less")
    assert found.statistic == 5
    assert found.p == pytest.approx(0.0195, abs=5e-5)
    assert found.estimate == pytest.approx(-0.46, abs=5e-3)
    # R's wilcox.test(conf.int=TRUE) on these data: -0.786 to -0.010 at 96.1 %, the nearest it has to 95 %.
    ends = wilcoxon(AFTER, BEFORE)
    assert (ends.low, ends.high) == (pytest.approx(-0.786), pytest.approx(-0.010))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_paired_tests_are_scipys_where_it_has_them(n, side):
    a, b = np.random.default_rng(n).normal(0.3, 1, (2, n))
    assert paired_t(a, b, alternative=side).p == pytest.approx(
        stats.ttest_rel(a, b, alternative=side).pvalue, rel=1e-12
    )
    ends = stats.ttest_rel(a, b, alternative=side).confidence_interval(0.9)
    found = paired_t(a, b, alternative=side, level=0.9)
    assert (found.low, found.high) == (
        pytest.approx(ends.low, rel=1e-12),
        pytest.approx(ends.high, rel=1e-12),
    )
    theirs = stats.wilcoxon(a, b, alternative=side, method="exact").pvalue
    assert wilcoxon(a, b, alternative=side).p == pytest.approx(theirs, rel=1e-12)
    theirs = stats.binomtest(int((a > b).sum()), n, alternative=side).pvalue
    assert sign_test(a, b, alternative=side).p == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("side", SIDES)
def test_sign_flip_is_scipys_permutation_test(side):
    a, b = np.random.default_rng(3).normal(0.5, 1, (2, 9))
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
        n_resamples=np.inf, alternative=side, vectorized=True,
    )  # fmt: skip
    assert sign_flip(a, b, alternative=side).p == pytest.approx(theirs.pvalue, rel=1e-12)


@given(VALUES)
@settings(max_examples=60, deadline=None)
def test_sign_flip_is_the_enumeration_of_all_patterns(values):
    up, down = enumerated(values, np.sum)
    assert sign_flip(values, alternative="greater").p == pytest.approx(up, rel=1e-12)
    assert sign_flip(values, alternative="less").p == pytest.approx(down, rel=1e-12)
    assert sign_flip(values).p == pytest.approx(two_sided(up, down), rel=1e-12)


@given(VALUES)
@settings(max_examples=60, deadline=None)
def test_wilcoxon_with_ties_and_zeros_is_the_enumeration_over_midranks(values):
    kept = np.array([v for v in values if v != 0])
    if kept.size == 0:
        assert wilcoxon(values).p == 1
        return
    ranks = stats.rankdata(np.abs(kept)) * np.sign(kept)
    up, down = enumerated(ranks, lambda r: r[r > 0].sum())
    assert wilcoxon(values, alternative="greater").p == pytest.approx(up, rel=1e-12)
    assert wilcoxon(values).p == pytest.approx(two_sided(up, down), rel=1e-12)


@pytest.mark.parametrize("test", exact.PAIRED)
@given(values=VALUES, scale=st.sampled_from([0.001, 3.0, 1e4]))
@settings(max_examples=40, deadline=None)
def test_paired_p_lies_between_the_smallest_and_one_and_follows_sign_and_scale(test, values, scale):
    found = paired(test, values)
    if found.p is None:
        assert test == "paired-t"
        assert len(set(values)) == 1
        return
    assert smallest_p(test, len(values)) - 1e-15 <= found.p <= 1
    assert paired(test, [-v for v in values]).p == pytest.approx(found.p)
    assert paired(test, [scale * v for v in values]).p == pytest.approx(found.p)
    up, down = (paired(test, values, alternative=side).p for side in ("greater", "less"))
    assert found.p == pytest.approx(min(1, 2 * min(up, down)))
    assert up + down >= 1 - 1e-12


@pytest.mark.parametrize("test", ["sign-flip", "wilcoxon", "sign"])
@pytest.mark.parametrize("n", [5, 6, 8, 11])
def test_intervals_of_exact_tests_hold_the_shifts_that_are_not_rejected(test, n):
    values = np.random.default_rng(n).normal(1, 1, n)
    found = paired(test, values, level=0.9)
    rejected = smallest_p(test, n) <= 0.1
    assert math.isfinite(found.low) == rejected == math.isfinite(found.high)
    if rejected:
        for end, outwards in ((found.low, -1), (found.high, 1)):
            assert paired(test, values, end - outwards * 1e-6).p > 0.1
            assert paired(test, values, end + outwards * 1e-6).p <= 0.1


def test_with_five_pairs_no_exact_test_can_say_significant_at_05():
    values = [0.1, 0.2, 0.3, 0.4, 0.5]
    for test in ("sign-flip", "wilcoxon", "sign"):
        found = paired(test, values)
        assert found.p == found.smallest_p == smallest_p(test, 5) == 0.0625
        assert (found.low, found.high) == (-math.inf, math.inf)
        assert "the smallest p that this test can reach here is 0.0625: it cannot reach 0.05" in found.notes
        assert paired(test, [*values, 0.6]).p == 0.03125
    assert paired("paired-t", values).p < 0.05


def test_sign_flip_counts_ties_that_rounding_hides():
    # As written the three differences are equal; as doubles they differ in their last bits.
    a, b = [0.3, 0.2, 0.4, 0.1], [0.2, 0.1, 0.3, 0.2]
    assert len({x - y for x, y in zip(a, b, strict=True)}) == 4
    up, down = enumerated([1, 1, 1, -1], np.sum)
    assert sign_flip(a, b).p == two_sided(up, down)
    assert wilcoxon(a, b).notes[-1].startswith("some differences are tied")


def test_more_than_twenty_pairs_are_drawn_and_never_give_zero():
    values = np.abs(np.random.default_rng(0).normal(1, 1, 30))
    found = sign_flip(values, draws=999)
    assert found.p == found.smallest_p == 2 / 1000
    assert found.method == "sign flips, 999 drawn"
    mixed = np.random.default_rng(1).normal(0.3, 1, 24)
    drawn = sign_flip(mixed, seed=4)
    assert drawn == sign_flip(mixed, seed=4)
    assert drawn.p != sign_flip(mixed, seed=5).p
    assert drawn.p == pytest.approx(paired_t(mixed).p, abs=0.02)
    whole = sum(exact._enumerated_flips(exact.settle(mixed))[:1])
    assert drawn.p == pytest.approx(2 * min(whole, 1 - whole), abs=0.005)
    assert paired_t(mixed).low == pytest.approx(drawn.low, abs=0.1)


def test_many_studies_at_once_are_the_studies_one_by_one():
    given_ = np.random.default_rng(2).integers(-4, 5, (40, 7)) / 4
    for test in exact.PAIRED:
        for side in SIDES:
            many = exact.p_values(test, given_, side)
            single = [paired(test, row, alternative=side).p for row in given_]
            assert [None if math.isnan(p) else p for p in many] == single


def test_zeros_are_said_and_bound_the_smallest_p():
    for test, what in (("sign-flip", "stay as they are"), ("wilcoxon", "left out"), ("sign", "left out")):
        found = paired(test, [0.0, 1, 2, 3, 4, 5])
        assert found.p == found.smallest_p == 0.0625
        assert found.notes[0].startswith("1 pair without a difference")
        assert what in found.notes[0]
        nothing = paired(test, [0.0, 0.0, 0.0])
        assert (nothing.p, nothing.estimate) == (1, 0)


def test_t_takes_no_rounding_for_spread():
    # Every difference is .05 as it is written; as doubles they differ in their last bits.
    b = np.array([0.3, 0.7, 0.51, 0.6, 0.9, 0.1])
    a = b + 0.05
    assert np.ptp(a - b) > 0
    for side in ("two-sided", "greater", "less"):
        found = paired_t(a, b, alternative=side)
        assert found.p is None
        assert (found.estimate, found.low, found.high) == pytest.approx((0.05, 0.05, 0.05))
    equal = tost(a, b, margin=0.1)
    assert equal.p is None
    assert "every pair has the same difference" in equal.notes[0]
    # A spread that is small and none of rounding counts.
    real = a - b + 1e-8 * np.arange(6)
    assert paired_t(real).p == pytest.approx(stats.ttest_1samp(real, 0).pvalue, rel=1e-12)


def test_t_of_equal_differences_has_an_estimate_and_no_p():
    found = paired_t([1.5, 2.5, 3.5], [1.0, 2.0, 3.0])
    assert (found.estimate, found.low, found.high, found.p) == (0.5, 0.5, 0.5, None)
    assert "cannot be estimated" in found.notes[0]
    assert paired_t([1.0, 2.0], [1.0, 2.0]).p == 1


def test_one_arm_is_held_against_a_value():
    values = np.array([0.11, 0.12, 0.13, 0.16])
    theirs = stats.ttest_1samp(values, 0.1135, alternative="greater")
    assert paired_t(values, 0.1135, alternative="greater").p == pytest.approx(theirs.pvalue, rel=1e-12)


def test_a_result_prints_what_was_found_and_its_notes():
    text = str(sign_flip([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert text.splitlines()[0] == "sign flips, all: 0.3, [-inf, inf] at 95 %, p = 0.0625 (two-sided), n = 5"
    assert "cannot reach 0.05" in text


def test_what_cannot_be_tested_is_refused_with_what_was_given():
    with pytest.raises(InputError, match=r"unknown paired test 'signflip'; did you mean 'sign-flip'\?"):
        paired("signflip", [1, 2])
    with pytest.raises(InputError, match="unknown alternative 'bigger'"):
        paired_t([1, 2], alternative="bigger")
    with pytest.raises(
        InputError, match="a has 3 values and b 2: a paired test needs one of each a replicate"
    ):
        paired_t([1, 2, 3], [1, 2])
    with pytest.raises(InputError, match=r"a: expected a list of at least 2 numbers, got shape \(1,\)"):
        sign_flip([1], [2])
    with pytest.raises(InputError, match=r"a: value 2 of \(3,\) is nan: failed replicates are counted apart"):
        wilcoxon([1, float("nan"), 3])
    with pytest.raises(InputError, match="level: expected a number above 0 and below 1, got 95"):
        sign_test([1, 2], level=95)
    with pytest.raises(InputError, match="expected numbers"):
        paired_t(["many", "few"])


def test_what_is_given_is_not_changed():
    values = np.array([3.0, -1.0, 2.0])
    for test in exact.PAIRED:
        paired(test, values, values[::-1].copy())
    assert values.tolist() == [3, -1, 2]
