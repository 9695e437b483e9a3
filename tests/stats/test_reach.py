"""What a design can reach is known before the run."""

from __future__ import annotations

import pytest

from pomona.core.errors import InputError
from pomona.stats.reach import replicates_to_reach, smallest_corrected_p, smallest_p


@pytest.mark.parametrize("test", ["sign-flip", "wilcoxon", "sign", "max-t", "mcnemar"])
def test_exact_paired_tests_cannot_go_below_their_patterns(test):
    assert smallest_p(test, 5) == 0.0625
    assert smallest_p(test, 6) == 0.03125
    assert smallest_p(test, 3, "greater") == 1 / 8
    assert smallest_p(test, 5, "less") == 1 / 32
    assert smallest_p(test, 1) == 1


def test_t_has_no_bound_and_permutations_that_of_their_splits():
    assert smallest_p("paired-t", 2) == smallest_p("welch", 3) == 0
    assert smallest_p("permutation", 5) == 2 / 252
    assert smallest_p("permutation", 3, "greater", other=4) == 1 / 35


def test_drawn_patterns_bound_p_by_their_number():
    assert smallest_p("sign-flip", 21, "greater", draws=999) == 1 / 1000
    assert smallest_p("sign-flip", 21, draws=999) == 2 / 1000
    assert smallest_p("wilcoxon", 21) == 2 / 2**21


def test_holm_needs_more_replicates_and_max_t_does_not():
    assert smallest_corrected_p("sign-flip", 6, comparisons=2) == 0.0625
    assert smallest_corrected_p("sign-flip", 6, comparisons=14, correction="max-t") == 0.03125
    assert replicates_to_reach("sign-flip") == 6
    assert replicates_to_reach("sign-flip", alternative="greater") == 5
    assert replicates_to_reach("sign-flip", comparisons=14) == 10
    assert replicates_to_reach("sign-flip", comparisons=14, correction="max-t") == 6
    assert replicates_to_reach("paired-t", comparisons=14) == 2


def test_what_is_not_known_or_never_reached_is_refused():
    with pytest.raises(InputError, match="unknown test 'wilcox'; did you mean 'wilcoxon'"):
        smallest_p("wilcox", 5)
    with pytest.raises(InputError, match="unknown correction 'bonferoni'"):
        smallest_corrected_p("sign", 5, correction="bonferoni")
    with pytest.raises(InputError, match="n: expected an integer of at least 2, got 1"):
        smallest_p("paired-t", 1)
    with pytest.raises(InputError, match="alpha: expected a number above 0"):
        replicates_to_reach("sign", alpha=0)
