from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pomona.core.errors import InputError
from pomona.stats.trends import clustered_trend, trend


def frame(lineages=6, slope=0.1):
    rng = np.random.default_rng(0)
    density = 0.8 ** np.arange(1, 16)
    rows = [
        pd.DataFrame({"replicate": i, "density": density, "level": range(1, 16), "accuracy":
                      0.9 + (slope + rng.normal(0, 0.02)) * np.log2(density) + rng.normal(0, 0.01, 15)})
        for i in range(lineages)
    ]  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def test_trend_is_the_t_test_of_each_lineages_own_slope():
    table = frame()
    slopes = [stats.linregress(np.log2(g.density), g.accuracy).slope for _, g in table.groupby("replicate")]
    found = trend(table, "accuracy", "density")
    assert found.p == pytest.approx(stats.ttest_1samp(slopes, 0).pvalue, rel=1e-9)
    assert (found.n, found.estimate) == (6, pytest.approx(np.mean(slopes)))
    assert trend(table, "accuracy", "density", base=4).estimate == pytest.approx(2 * found.estimate)


def test_a_power_law_has_its_exponent():
    table = frame().assign(accuracy=lambda f: 3 * f.level**-0.5 * (1 + f.replicate / 10))
    assert trend(table, "accuracy", "level", log_outcome=True).estimate == pytest.approx(-0.5)


def test_rows_of_one_lineage_do_not_count_as_replicates():
    table = frame()
    doubled = pd.concat([table, table], ignore_index=True)
    assert trend(doubled, "accuracy", "density").p == pytest.approx(trend(table, "accuracy", "density").p)


def test_clustered_trend_of_equal_lineages_has_the_same_slope():
    table = frame()
    found = clustered_trend(table, "accuracy", "density").term("x")
    own = trend(table, "accuracy", "density")
    assert found.estimate == pytest.approx(own.estimate)
    assert found.df == pytest.approx(5, abs=0.01)
    assert found.low == pytest.approx(own.low, rel=0.02)


def test_trend_refuses_what_has_no_logarithm_or_slope():
    with pytest.raises(
        InputError, match=r"column 'level': 6 of 90 values are 0 or less .* \(level 0 is dense\)"
    ):
        trend(frame().assign(level=lambda f: f.level - 1), "accuracy", "level")
    with pytest.raises(InputError, match="replicate 0: a slope needs two different values of 'density'"):
        trend(frame().assign(density=0.5), "accuracy", "density")
    with pytest.raises(InputError, match="at least 2 lineages, got 1"):
        trend(frame(1), "accuracy", "density")
    with pytest.raises(InputError, match="unknown column 'densty'; did you mean 'density'"):
        trend(frame(), "accuracy", "densty")
