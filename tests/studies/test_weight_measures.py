"""The measures that read masks and weights alone, against what is computed from the stored states by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from pomona.core.errors import InputError
from pomona.graph.store import Store
from pomona.measures.structure import mask_structure
from pomona.studies.points import Point
from pomona.studies.results import Results
from pomona.studies.run import run
from pomona.studies.schema import QUANTITIES
from pomona.studies.study import Study, parse_study

MEASURES = (
    "density, effective-density, weight-stability, mask-structure, moving-stability, rank-correlation, "
    "weight-magnitude, changed-density"
)
TEXT = f"""
study: survivors
let:
  data: {{d: {{name: digits}}}}
  train: {{t: {{optimizer: {{sgd: {{lr: 0.1, momentum: 0.9}}}}, batch_size: 32, duration: 1ep}}}}
  method:
    plain: {{criterion: magnitude, granularity: weight, scope: layer}}
    whole: {{criterion: {{norm: 1}}, granularity: channel-in, scope: layer}}
factors:
  method: [plain, whole]
  treatment: {{rewind: rewind, finetune: finetune, late: {{rewind: 20it}}, fresh: sigma-sign}}
where: ["treatment in [rewind, finetune] or method == plain"]
steps:
  dense: {{init: {{name: fc, options: {{hidden: 30-20}}}}, on: d, train: t}}
  ticket: {{from: dense, repeat: 3, prune: {{method: $method, amount: {{fc1: 20%, fc2: 20%, fc3: 95%}}}}, treat: $treatment, on: d, train: t}}
  bare: {{weights: dense@0, mask: {{score: dense, method: plain, amount: 50%}}, train: none}}
measure: [{MEASURES}]
"""


def study_of(text: str = TEXT) -> Study:
    return parse_study(text, "survivors.yaml")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survivors") / "store"
    run(study_of(TEXT.replace(MEASURES, "weight-stability")), store=folder, workers=0)
    run(study_of(), store=folder, workers=0)
    return folder


@pytest.fixture
def results(store: Path) -> Iterator[Results]:
    with Store(store) as opened:
        yield Results(study_of(), opened)


def numbers(results: Results, point: Point, quantity: str) -> dict[str, float]:
    """Of one point, by layer; what has no value is left out."""
    found = [values for probe in point.probes.values() for values in results.measured(probe).items()]
    return {layer: v for (name, layer, _), v in found if name == quantity and v is not None}


def arrays(results: Results, point: Point) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return results.store.weights(point.state.key), results.store.masks(point.state.key)[0]


def pairs(results: Results) -> list[tuple[Point, Point]]:
    found = [(p.previous, p) for p in results.population.points if p.previous is not None]
    assert len(found) == 6 * 3
    return found  # type: ignore[return-value]


def test_every_quantity_is_in_the_table_and_the_summary(results: Results) -> None:
    frame = results.frame()
    for measure in (
        "mask-structure",
        "moving-stability",
        "rank-correlation",
        "weight-magnitude",
        "changed-density",
    ):
        for quantity in QUANTITIES.get(measure, (measure,)):
            rows = frame.query(f"quantity == '{quantity}'")
            assert len(rows), quantity
            assert set(rows["layer"]) - {""} == {"fc1.weight", "fc2.weight", "fc3.weight"}
            assert ("" in set(rows["layer"])) == (measure in ("weight-magnitude", "changed-density"))
            found = results.summary(quantity, layer="fc1.weight").query("step == 'ticket' and level == 1")
            assert (found["n"] == 1).all(), quantity
            assert (found["failures"] == 0).all()


def test_a_study_that_was_run_is_measured_without_training_again(results: Results) -> None:
    rows = results.store.ledger.rows("SELECT node, COUNT(*) AS tries FROM attempts GROUP BY node")
    assert {row["tries"] for row in rows} == {1}
    assert {row["version"] for row in results.store.ledger.rows("SELECT version FROM probes")} == {1, 2}


def test_rank_correlation_is_that_of_the_survivors(results: Results) -> None:
    compared = 0
    for before, after in pairs(results):
        (first, _), (second, kept) = arrays(results, before), arrays(results, after)
        found = numbers(results, after, "rank-correlation")
        for name, mask in kept.items():
            x, y = np.abs(first[name][mask]), np.abs(second[name][mask])
            # A network that stood still has all of its weights where the treatment by sign put them.
            if len(set(x)) > 1 and len(set(y)) > 1:
                assert found[name] == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
                compared += 1
            else:
                assert name not in found
    assert compared > 30


def test_weight_magnitude_is_that_of_the_survivors_then_and_now(results: Results) -> None:
    for _, point in pairs(results):
        weights, kept = arrays(results, point)
        start = results.store.weights(point.initial.key)
        for tensors, quantity, spread in (
            (weights, "weight-magnitude", "weight-sd"),
            (start, "initial-magnitude", "initial-sd"),
        ):
            values = {name: tensors[name][mask].astype(float) for name, mask in kept.items() if mask.any()}
            values[""] = np.concatenate(list(values.values()))
            magnitudes, spreads = numbers(results, point, quantity), numbers(results, point, spread)
            assert set(magnitudes) == set(values)
            for name, ones in values.items():
                assert magnitudes[name] == pytest.approx(np.abs(ones).mean(), rel=1e-12)
                assert spreads.get(name) == (pytest.approx(ones.std(ddof=1)) if len(ones) > 1 else None)
    # Where rewound, what survivors start from is the network before all training.
    point = results.point(2, method="plain", treatment="finetune", step="ticket")
    assert point.initial == results.point(0, step="dense").start


def test_mask_structure_is_that_of_the_masks(results: Results) -> None:
    for _, point in pairs(results):
        for name, mask in arrays(results, point)[1].items():
            expected = mask_structure(mask)
            for side, lines in (("column", expected.columns), ("row", expected.rows)):
                for quantity, value in (
                    (f"{side}-dispersion", lines.dispersion),
                    (f"{side}-clustering", lines.clustering),
                    (f"empty-{side}s", lines.empty),
                    (f"chance-empty-{side}s", lines.chance_empty),
                ):
                    assert numbers(results, point, quantity).get(name) == value
    whole = results.point(1, method="whole", treatment="rewind", step="ticket")
    assert numbers(results, whole, "column-clustering")["fc1.weight"] == pytest.approx(1)
    assert numbers(results, whole, "empty-columns")["fc1.weight"] == 13 / 64  # 20 % of 64 inputs


def test_changed_density_counts_what_differs_from_the_start(results: Results) -> None:
    for _, point in pairs(results):
        weights, kept = arrays(results, point)
        initial, start = (results.store.weights(state.key) for state in (point.initial, point.start))
        changed = {name: mask & (weights[name] != initial[name]) for name, mask in kept.items()}
        still = {name: (weights[name] == start[name])[mask] for name, mask in kept.items()}
        changed[""] = np.concatenate([found.ravel() for found in changed.values()])
        still[""] = np.concatenate([found.ravel() for found in still.values()])
        for quantity, expected in (("changed-density", changed), ("unmoved", still)):
            found = numbers(results, point, quantity)
            assert found == {name: pytest.approx(one.mean()) for name, one in expected.items() if one.size}


def test_what_was_not_trained_has_not_changed_and_no_share_that_stood_still(results: Results) -> None:
    point = results.point(1, step="bare")
    assert numbers(results, point, "density") == {}
    assert results.density(point) == pytest.approx(0.5, abs=0.01)
    assert set(numbers(results, point, "changed-density").values()) == {0}
    assert numbers(results, point, "unmoved") == {}


def test_a_dead_network_is_stable_and_said_to_stand_still(results: Results) -> None:
    alive, dying, dead = (
        results.point(level, method="whole", treatment="rewind", step="ticket") for level in (1, 2, 3)
    )
    layer = "fc1.weight"
    assert not arrays(results, dying)[1]["fc3.weight"].any()
    # One input of the last layer is left, so of the first layer what can reach it still moves.
    assert 0 < numbers(results, alive, "unmoved")[""] < 1
    assert numbers(results, dying, "unmoved") == {"": 1, layer: 1, "fc2.weight": 1}
    assert numbers(results, dead, "changed-density")[""] == 0
    assert results.density(dead) > 0.4
    # The trap: weights that are never trained are where they were, and in the same order.
    assert numbers(results, dead, "weight-stability")[layer] == 0
    assert numbers(results, dead, "rank-correlation")[layer] == 1
    assert numbers(results, dead, "moving-stability") == {}
    # Finetuned weights keep what an earlier training made of them: changed since the start, but not now.
    tuned = results.point(3, method="whole", treatment="finetune", step="ticket")
    assert numbers(results, tuned, "unmoved")[layer] == 1
    assert numbers(results, tuned, "changed-density")[layer] > 0.4


def test_moving_stability_is_over_what_both_trainings_moved(results: Results) -> None:
    compared = 0
    for before, after in pairs(results):
        ends = [results.store.weights(point.state.key) for point in (before, after)]
        starts = [results.store.weights(point.start.key) for point in (before, after)]
        masks = [arrays(results, point)[1] for point in (before, after)]
        found = numbers(results, after, "moving-stability")
        for name in masks[0]:
            trained = [masks[i][name] & (ends[i][name] != starts[i][name]) for i in (0, 1)]
            both = trained[0] & trained[1]
            if not both.any() or trained[0].sum() < 2:
                assert name not in found
                continue
            first, second = (end[name].astype(float) for end in ends)
            expected = np.abs(second - first)[both].mean() / first[trained[0]].std(ddof=1)
            assert found[name] == pytest.approx(expected, rel=1e-9)
            compared += 1
    assert compared > 15


MOMENTS = TEXT.replace(MEASURES, "rank-correlation@0it, rank-correlation@20it")


def test_moments_of_a_training_are_compared_with_its_end(tmp_path: Path) -> None:
    found = run(study_of(MOMENTS), store=tmp_path / "store", workers=0)
    assert not found.lost()
    frame = found.frame().query("quantity == 'rank-correlation'")
    assert set(frame["part"]) == {"0it", "20it"}
    # Six lineages of levels 0 to 3 and the dense run; what is not trained has no moments.
    assert set(frame["step"]) == {"dense", "ticket"}
    assert len(frame) == 2 * 3 * (1 + 6 * 4)
    for step, level, arm in (
        ("dense", 0, {}),
        ("ticket", 1, {"method": "plain", "treatment": "finetune"}),
        ("ticket", 2, {"method": "whole", "treatment": "rewind"}),
    ):
        point = found.point(level, step=step, **arm)
        ends = found.store.weights(point.state.key)
        for moment in ("0it", "20it"):
            probe = point.probes[f"rank-correlation@{moment}"]
            then, kept = found.store.weights(probe.states[0]), found.store.masks(point.state.key)[0]
            for name, mask in kept.items():
                if mask.sum() > 1:
                    expected = spearmanr(np.abs(then[name][mask]), np.abs(ends[name][mask])).statistic
                    assert found.measured(probe)["rank-correlation", name, -1] == pytest.approx(expected)
    # Half a training from its end the order is closer to that of its end.
    rows = [found.summary("rank-correlation", part, layer="fc1.weight") for part in ("0it", "20it")]
    start, middle = (table.query("step == 'dense'")["mean"].item() for table in rows)
    assert 0 < start < middle < 1


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("rank-correlation@9ep", "there is no step 9ep in a training of 1ep"),
        ("rank-correlation@soon", "expected epochs as '30ep' or iterations as '500it', got 'soon'"),
        ("unmoved@1ep", "unknown measure 'unmoved@1ep'"),
    ],
)
def test_a_moment_that_there_is_not_is_refused(moment: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        run(study_of(TEXT.replace(MEASURES, moment)), store=tmp_path / "store", workers=0)


CLAIM = """
hypotheses:
  - claim: Weights gather in inputs.
    contrast: {a: {method: plain}, b: {method: whole}, fix: {treatment: rewind}}
    of: {measure: MEASURE, layer: fc1.weight, match: level, value: 1}
"""


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ("mask-structure", "mask-structure has several numbers: give 'quantity', column-dispersion or"),
        ("mask-structure, quantity: column-clusters", "did you mean 'column-clustering'"),
        ("weight-magnitude, quantity: unmoved", "unmoved"),
    ],
)
def test_a_hypothesis_says_which_number_it_is_about(of: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        study_of(TEXT + CLAIM.replace("MEASURE", of))
    study_of(TEXT + CLAIM.replace("MEASURE", "mask-structure, quantity: column-clustering"))
    study_of(TEXT + CLAIM.replace("MEASURE", "weight-magnitude"))
