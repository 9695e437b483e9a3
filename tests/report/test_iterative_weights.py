"""Movement, size, order and connectivity of weights in the set ``iterative-pruning``, against the store."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pomona.graph.store import Store
from pomona.measures.structure import mask_structure
from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative import landscape, structure, weights
from pomona.report.iterative.grid import Row, _limits, means
from pomona.report.iterative.selection import Selection
from pomona.studies.points import Point
from pomona.studies.results import Results
from pomona.studies.run import run
from pomona.studies.study import parse_study
from tests.users import own_modules, write

MINE = """
import numpy as np

def load():
    rng = np.random.default_rng(7)
    labels = np.arange(96) % 3
    images = rng.integers(0, 90, (96, 12, 12)) + 70 * (labels[:, None, None] == np.arange(12) // 4)
    return images[:64].astype(np.uint8), labels[:64], images[64:].astype(np.uint8), labels[64:]
"""
STUDY = """
study: moved
let:
  train: {full: {optimizer: {sgd: {lr: 0.05, momentum: 0.9}}, batch_size: 16, duration: 12it}}
replicates: REPLICATES
vary: {order: 2}
factors:
  method: [l1-unstructured, l1-structured, random-unstructured]
  treatment: [rewind, finetune]
where:
  - treatment == rewind or method == l1-unstructured
  - order == 0 or (method in [l1-unstructured, l1-structured] and treatment == rewind)
steps:
  dense: {init: lenet, on: 'mine.py:load', train: full}
  ticket: {from: dense, repeat: 3, prune: {method: $method, amount: 40%}, treat: $treatment, on: 'mine.py:load', train: full}
measure: [accuracy, density, MEASURES]
"""
MEASURES = (
    "mask-structure, weight-stability, moving-stability, rank-correlation, rank-correlation@4it, weight-magnitude, "
    "{linear-connectivity: {points: 5, over: [order, treatment, method]}}"
)
Draw = Callable[[Evidence, Selection], Figure | None]


def results_in(folder: Path, replicates: int = 3, measures: str = MEASURES, compute: bool = False) -> Results:
    text = STUDY.replace("REPLICATES", str(replicates)).replace("MEASURES", measures)
    study = parse_study(text, folder=folder)
    return (
        run(study, store=folder / "store", workers=0) if compute else Results(study, Store(folder / "store"))
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("weights")
    write(made, "mine.py", MINE)
    with pytest.MonkeyPatch.context() as patch, own_modules():
        patch.setenv("XDG_CACHE_HOME", str(made / "cache"))
        results_in(made, compute=True)
        yield made


@pytest.fixture(scope="module")
def selection(folder: Path) -> Selection:
    return Selection(Evidence(results_in(folder)))


def drawn(draw: Draw, selection: Selection) -> Figure:
    figure = draw(selection.evidence, selection)
    assert figure is not None
    return figure


def points(selection: Selection, row: Any, treatment: str = "rewind") -> list[Point]:
    """The networks that a drawn mean is of, one of each replicate."""
    arm = {"method": row.method, "treatment": treatment, "order": "0"}
    return [selection.results.point(row.level, replicate, "ticket", **arm) for replicate in range(3)]


def read(selection: Selection, key: str, layer: str) -> np.ndarray:
    return selection.results.store.weights(key)[layer].astype(float)


def mask_of(selection: Selection, point: Point, layer: str) -> np.ndarray:
    return selection.results.store.masks(point.masked.key)[0][layer]


def moved_share(selection: Selection, point: Point, layer: str, trained_only: bool) -> float | None:
    """Mean movement between two levels in SDs of the layer, by hand."""
    before = point.previous
    assert before is not None
    kept = []
    for one in (before, point):
        mask = mask_of(selection, one, layer)
        if trained_only:
            mask = mask & (read(selection, one.start.key, layer) != read(selection, one.state.key, layer))
        kept.append(mask)
    first, second = (read(selection, one.state.key, layer) for one in (before, point))
    alive = kept[0] & kept[1]
    if not alive.any() or kept[0].sum() < 2:
        return None
    return float(np.abs(second - first)[alive].mean() / first[kept[0]].std(ddof=1))


def check(row: Any, values: list[float | None]) -> None:
    """A drawn mean and its interval are those of some values."""
    there = [value for value in values if value is not None]
    assert row.n == len(there)
    assert row.value == pytest.approx(np.mean(there), rel=1e-5)
    if len(there) < 3:
        assert math.isnan(row.low)
    else:
        half = stats.t.ppf(0.975, len(there) - 1) * stats.sem(there)
        assert (row.low, row.high) == pytest.approx((row.value - half, row.value + half), rel=1e-4, abs=1e-7)


def layer_of(row: Any) -> str:
    return f"{row.panel}.weight"


def test_stability_is_what_weights_moved_in_units_of_their_layer(selection: Selection) -> None:
    data = drawn(weights.stability_figure, selection).data
    assert list(dict.fromkeys(data["row"])) == ["moving", "all", "finetune"]
    assert list(dict.fromkeys(data["panel"])) == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    own = data[data["panel"].isin(["conv2", "fc3"])]
    for row in own.itertuples():
        treatment = "finetune" if row.row == "finetune" else "rewind"
        there = points(selection, row, treatment)
        check(row, [moved_share(selection, p, layer_of(row), row.row != "all") for p in there])
    assert set(own.loc[own["row"] == "finetune", "method"]) == {"l1-unstructured"}
    assert set(own.loc[own["row"] == "all", "method"]) == set(selection.methods)


def test_stability_says_what_must_not_be_compared(selection: Selection) -> None:
    caption = drawn(weights.stability_figure, selection).caption
    assert "near to it by construction: the rows of the two are not to be compared" in caption
    assert "a dead network, whose weights do not move at all, looks perfectly stable" in caption
    assert "  " not in caption


def test_networks_at_chance_are_marked(selection: Selection) -> None:
    figure = drawn(weights.stability_figure, selection)
    for row in figure.data[figure.data["panel"] == "fc1"].itertuples():
        treatment = "finetune" if row.row == "finetune" else "rewind"
        dead = 0
        for point in points(selection, row, treatment):
            measured = selection.results.measured(point.probes["test"])["at-chance", "", -1] == 1.0
            empty = any(not m.any() for m in selection.results.store.masks(point.masked.key)[0].values())
            dead += measured or empty
        assert row.flagged == dead
    assert (figure.data["flagged"] > 0).any()
    assert (figure.data["flagged"] == 0).any()
    assert "Hollow points" in figure.caption
    # The white circles of one panel and row are as many as its flagged means.
    assert figure.svg.count('fill="white" stroke') == (figure.data["flagged"] > 0).sum()


def test_magnitudes_are_those_of_kept_weights_and_of_their_initial_values(selection: Selection) -> None:
    data = drawn(weights.magnitude_figure, selection).data
    assert set(data["panel"]) == {"fc1", "fc2", "fc3"}
    for row in data[data["panel"] != "fc1"].itertuples():
        treatment = "finetune" if row.style.endswith("finetuned") else "rewind"
        values: list[float | None] = []
        for point in points(selection, row, treatment):
            state = point.origin if row.style == "their initial values" else point.state
            kept = mask_of(selection, point, layer_of(row))
            values.append(float(np.abs(read(selection, state.key, layer_of(row)))[kept].mean()))
            assert row.density == pytest.approx(kept.mean(), abs=0.02)
        check(row, values)
    below = data[data["row"] == "level"]
    assert set(below["method"]) == {"l1-unstructured"}
    assert set(below["style"]) == {"kept weights", "kept weights, finetuned"}


def test_rank_correlations_are_spearmans(selection: Selection) -> None:
    data = drawn(weights.rank_figure, selection).data
    assert list(dict.fromkeys(data["row"])) == ["levels", "finetune", "rank-correlation@4it"]
    for row in data[(data["panel"] == "fc2") & (data["row"] != "rank-correlation@4it")].itertuples():
        values: list[float | None] = []
        for point in points(selection, row, "finetune" if row.row == "finetune" else "rewind"):
            assert point.previous is not None
            alive = np.logical_and(*(mask_of(selection, p, layer_of(row)) for p in (point.previous, point)))
            ends = [
                np.abs(read(selection, p.state.key, layer_of(row)))[alive] for p in (point.previous, point)
            ]
            values.append(float(stats.spearmanr(*ends).statistic))
        check(row, values)


def test_rank_correlation_with_a_moment_is_of_one_training(selection: Selection) -> None:
    figure = drawn(weights.rank_figure, selection)
    own = figure.data[(figure.data["row"] == "rank-correlation@4it") & (figure.data["panel"] == "fc2")]
    assert set(own["level"]) == {0, 1, 2, 3}
    for row in own.itertuples():
        values: list[float | None] = []
        for point in points(selection, row):
            moment, end = (
                np.abs(read(selection, state, layer_of(row)))[mask_of(selection, point, layer_of(row))]
                for state in point.probes["rank-correlation@4it"].states
            )
            values.append(float(stats.spearmanr(moment, end).statistic))
            assert not np.array_equal(moment, end)
        check(row, values)
    assert "4it with the end" in figure.svg


def test_mask_structure_is_that_of_the_masks(selection: Selection) -> None:
    figure = drawn(structure.structure_figure, selection)
    assert set(figure.data["panel"]) == {"conv2 by inputs", "conv2 by outputs"}
    for row in figure.data.itertuples():
        values = []
        for point in points(selection, row, row.row):
            found = mask_structure(mask_of(selection, point, "conv2.weight"))
            values.append((found.columns if row.panel.endswith("inputs") else found.rows).clustering)
        check(row, values)
    by_inputs = figure.data[figure.data["panel"] == "conv2 by inputs"]
    assert (by_inputs.loc[by_inputs["method"] == "l1-structured", "value"] > 0.999).all()
    assert (by_inputs.loc[by_inputs["method"] == "random-unstructured", "value"].abs() < 0.1).all()


def test_lines_between_networks_begin_and_end_with_their_errors(selection: Selection) -> None:
    data = drawn(landscape.connectivity_figure, selection).data
    ends = {
        "order: 0 and 1": ({"order": "0"}, {"order": "1"}),
        "treatment: rewind and finetune": ({"treatment": "rewind"}, {"treatment": "finetune"}),
        "l1-unstructured and another method": ({"method": "l1-unstructured"}, {}),
    }
    profiles = data[data["place"].isin([0.0, 1.0])]
    assert len(profiles) == 2 * (2 * 4 + 3 + 2 * 3)
    for row in profiles.itertuples():
        level, kind = row.panel.split(", ", 1)
        assert level == f"level {row.level}"
        plain = {"method": row.method, "treatment": "rewind", "order": "0"}
        arm = {**plain, **ends[kind][int(row.place)]}
        there = [selection.results.point(row.level, r, "ticket", **arm) for r in range(3)]
        errors = [1 - (selection.value(point, "accuracy") or 0.0) for point in there]
        check(row, list(errors))


def test_barriers_are_those_of_the_errors_along_the_line(selection: Selection) -> None:
    data = drawn(landscape.connectivity_figure, selection).data
    own = data[(data["panel"] == "barrier, order: 0 and 1") & (data["method"] == "l1-structured")]
    assert set(own["level"]) == {0, 1, 2, 3}
    for row in own.itertuples():
        barriers: list[float | None] = []
        for pair in selection.evidence.population.paths:
            there = (pair.a.level, pair.a.arm.get("method"), pair.b.arm.get("method"), pair.a.step)
            apart = pair.a.arm["order"] != pair.b.arm["order"]
            if apart and there == (row.level, row.method, row.method, "ticket"):
                found = selection.results.measured(pair.probe)
                along = sorted((float(at), v) for (q, at, _), v in found.items() if q == "error-along")
                errors = np.array([value for _, value in along])
                straight = np.linspace(errors[0], errors[-1], len(errors))
                barriers.append(float((errors - straight).max()))
        check(row, barriers)


def test_two_replicates_have_no_band(folder: Path) -> None:
    selection = Selection(Evidence(results_in(folder, replicates=2)))
    figure = drawn(weights.stability_figure, selection)
    assert figure.data["low"].isna().all()
    assert set(figure.data["n"]) <= {1, 2}
    assert "bands" not in figure.caption


def test_csv_is_what_is_drawn(selection: Selection) -> None:
    figures = [drawn(draw, selection) for draw in weights.FIGURES]
    assert [figure.name for figure in figures] == [
        *("paper-08-stability", "paper-weight-magnitude", "paper-rank-correlation", "paper-mask-structure"),
        "paper-linear-connectivity",
    ]
    for figure in figures:
        assert len(figure.svg) < 1_500_000
        found = pd.read_csv(io.StringIO(figure.csv), dtype={"style": str})
        found["style"] = found["style"].fillna("")
        pd.testing.assert_frame_equal(found, figure.data, check_dtype=False, rtol=1e-9, atol=0)


def test_figures_show_what_was_measured_and_nothing_else(folder: Path, evidence: Evidence) -> None:
    few = Selection(Evidence(results_in(folder, measures="weight-stability")))
    found = [figure for draw in weights.FIGURES if (figure := draw(few.evidence, few)) is not None]
    assert [figure.name for figure in found] == ["paper-08-stability"]
    assert set(found[0].data["row"]) == {"all"}
    # Of a network without convolutions.
    linear = Selection(evidence)
    names = [figure.name for draw in weights.FIGURES if (figure := draw(evidence, linear)) is not None]
    assert names == ["paper-08-stability"]


def test_studies_that_were_not_run_have_no_figures(new_results: Results) -> None:
    selection = Selection(Evidence(new_results))
    assert [draw(selection.evidence, selection) for draw in weights.FIGURES] == [None] * len(weights.FIGURES)


def test_several_values_of_a_replicate_count_as_their_mean(selection: Selection) -> None:
    there = [selection.lineages("l1-unstructured")[replicate][1] for replicate in (0, 0, 1, 2)]
    found = [((point,), value) for point, value in zip(there, (1.0, 3.0, 5.0, 8.0), strict=True)]
    (row,) = means(selection, {}, found)
    assert (row["n"], row["value"]) == (3, 5.0)
    assert list(means(selection, {}, [((there[0],), None)])) == []


def test_axes_hold_all_means_and_zero() -> None:
    assert _limits(pd.DataFrame({"value": [0.5, 1.0]}), None) == [0.0, pytest.approx(1.06)]
    low, high = _limits(pd.DataFrame({"value": [-1.0, 1.0]}), 0.0)
    assert low < -1.0 < 1.0 < high
    assert Row("a", "b").along == "level"
