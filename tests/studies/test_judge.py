"""Verdicts, from registration to the end, on stores that hold numbers of known effects."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_1samp, ttest_rel

from pomona.studies.hypotheses.judge import Judged, judge
from pomona.studies.points import Point
from pomona.studies.registration.register import register
from pomona.studies.results import Results
from pomona.studies.study import Study
from tests.studies.filled import CONTRAST, fill, opened, study_of


def noisy(effect: float, sd: float = 0.01, seed: int = 0, **arms: float) -> Callable[[Point], float]:
    """Accuracies around .8 whose zebras are better by the effect; other labels by what is given."""
    generator = np.random.default_rng(seed)
    drawn: dict[tuple[object, ...], float] = {}

    def accuracy(point: Point) -> float:
        labels = tuple(point.arm.values())
        place = (point.step, point.replicate, point.level, labels)
        gain = effect * ("zebra" in labels) + sum(arms.get(label, 0.0) for label in labels)
        return 0.8 + gain + drawn.setdefault(place, generator.normal(0, sd))

    return accuracy


def judged(
    folder: Path,
    study: Study,
    accuracy: Callable[[Point], float | None],
    chance: Callable[[Point], bool] = lambda point: False,
) -> list[Judged]:
    """Register, fill, judge."""
    store = opened(folder)
    register(study, store)
    return judge(fill(store, study, accuracy, chance=chance))


def claim(test: str, rest: str = "", claim: str = "Zebras outlive quokkas.", level: int = 2) -> str:
    return f"""
  - claim: {claim}
    contrast: {{a: {{method: zebra}}, b: {{method: quokka}}, fix: {{treatment: rewind}}}}
    of: {{measure: accuracy, match: level, value: {level}}}
    test: {test}
{rest}"""


def arms(results: Results) -> tuple[np.ndarray, np.ndarray]:
    """The two arms of the first hypothesis, read from the tidy table as anybody would."""
    frame = results.frame()
    own = frame[
        (frame["quantity"] == "accuracy") & (frame["step"] == "ticket") & (frame["level"] == 2)
        & (frame["treatment"] == "rewind")
    ].sort_values("replicate")  # fmt: skip
    return tuple(own[own["method"] == name]["value"].to_numpy() for name in ("zebra", "quokka"))  # type: ignore[return-value]


def test_p_and_interval_are_those_of_scipy_on_the_tidy_table(tmp_path: Path) -> None:
    study = study_of(claim("{paired-t: greater}"))
    store = opened(tmp_path)
    register(study, store)
    results = fill(store, study, noisy(0.02))
    a, b = arms(results)
    (found,) = judge(results)
    assert found.p == pytest.approx(ttest_rel(a, b, alternative="greater").pvalue, rel=1e-12)
    interval = ttest_rel(a, b).confidence_interval(0.95)
    assert found.result is not None
    assert (found.result.low, found.result.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert found.result.estimate == pytest.approx((a - b).mean(), abs=1e-12)


@pytest.mark.parametrize(
    ("test", "rest", "effect", "verdict"),
    [
        ("{paired-t: greater}", "", 0.05, "supported"),
        ("{paired-t: less}", "", -0.05, "supported"),
        ("{paired-t: two-sided}", "", -0.05, "supported"),
        ("{paired-t: greater}", "", -0.05, "refuted"),
        ("{paired-t: less}", "", 0.05, "refuted"),
        ("{paired-t: greater}", "", 0.0, "inconclusive"),
        ("{paired-t: greater}", "    margin: 3pp\n", 0.0, "equivalent"),
        ("{permutation: greater}", "", 0.05, "supported"),
        ("{wilcoxon: greater}", "", 0.05, "supported"),
        ("{sign: greater}", "", 0.05, "supported"),
        ("equivalence", "    margin: 3pp\n", 0.0, "equivalent"),
        ("equivalence", "    margin: 3pp\n", 0.09, "refuted"),
        ("equivalence", "    margin: 3pp\n", 0.03, "inconclusive"),
    ],
)
def test_verdict_follows_the_effect(
    tmp_path: Path, test: str, rest: str, effect: float, verdict: str
) -> None:
    (found,) = judged(tmp_path, study_of(claim(test, rest)), noisy(effect))
    assert (found.verdict, found.exploratory) == (verdict, ())
    assert found.n == 6
    assert found.reason


def test_exact_p_is_that_of_all_sign_flips(tmp_path: Path) -> None:
    study = study_of(claim("{permutation: greater}"))
    store = opened(tmp_path)
    register(study, store)
    results = fill(store, study, noisy(0.01))
    a, b = arms(results)
    wanted = permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", alternative="greater"
    )
    (found,) = judge(results)
    assert found.p == pytest.approx(wanted.pvalue, abs=1e-12)
    assert found.smallest_p == 1 / 64


def test_arms_at_chance_are_not_answerable_even_where_they_differ(tmp_path: Path) -> None:
    study = study_of(claim("{paired-t: greater}"))
    (found,) = judged(tmp_path, study, noisy(0.05), chance=lambda point: point.level == 2)
    assert found.verdict == "not answerable"
    assert found.reason == "every arm is at chance in 6 of 6 replicates: neither equal nor different"
    assert found.p is None


def test_one_arm_at_chance_is_answerable(tmp_path: Path) -> None:
    study = study_of(claim("{paired-t: greater}"))
    (found,) = judged(tmp_path, study, noisy(0.05), chance=lambda p: p.arm.get("method") == "quokka")
    assert found.verdict == "supported"


@pytest.mark.parametrize(
    ("expected", "effect", "against"),
    [
        ("5pp", 0.05, "as expected"),
        ("10pp", 0.05, "weaker"),
        ("1pp", 0.05, "stronger"),
        ("5pp", -0.05, "opposite"),
    ],
)
def test_effect_is_held_against_the_expectation(
    tmp_path: Path, expected: str, effect: float, against: str
) -> None:
    study = study_of(claim("{paired-t: greater}", f"    expect: {{effect: {expected}}}\n"))
    (found,) = judged(tmp_path, study, noisy(effect))
    assert found.against_expectation == against


def test_p_is_corrected_over_the_whole_registered_family(tmp_path: Path) -> None:
    text = "".join(
        claim("{paired-t: two-sided}", claim=f"Level {level} differs.", level=level) for level in (1, 2, 3, 4)
    )
    found = judged(tmp_path, study_of(text), noisy(0.012))
    p = [one.p for one in found]
    order = np.argsort(p)
    holm = np.maximum.accumulate([min(1.0, (4 - i) * p[k]) for i, k in enumerate(order)])  # type: ignore[operator]
    corrected = [one.corrected_p for one in found]
    assert [corrected[k] for k in order] == pytest.approx(list(holm), rel=1e-12)
    assert found[0].correction == "Holm over 4 in family primary"


def test_secondary_hypotheses_are_a_family_of_their_own(tmp_path: Path) -> None:
    text = claim("{paired-t: greater}") + claim(
        "{paired-t: greater}", "    primary: no\n", claim="Also at level 3.", level=3
    )
    first, second = judged(tmp_path, study_of(text), noisy(0.05))
    assert first.correction == second.correction == "alone in its family"
    assert first.p == first.corrected_p


def test_max_t_needs_no_multiplication_and_is_not_below_the_raw_p(tmp_path: Path) -> None:
    text = "".join(
        claim("{permutation: two-sided}", claim=f"Level {level}.", level=level) for level in (1, 2, 3)
    )
    study = study_of(text, [("registration:", "registration:\n  correction: max-t")])
    found = judged(tmp_path, study, noisy(0.05))
    assert [one.corrected_p for one in found] == [2 / 64] * 3
    assert all(one.verdict == "supported" for one in found)


def test_hypothesis_that_is_dropped_after_registration_still_counts_in_its_family(tmp_path: Path) -> None:
    store = opened(tmp_path)
    both = claim("{paired-t: greater}") + claim("{paired-t: greater}", claim="Level 3.", level=3)
    register(study_of(both), store)
    (found,) = judge(fill(store, study_of(claim("{paired-t: greater}")), noisy(0.01)))
    assert found.correction == "Holm over 2 in family primary"
    assert found.p is not None
    assert found.corrected_p == pytest.approx(2 * found.p)


def test_claims_registered_one_after_the_other_are_one_family(tmp_path: Path) -> None:
    store = opened(tmp_path)
    first = claim("{paired-t: greater}")
    register(study_of(first), store)
    both = study_of(first + claim("{paired-t: greater}", claim="Level 3.", level=3))
    register(both, store)
    found = judge(fill(store, both, noisy(0.01)))
    assert [one.correction for one in found] == ["Holm over 2 in family primary"] * 2


def test_study_registered_again_with_other_training_is_judged_on_its_own_replicates(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(), store)
    again = study_of(changes=[("lr: 0.1", "lr: 0.2"), ("replicates: 6", "replicates: 8")])
    register(again, store)
    (found,) = judge(fill(store, again, noisy(0.05)))
    assert (found.verdict, found.n) == ("supported", 8)


def test_unregistered_study_has_estimates_and_no_verdict(tmp_path: Path) -> None:
    (found,) = judge(fill(opened(tmp_path), study_of(), noisy(0.05)))
    assert found.exploratory == ("not registered",)
    assert (found.verdict, found.p, found.corrected_p) == (None, None, None)
    assert found.result is not None
    assert found.result.estimate == pytest.approx(0.05, abs=0.02)


def test_registration_after_the_data_is_exploratory(tmp_path: Path) -> None:
    store, study = opened(tmp_path), study_of()
    results = fill(store, study, noisy(0.05))
    register(study, store)
    (found,) = judge(results)
    assert found.exploratory == ("12 of its 12 results were in the store when it was registered",)
    assert found.p is None


def test_changed_hypothesis_is_a_deviation(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(), store)
    turned = study_of(CONTRAST.replace("greater", "two-sided"))
    (found,) = judge(fill(store, turned, noisy(0.05)))
    assert found.verdict is None
    assert "changed after registration: test" in found.exploratory[0]


def test_changed_training_is_a_deviation_and_an_added_arm_is_none(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(), store)
    longer = study_of(changes=[("batch_size: 32", "batch_size: 16")])
    (found,) = judge(fill(store, longer, noisy(0.05)))
    assert "the states it speaks of are others than registered (12 of 12 differ" in found.exploratory[0]
    more = study_of(changes=[("treatment: [rewind, finetune]", "treatment: [rewind, finetune, reinit]")])
    (found,) = judge(fill(store, more, noisy(0.05)))
    assert found.verdict == "supported"


def test_nothing_is_tested_before_the_registered_number_is_there(tmp_path: Path) -> None:
    store, study = opened(tmp_path), study_of()
    register(study, store)
    results = fill(store, study, noisy(0.05), wanted=lambda point: point.replicate < 4)
    (found,) = judge(results)
    assert found.exploratory == (
        "4 of 6 replicates are computed: the number is registered, so nothing is tested before the last",
    )
    assert found.p is None
    assert found.n == 4


def test_replicates_beyond_the_registered_number_are_in_no_test(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(), store)
    more = study_of(changes=[("replicates: 6", "replicates: 9")])
    (found,) = judge(fill(store, more, noisy(0.05)))
    assert (found.verdict, found.n) == ("supported", 6)


def test_failed_replicates_are_named_and_the_comparison_is_of_survivors(tmp_path: Path) -> None:
    whole = noisy(0.05)

    def failing(point: Point) -> float | None:
        own = point.arm.get("method") == "quokka" and point.arm.get("treatment") == "rewind"
        return None if own and point.replicate in (1, 4) and point.level == 2 else whole(point)

    (found,) = judged(tmp_path, study_of(), failing)
    assert found.verdict == "supported"
    assert found.n == 4
    assert found.lost == (
        "replicate 1: b: level 2: diverged: the loss is not finite",
        "replicate 4: b: level 2: diverged: the loss is not finite",
    )


def test_too_few_survivors_for_an_exact_test_are_inconclusive_and_said_to_be(tmp_path: Path) -> None:
    whole = noisy(0.05)

    def failing(point: Point) -> float | None:
        own = point.arm.get("method") == "quokka" and point.arm.get("treatment") == "rewind"
        return None if own and point.replicate in (1, 4) and point.level == 2 else whole(point)

    (found,) = judged(tmp_path, study_of(claim("{permutation: two-sided}")), failing)
    assert found.verdict == "inconclusive"
    assert found.reason == "4 complete replicates cannot reach 0.05: the smallest p is 0.125"


def test_study_that_is_not_for_verdicts_has_none(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(), store)
    quick = study_of(changes=[("registration:", "verdicts: no\nregistration:")])
    (found,) = judge(fill(store, quick, noisy(0.05)))
    assert "the study says 'verdicts: no'" in found.exploratory
    assert found.verdict is None


def test_regression_term_is_judged_on_its_direction(tmp_path: Path) -> None:
    text = """
  - claim: Accuracy grows with density.
    model: {rows: state, formula: 'accuracy ~ level + C(method)', term: level, cluster: replicate, where: level > 0}
    test: {regression: less}
"""
    study = study_of(text)
    own = noisy(0.0)
    (found,) = judged(tmp_path, study, lambda point: own(point) - 0.02 * point.level)
    assert found.verdict == "supported"
    assert found.result is not None
    assert found.result.estimate == pytest.approx(-0.02, abs=0.002)
    assert "CR2" in found.result.method
    assert found.p == pytest.approx(found.result.p / 2)  # type: ignore[operator]
    (turned,) = judged(
        tmp_path / "b", study_of(text.replace("less", "greater")), lambda p: own(p) - 0.02 * p.level
    )
    assert turned.verdict == "refuted"


def test_interaction_and_value_are_judged_as_differences(tmp_path: Path) -> None:
    text = """
  - claim: Finetuning helps zebras more.
    contrast: {a: {method: zebra}, b: {method: quokka}, across: {treatment: [finetune, rewind]}}
    of: {measure: accuracy, match: level, value: 2}
    test: {paired-t: greater}
  - claim: Zebras stay above 70 %.
    contrast: {a: {method: zebra}, value: 70%, fix: {treatment: rewind}}
    of: {measure: accuracy, match: level, value: 2}
    test: {paired-t: greater}
"""
    plain = noisy(0.0)

    def accuracy(point: Point) -> float:
        both = point.arm.get("method") == "zebra" and point.arm.get("treatment") == "finetune"
        return plain(point) + 0.08 * both

    first, second = judged(tmp_path, study_of(text), accuracy)
    assert (first.verdict, second.verdict) == ("supported", "supported")
    assert first.result is not None
    assert first.result.estimate == pytest.approx(0.08, abs=0.02)
    assert second.observed is not None
    wanted = ttest_1samp([row.a for row in second.observed.rows], 0.7, alternative="greater").pvalue
    assert second.p == pytest.approx(wanted, rel=1e-9)


def edit(results: Results, sql: str, *values: object) -> None:
    """Change the ledger behind its back."""
    with closing(sqlite3.connect(results.store.ledger.path)) as ledger, ledger:
        assert ledger.execute(sql, values).rowcount > 0


@pytest.mark.parametrize(("level", "concerned"), [(2, True), (3, False)])
def test_edited_result_takes_the_verdict_of_those_that_read_it(
    tmp_path: Path, level: int, concerned: bool
) -> None:
    store, study = opened(tmp_path), study_of()
    register(study, store)
    results = fill(store, study, noisy(0.05))
    point = results.point(level, 1, method="zebra", treatment="rewind")
    edit(
        results,
        "UPDATE measurements SET value = 0.99 WHERE probe = ? AND quantity = 'accuracy'",
        point.probes["test"].key,
    )
    (found,) = judge(Results(study, store))
    assert (found.verdict is None) == concerned
    assert any("the chain of the store is broken" in reason for reason in found.exploratory) == concerned


def test_edited_registration_earns_no_verdict(tmp_path: Path) -> None:
    store, study = opened(tmp_path), study_of()
    register(study, store)
    results = fill(store, study, noisy(0.05))
    edit(results, "UPDATE chain SET content = replace(content, 'greater', 'less') WHERE kind = 'registered'")
    (found,) = judge(Results(study, store))
    assert found.verdict is None
    assert any("(registered claims) was changed after it was written" in one for one in found.exploratory)


def test_results_of_another_study_do_not_concern_this_one(tmp_path: Path) -> None:
    store, study = opened(tmp_path), study_of()
    register(study, store)
    other = study_of(changes=[("study: claims", "study: other"), ("lr: 0.1", "lr: 0.3")])
    results = fill(store, study, noisy(0.05))
    apart = fill(store, other, noisy(0.01))
    key = apart.point(2, 1, method="zebra", treatment="rewind").probes["test"].key
    edit(results, "UPDATE measurements SET value = 0.99 WHERE probe = ? AND quantity = 'accuracy'", key)
    (found,) = judge(Results(study, store))
    assert found.verdict == "supported"
