"""Ways in which a verdict might be had that is not earned: each of them ends without one, or with another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pomona.graph import chain
from pomona.graph.ledger import Attempt
from pomona.studies.hypotheses.judge import Judged, judge
from pomona.studies.points import Point
from pomona.studies.registration.register import register
from pomona.studies.results import Results
from tests.studies.filled import fill, opened, study_of
from tests.studies.test_judge import claim, noisy

TEST = "{paired-t: greater}"


def by_level(curves: dict[str, list[float]], sd: float = 0.002) -> Callable[[Point], float]:
    """Accuracies of each method by level, with noise of each replicate."""
    noise = noisy(0.0, sd)

    def accuracy(point: Point) -> float:
        return curves[point.arm.get("method", "zebra")][point.level] + noise(point) - 0.8

    return accuracy


def test_labels_that_are_swapped_after_the_data_are_another_claim(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(study_of(claim(TEST)), store)
    fill(store, study_of(claim(TEST)), noisy(-0.05))
    swapped = study_of(
        claim(TEST),
        [
            ("zebra: {criterion: magnitude", "zebra: {criterion: XX"),
            ("quokka: {criterion: random", "quokka: {criterion: magnitude"),
            ("XX", "random"),
        ],
    )
    (found,) = judge(fill(store, swapped, noisy(0.05)))
    assert found.verdict is None
    assert "the states it speaks of are others than registered" in found.exploratory[0]


def test_of_several_registered_numbers_one_counts_the_last_before_the_data(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for number in (12, 9, 6, 8):
        register(study_of(claim(TEST), [("replicates: 6", f"replicates: {number}")]), store)
    for number, tested in ((6, None), (8, 8), (9, 8), (12, 8)):
        study = study_of(claim(TEST), [("replicates: 6", f"replicates: {number}")])
        (found,) = judge(fill(store, study, noisy(0.05)))
        assert (found.n if found.verdict else None) == tested
        if tested:
            assert any("3 other registrations asked the same" in note for note in found.notes)


def test_pilot_that_is_declared_before_any_of_the_tested_data_counts(tmp_path: Path) -> None:
    store = opened(tmp_path)
    fill(store, study_of(claim(TEST)), noisy(0.05), wanted=lambda point: point.replicate < 2)
    register(study_of(claim(TEST)), store)
    later = study_of(claim(TEST), [("registration:", "registration:\n  pilot: 2")])
    register(later, store)
    (found,) = judge(fill(store, later, noisy(0.05)))
    assert (found.verdict, found.n) == ("supported", 4)


@pytest.mark.parametrize("correction", ["holm", "max-t"])
def test_claims_of_which_each_has_a_registration_of_its_own_are_one_family(
    tmp_path: Path, correction: str
) -> None:
    store = opened(tmp_path)
    changes = [("registration:", f"registration:\n  correction: {correction}")]
    claims = [claim("{permutation: two-sided}", claim=f"Level {n}.", level=n) for n in (1, 2, 3, 4)]
    for one in claims:
        register(study_of(one, changes), store)
    found = judge(fill(store, study_of("".join(claims), changes), noisy(0.02)))
    assert all("over 4 in family primary" in one.correction for one in found)
    alone = judge(Results(study_of(claims[1], changes), store))[0]
    assert alone.corrected_p is not None
    assert found[1].corrected_p is not None
    assert alone.corrected_p >= found[1].corrected_p
    assert alone.correction.startswith("Holm over 4 in family primary")


def test_claim_that_is_registered_after_its_data_does_not_count_in_the_family_of_others(
    tmp_path: Path,
) -> None:
    store = opened(tmp_path)
    register(study_of(claim(TEST)), store)
    results = fill(store, study_of(claim(TEST)), noisy(0.05))
    before = judge(results)[0]
    both = study_of(claim(TEST) + claim(TEST, claim="Level 3.", level=3))
    register(both, store)
    first, second = judge(Results(both, store))
    assert (first.verdict, first.corrected_p, first.correction) == (
        before.verdict,
        before.corrected_p,
        "alone in its family",
    )
    assert second.verdict is None


def test_max_t_waits_for_the_whole_family(tmp_path: Path) -> None:
    changes = [("registration:", "registration:\n  correction: max-t")]
    text = claim("{permutation: two-sided}") + claim("{permutation: two-sided}", claim="L 4.", level=4)
    study = study_of(text, changes)
    store = opened(tmp_path)
    register(study, store)
    results = fill(store, study, noisy(0.05), wanted=lambda point: point.level < 4 or point.replicate < 5)
    first, second = judge(results)
    assert first.exploratory == ("max-T corrects the claims of a family together, and not all are computed",)
    assert second.verdict is None


def test_max_t_of_a_claim_that_lost_replicates_does_not_silence_the_others(tmp_path: Path) -> None:
    changes = [("registration:", "registration:\n  correction: max-t")]
    text = claim("{permutation: greater}") + claim("{permutation: greater}", claim="L 4.", level=4)
    study = study_of(text, changes)
    store = opened(tmp_path)
    register(study, store)
    whole = noisy(0.05)

    def failing(point: Point) -> float | None:
        own = point.arm.get("method") == "quokka" and point.level == 4
        return None if own and point.replicate < 3 else whole(point)

    first, second = judge(fill(store, study, failing))
    assert (first.n, first.corrected_p, first.verdict) == (6, 1 / 64, "supported")
    assert (second.n, second.verdict) == (3, "inconclusive")


def test_failure_that_the_next_run_tries_again_is_not_final(tmp_path: Path) -> None:
    store, study = opened(tmp_path), study_of(claim(TEST))
    register(study, store)
    results = fill(store, study, noisy(0.05), wanted=lambda point: point.replicate < 4)
    for replicate in (4, 5):
        key = results.point(0, replicate, step="dense").state.key
        failed = Attempt(key, "test", 0.0, 1.0, "failed", kind="out of memory", reason="no room")
        store.ledger.commit_failure(failed, 1, final=True)
    (found,) = judge(Results(study, store))
    assert found.verdict is None
    assert "4 of 6 replicates are computed" in found.exploratory[0]


def test_regression_waits_for_its_measurements(tmp_path: Path) -> None:
    text = """
  - claim: Accuracy falls.
    model: {rows: state, formula: accuracy ~ level, term: level, cluster: replicate, where: level > 0}
    test: {regression: less}
"""
    store, study = opened(tmp_path), study_of(text)
    register(study, store)
    own = noisy(0.0)
    results = fill(store, study, lambda point: own(point) - 0.02 * point.level)
    probe = results.point(2, 1, method="zebra", treatment="rewind").probes["test"].key
    with store.ledger.transaction() as write:
        write.execute("UPDATE probes SET status = 'planned' WHERE key = ?", [probe])
        write.execute("DELETE FROM measurements WHERE probe = ?", [probe])
    (found,) = judge(Results(study, store))
    assert found.verdict is None
    assert any("1 rows are not computed" in reason for reason in found.exploratory)


def test_regression_of_states_at_chance_is_not_answerable(tmp_path: Path) -> None:
    text = """
  - claim: Accuracy falls.
    model: {rows: state, formula: accuracy ~ level, term: level, cluster: replicate}
    test: {regression: less}
"""
    store, study = opened(tmp_path), study_of(text)
    register(study, store)
    own = noisy(0.0)
    (found,) = judge(fill(store, study, lambda p: own(p) - 0.02 * p.level, chance=lambda point: True))
    assert found.verdict == "not answerable"


def judged(folder: Path, text: str, accuracy: Callable[[Point], float | None]) -> Judged:
    store, study = opened(folder), study_of(text)
    register(study, store)
    (found,) = judge(fill(store, study, accuracy))
    return found


def crossing(test: str, of: str, rest: str = "") -> str:
    return f"""
  - claim: Zebras last longer.
    contrast: {{a: {{method: zebra}}, b: {{method: quokka}}, fix: {{treatment: rewind}}}}
    of: {of}
    test: {test}
{rest}"""


@pytest.mark.parametrize(
    "of",
    [
        "{measure: accuracy, match: density, below: 0.5}",
        "{measure: accuracy, match: density, slope: [1.0, 0.0625]}",
        "{measure: accuracy, match: density, slope: all}",
    ],
)
def test_lineages_that_failed_hold_out_no_longer_for_it(tmp_path: Path, of: str) -> None:
    curves = by_level({"zebra": [0.9, 0.9, 0.9, 0.9, 0.9], "quokka": [0.9, 0.8, 0.7, 0.6, 0.4]})

    def failing(point: Point) -> float | None:
        return None if point.arm.get("method") == "zebra" and point.level == 2 else curves(point)

    found = judged(tmp_path, crossing(TEST, of), failing)
    assert found.verdict == "not answerable"
    assert len(found.lost) == 6
    assert all("diverged" in one for one in found.lost)


def test_bounds_show_no_equivalence(tmp_path: Path) -> None:
    text = crossing("equivalence", "{measure: accuracy, match: density, below: 0.5}", "    margin: 0.5\n")
    found = judged(tmp_path, text, by_level({"zebra": [0.9] * 5, "quokka": [0.8] * 5}))
    assert found.verdict == "not answerable"
    assert "bound" in found.reason


def test_few_survivors_do_not_stand_for_all(tmp_path: Path) -> None:
    whole = noisy(0.05)

    def failing(point: Point) -> float | None:
        own = point.arm.get("method") == "quokka" and point.arm.get("treatment") == "rewind"
        return None if own and point.replicate < 4 and point.level == 2 else whole(point)

    found = judged(tmp_path, claim(TEST), failing)
    assert found.verdict == "not answerable"
    assert found.reason == "2 of 6 replicates are complete: too few survive to stand for all"


def test_result_that_was_edited_and_sealed_again_earns_nothing(tmp_path: Path) -> None:
    store, study = opened(tmp_path), study_of(claim(TEST))
    register(study, store)
    results = fill(store, study, noisy(0.0))
    probe = results.point(2, 1, method="zebra", treatment="rewind").probes["test"].key
    with store.ledger.transaction() as write:
        write.execute("UPDATE measurements SET value = value + .06 WHERE probe = ?", [probe])
        chain.seal(write, "probe", probe)
    assert chain.check(store.ledger) == []
    (found,) = judge(Results(study, store))
    assert found.exploratory == (
        "1 of its results have a second entry with other numbers; see 'pomona verify --fraction 0'",
    )


def test_registration_that_was_taken_out_is_missed(tmp_path: Path) -> None:
    store, study = opened(tmp_path), study_of(claim(TEST))
    register(study, store)
    results = fill(store, study, noisy(0.05))
    with store.ledger.transaction() as write:
        write.execute("DELETE FROM chain WHERE kind = 'registered'")
    (found,) = judge(Results(study, results.store))
    assert found.exploratory[0] == "not registered"
    assert "entry 1 is missing" in found.exploratory[1]


def test_estimate_of_the_other_sign_is_opposite_however_wide_its_interval(tmp_path: Path) -> None:
    found = judged(tmp_path, claim(TEST, "    expect: {effect: 9pp}\n"), noisy(-0.02, sd=0.03))
    assert found.result is not None
    assert found.result.estimate is not None
    assert found.result.estimate < 0
    assert found.against_expectation == "opposite"


def test_unbounded_interval_says_nothing_of_the_expectation(tmp_path: Path) -> None:
    text = claim("{permutation: greater}", "    expect: {effect: 40pp}\n")
    changes = [("replicates: 6", "replicates: 5")]
    store, study = opened(tmp_path), study_of(text, changes)
    register(study, store)
    (found,) = judge(fill(store, study, noisy(0.1)))
    assert found.verdict == "supported"
    assert found.against_expectation is None
