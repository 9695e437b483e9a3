from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import cochrans_q as q_of_statsmodels
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as fleiss_of_statsmodels

from pomona.core.errors import InputError
from pomona.stats.examples import cochrans_q, cohens_kappa, fleiss_kappa, mcnemar

# Fleiss 1971 as in the usual worked example: 10 subjects, 14 raters, 5 classes; kappa = .210, raw .378.
FLEISS = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
          [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip


def answers(both, only_a, only_b, neither):
    a = np.repeat([1, 1, 0, 0], [both, only_a, only_b, neither])
    return a, np.repeat([1, 0, 1, 0], [both, only_a, only_b, neither])


@pytest.mark.parametrize("counts", [(59, 6, 16, 80), (10, 0, 5, 3), (3, 4, 4, 1)])
def test_mcnemar_is_that_of_statsmodels_and_the_binomial(counts):
    found = mcnemar(*answers(*counts))
    both, only_a, only_b, neither = counts
    theirs = mcnemar_of_statsmodels([[both, only_a], [only_b, neither]], exact=True)
    assert found.p == pytest.approx(min(1, theirs.pvalue), rel=1e-12)
    assert found.p == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue, rel=1e-12)
    assert found.estimate == (only_a - only_b) / sum(counts)
    assert found.low < found.estimate < found.high


def test_mcnemar_gives_the_published_interval():
    # Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33, airway hyper-responsiveness, table II: of 21
    # children 1 yes / yes, 1 yes / no, 7 no / yes, 12 no / no. Difference -.286, Bonett-Price -.508 to -.0132,
    # exact p .0703.
    found = mcnemar(*answers(1, 1, 7, 12))
    assert found.estimate == pytest.approx(-0.286, abs=5e-4)
    assert (found.low, found.high) == (pytest.approx(-0.508, abs=5e-3), pytest.approx(-0.0132, abs=5e-3))
    assert found.p == pytest.approx(0.0703, abs=5e-5)


def test_mcnemar_of_networks_that_agree_everywhere():
    found = mcnemar([1, 0, 1], [1, 0, 1])
    assert (found.p, found.smallest_p, found.estimate) == (1, 1, 0)
    assert mcnemar([1] * 5 + [0], [0] * 6).smallest_p == 0.0625


def test_cochrans_q_is_that_of_statsmodels_and_for_two_mcnemars():
    given = np.random.default_rng(0).integers(0, 2, (40, 4))
    theirs = q_of_statsmodels(given)
    found = cochrans_q(given)
    assert (found.statistic, found.p) == (pytest.approx(theirs.statistic), pytest.approx(theirs.pvalue))
    a, b = answers(5, 9, 3, 4)
    assert cochrans_q(np.c_[a, b]).statistic == pytest.approx((9 - 3) ** 2 / (9 + 3))
    assert cochrans_q(np.ones((5, 3))).p == 1
    assert "too few" in cochrans_q([[1, 0, 1], [1, 1, 0]]).notes[1]


def test_cohens_kappa_gives_the_published_numbers():
    # Fleiss, Levin and Paik 2003, Statistical Methods for Rates and Proportions, table 18.1: 100 subjects,
    # raw agreement .89, .66 by chance, kappa .68.
    table = [[75, 1, 4], [5, 4, 1], [0, 0, 10]]
    a = np.concatenate([np.full(sum(row), i) for i, row in enumerate(table)])
    b = np.concatenate([np.repeat([0, 1, 2], row) for row in table])
    found = cohens_kappa(a, b)
    assert found.raw == pytest.approx(0.89)
    assert found.expected == pytest.approx(0.66)
    assert found.kappa.estimate == pytest.approx(0.68, abs=0.005)
    assert found.kappa.estimate == pytest.approx((0.89 - found.expected) / (1 - found.expected), rel=1e-12)
    assert found.kappa.low < found.kappa.estimate < found.kappa.high
    assert cohens_kappa([1, 1], [1, 1]).kappa.estimate is None


def test_fleiss_kappa_gives_the_published_numbers():
    ratings = np.array([np.repeat(np.arange(5), row) for row in FLEISS])
    found = fleiss_kappa(ratings)
    assert found.kappa.estimate == pytest.approx(0.210, abs=5e-4)
    assert found.raw == pytest.approx(0.378, abs=5e-4)
    assert found.expected == pytest.approx(0.213, abs=5e-4)
    assert found.kappa.estimate == pytest.approx(
        fleiss_of_statsmodels(aggregate_raters(ratings)[0]), rel=1e-12
    )
    assert found == fleiss_kappa(ratings)
    assert found.kappa.low != fleiss_kappa(ratings, seed=1).kappa.low
    assert "raw agreement 0.378" in str(found)
    assert fleiss_kappa(np.ones((4, 3))).kappa.estimate is None


def test_fleiss_resamples_are_kappas_of_resampled_examples():
    from pomona.stats import examples
    from pomona.stats.draws import Draws

    ratings = np.random.default_rng(1).integers(0, 3, (12, 4))
    counts = np.stack([(ratings == c).sum(axis=1) for c in range(3)], axis=1)
    agree = ((counts**2).sum(axis=1) - 4) / 12
    found = examples._fleiss_resamples(np.c_[agree, counts / 4], 5, 100)
    picked = Draws("kappa", 5).indices(12, 100, 12)
    assert found == pytest.approx([fleiss_of_statsmodels(counts[row]) for row in picked])


def test_examples_refuse_what_does_not_match():
    with pytest.raises(InputError, match="a has 2 examples and b 3"):
        mcnemar([1, 0], [1, 0, 1])
    with pytest.raises(InputError, match=r"a: expected right \(1\) or wrong \(0\)"):
        mcnemar([2, 0], [1, 0])
    with pytest.raises(InputError, match="at least 2 networks"):
        fleiss_kappa(np.ones((4, 1)))
    with pytest.raises(InputError, match="expected 0 and 1 for at least 2 networks"):
        cochrans_q([[1, 2], [0, 1]])
