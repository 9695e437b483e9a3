from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from pomona.core.errors import InputError
from pomona.stats.multiplicity import adjust, max_t
from pomona.stats.paired import sign_flip

# Benjamini and Hochberg 1995, section 3.2: thrombolysis, fifteen p-values, four rejected at q = .05, three by
# Bonferroni's steps.
THROMBOLYSIS = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
                0.5719, 0.6528, 0.7590, 1.0000]  # fmt: skip


def test_corrections_reject_as_published():
    assert (adjust(THROMBOLYSIS, "benjamini-hochberg") <= 0.05).sum() == 4
    assert (adjust(THROMBOLYSIS, "holm") <= 0.05).sum() == 3
    assert (adjust(THROMBOLYSIS, "bonferroni") <= 0.05).sum() == 3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_corrections_are_those_of_statsmodels(p):
    for ours, theirs in (("holm", "holm"), ("benjamini-hochberg", "fdr_bh"), ("bonferroni", "bonferroni")):
        assert adjust(p, ours) == pytest.approx(multipletests(p, method=theirs)[1], abs=1e-12)


def test_corrections_take_no_time(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda *_: pytest.fail("garbage was collected"))
    assert adjust(THROMBOLYSIS, "holm")[0] == pytest.approx(0.0015)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_holm_and_benjamini_hochberg_are_their_definitions(p):
    m, order = len(p), np.argsort(p)
    holm = np.maximum.accumulate([min(1, (m - i) * p[j]) for i, j in enumerate(order)])
    bh = np.minimum.accumulate([min(1, m / (i + 1) * p[j]) for i, j in reversed(list(enumerate(order)))])[
        ::-1
    ]
    assert adjust(p, "holm")[order] == pytest.approx(holm, abs=1e-12)
    assert adjust(p, "benjamini-hochberg")[order] == pytest.approx(bh, abs=1e-12)
    assert adjust(p, "none").tolist() == p


def brute_max_t(d, directed):
    """Westfall and Young's step-down, pattern by pattern."""
    scale = np.sqrt((d**2).sum(axis=0))
    patterns = [
        directed((np.array(s)[:, None] * d).sum(axis=0) / scale)
        for s in itertools.product((1, -1), repeat=len(d))
    ]
    seen = directed(d.sum(axis=0) / scale)
    order, found, last = np.argsort(-seen, kind="stable"), np.empty(d.shape[1]), 0.0
    for i, j in enumerate(order):
        last = max(last, np.mean([row[order[i:]].max() >= seen[j] - 1e-9 for row in patterns]))
        found[j] = last
    return found


@pytest.mark.parametrize("side", ["two-sided", "greater", "less"])
def test_max_t_is_its_enumeration(side):
    d = np.random.default_rng(5).normal(0.4, 1, (6, 4)) * [1, 10, 0.1, 3]
    directed = {"two-sided": np.abs, "greater": lambda x: x, "less": lambda x: -x}[side]
    assert max_t(d, alternative=side) == pytest.approx(brute_max_t(d, directed), rel=1e-12)


def test_max_t_uses_the_dependence_of_contrasts():
    one = np.random.default_rng(0).normal(1, 1, 8)
    assert max_t(one[:, None])[0] == sign_flip(one).p
    # Ten times the same contrast is one contrast, where Holm would ask for a tenth.
    assert max_t(np.tile(one[:, None], (1, 10))) == pytest.approx(np.full(10, sign_flip(one).p))
    many = np.random.default_rng(1).normal(0.5, 1, (8, 5))
    single = np.array([sign_flip(column).p for column in many.T])
    assert (max_t(many) >= single - 1e-12).all()
    assert max_t(np.c_[one, np.zeros(8)])[1] == 1


def test_max_t_with_many_replicates_is_drawn_from_its_seed():
    d = np.random.default_rng(2).normal(0.3, 1, (18, 3))
    first = max_t(d, draws=999, seed=1)
    assert first.tolist() == max_t(d, draws=999, seed=1).tolist()
    assert first.tolist() != max_t(d, draws=999, seed=2).tolist()
    assert max_t(np.abs(d) + 1, draws=999) == pytest.approx(np.full(3, 1 / 1000))


def test_corrections_refuse_what_is_no_p():
    with pytest.raises(InputError, match=r"p: expected numbers from 0 to 1, got 0.1 to 1.2"):
        adjust([0.1, 1.2])
    with pytest.raises(InputError, match="unknown correction 'hollm'; did you mean 'holm'"):
        adjust([0.1], "hollm")
    with pytest.raises(InputError, match="at least 2 replicates x 1 contrasts"):
        max_t([[1.0, 2.0]])
