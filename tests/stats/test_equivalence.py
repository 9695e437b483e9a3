from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.weightstats import ttost_paired

from pomona.core.errors import InputError
from pomona.stats.equivalence import tost, tost_curve


@pytest.mark.parametrize("margin", [0.5, (-0.2, 0.9)])
def test_tost_is_that_of_statsmodels(margin):
    a, b = np.random.default_rng(0).normal(0, 1, (2, 12))
    low, high = (-margin, margin) if isinstance(margin, float) else margin
    assert tost(a, b, margin=margin).p == pytest.approx(ttost_paired(a, b, low, high)[0], rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_tost_finds_equivalence_exactly_where_its_interval_is_inside(seed):
    values = np.random.default_rng(seed).normal(0.1, 0.5, 8)
    found = tost(values, margin=0.4)
    assert found.level == pytest.approx(0.9)
    assert (found.p < 0.05) == (found.low > -0.4 and found.high < 0.4)


def test_tost_of_a_curve_is_its_worst_level():
    a = np.random.default_rng(1).normal([0, 0, 0.3, 0], 0.1, (6, 4))
    worst, each = tost_curve(a, np.zeros_like(a), margin=0.5)
    assert worst.p == max(result.p for result in each)
    assert worst.estimate == each[2].estimate
    assert worst.notes == ("level 3 of 4 decides: equivalence must hold at each",)


def test_equal_differences_have_no_p_and_a_margin_must_hold_something():
    assert tost([1, 2], [1, 2], margin=0.1).p is None
    with pytest.raises(InputError, match=r"margin: expected a positive number or \(low, high\)"):
        tost([1, 2], margin=-1.0)
    with pytest.raises(InputError, match="a has shape"):
        tost_curve(np.ones((3, 2)), np.ones((3, 3)), margin=1)
