"""The simulated studies with few studies a cell: bounds of four Monte Carlo standard errors, so that they hold by
more than chance. The whole of it is `make simulate`."""

from __future__ import annotations

import pytest

from . import clustered, designs, intervals, null
from .page import FAR, Rate, Table, write

TABLES = {
    "paired": lambda: null.paired_tests(600, (3, 5, 6, 10)),
    "bounds": lambda: null.bounds_of_p(200),
    "families": lambda: null.families(300, (3, 5, 10)),
    "unpaired": lambda: null.unpaired_tests(150, (3, 6)),
    "others": lambda: null.other_tests(100, (3, 10)),
    "peeking": lambda: designs.peeking(400),
    "power": lambda: designs.power(200),
    "planned": lambda: designs.planned(150),
    "replicates": lambda: intervals.replicates(120, (5, 20)),
    "examples": lambda: intervals.examples_and_tasks(50),
    "components": lambda: intervals.components(60),
    "contrast": lambda: clustered.contrast(60),
    "covariate": lambda: clustered.covariate(80),
    "quantiles": lambda: clustered.quantiles(150),
}


@pytest.mark.parametrize("name", TABLES)
def test_simulated_rates_are_as_they_should_be(name):
    table = TABLES[name]()
    assert [rate for rate in table.rates if rate.within(FAR) is False] == []
    # A table without anything to hold would pass whatever happens.
    assert any(rate.holds is not None for rate in table.rates)


def found(table):
    return {rate.labels: rate.found for rate in table.rates}


def test_bootstrap_of_five_replicates_covers_too_seldom_and_t_does_not():
    rates = found(intervals.replicates(1000, (5,)))
    assert rates["percentile bootstrap", 5] < 0.88
    assert rates["t", 5] > 0.93
    assert rates["bca (t)", 5] == rates["t", 5]


def test_five_clusters_with_z_reject_twice_as_often_as_with_t():
    rates = found(clustered.quantiles(1000))
    assert rates["z, statsmodels' default", 5] > 0.09
    assert rates["t, clusters - 1", 5] < 0.07


def test_a_rate_that_is_off_is_said_on_the_page(tmp_path):
    rates = [
        Rate(("a", 5), 0.2, 1000, high=0.05),
        Rate(("b", 5), 0.06, 1000, high=0.05),
        Rate(("c", 5), 0.3, 1000),
    ]
    table = Table("Errors", "What should hold.", ("test", "n"), rates)
    assert table.failing() == rates[:1]
    text = write([table], tmp_path, 1000, 1.0).read_text()
    assert "1 of 2 rates are as they should be" in text
    assert "| a | 5 | 0.2000 |  | 0.0069 | at most 0.050 | **does not hold** |" in text
    assert "| c | 5 | 0.3000 |  | 0.0145 | for comparison |  |" in text
