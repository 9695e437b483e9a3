"""Curves and mask distances of the set ``iterative-pruning``, each number against the store itself."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from pomona.graph.store import Store
from pomona.report.evidence import Evidence
from pomona.report.figures.figure import Figure
from pomona.report.iterative import curves, distances, effective, pairwise, printed, tickets
from pomona.report.iterative.pairwise import Compared, Distance, distance_table, layer_titles
from pomona.report.iterative.panels import distance_panel, level_axis, pair_colour
from pomona.report.iterative.printed import table_2
from pomona.report.iterative.selection import Selection
from pomona.report.iterative.tickets import ticket_figure
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
study: small
let:
  train:
    full: {optimizer: {sgd: {lr: 0.05, momentum: 0.9}}, batch_size: 16, duration: 12it}
    brief: {optimizer: {sgd: {lr: 0.05, momentum: 0.9}}, batch_size: 16, duration: 2it}
replicates: 3
vary: {order: 2, init: 2}
factors:
  method: [l1-unstructured, l1-structured, l2-structured, random-unstructured]
  treatment: {rewind: rewind, finetune: finetune, sigma-sign: sigma-sign, late: {rewind: 4it}}
  rate: [20%, 40%]
where:
  - treatment == rewind or method in [l1-unstructured, l1-structured]
  - treatment != late or method == l1-unstructured
  - rate == 20% or (method == l1-structured and treatment == rewind)
  - order == 0 or (method in [l1-unstructured, l1-structured] and treatment == rewind and rate == 20%)
  - init == 0 or (method == l1-unstructured and treatment == rewind and order == 0)
  - EXTRA
steps:
  dense: {init: lenet, on: 'mine.py:load', train: full}
  ticket: {from: dense, repeat: 3, prune: {method: $method, amount: $rate}, treat: $treatment, on: 'mine.py:load', train: full}
measure: [accuracy, density, mask-distance, effective-density, changed-density]
figures: [iterative-pruning]
"""
REST = {"rate": "20%", "order": "0", "init": "0"}


def results_in(
    folder: Path, extra: str = "init in [0, 1]", store: str = "store", compute: bool = False
) -> Results:
    study = parse_study(STUDY.replace("EXTRA", extra), folder=folder)
    return run(study, store=folder / store, workers=0) if compute else Results(study, Store(folder / store))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("iterative")
    write(made, "mine.py", MINE)
    with pytest.MonkeyPatch.context() as patch, own_modules():
        patch.setenv("XDG_CACHE_HOME", str(made / "cache"))
        results_in(made, compute=True)
        yield made


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return results_in(folder)


@pytest.fixture(scope="module")
def selection(results: Results) -> Selection:
    return Selection(Evidence(results))


@functools.cache
def frame_of(results: Results) -> pd.DataFrame:
    return results.frame()


def drawn(draw: Any, selection: Selection) -> Figure:
    figure = draw(selection.evidence, selection)
    assert isinstance(figure, Figure)
    return figure


def place(method: str, treatment: str = "rewind", **others: str) -> dict[str, str]:
    return {"method": method, "treatment": treatment, **REST, **others}


def measured(
    results: Results, quantity: str, level: int, arm: dict[str, str], layer: str = ""
) -> pd.Series[Any]:
    """Values of an arm by replicate, of the tidy table."""
    frame = frame_of(results)
    own = (frame["step"] == "ticket") & (frame["quantity"] == quantity) & (frame["level"] == level)
    for factor, label in arm.items():
        own &= frame[factor] == label
    own &= (frame["layer"] == layer) & frame["class"].isna() & frame["part"].isin(["test", ""])
    return frame[own].set_index("replicate")["value"]


def t_half(values: Any) -> float:
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


def masks_of(
    results: Results, level: int, replicate: int, arm: dict[str, str]
) -> dict[str, NDArray[np.bool_]]:
    point = results.point(level, replicate, "ticket", **arm)
    return results.store.masks(point.masked.key)[0]


def jaccard(a: dict[str, NDArray[np.bool_]], b: dict[str, NDArray[np.bool_]], layers: list[str]) -> float:
    both = sum(int((a[layer] & b[layer]).sum()) for layer in layers)
    return 1 - both / sum(int((a[layer] | b[layer]).sum()) for layer in layers)


def names(title: str, results: Results) -> list[str]:
    """The layers that a title in a figure stands for."""
    return (
        list(masks_of(results, 1, 0, place("l1-structured")))
        if title == "whole network"
        else [f"{title}.weight"]
    )


def chance_of(
    results: Results, layer: str, level: int, a: dict[str, str], b: dict[str, str]
) -> pd.Series[Any]:
    """The stored distance of chance of two arms by replicate."""
    found = {}
    for pair in results.population.pairs:
        if pair.a.level == level and {tuple(pair.a.arm.values()), tuple(pair.b.arm.values())} == {
            tuple(a[factor] for factor in pair.a.arm),
            tuple(b[factor] for factor in pair.b.arm),
        }:
            weight = "" if layer == "whole network" else f"{layer}.weight"
            found[pair.a.replicate] = results.measured(pair.probe)["chance-distance", weight, -1]
    return pd.Series(found)


def test_selection_finds_lineages_with_all_other_factors_at_their_first_label(
    selection: Selection, results: Results
) -> None:
    assert selection.step == "ticket"
    assert selection.levels == [1, 2, 3]
    assert selection.methods == ["l1-unstructured", "l1-structured", "l2-structured", "random-unstructured"]
    assert selection.treatments == ["rewind", "finetune", "sigma-sign", "late"]
    lineages = selection.lineages("l1-structured", "finetune")
    assert {replicate: [point.level for point in points] for replicate, points in lineages.items()} == {
        replicate: [0, 1, 2, 3] for replicate in range(3)
    }
    assert all(
        dict(p.arm) == place("l1-structured", "finetune") for points in lineages.values() for p in points
    )
    other = selection.lineages("l1-structured", rate="40%")[2][3]
    assert other.state.key == results.point(3, 2, "ticket", **place("l1-structured", rate="40%")).state.key
    assert selection.lineages("l2-structured", "finetune") == {}
    assert selection.lineages("l1-unstructured", colour="red") == {}


def test_selection_reads_values_layers_and_pairs(selection: Selection, results: Results) -> None:
    assert selection.layers() == {
        "conv1.weight": "conv",
        "conv2.weight": "conv",
        "fc1.weight": "linear",
        "fc2.weight": "linear",
        "fc3.weight": "linear",
    }
    point = selection.lineages("l1-structured")[1][2]
    arm = place("l1-structured")
    assert selection.value(point, "accuracy") == measured(results, "accuracy", 2, arm)[1]
    changed = measured(results, "changed-density", 2, arm, "fc1.weight")[1]
    assert selection.value(point, "changed-density", "fc1.weight") == changed
    assert selection.value(point, "weight-magnitude") is None
    other = selection.lineages("l2-structured")[1][2]
    probe = selection.compared(point, other)
    assert probe is not None
    assert selection.compared(other, point) is probe
    assert selection.compared(point, selection.lineages("l2-structured")[0][2]) is None
    masks = [masks_of(results, 2, 1, place(method)) for method in ("l1-structured", "l2-structured")]
    assert selection.number(probe, "jaccard-distance", "fc2.weight") == pytest.approx(
        jaccard(*masks, ["fc2.weight"]), abs=1e-12
    )


def test_colours_of_methods_differ_and_do_not_depend_on_the_arms_that_are_there(
    folder: Path, selection: Selection
) -> None:
    fewer = Selection(Evidence(results_in(folder, "method != l1-structured")))
    assert len({selection.colour(method) for method in selection.methods}) == 4
    assert fewer.methods == ["l1-unstructured", "l2-structured", "random-unstructured"]
    assert [fewer.colour(m) for m in fewer.methods] == [selection.colour(m) for m in fewer.methods]


def check_means(
    data: pd.DataFrame, results: Results, arms: dict[tuple[str, str, str], dict[str, str]]
) -> None:
    """Every mean and replicate of a figure is that of the store, and none is missing."""
    means = data[data["series"] == "mean"]
    assert set(zip(means["panel"], means["method"], means["style"], strict=True)) == set(arms)
    for (panel, method, style), arm in arms.items():
        own = (data["panel"] == panel) & (data["method"] == method) & (data["style"] == style)
        for level in range(4):
            rows = data[own & (data["level"] == level)]
            accuracies = measured(results, "accuracy", level, arm)
            mean = rows[rows["series"] == "mean"].iloc[0]
            assert mean["accuracy"] == pytest.approx(accuracies.mean(), abs=1e-12)
            assert mean["high"] - mean["accuracy"] == pytest.approx(t_half(accuracies), abs=1e-9)
            assert mean["n"] == 3
            kept = [masks_of(results, level, replicate, arm) for replicate in range(3)]
            shares = [sum(m.sum() for m in one.values()) / sum(m.size for m in one.values()) for one in kept]
            assert mean["density"] == pytest.approx(np.mean(shares), abs=1e-12)
            single = rows[rows["series"] == "replicate"].set_index("replicate")
            assert single["accuracy"].to_dict() == accuracies.to_dict()
            assert single["density"].tolist() == pytest.approx(shares, abs=1e-12)


def test_figure_1_has_all_methods_under_rewinding(selection: Selection, results: Results) -> None:
    data = drawn(curves.accuracy_figure, selection).data
    check_means(data, results, {("", method, "rewind"): place(method) for method in selection.methods})


def test_figure_1_overlays_the_printed_means_at_our_density_of_the_level(
    selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The network is the paper's, its data are taken for it.
    monkeypatch.setattr(printed, "DATA", "mine.py:load")
    figure = drawn(curves.accuracy_figure, selection)
    data = figure.data
    of_paper = data[data["series"] == "printed"]
    rows = {(one.level, one.column): one.accuracy for one in table_2()}
    assert len(of_paper) == 4 * 3
    assert "Short bars: the means that Table 2 of the paper prints" in figure.caption
    assert rows[1, "l1-unstructured"] == 0.978
    for row in of_paper.itertuples():
        assert row.accuracy == rows[row.level, row.method]
        same = (data["series"] == "mean") & (data["method"] == row.method) & (data["level"] == row.level)
        assert row.density == data.loc[same, "density"].item()


def test_figure_1_of_other_networks_and_data_has_nothing_printed(
    selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> None:
        figure = drawn(curves.accuracy_figure, selection)
        assert "printed" not in set(figure.data["series"])
        assert "paper" not in figure.caption

    check()
    monkeypatch.setattr(printed, "DATA", "mine.py:load")
    monkeypatch.setattr(printed, "NETWORK", "fc")
    check()


def test_figure_1_speaks_of_augmentation_where_training_is_as_long(
    selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printed, "DATA", "mine.py:load")
    assert "augments" not in drawn(curves.accuracy_figure, selection).caption
    monkeypatch.setattr(printed, "DURATION", "12it")
    assert "The code of the paper augments its images" in drawn(curves.accuracy_figure, selection).caption


def test_figure_2_compares_rewinding_and_finetuning_of_methods_with_both(
    selection: Selection, results: Results
) -> None:
    data = drawn(curves.finetune_figure, selection).data
    arms = {
        ("", method, treatment): place(method, treatment)
        for method in ("l1-unstructured", "l1-structured")
        for treatment in ("rewind", "finetune")
    }
    check_means(data, results, arms)


def test_figure_10_has_a_panel_for_each_method_and_the_treatments_of_the_paper(
    selection: Selection, results: Results
) -> None:
    data = drawn(curves.treatments_figure, selection).data
    arms = {
        (method, method, treatment): place(method, treatment)
        for method in ("l1-unstructured", "l1-structured")
        for treatment in ("rewind", "finetune", "sigma-sign")
    }
    check_means(data, results, arms)


def test_variants_stand_beside_the_arm_that_they_depart_from(selection: Selection, results: Results) -> None:
    data = drawn(curves.variants_figure, selection).data
    late, rate = "l1-unstructured, treatment: rewind or late", "l1-structured, rate: 20% or 40%"
    arms = {
        (late, "l1-unstructured", "plain"): place("l1-unstructured"),
        (late, "l1-unstructured", "variant"): place("l1-unstructured", "late"),
        (rate, "l1-structured", "plain"): place("l1-structured"),
        (rate, "l1-structured", "variant"): place("l1-structured", rate="40%"),
    }
    check_means(data, results, arms)


def test_figure_12_counts_weights_in_three_ways(selection: Selection, results: Results) -> None:
    data = drawn(effective.effective_figure, selection).data
    assert data.groupby("count").size().to_dict() == dict.fromkeys(effective.COUNTS, 4 * 3 * 4)
    for row in data.itertuples():
        arm = place(row.method)
        point = results.point(row.level, row.replicate, "ticket", **arm)
        assert row.accuracy == measured(results, "accuracy", row.level, arm)[row.replicate]
        assert row.density == pytest.approx(counted(results, point, row.count), abs=1e-12)


def counted(results: Results, point: Point, count: str) -> float:
    if count == "effective-density":
        return float(measured(results, count, point.level, dict(point.arm))[point.replicate])
    masks = results.store.masks(point.masked.key)[0]
    total = sum(mask.size for mask in masks.values())
    if count == "density":
        return sum(int(mask.sum()) for mask in masks.values()) / total
    now, first = results.store.weights(point.state.key), results.store.weights(point.origin.key)
    return sum(int((masks[name] & (now[name] != first[name])).sum()) for name in masks) / total


def check_distances(data: pd.DataFrame, results: Results, arms: dict[tuple[str, str], Any]) -> None:
    """Every distance of a figure is that of the masks in the store, and none is missing."""
    assert set(zip(data["group"], data["pair"], strict=True)) == set(arms)
    assert len(data) == len(arms) * 3 * data["layer"].nunique()
    for row in data.itertuples():
        a, b = arms[row.group, row.pair]
        masks = [[masks_of(results, row.level, r, arm) for arm in (a, b)] for r in range(3)]
        layers = names(row.layer, results)
        values = [jaccard(*both, layers) for both in masks]
        assert row.distance == pytest.approx(np.mean(values), abs=1e-12)
        assert row.high - row.distance == pytest.approx(t_half(values), abs=1e-9)
        chance = chance_of(results, row.layer, row.level, a, b)
        assert row.chance == pytest.approx(chance.mean(), abs=1e-12)
        full = [any(all(m[layer].all() for layer in layers) for m in both) for both in masks]
        if any(full):
            assert math.isnan(row.corrected)
        else:
            ratios = np.array(values) / chance.to_numpy()
            assert row.corrected == pytest.approx(ratios.mean(), abs=1e-12)
            assert row.corrected_high - row.corrected == pytest.approx(t_half(ratios), abs=1e-9)
        assert row.n == 3
        assert row.n_corrected == 3 - sum(full)
        flags = [measured(results, "at-chance", row.level - 1, arm) == 1 for arm in (a, b)]
        assert row.flagged == (flags[0] | flags[1]).sum()


def test_figure_3_has_the_distance_of_every_other_method_from_l2_structured(
    selection: Selection, results: Results
) -> None:
    data = drawn(distances.methods_figure, selection).data
    others = ("l1-unstructured", "l1-structured", "random-unstructured")
    assert set(data["layer"]) == {"whole network", "conv1", "conv2", "fc1", "fc2", "fc3"}
    check_distances(data, results, {("rewind", one): (place("l2-structured"), place(one)) for one in others})


def test_chance_of_two_unstructured_masks_is_that_of_independent_ones(
    selection: Selection, results: Results
) -> None:
    own, other = (selection.lineages(one) for one in ("l1-unstructured", "random-unstructured"))
    data = distance_table(selection, [Compared("both", own, other)])
    row = data[(data["layer"] == "fc1") & (data["level"] == 3)].iloc[0]
    p = float(masks_of(results, 3, 0, place("random-unstructured"))["fc1.weight"].mean())
    assert row["chance"] == pytest.approx(2 * (1 - p) / (2 - p), abs=2e-3)


def test_figure_4_compares_treatments_in_the_second_convolution(
    selection: Selection, results: Results
) -> None:
    data = drawn(distances.structure_figure, selection).data
    assert set(data["layer"]) == {"conv2"}
    arms = {
        ("rewind", one): (place("l1-unstructured"), place(one))
        for one in ("l1-structured", "l2-structured", "random-unstructured")
    }
    both = (place("l1-unstructured", "finetune"), place("l1-structured", "finetune"))
    check_distances(data, results, {**arms, ("finetune", "l1-structured"): both})


def test_figure_9_compares_rewinding_and_finetuning_by_layer(selection: Selection, results: Results) -> None:
    data = drawn(distances.finetune_figure, selection).data
    methods = ("l1-unstructured", "l1-structured")
    check_distances(data, results, {("", one): (place(one), place(one, "finetune")) for one in methods})
    assert (data.loc[data["level"] == 1, "distance"] == 0).all()
    assert data.loc[data["level"] == 3, "distance"].max() > 0


def test_figure_11_compares_treatments_with_rewinding(selection: Selection, results: Results) -> None:
    data = drawn(distances.treatments_figure, selection).data
    arms = {
        (method, treatment): (place(method), place(method, treatment))
        for method in ("l1-unstructured", "l1-structured")
        for treatment in ("finetune", "sigma-sign")
    }
    check_distances(data, results, arms)


def test_one_ticket_splits_overlap_into_order_initialization_and_method(
    selection: Selection, results: Results
) -> None:
    data = drawn(ticket_figure, selection).data
    own = place("l1-unstructured")
    arms = {
        "another order of the data": (own, place("l1-unstructured", order="1")),
        "another initialization": (own, place("l1-unstructured", init="1")),
        **{one: (own, place(one)) for one in selection.methods[1:]},
        "l1-structured itself, in another order": (
            place("l1-structured"),
            place("l1-structured", order="1"),
        ),
    }
    # None of its usual levels is there: the last one stands for them.
    assert set(data["level"]) == {3}
    assert set(data["row"]) == set(arms)
    for row in data[data["series"] == "mean"].itertuples():
        a, b = arms[row.row]
        layers = names(row.layer, results)
        both = [[masks_of(results, 3, r, arm) for arm in (a, b)] for r in range(3)]
        values = np.array([jaccard(*masks, layers) for masks in both])
        overlap = 1 - values / chance_of(results, row.layer, 3, a, b).to_numpy()
        assert row.overlap == pytest.approx(overlap.mean(), abs=1e-12)
        assert row.high - row.overlap == pytest.approx(t_half(overlap), abs=1e-9)
        same = (data["row"] == row.row) & (data["layer"] == row.layer) & (data["series"] == "replicate")
        assert data.loc[same, "overlap"].tolist() == pytest.approx(overlap.tolist(), abs=1e-12)
    structured = data[data["row"].isin(["l1-structured", "l2-structured"])]
    assert "conv2" in set(structured["layer"])
    # The only input of the first convolution is never pruned: an overlap with all of it says nothing.
    assert "conv1" not in set(structured["layer"])


def test_one_ticket_is_asked_at_the_usual_levels_that_are_there(
    selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "_LEVELS", (1, 3, 5))
    assert list(dict.fromkeys(tickets.overlaps(selection)["level"])) == [1, 3]


def test_networks_without_an_accuracy_are_left_out_and_counted(folder: Path) -> None:
    results = results_in(folder)
    lost = results.point(2, 1, "ticket", **place("l1-structured"))
    del results._values[lost.probes["test"].key]
    figure = drawn(curves.accuracy_figure, Selection(Evidence(results)))
    data = figure.data
    means = data[(data["series"] == "mean") & (data["method"] == "l1-structured")].set_index("level")
    assert means["n"].tolist() == [3, 3, 2, 3]
    assert means["missing"].tolist() == [0, 0, 1, 0]
    others = [measured(results, "accuracy", 2, place("l1-structured"))[replicate] for replicate in (0, 2)]
    assert means.loc[2, "accuracy"] == pytest.approx(np.mean(others), abs=1e-12)
    assert "(failed or not computed) are left out: 1 of 48;" in figure.caption


def test_levels_without_any_accuracy_are_counted_and_not_drawn(folder: Path) -> None:
    results = results_in(folder)
    for replicate in range(3):
        lost = results.point(3, replicate, "ticket", **place("l1-structured"))
        del results._values[lost.probes["test"].key]
    figure = drawn(curves.accuracy_figure, Selection(Evidence(results)))
    data = figure.data
    means = data[(data["series"] == "mean") & (data["method"] == "l1-structured")].set_index("level")
    assert means["n"].tolist() == [3, 3, 3, 0]
    assert means["missing"].tolist() == [0, 0, 0, 3]
    assert math.isnan(means.loc[3, "accuracy"])
    assert "(failed or not computed) are left out: 3 of 48;" in figure.caption
    # Nothing failed: no arm has ended.
    assert "ended" not in figure.caption
    assert "NaN" not in figure.svg


def test_figure_10_counts_and_names_arms_that_ended(folder: Path) -> None:
    # At this rate networks that start from plain signs diverge.
    text = STUDY.replace("late: {rewind: 4it}", "sign: sign").replace("late", "sign")
    arms = "method == l1-unstructured and treatment in [rewind, sign] and order == 0 and init == 0"
    text = text.replace("EXTRA", arms).replace("lr: 0.05, momentum: 0.9", "lr: 0.2")
    study = parse_study(text, folder=folder)
    results = run(study, store=folder / "ending", workers=0)
    selection = Selection(Evidence(results))
    figure = drawn(curves.treatments_figure, selection)
    means = figure.data[figure.data["series"] == "mean"]
    signs = means[means["style"] == "sign"].set_index("level")
    assert (signs["n"] + signs["missing"]).tolist() == [3] * 4
    assert signs.loc[1, "n"] == 0
    # Every point without a result is a network that is left out, for no measurement failed.
    count = len(results.lost())
    assert signs["missing"].sum() == count == 9
    assert f"(failed or not computed) are left out: {count} of {2 * 3 * 4};" in figure.caption
    ending = "l1-unstructured, sign: diverged at level 1 in 3 of 3 replicates. For example, diverged: "
    assert f"Arms that ended: {ending}the output is not finite at step" in figure.caption
    assert "rewind: diverged" not in figure.caption
    assert figure.caption.endswith(".")
    assert "descends" not in figure.caption
    assert "NaN" not in figure.svg


def test_means_of_replicates_mostly_at_chance_are_hollow(folder: Path) -> None:
    results = results_in(folder)
    for values in results._values.values():
        values[:] = [row for row in values if row[0] != "at-chance"]
    assert "Hollow" not in drawn(curves.accuracy_figure, Selection(Evidence(results))).caption
    # Two of three, and one of three.
    for level, replicate in ((2, 0), (2, 1), (3, 0)):
        point = results.point(level, replicate, "ticket", **place("l1-structured"))
        results._values[point.probes["test"].key].append(("at-chance", "", -1, 1.0))
    selection = Selection(Evidence(results))
    for draw in (curves.accuracy_figure, curves.finetune_figure, curves.treatments_figure):
        figure = drawn(draw, selection)
        means = figure.data[(figure.data["series"] == "mean") & (figure.data["at_chance"] > 0)]
        assert dict(zip(means["level"], means["at_chance"], strict=True)) == {2: 2, 3: 1}
        assert "Hollow points: most replicates are at chance." in figure.caption
        # One in each panel that shows the arm.
        shown = 1 if draw is curves.treatments_figure else len(figure.chart.to_dict()["concat"])
        assert figure.svg.count('fill="white" stroke') == shown
    figure = drawn(effective.effective_figure, selection)
    assert figure.data.groupby("count")["at_chance"].sum().to_dict() == dict.fromkeys(effective.COUNTS, 3)
    assert figure.svg.count('fill="white" stroke') == 3 * 3
    assert "Hollow: the network is at chance." in figure.caption


def test_bands_of_corrected_distances_are_of_three_that_have_one(
    selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bands(settled: int) -> list[bool]:
        """Whether distances and corrected ones have a band, where so many replicates have no corrected one."""
        found = [
            Distance(r, level, "fc1.weight", 0.2 + 0.1 * r, 0.8, r < settled, False)
            for level in (1, 2)
            for r in range(3)
        ]
        monkeypatch.setattr(pairwise, "distances_of", lambda selection, compared: iter(found))
        data = distance_table(selection, [Compared("both", {}, {})])
        assert set(data["n"]) == {3}
        assert set(data["n_corrected"]) == {3 - settled}
        channels = level_axis(data), pair_colour({"both": "#123456"}, 300)
        where = {"layer": "fc1"}
        panels = [
            distance_panel(data, where, channels, title="", size=(200, 100), corrected=corrected)
            for corrected in (False, True)
        ]
        return ["mark-area" in Figure("band", "", "", data, panel).svg for panel in panels]

    assert bands(0) == [True, True]
    assert bands(1) == [True, False]
    assert bands(2) == [True, False]


def test_a_mask_from_a_network_at_chance_is_flagged(folder: Path) -> None:
    results = results_in(folder)
    scored = results.point(1, 2, "ticket", **place("l1-structured"))
    rows = results._values[scored.probes["test"].key]
    rows[:] = [("at-chance", "", -1, 1.0), *(row for row in rows if row[0] != "at-chance")]
    selection = Selection(Evidence(results))
    own, other = selection.lineages("l1-structured"), selection.lineages("l2-structured")
    data = distance_table(selection, [Compared("both", own, other)])
    before = distance_table(Selection(Evidence(results_in(folder))), [Compared("both", own, other)])
    changed = data["flagged"] != before["flagged"]
    assert set(data.loc[changed, "level"]) <= {2}
    assert (data.loc[data["level"] == 2, "flagged"] >= 1).all()


def test_a_distance_says_nothing_where_a_mask_keeps_all_or_chance_is_not_known() -> None:
    assert Distance(0, 1, "", 0.2, 0.4, False, False).corrected == 0.5
    assert Distance(0, 1, "", 0.4, 0.4, True, False).corrected is None
    assert Distance(0, 1, "", 0.2, None, False, False).corrected is None
    assert Distance(0, 1, "", 0.0, 0.0, False, False).corrected is None


def test_figures_are_left_out_where_their_arms_are_not_there(folder: Path) -> None:
    selection = Selection(Evidence(results_in(folder, "treatment == rewind")))
    found = {
        draw.__name__: draw(selection.evidence, selection) for draw in (*curves.FIGURES, *distances.FIGURES)
    }
    missing = ["finetune_figure", "treatments_figure", "finetune_figure", "treatments_figure"]
    assert [draw for draw in found if found[draw] is None] == list(dict.fromkeys(missing))
    variants = found["variants_figure"]
    assert variants is not None
    assert set(variants.data["panel"]) == {"l1-structured, rate: 20% or 40%"}


def test_nothing_is_drawn_before_anything_is_computed(folder: Path) -> None:
    selection = Selection(Evidence(results_in(folder, store="empty")))
    for draw in (*curves.FIGURES, *distances.FIGURES):
        assert draw(selection.evidence, selection) is None, draw
    assert selection.layers() == {}
    assert layer_titles(selection) == ["whole network"]


def test_csv_is_the_data_that_is_drawn(selection: Selection) -> None:
    for draw in (*curves.FIGURES, *distances.FIGURES):
        figure = drawn(draw, selection)
        assert len(pd.read_csv(io.StringIO(figure.csv))) == len(figure.data) > 0
