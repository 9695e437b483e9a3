from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from pomona.core.errors import InputError
from pomona.stats.mixed import mixed


def frame(seed=0):
    rng = np.random.default_rng(seed)
    lineage, task = np.repeat(np.arange(12), 15), np.tile(np.arange(15), 12)
    x = rng.normal(size=180)
    y = 1 + 0.4 * x + rng.normal(0, 2, 12)[lineage] + rng.normal(0, 1, 15)[task] + rng.normal(size=180)
    return pd.DataFrame({"y": y, "x": x, "lineage": lineage, "task": task})


def test_random_intercepts_are_those_of_statsmodels_with_t_for_the_terms():
    theirs = smf.mixedlm("y ~ x", frame(), groups="lineage").fit()
    found = mixed(frame(), "y ~ x", "lineage")
    term = found.term("x")
    assert term.estimate == pytest.approx(theirs.fe_params["x"], rel=1e-12)
    assert term.error == pytest.approx(theirs.bse_fe["x"], rel=1e-12)
    assert term.df == 11
    assert term.p > theirs.pvalues["x"]
    assert found.variances == {
        "lineage": pytest.approx(float(theirs.cov_re.iloc[0, 0])), "residual": pytest.approx(theirs.scale),
    }  # fmt: skip


def test_balanced_random_intercepts_are_the_anova_estimates():
    table = frame()
    between = 15 * table.groupby("lineage").y.mean().var()
    within = table.groupby("lineage").y.var().mean()
    found = mixed(table, "y ~ 1", "lineage").variances
    assert found["residual"] == pytest.approx(within, rel=1e-4)
    assert found["lineage"] == pytest.approx((between - within) / 15, rel=1e-3)


def test_slopes_and_crossed_groups_have_their_components():
    sloped = mixed(frame(), "y ~ x", "lineage", slope="x")
    assert list(sloped.variances) == ["lineage", "lineage: slope of x", "residual"]
    crossed = mixed(frame(), "y ~ x", ["task", "lineage"])
    assert crossed.clusters == {"task": 15, "lineage": 12}
    assert crossed.variances["lineage"] > crossed.variances["task"] > 0.3
    assert crossed.term("x").df == 11


def test_terms_between_groups_have_the_groups_less_such_terms():
    table = frame().assign(arm=lambda f: f.lineage % 2)
    found = mixed(table, "y ~ x + arm", "lineage")
    assert [term.df for term in found.terms] == [10, 11, 10]
    # Balanced and between groups alone, it is the t test of the groups' means.
    means = table.groupby("lineage").agg({"y": "mean", "arm": "first"})
    theirs = stats.ttest_ind(*(g.y for _, g in means.groupby("arm")))
    assert mixed(table, "y ~ arm", "lineage").term("arm").p == pytest.approx(theirs.pvalue, rel=1e-3)


def test_few_groups_are_said_and_wrong_columns_refused():
    assert "few groups (4)" in mixed(frame()[:60], "y ~ x", "lineage").notes[-1]
    with pytest.raises(InputError, match="unknown column 'linage'; did you mean 'lineage'"):
        mixed(frame(), "y ~ x", "linage")
    with pytest.raises(InputError, match="a slope needs exactly one group column, got"):
        mixed(frame(), "y ~ x", ["lineage", "task"], slope="x")
    with pytest.raises(InputError, match="unknown column 'z'"):
        mixed(frame(), "y ~ z", "lineage")
