from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pomona.core.errors import InputError
from pomona.graph.store import Store
from pomona.measures.masks import jaccard_distance
from pomona.studies.results import Results
from pomona.studies.study import parse_study

from .conftest import SMALL


def test_frame_has_one_row_for_every_number(small_results: Results) -> None:
    frame = small_results.frame()
    assert list(frame.columns) == small_results.columns
    place = [c for c in frame.columns if c != "value"]
    assert not frame.duplicated(place).any()
    # 2 replicates; 1 dense and 5 arms of 4 levels; test and validation.
    assert len(frame.query("quantity == 'accuracy'")) == 2 * (1 + 5 * 4) * 2
    assert len(frame.query("quantity == 'class-accuracy'")) == 2 * (1 + 5 * 4) * 2 * 10
    # Pairs of the five arms at levels 1 to 3.
    assert len(frame.query("quantity == 'jaccard-distance' and layer == ''")) == 2 * 3 * 10


def test_accuracy_is_the_weighted_mean_of_the_classes(small_results: Results) -> None:
    frame = small_results.frame().query("part == 'test' and step == 'dense' and replicate == 0")
    counts = frame.query("quantity == 'class-count'").set_index("class").value
    shares = frame.query("quantity == 'class-accuracy'").set_index("class").value
    total = frame.query("quantity == 'accuracy'").value.iloc[0]
    assert counts.sum() == 360
    assert (counts * shares).sum() / 360 == pytest.approx(total, abs=1e-12)
    chance = frame.query("quantity == 'chance'").value.iloc[0]
    assert chance == counts.max() / 360


def test_accuracy_is_that_of_the_loaded_module(small_results: Results) -> None:
    import torch

    from pomona.data.dataset import load

    data = load("digits")
    module = small_results.module(level=3, method="l1-structured", treatment="rewind", replicate=1)
    images = torch.from_numpy(np.array(data.test_images)).double()
    inputs = (images / 255 - data.info.mean[0]) / data.info.sd[0]
    predicted = module(inputs.float()).argmax(1).numpy()
    point = small_results.point(level=3, method="l1-structured", treatment="rewind", replicate=1)
    frame = small_results.frame().query("quantity == 'accuracy' and part == 'test'")
    value = frame[frame.state == point.state.key].value.iloc[0]
    assert value == pytest.approx((predicted == data.test_labels).mean(), abs=1e-12)


def test_density_is_that_of_the_masks(small_results: Results) -> None:
    for level in range(4):
        point = small_results.point(level=level, method="l1-structured", treatment="rewind")
        masks, _ = small_results.store.masks(point.state.key)
        kept = sum(int(m.sum()) for m in masks.values()) / sum(m.size for m in masks.values())
        assert small_results.density(point) == kept


def test_summary_is_the_t_interval_over_replicates(small_results: Results) -> None:
    summary = small_results.summary()
    frame = small_results.frame().query("quantity == 'accuracy' and part == 'test' and step == 'ticket'")
    row = summary.query("method == 'l1-structured' and sd > 0").iloc[0]
    values = frame.query(f"method == 'l1-structured' and level == {row.level}").value.to_numpy()
    assert row.n == 2
    assert row["mean"] == pytest.approx(values.mean(), abs=1e-15)
    low, high = stats.t.interval(0.95, 1, values.mean(), stats.sem(values))
    assert (row.low, row.high) == (pytest.approx(low), pytest.approx(high))
    assert row.failures == 0


def test_distances_are_those_of_the_masks(small_results: Results) -> None:
    row = (
        small_results.distances()
        .query(
            "level == 2 and a == 'l1-unstructured rewind' and b == 'random-unstructured rewind' and layer == 'fc1.weight'"
        )
        .iloc[0]
    )
    found = []
    for replicate in (0, 1):
        pair = [
            small_results.store.masks(
                small_results.point(
                    level=2, replicate=replicate, method=method, treatment="rewind"
                ).masked.key
            )[0]["fc1.weight"]
            for method in ("l1-unstructured", "random-unstructured")
        ]
        found.append(jaccard_distance(*pair))
    assert row["mean"] == pytest.approx(np.mean(found), abs=1e-15)
    # Independent masks of density p have an expected distance of about 2(1-p)/(2-p).
    density = row.density_a
    assert row.chance == pytest.approx(2 * (1 - density) / (2 - density), abs=0.01)
    assert abs(row["mean"] - row.chance) < 0.05


def test_stability_is_zero_only_where_nothing_moves(small_results: Results) -> None:
    frame = small_results.frame().query("quantity == 'weight-stability'")
    assert set(frame.level) == {1, 2, 3}
    assert (frame.value > 0).all()


def test_effective_density_is_at_most_the_density(small_results: Results) -> None:
    frame = small_results.frame().query("quantity == 'effective-density'")
    total = frame.query("layer == ''")
    assert (total.value <= total.density + 1e-15).all()
    dense = frame.query("layer == '' and step == 'dense'")
    assert set(dense.value) == {1.0}


def test_point_says_what_there_is(small_results: Results) -> None:
    with pytest.raises(InputError, match="states fit; give more of the arm"):
        small_results.point(level=1)
    with pytest.raises(InputError, match="levels up to 3"):
        small_results.point(level=9, method="l1-structured")
    with pytest.raises(InputError, match="unknown factor 'metod'; did you mean 'method'"):
        small_results.point(level=1, metod="l1-structured")
    with pytest.raises(InputError, match="did you mean 'l1-structured'"):
        small_results.point(level=1, method="l1-structurd")
    with pytest.raises(InputError, match="unknown step 'tickt'; did you mean 'ticket'"):
        small_results.point(step="tickt")


def test_study_that_was_not_run_has_no_numbers_and_says_so(small_store) -> None:
    study = parse_study(SMALL.replace("lr: 0.1", "lr: 0.2"))
    with Store(small_store) as store:
        results = Results(study, store)
        assert {point.kind for point in results.lost()} == {"not run"}
        assert set(results.summary().n) == {0}
        # The initial state is that of the study that was run: only its density is known.
        assert set(results.frame().quantity) == {"density"}
