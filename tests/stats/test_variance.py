from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from pomona.core.errors import InputError
from pomona.stats.variance import _squares, variance_components

# Box and Tiao / Davies: yield of dyestuff in grams from six batches, five samples each. Between batches
# 1764.05, within 2451.25 (Searle, Casella and McCulloch; lme4's Dyestuff).
DYESTUFF = {
    "A": [1545, 1440, 1440, 1520, 1580], "B": [1540, 1555, 1490, 1560, 1495], "C": [1595, 1550, 1605, 1510, 1560],
    "D": [1445, 1440, 1595, 1465, 1545], "E": [1595, 1630, 1515, 1635, 1625], "F": [1520, 1455, 1450, 1480, 1445],
}  # fmt: skip


def dyestuff():
    return pd.DataFrame([{"batch": batch, "y": y} for batch, ys in DYESTUFF.items() for y in ys])


def factorial(a=4, b=5, r=3, seed=0, sd=(1.0, 0.5, 0.3, 0.2)):
    rng = np.random.default_rng(seed)
    index = np.array([(i, j, k) for i in range(a) for j in range(b) for k in range(r)])
    y = rng.normal(0, sd[0], a)[index[:, 0]] + rng.normal(0, sd[1], b)[index[:, 1]]
    y += rng.normal(0, sd[2], (a, b))[index[:, 0], index[:, 1]] + rng.normal(0, sd[3], a * b * r)
    return pd.DataFrame({"init": index[:, 0], "order": index[:, 1], "y": y})


def test_components_of_the_dyestuff_are_the_published_ones():
    found = variance_components(dyestuff(), "y", ["batch"])
    assert found.of("batch").variance == pytest.approx(1764.05, abs=0.005)
    assert found.of("residual").variance == pytest.approx(2451.25, abs=0.005)
    assert found.of("batch").share == pytest.approx(1764.05 / 4215.3, abs=1e-4)
    # Within: exactly chi-squared. Share: exactly F (Searle, Casella and McCulloch 1992, section 3.6).
    residual = found.of("residual")
    exact = [24 * 2451.25 / stats.chi2.ppf(q, 24) for q in (0.975, 0.025)]
    assert (residual.low, residual.high) == (
        pytest.approx(exact[0], rel=0.03),
        pytest.approx(exact[1], rel=0.03),
    )
    ratio = (2451.25 + 5 * 1764.05) / 2451.25
    low, high = ((ratio / stats.f.ppf(q, 5, 24) - 1) / 5 for q in (0.975, 0.025))
    share = found.of("batch")
    assert share.share_low == pytest.approx(max(0, low / (1 + low)), abs=0.01)
    assert share.share_high == pytest.approx(high / (1 + high), abs=0.01)


def test_factorial_components_are_those_of_the_anova_table():
    table = factorial()
    anova = smf.ols("y ~ C(init) * C(order)", table).fit()
    from statsmodels.stats.anova import anova_lm

    mean = anova_lm(anova).eval("sum_sq / df")
    found = variance_components(table, "y", ["init", "order", "init:order"])
    both = (mean["C(init):C(order)"] - mean["Residual"]) / 3
    assert found.of("residual").variance == pytest.approx(mean["Residual"], rel=1e-9)
    assert found.of("init:order").variance == pytest.approx(both, rel=1e-9)
    assert found.of("init").variance == pytest.approx(
        (mean["C(init)"] - mean["C(init):C(order)"]) / 15, rel=1e-9
    )
    assert found.of("order").variance == pytest.approx(
        (mean["C(order)"] - mean["C(init):C(order)"]) / 12, rel=1e-9
    )
    assert sum(c.share for c in found.components) == pytest.approx(1)
    assert found.method == "ANOVA estimates"


def test_nested_sources_are_those_of_the_nested_anova():
    table = factorial()
    # Orders renumbered within each init: nothing in common between inits.
    groups = table.groupby(["init", "order"]).y
    within = groups.var().mean()
    middle = 3 * groups.mean().groupby("init").var().mean()
    outer = 15 * table.groupby("init").y.mean().var()
    found = variance_components(table, "y", ["init", "init:order"])
    assert found.of("init:order").variance == pytest.approx((middle - within) / 3, rel=1e-9)
    assert found.of("init").variance == pytest.approx((outer - middle) / 15, rel=1e-9)


def test_without_sources_all_of_the_variance_is_the_residual():
    table = dyestuff()
    found = variance_components(table, "y", [], draws=20_000).of("residual")
    assert (found.levels, found.share, found.share_low) == (29, 1, 1)
    assert found.variance == pytest.approx(table.y.var())
    exact = [29 * table.y.var() / stats.chi2.ppf(q, 29) for q in (0.975, 0.025)]
    assert (found.low, found.high) == (pytest.approx(exact[0], rel=0.02), pytest.approx(exact[1], rel=0.02))


def nested(rng, sd=(0.7, 1.0, 0.5, 0.3), shape=(5, 4, 4)):
    """Replicates with streams of their own, crossed within each."""
    r, a, b = np.indices(shape)
    y = rng.normal(0, sd[0], shape[0])[r] + rng.normal(0, sd[1], shape[:2])[r, a]
    y = y + rng.normal(0, sd[2], (shape[0], shape[2]))[r, b] + rng.normal(0, sd[3], shape)
    return pd.DataFrame({"replicate": r.ravel(), "init": a.ravel(), "order": b.ravel(), "y": y.ravel()})


def test_streams_within_replicates_are_balanced_and_their_intervals_cover():
    rng, sources = np.random.default_rng(1), ["replicate", "replicate:init", "replicate:order"]
    truth = np.array([0.49, 1.0, 0.25, 0.09])
    found = [variance_components(nested(rng), "y", sources, draws=600) for _ in range(400)]
    assert {one.method for one in found} == {"ANOVA estimates"}
    estimates = np.array([[c.variance for c in one.components] for one in found])
    error = estimates.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(estimates.mean(axis=0) - truth) < 4 * error + 0.02).all()
    ends = np.array([[(c.low, c.high) for c in one.components] for one in found])
    covered = ((ends[..., 0] <= truth) & (truth <= ends[..., 1])).mean(axis=0)
    # Four standard errors of 400 draws below nominal.
    assert (covered > 0.95 - 4 * 0.011).all(), covered


def test_sources_that_share_what_is_no_source_are_not_balanced():
    table = nested(np.random.default_rng(0))
    found = variance_components(table, "y", ["replicate:init", "replicate:order"], draws=100)
    assert found.method == "Henderson's method 1"


def test_unbalanced_estimates_are_unbiased_and_hendersons():
    table = dyestuff().drop(index=[0, 1, 7, 20, 21, 22]).reset_index(drop=True)
    found = variance_components(table, "y", ["batch"])
    sizes = table.groupby("batch").size().to_numpy()
    within = sum(g.y.var() * (len(g) - 1) for _, g in table.groupby("batch")) / (24 - 6)
    means = table.groupby("batch").y.mean().to_numpy()
    between = (sizes * (means - table.y.mean()) ** 2).sum() / 5
    n0 = (24 - (sizes**2).sum() / 24) / 5
    assert found.method == "Henderson's method 1"
    assert found.of("residual").variance == pytest.approx(within)
    assert found.of("batch").variance == pytest.approx((between - within) / n0)
    assert "not balanced" in found.notes[-1]


def test_unbalanced_crossed_estimates_are_right_on_average():
    rng = np.random.default_rng(3)
    kept = rng.random(60) < 0.7
    estimates = []
    for seed in range(300):
        table = factorial(6, 5, 2, seed, (1.0, 0.5, 0.0, 0.5))[kept]
        found = variance_components(table, "y", ["init", "order"], draws=100)
        estimates.append([c.variance for c in found.components])
    mean, error = np.mean(estimates, axis=0), np.std(estimates, axis=0) / np.sqrt(300)
    # Cutting at 0 pushes a small component up a little.
    assert (np.abs(mean - [1, 0.25, 0.25]) < 4 * error + 0.02).all()


def test_what_is_negative_is_zero_and_said():
    table = pd.DataFrame({"g": [0, 0, 1, 1], "y": [0.0, 1.0, 1.0, 0.0]})
    found = variance_components(table, "y", ["g"])
    assert found.of("g").variance == found.of("g").low == 0
    assert "shown as 0: g" in found.notes[0]
    assert "few levels" in found.notes[1]


def test_components_follow_scale_and_seed_and_constant_data_are_zero():
    table = factorial()
    one = variance_components(table, "y", ["init", "order"])
    assert one == variance_components(table, "y", ["init", "order"])
    assert one != variance_components(table, "y", ["init", "order"], seed=1)
    ten = variance_components(table.assign(y=table.y * 10 + 3), "y", ["init", "order"])
    assert ten.of("init").high == pytest.approx(100 * one.of("init").high)
    assert ten.of("init").share_low == pytest.approx(one.of("init").share_low)
    flat = variance_components(table.assign(y=1.0), "y", ["init"])
    assert [c.variance for c in flat.components] == [0, 0]
    assert str(one).splitlines()[1].strip().startswith("init: ")


def test_squares_of_many_outcomes_are_those_of_each():
    table = factorial()
    terms = [table.init.to_numpy(), table.order.to_numpy()]
    many = np.random.default_rng(0).normal(size=(3, len(table)))
    single = np.array([_squares(y, terms) for y in many])
    assert np.allclose(_squares(many, terms).T, single, rtol=1e-12)


def test_components_refuse_sources_that_leave_nothing():
    with pytest.raises(InputError, match="leave nothing to estimate the residual from over 20 rows"):
        variance_components(factorial(r=1), "y", ["init", "order", "init:order"])
    with pytest.raises(InputError, match="unknown cluster column 'inti'; did you mean 'init'"):
        variance_components(factorial(), "y", ["inti"])
    with pytest.raises(InputError, match="all 60 rows are one cluster"):
        variance_components(factorial().assign(one=1), "y", ["one"])
    with pytest.raises(
        InputError, match=r"sources \(none\) leave nothing to estimate the residual from over 1 "
    ):
        variance_components(factorial()[:1], "y", [])
    with pytest.raises(InputError, match="no source 'mask'; known: init, residual"):
        variance_components(factorial(), "y", ["init"]).of("mask")
