"""One number of a lineage, against brute force over the same levels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import linregress

from pomona.studies.hypotheses.spec import Estimand
from pomona.studies.hypotheses.values import at_chance, never_below, value_of
from pomona.studies.results import Results
from tests.studies.filled import fill, opened, study_of

ACCURACY = [0.9, 0.95, 0.92, 0.6, 0.3]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Levels 0 to 4 at density 1, 1/2, ... 1/16 with the accuracies above; replicate 5 fails at level 3."""
    store = opened(tmp_path_factory.mktemp("values"))
    return fill(
        store,
        study_of(),
        lambda point: None if point.replicate == 5 and point.level == 3 else ACCURACY[point.level],
        chance=lambda point: point.level == 4,
    )


def lineage(results: Results, replicate: int = 0) -> list[Any]:
    return [
        p
        for p in results.population.points
        if p.step == "ticket"
        and p.replicate == replicate
        and dict(p.arm) == {"method": "zebra", "treatment": "rewind"}
    ]


def number(results: Results, replicate: int = 0, **of: Any) -> tuple[float | None, str]:
    return value_of(results, lineage(results, replicate), Estimand(**{"measure": "accuracy", **of}))


def test_level_is_read_as_it_is(results: Results) -> None:
    assert number(results, match="level", value=2) == (0.92, "")


def test_density_of_a_level_gives_that_level_and_one_between_lies_on_the_line_over_log_density(
    results: Results,
) -> None:
    assert number(results, match="density", value=0.25)[0] == pytest.approx(0.92, abs=1e-12)
    between = number(results, match="density", value=0.2)[0]
    share = (math.log(0.25) - math.log(0.2)) / (math.log(0.25) - math.log(0.125))
    assert between == pytest.approx(0.92 + share * (0.6 - 0.92), abs=1e-12)


def test_area_is_the_mean_over_log_density(results: Results) -> None:
    found = number(results, match="density", area=(0.7, 0.1))[0]
    grid = np.linspace(math.log2(0.1), math.log2(0.7), 200_001)
    line = np.interp(grid, np.log2([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]), ACCURACY[::-1])
    assert found == pytest.approx(np.trapezoid(line, grid) / (grid[-1] - grid[0]), abs=1e-7)


def test_area_over_levels_is_the_mean_of_the_line(results: Results) -> None:
    found = number(results, match="level", area=(1, 3))[0]
    assert found == pytest.approx((0.95 + 0.92) / 4 + (0.92 + 0.6) / 4, abs=1e-12)


@pytest.mark.parametrize(
    ("of", "x", "y"),
    [
        ({"match": "density", "slope": "all"}, [-1, -2, -3, -4], ACCURACY[1:]),
        ({"match": "density", "slope": (1, 0.25)}, [0, -1, -2], ACCURACY[:3]),
        ({"match": "level", "slope": (1, 4)}, [1, 2, 3, 4], ACCURACY[1:]),
        ({"match": "log-level", "slope": "all"}, np.log2([1, 2, 3, 4]), ACCURACY[1:]),
        ({"match": "log-level", "slope": (2, 4)}, np.log2([2, 3, 4]), ACCURACY[2:]),
    ],
)
def test_slope_is_that_of_least_squares(results: Results, of: dict[str, Any], x: list[float], y: Any) -> None:
    assert number(results, **of)[0] == pytest.approx(linregress(x, y).slope, abs=1e-12)


def test_density_where_accuracy_falls_below_a_value(results: Results) -> None:
    found = number(results, match="density", below=0.8)[0]
    assert found == pytest.approx(-2 - (0.92 - 0.8) / (0.92 - 0.6), abs=1e-12)
    assert number(results, match="level", below=0.8)[0] == pytest.approx(2 + 0.375, abs=1e-12)


def test_what_never_falls_below_is_a_bound_and_said_to_be_one(results: Results) -> None:
    of = Estimand(measure="accuracy", match="density", below=0.2)
    assert value_of(results, lineage(results), of)[0] == pytest.approx(-4)
    assert never_below(results, lineage(results), of)
    assert not never_below(results, lineage(results), Estimand(measure="accuracy", match="level", below=0.8))


def test_what_is_below_from_the_start_has_no_crossing(results: Results) -> None:
    assert number(results, match="density", below=0.97) == (None, "accuracy is below 0.97 from the start")


@pytest.mark.parametrize(
    ("of", "why"),
    [
        ({"match": "density", "value": 0.05}, "its levels have density 1 to 0.0625, and 0.05 is asked for"),
        ({"match": "density", "area": (0.5, 0.01)}, "and 0.5 to 0.01 is asked for"),
        ({"match": "level", "value": 9}, "there is no level 9; levels end at 4"),
        ({"match": "density", "slope": (0.9, 0.8)}, "a slope needs two places, got 0"),
        ({"match": "density", "slope": (0.5, 0.01)}, "and 0.5 to 0.01 is asked for"),
        (
            {"measure": "density", "match": "level", "value": 2, "layer": "fc9"},
            "level 2: no density of fc9 was measured",
        ),
    ],
)
def test_number_that_there_is_not_says_why(results: Results, of: dict[str, Any], why: str) -> None:
    value, said = number(results, **of)
    assert value is None
    assert why in said


def test_failure_is_named_where_a_number_needs_the_failed_level_and_only_there(results: Results) -> None:
    value, why = number(results, 5, match="level", value=3)
    assert value is None
    assert why == "level 3: diverged: the loss is not finite"
    assert number(results, 5, match="level", value=2)[0] == 0.92
    assert number(results, 5, match="density", value=0.3)[0] is not None
    value, why = number(results, 5, match="density", value=0.2)
    assert value is None
    assert "diverged" in why


def test_class_accuracies(results: Results) -> None:
    of = {"measure": "class-accuracy", "match": "level", "value": 2}
    points = lineage(results)
    assert value_of(results, points, Estimand(**of, class_=1))[0] == pytest.approx(0.91)
    assert value_of(results, points, Estimand(**of, class_="worst"))[0] == pytest.approx(0.90)


def test_chance_counts_only_the_levels_that_are_read(results: Results) -> None:
    points = lineage(results)
    assert at_chance(results, points, Estimand(measure="accuracy", match="level", value=4))
    assert not at_chance(results, points, Estimand(measure="accuracy", match="level", value=3))
    assert at_chance(results, points, Estimand(measure="accuracy", match="density", value=1 / 16))
    assert not at_chance(results, points, Estimand(measure="accuracy", match="density", value=0.07))
    assert not at_chance(results, points, Estimand(measure="density", match="level", value=4))


def test_density_and_levels_of_equal_density(tmp_path: Path) -> None:
    stalled = [1.0, 0.5, 0.5, 0.25, 0.125]
    results = fill(
        opened(tmp_path),
        study_of(),
        lambda point: ACCURACY[point.level],
        density=lambda point: stalled[point.level],
    )
    points = lineage(results)
    assert value_of(results, points, Estimand(measure="density", match="level", value=3))[0] == 0.25
    found = value_of(results, points, Estimand(measure="accuracy", match="density", value=0.5))[0]
    assert found == pytest.approx((0.95 + 0.92) / 2)


@pytest.mark.parametrize(
    "of",
    [
        {"match": "density", "below": 0.5},
        {"match": "density", "slope": "all"},
        {"match": "density", "slope": (1, 1 / 16)},
        {"match": "density", "area": (0.5, 0.1)},
        {"match": "level", "slope": (1, 4)},
    ],
)
def test_lineage_that_failed_stands_for_nothing_beyond_its_failure(
    results: Results, of: dict[str, Any]
) -> None:
    value, why = number(results, 5, **of)
    assert value is None
    assert why == "level 3: diverged: the loss is not finite"
    assert number(results, 4, **of)[0] is not None


@pytest.mark.parametrize(
    "of",
    [
        {"match": "density", "slope": (1, 0.25)},
        {"match": "density", "area": (1, 0.25)},
        {"match": "density", "below": 0.93},
    ],
)
def test_failure_beyond_what_is_read_does_no_harm(results: Results, of: dict[str, Any]) -> None:
    assert number(results, 5, **of) == number(results, 4, **of)


def test_missing_place_in_the_middle_is_not_bridged(tmp_path: Path) -> None:
    results = fill(opened(tmp_path), study_of(), lambda point: ACCURACY[point.level])
    points = lineage(results)
    key = points[2].masked.key
    kept = dict(results._kept)
    del kept[key]
    vars(results)["_kept"] = kept
    value, why = value_of(results, points, Estimand(measure="accuracy", match="density", value=0.24))
    assert value is None
    assert why == "level 2: no density was measured"
    assert value_of(results, points, Estimand(measure="accuracy", match="density", value=0.1))[0] is not None
