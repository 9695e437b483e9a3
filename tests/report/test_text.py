from __future__ import annotations

from pomona.report.evidence import Evidence
from pomona.report.text import summary_table
from pomona.studies.expand import expand
from pomona.studies.results import Results
from pomona.studies.study import parse_study
from tests.report.conftest import study_text, ticket


def test_summary_has_the_means_and_halves_of_the_intervals(main_results: Results) -> None:
    text = summary_table(main_results)
    summary = main_results.summary()
    for row in summary[summary["step"] == "ticket"].to_dict("records"):
        half = (row["high"] - row["low"]) / 2
        assert f"{100 * row['mean']:.1f} ± {100 * half:.1f}" in text
    assert "\nhypotheses: 1 exploratory: not registered;" in text
    assert text.endswith(f"see 'pomona verdicts main.yaml --store {main_results.store.folder}'")


def test_summary_names_every_arm_once(main_results: Results, evidence: Evidence) -> None:
    lines = summary_table(main_results).splitlines()
    for arm in evidence.arms:
        assert sum(line.startswith(arm.name) for line in lines) == 1


def test_summary_of_one_replicate_has_no_interval(single_results: Results) -> None:
    text = summary_table(single_results)
    assert "±" not in text
    assert "at chance: 1" in text


def test_summary_counts_what_is_missing(plain_results: Results) -> None:
    more = parse_study(study_text("more", replicates=5))
    text = summary_table(Results(more, plain_results.store))
    assert text.splitlines()[-1].split()[-2:] == ["3", "2"]


def test_summary_of_a_study_that_was_not_run_says_so(new_results: Results) -> None:
    assert summary_table(new_results) == "new: no test accuracy has been measured yet"


def test_summary_of_long_names_fits_100_columns(single_results: Results) -> None:
    label = "a-method-with-a-name-" * 6
    factors = f"factors:\n  method: {{{label}1: l1-unstructured, {label}2: l1-structured}}"
    study = parse_study(study_text("long", replicates=1, validation=100, factors=factors, step=ticket(1)))
    # The dense network is that of the other study: level 0 is there.
    text = summary_table(Results(study, single_results.store, expand(study)))
    assert "a-method-with" in text
    assert max(map(len, text.splitlines())) <= 100
