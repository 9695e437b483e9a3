"""From the states of a study to one number a replicate, against sums done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import ProblemsError
from pomona.studies.expand import expand
from pomona.studies.hypotheses.cells import cells, keys, pilot_cells
from pomona.studies.hypotheses.observe import observe, rows_of
from pomona.studies.hypotheses.spec import Hypothesis, Regression
from pomona.studies.points import Point
from pomona.studies.results import Results
from tests.studies.filled import fill, opened, study_of

GAIN = {"zebra": 0.1, "quokka": 0.0}
LOSS = {"rewind": 0.0, "finetune": 0.02}


def accuracy(point: Point) -> float:
    """Known effects: method, treatment, their interaction, level, and a shift of each replicate."""
    arm = dict(point.arm)
    both = 0.05 if arm.get("method") == "zebra" and arm.get("treatment") == "finetune" else 0.0
    level = -0.01 * point.level
    return (
        0.6 + 0.001 * point.replicate**2 + level + both
        + GAIN.get(arm.get("method", ""), 0.0) * (1 + 0.1 * point.replicate)
        + LOSS.get(arm.get("treatment", ""), 0.0)
    )  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return fill(opened(tmp_path_factory.mktemp("observe")), study_of(), accuracy)


def hypothesis(
    contrast: str, of: str = "{measure: accuracy, match: level, value: 2}", rest: str = ""
) -> Hypothesis:
    text = f"""
  - claim: Something holds.
    contrast: {contrast}
    of: {of}
{rest}"""
    return study_of(text).spec.hypotheses[0]


def differences(
    results: Results, contrast: str, of: str = "{measure: accuracy, match: level, value: 2}"
) -> list[float]:
    return list(observe(results, hypothesis(contrast, of)).differences)


def test_difference_is_that_of_each_replicate(results: Results) -> None:
    found = observe(
        results, hypothesis("{a: {method: zebra}, b: {method: quokka}, fix: {treatment: rewind}}")
    )
    assert [row.replicate for row in found.rows] == list(range(6))
    assert found.differences == pytest.approx([0.1 * (1 + 0.1 * r) for r in range(6)], abs=1e-12)
    assert found.rows[2].a == pytest.approx(0.6 + 0.004 - 0.02 + 0.12, abs=1e-12)
    assert found.unit == "share"


def test_arm_against_a_value(results: Results) -> None:
    found = observe(results, hypothesis("{a: {method: zebra}, value: 65%, fix: {treatment: rewind}}"))
    assert found.rows[0].b == 0.65
    assert found.differences[0] == pytest.approx(0.7 - 0.02 - 0.65, abs=1e-12)


def test_average_takes_the_mean_over_the_labels(results: Results) -> None:
    found = differences(results, "{a: {method: zebra}, b: {method: quokka}, average: [treatment]}")
    assert found == pytest.approx([0.1 * (1 + 0.1 * r) + 0.025 for r in range(6)], abs=1e-12)


def test_interaction_is_the_difference_of_differences(results: Results) -> None:
    found = differences(
        results, "{a: {method: zebra}, b: {method: quokka}, across: {treatment: [finetune, rewind]}}"
    )
    assert found == pytest.approx([0.05] * 6, abs=1e-12)


def test_slope_of_one_arm_is_held_against_zero(results: Results) -> None:
    found = differences(
        results,
        "{a: {method: quokka}, fix: {treatment: rewind}}",
        "{measure: accuracy, match: density, slope: all}",
    )
    assert found == pytest.approx([0.01] * 6, abs=1e-12)


def test_match_leaves_out_labels_that_one_arm_lacks(tmp_path: Path) -> None:
    changes = [("steps:", "where: [treatment == rewind or method == zebra]\nsteps:")]
    text = """
  - claim: Something holds.
    contrast: {a: {method: zebra}, b: {method: quokka}, match: [treatment]}
    of: {measure: accuracy, match: level, value: 2}
"""
    study = study_of(text, changes)
    matched = observe(fill(opened(tmp_path), study, accuracy), study.spec.hypotheses[0])
    assert matched.differences == pytest.approx([0.1 * (1 + 0.1 * r) for r in range(6)], abs=1e-12)
    with pytest.raises(ProblemsError, match="averaged over other labels"):
        study_of(text.replace("match: [treatment]", "average: [treatment]"), changes)


def test_arm_of_another_step(results: Results) -> None:
    found = differences(
        results,
        "{a: {step: ticket, method: zebra}, value: 0, fix: {treatment: rewind}}",
        "{measure: density, match: level, value: 3}",
    )
    assert found == pytest.approx([1 / 8] * 6)


def test_replicate_that_failed_is_lost_with_its_reason_and_its_partner_is_left_out(tmp_path: Path) -> None:
    study = study_of()

    def failing(point: Point) -> float | None:
        own = dict(point.arm) == {"method": "quokka", "treatment": "rewind"}
        return None if own and (point.replicate, point.level) == (3, 2) else accuracy(point)

    found = observe(fill(opened(tmp_path), study, failing), study.spec.hypotheses[0])
    assert [row.replicate for row in found.complete] == [0, 1, 2, 4, 5]
    assert found.rows[3].lost == "b: level 2: diverged: the loss is not finite"
    assert found.rows[3].a is not None
    assert not found.rows[3].pending


def test_replicate_that_is_not_computed_is_pending(tmp_path: Path) -> None:
    study = study_of()
    results = fill(opened(tmp_path), study, accuracy, wanted=lambda point: point.replicate < 4)
    found = observe(results, study.spec.hypotheses[0])
    assert [row.pending for row in found.rows] == [False] * 4 + [True] * 2
    assert len(found.complete) == 4


@pytest.mark.parametrize(("rule", "left"), [("", 6), ("    exclude: at-chance\n", 4)])
def test_registered_exclusion_leaves_out_what_it_names(tmp_path: Path, rule: str, left: int) -> None:
    text = f"""
  - claim: Something holds.
    contrast: {{a: {{method: zebra}}, b: {{method: quokka}}, fix: {{treatment: rewind}}}}
    of: {{measure: accuracy, match: level, value: 2}}
{rule}"""
    study = study_of(text)
    results = fill(
        opened(tmp_path),
        study,
        accuracy,
        chance=lambda p: p.replicate < 2 and p.level == 2 and p.arm.get("method") == "quokka",
    )
    found = observe(results, study.spec.hypotheses[0])
    assert len(found.complete) == left
    if rule:
        assert found.rows[0].lost == "excluded by the rule at-chance: b"
    assert not any(row.at_chance for row in found.rows), "only one arm is at chance"


def test_pilot_replicates_are_in_no_test(tmp_path: Path) -> None:
    study = study_of(changes=[("registration:", "registration:\n  pilot: 2")])
    population = expand(study)
    own, pilot = (f(population, study.spec.hypotheses[0]) for f in (cells, pilot_cells))
    assert {cell.replicate for cell in own} == {2, 3, 4, 5}
    assert {cell.replicate for cell in pilot} == {0, 1}
    assert not keys(own) & keys(pilot)
    results = fill(opened(tmp_path), study, accuracy)
    assert len(observe(results, study.spec.hypotheses[0]).differences) == 4
    assert len(observe(results, study.spec.hypotheses[0], pilot=True).differences) == 2


def test_cells_hold_the_states_of_the_arms_and_no_others() -> None:
    study = study_of()
    population = expand(study)
    found = cells(population, study.spec.hypotheses[0])
    assert len(found) == 2 * 6
    wanted = {
        point.probes["test"].key
        for point in population.points
        if point.step == "ticket" and point.level == 2 and point.arm["treatment"] == "rewind"
    }
    assert {probe.key for cell in found for read in cell.probes for probe in read} == wanted
    assert wanted <= keys(found)
    other = study_of(changes=[("amount: 50%", "amount: 40%")])
    assert not wanted & keys(cells(expand(other), other.spec.hypotheses[0]))


def test_keys_are_those_of_a_study_that_changed_elsewhere() -> None:
    study = study_of()
    more = study_of(changes=[("treatment: [rewind, finetune]", "treatment: [rewind, finetune, reinit]")])
    own, others = (keys(cells(expand(s), s.spec.hypotheses[0])) for s in (study, more))
    assert own == others


def test_rows_of_a_regression(results: Results) -> None:
    model = Regression(rows="state", formula="accuracy ~ level", term="level", where="level > 0")
    frame = rows_of(results, model)
    assert len(frame) == 6 * 4 * 4
    assert set(frame["method"]) == {"zebra", "quokka"}
    assert frame["lineage"].nunique() == 24
    assert np.allclose(frame["sparsity"], 1 - 0.5 ** frame["level"])
    by_class = rows_of(results, model.model_copy(update={"rows": "state x class"}))
    assert len(by_class) == 3 * len(frame)
    assert sorted(by_class["class"].unique()) == [0, 1, 2]
    assert by_class.groupby("class")["class_share"].first().tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert frame.attrs["lost"] == 0
