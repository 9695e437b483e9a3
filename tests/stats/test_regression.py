"""Regression against statsmodels, and what it has not against closed forms and the slow, plain way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import stats

from pomona.core.errors import InputError
from pomona.stats import clusters, wild
from pomona.stats.regression import ols


def frame(lineages=8, rows=12, seed=0):
    rng = np.random.default_rng(seed)
    n = lineages * rows
    lineage = np.repeat(np.arange(lineages), rows)
    x, data = rng.normal(size=n), np.tile(np.arange(rows) % 3, lineages)
    y = 1 + 0.3 * x + rng.normal(size=lineages)[lineage] + rng.normal(size=3)[data] + rng.normal(size=n)
    return pd.DataFrame({
        "y": y, "x": x, "lineage": [f"r{i}" for i in lineage], "dataset": data,
        "class": np.tile(np.arange(rows) % 4, lineages), "density": np.exp(rng.normal(size=n)),
        "arm": np.where(lineage % 2 == 0, "a", "b"), "time": rng.permutation(n),
    })  # fmt: skip


FRAME = frame()
NAMES = list(FRAME)


@pytest.mark.parametrize("formula", ["y ~ x", "y ~ log(density) * arm + C(dataset)"])
def test_classical_and_hc3_are_those_of_statsmodels(formula):
    model = smf.ols(formula, FRAME, eval_env={"log": np.log})
    for errors, theirs in (("classical", model.fit()), ("hc3", model.fit(cov_type="HC3", use_t=True))):
        found = ols(FRAME, formula, errors=errors)
        for term in found.terms:
            assert term.estimate == pytest.approx(theirs.params[term.name], rel=1e-12, abs=1e-14)
            assert term.error == pytest.approx(theirs.bse[term.name], rel=1e-12)
            assert term.p == pytest.approx(theirs.pvalues[term.name], rel=1e-12)
            ends = theirs.conf_int().loc[term.name]
            assert (term.low, term.high) == (pytest.approx(ends[0]), pytest.approx(ends[1]))


def test_hac_is_that_of_statsmodels_in_order_of_time():
    ordered = FRAME.sort_values("time")
    theirs = smf.ols("y ~ x", ordered).fit(
        cov_type="HAC", cov_kwds={"maxlags": 3, "use_correction": True}, use_t=True
    )
    found = ols(FRAME, "y ~ x", errors="hac", lags=3, order="time").term("x")
    assert found.error == pytest.approx(theirs.bse["x"], rel=1e-12)
    assert found.error != pytest.approx(ols(FRAME, "y ~ x", errors="hac", lags=3).term("x").error, rel=1e-6)
    assert "over 3 lags" in ols(FRAME, "y ~ x", errors="hac").method


def test_one_way_clusters_are_those_of_statsmodels_with_t_of_clusters_less_one():
    theirs = smf.ols("y ~ x", FRAME).fit(
        cov_type="cluster", cov_kwds={"groups": clusters.codes(FRAME, "lineage")}
    )
    found = ols(FRAME, "y ~ x", errors="cluster", cluster="lineage")
    term = found.term("x")
    assert term.error == pytest.approx(theirs.bse["x"], rel=1e-12)
    assert (term.df, found.clusters) == (7, {"lineage": 8})
    # statsmodels' default is z.
    t = term.estimate / term.error
    assert term.p == pytest.approx(2 * stats.t.sf(abs(t), 7), rel=1e-12)
    assert theirs.pvalues["x"] == pytest.approx(2 * stats.norm.sf(abs(t)), rel=1e-9)
    assert term.p > theirs.pvalues["x"]
    assert "few clusters (8 lineage)" in found.notes[0]


def test_two_way_clusters_are_those_of_statsmodels_with_the_smaller_number():
    groups = np.column_stack([clusters.codes(FRAME, way) for way in ("lineage", "dataset:class")])
    # Effects of both ways on both sides, so that both matter.
    rng = np.random.default_rng(0)
    x, y = (2 * rng.normal(size=8)[groups[:, 0]] + 2 * rng.normal(size=12)[groups[:, 1]] for _ in range(2))
    table = FRAME.assign(x=x, y=FRAME.y + y)
    theirs = smf.ols("y ~ x", table).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    found = ols(table, "y ~ x", errors="cluster", cluster=["lineage", "dataset:class"])
    assert found.term("x").error == pytest.approx(theirs.bse["x"], rel=1e-12)
    assert found.term("x").df == 7
    assert found.clusters == {"lineage": 8, "dataset:class": 12}
    # Inclusion and exclusion of the three one-way estimates.
    one, two, both = (
        ols(table, "y ~ x", errors="cluster", cluster=way).term("x").error ** 2
        for way in ("lineage", "dataset:class", "lineage:dataset:class")
    )
    assert found.term("x").error ** 2 == pytest.approx(one + two - both, rel=1e-12)


def test_a_two_way_error_below_a_single_way_is_replaced_and_said():
    both = ols(FRAME, "y ~ x", errors="cluster", cluster=["lineage", "dataset:class"])
    one, two, meet = (
        ols(FRAME, "y ~ x", errors="cluster", cluster=way).term("x").error
        for way in ("lineage", "dataset:class", "lineage:dataset:class")
    )
    assert one**2 + two**2 - meet**2 < max(one, two) ** 2
    assert both.term("x").error == max(one, two)
    assert "the larger single one stands" in both.notes[0]


def test_cr2_with_every_row_a_cluster_is_hc2():
    table = FRAME.assign(row=range(len(FRAME)))
    theirs = smf.ols("y ~ x + arm", FRAME).fit(cov_type="HC2")
    found = ols(table, "y ~ x + arm", errors="cr2", cluster="row")
    for term in found.terms:
        assert term.error == pytest.approx(theirs.bse[term.name], rel=1e-12)


@pytest.mark.parametrize("sizes", [(4, 9), (5, 5)])
def test_cr2_of_two_groups_has_the_closed_form_of_bell_and_mccaffrey(sizes):
    # Imbens and Kolesar 2016, Review of Economics and Statistics 98(4), section II: HC2 is Welch's error, and
    # K = (n0 + n1)^2 (n0 - 1)(n1 - 1) / (n1^2 (n1 - 1) + n0^2 (n0 - 1)).
    n0, n1 = sizes
    y = np.random.default_rng(0).normal(size=n0 + n1)
    table = pd.DataFrame({"y": y, "d": np.r_[np.zeros(n0), np.ones(n1)], "row": range(n0 + n1)})
    term = ols(table, "y ~ d", errors="cr2", cluster="row").term("d")
    assert term.error == pytest.approx(np.sqrt(y[:n0].var(ddof=1) / n0 + y[n0:].var(ddof=1) / n1), rel=1e-12)
    k = (n0 + n1) ** 2 * (n0 - 1) * (n1 - 1) / (n1**2 * (n1 - 1) + n0**2 * (n0 - 1))
    assert term.df == pytest.approx(k, rel=1e-9)


def test_cr2_is_unbiased_and_its_df_are_those_of_the_slow_way():
    table = frame(5, 6, 3)
    exog = sm.add_constant(np.c_[table.x, table.arm == "a"].astype(float))
    code = clusters.codes(table, "lineage")
    n, hat = len(table), exog @ np.linalg.inv(exog.T @ exog) @ exog.T
    bread, left = np.linalg.inv(exog.T @ exog), np.eye(n) - hat
    for j in range(3):
        form = np.zeros((n, n))
        for g in range(5):
            rows = np.flatnonzero(code == g)
            values, vectors = np.linalg.eigh(np.eye(rows.size) - hat[np.ix_(rows, rows)])
            root = vectors @ np.diag(values**-0.5) @ vectors.T
            w = left[:, rows] @ root @ exog[rows] @ bread[:, j]
            form += np.outer(w, w)
        # Under independent errors of variance 1 its expectation is the variance of the coefficient.
        assert np.trace(form) == pytest.approx(bread[j, j], rel=1e-9)
        df = np.trace(form) ** 2 / (form**2).sum()
        errors, found = clusters.cr2(exog, left @ table.y.to_numpy(), code)
        assert found[j] == pytest.approx(df, rel=1e-9)
        assert errors[j] ** 2 == pytest.approx(table.y @ form @ table.y, rel=1e-9)


def slow_wild(exog, y, code, place, null, weights):
    """The null imposed, every sample refitted, every error clustered: the plain way."""
    others = np.delete(exog, place, 1)
    base = others @ np.linalg.lstsq(others, y - null * exog[:, place], rcond=None)[0] + null * exog[:, place]
    residuals = y - base

    def t(outcome, value):
        fit = sm.OLS(outcome, exog).fit(cov_type="cluster", cov_kwds={"groups": code})
        return abs((fit.params[place] - value) / fit.bse[place])

    seen = t(y, null)
    return np.array([t(base + residuals * w[code], null) >= seen * (1 - 1e-9) for w in weights])


@pytest.mark.parametrize("null", [0.0, 0.7])
def test_wild_bootstrap_is_every_sample_refitted(null):
    table = frame(5, 5, 1)
    exog, code = (
        sm.add_constant(np.c_[table.x, table.dataset == 0].astype(float)),
        clusters.codes(table, "lineage"),
    )
    drawn = wild._weights("rademacher", 5, 0, 9999)
    assert drawn[0].shape == (32, 5)
    assert drawn[1]
    reached = slow_wild(exog, table.y.to_numpy(), code, 1, null, drawn[0])
    assert wild._test(exog, table.y.to_numpy(), code, 1, drawn)(null) == reached.mean()
    webb = wild._weights("webb", 5, 0, 199)
    reached = slow_wild(exog, table.y.to_numpy(), code, 1, null, webb[0])
    assert wild._test(exog, table.y.to_numpy(), code, 1, webb)(null) == (1 + reached.sum()) / 200


def test_wild_bootstrap_interval_holds_what_is_not_rejected():
    table = frame(9, 6, 2)
    found = ols(table, "y ~ x", errors="wild", cluster="lineage", draws=999)
    term = found.term("x")
    assert found.method == "OLS, wild cluster bootstrap (webb weights)"
    assert found.term("Intercept").p is None
    assert found.term("x") == ols(table, "y ~ x", errors="wild", cluster="lineage", draws=999).term("x")
    exog, code = sm.add_constant(table.x.to_numpy()), clusters.codes(table, "lineage")
    p = wild._test(exog, table.y.to_numpy(), code, 1, wild._weights("webb", 9, 0, 999))
    for end, outwards in ((term.low, -1), (term.high, 1)):
        assert p(end + outwards * 1e-4) <= 0.05 < p(end - outwards * 1e-4)
    # Webb's six weights have variance 1.
    assert wild._weights("webb", 9, 0, 9999)[0].var() == pytest.approx(1, abs=0.02)


def test_four_clusters_of_signs_bound_the_wild_p_and_leave_the_interval_open():
    found = ols(frame(4, 6), "y ~ x", errors="wild", cluster="lineage", weights="rademacher").term("x")
    assert found.p >= 2 / 16
    assert found.low == -np.inf


def test_regression_prints_a_line_for_each_term():
    lines = str(ols(FRAME, "y ~ x", errors="cluster", cluster="lineage")).splitlines()
    assert lines[0].startswith("y ~ x by OLS, errors clustered one way, t with 7 df, n = 96, 8 lineage")
    assert lines[2].strip().startswith("x: 0.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formula": "y ~ z"}, r"formula 'y ~ z': unknown column 'z'"),
        ({"formula": "y ~ densty"}, "did you mean 'density'"),
        ({"formula": "y ~ x +"}, "formula 'y ~ x \\+': expected a noun"),
        ({"formula": "y ~ x + I(2 * x)"}, "3 terms of rank 2"),
        ({"formula": "y"}, "formula 'y': expected 'outcome ~ terms'"),
        ({"formula": "y ~ class"}, r"such as class, is written Q\('class'\)"),
        ({"formula": "y ~ Q('clas')"}, "unknown column 'clas'; did you mean 'class'"),
        ({"formula": "y ~ wild"}, "unknown column 'wild'"),
        ({"formula": "y ~ log(density * 0)"}, "infinite or not a number in some row"),
        ({"errors": "hc4"}, "unknown kind of standard errors 'hc4'"),
        ({"errors": "cluster"}, r"errors 'cluster' take one or two cluster columns, got \[\]"),
        ({"errors": "hc3", "cluster": "lineage"}, "errors 'hc3' take no cluster"),
        ({"errors": "cr2", "cluster": ["lineage", "dataset"]}, "take one cluster column"),
        (
            {"errors": "cluster", "cluster": "linage"},
            "unknown cluster column 'linage'; did you mean 'lineage'",
        ),
        (
            {"errors": "wild", "cluster": "lineage", "weights": "web"},
            "unknown weights 'web'; did you mean 'webb'",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        ols(FRAME, **({"formula": "y ~ x"} | options))


def test_missing_values_and_single_clusters_are_refused():
    with pytest.raises(InputError, match="1 of 96 rows have missing values"):
        ols(FRAME.assign(x=[np.nan, *FRAME.x[1:]]), "y ~ x")
    with pytest.raises(InputError, match="column 'lineage': 1 of 96 values are missing"):
        ols(FRAME.assign(lineage=[None, *FRAME.lineage[1:]]), "y ~ x", errors="cluster", cluster="lineage")
    with pytest.raises(InputError, match="all 96 rows are one cluster"):
        ols(FRAME.assign(one=1), "y ~ x", errors="cluster", cluster="one")
    with pytest.raises(InputError, match="2 terms need more than 2 rows"):
        ols(FRAME[:2], "y ~ x")
    with pytest.raises(InputError, match="unknown term 'xx'; did you mean 'x'"):
        ols(FRAME, "y ~ x").term("xx")


def test_columns_of_pandas_whole_numbers_are_read():
    table = FRAME.assign(**{"class": FRAME["class"].astype("Int64")})
    assert ols(table, "y ~ C(Q('class'))").terms == ols(FRAME, "y ~ C(Q('class'))").terms
