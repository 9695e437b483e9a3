"""The report of a blinded study: nothing in it says which arm is which."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pomona.graph.store import Store
from pomona.report.evidence import Evidence
from pomona.report.failures import failed_states
from pomona.report.text import summary_table
from pomona.report.write import draw_figures, is_current, report_path, write_report
from pomona.studies.blinding.blind import CANNOT_HIDE, keep, new_blind, unblind
from pomona.studies.blinding.blinded import BlindedResults, shown
from pomona.studies.results import Results

from ..zoo import LABELS, TEXT, WORDS, ran_blind, words_below, words_in, zoo
from .conftest import flat_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo") / "store"
    ran_blind(path).close()
    return path


@pytest.fixture
def results(folder: Path) -> Iterator[BlindedResults]:
    with Store(folder) as store:
        found = shown(Results(zoo(), store))
        assert isinstance(found, BlindedResults)
        yield found


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    with Store(folder) as store:
        return write_report(Results(zoo(), store))  # which must itself ask whether the study is blinded


def test_no_file_of_a_blinded_report_has_a_word_of_its_arms(page: Path) -> None:
    files = {str(path.relative_to(page.parent)) for path in page.parent.rglob("*.*")}
    figures = ("accuracy", "mask-distance", "effective-density", "weight-stability")
    assert {f"figures/{name}.{suffix}" for name in figures for suffix in ("svg", "png", "csv")} < files
    assert words_below(page.parent.parent) == {}


def test_the_same_search_finds_the_words_after_the_reveal(tmp_path: Path) -> None:
    with ran_blind(tmp_path / "store") as store:
        unblind(store, "zoo")
        page = write_report(Results(zoo(), store))
    assert page.parent.name == "zoo"
    assert words_in(page.read_text()) == set(WORDS)
    found = words_below(page.parent)
    animals = {"zebra", "quokka", "okapi"}
    for name in ("accuracy", "mask-distance", "effective-density", "weight-stability"):
        assert all(found[f"figures/{name}.{suffix}"] >= animals for suffix in ("svg", "csv"))


def test_the_page_says_that_it_is_blinded_and_what_is_not_hidden(page: Path, results: BlindedResults) -> None:
    text = flat_text(page.read_text())
    assert "<b>Blinded.</b> The labels of method stand under codes" in text
    assert "<code>pomona unblind zoo</code>" in text
    assert results.blind.commitment in text
    assert results.blind.registration in text
    assert zoo().digest() in text
    assert results.blind.salt not in text
    for line in (*CANNOT_HIDE, *results.told_apart()):
        assert line in text
    assert "Verdicts are withheld until" in text
    for heading in ("Steps", "Pruning methods", "Treatments of the surviving weights"):
        assert f"<h3>{heading}</h3>" not in text
    assert "(YAML)" not in text


def test_keys_of_a_blinded_page_cannot_be_looked_up(page: Path, results: BlindedResults) -> None:
    text = page.read_text()
    keys = [point.state.key for point in results.population.points]
    assert not [key for key in keys if key[:8] in text]
    assert all(results.shown_key(key)[:12] in text for key in keys)
    assert "pomona show" not in text


def test_a_blinded_page_lies_beside_the_others_and_is_written_anew_for_other_codes(
    page: Path, results: BlindedResults
) -> None:
    assert page == report_path(results)
    assert page.parent.name == "zoo-blind"
    assert is_current(page, results)
    assert not is_current(page, Results(zoo(TEXT.replace("lr: 0.1", "lr: 0.2")), results.store))
    text = page.read_text().replace(results.blind.commitment, "0" * 64)
    other = page.with_name("other.html")
    other.write_text(text)
    assert not is_current(other, results)
    other.unlink()


def test_figures_list_arms_in_the_order_of_their_codes(results: BlindedResults) -> None:
    codes = sorted(results.blind.codes["method"].values())
    figures = [figure for figure in draw_figures(Evidence(results)) if "arm" in figure.data]
    assert len(figures) == 3
    for figure in figures:
        text = " ".join(dict.fromkeys(figure.data["arm"]))
        places = [text.index(code) for code in codes]
        assert places == sorted(places), figure.name


def test_the_summary_and_the_tables_are_under_codes(results: BlindedResults) -> None:
    said = summary_table(results)
    assert words_in(said) == set()
    assert all(code in said for code in results.blind.codes["method"].values())
    assert "verdicts are withheld" in said.replace("\n", " ")
    assert words_in(summary_table(Results(zoo(), results.store))) >= {"zebra", "quokka", "okapi"}


def test_failures_of_a_blinded_study_are_told_without_their_arms(tmp_path: Path) -> None:
    with ran_blind(tmp_path / "store") as store:
        plain = Results(zoo(), store)
        point = plain.point(1, 0, method="quokka-taylor", treatment="rewind")
        reason = f"taylor of quokka-taylor is NaN in {point.state.key}"
        with store.ledger.transaction() as write:
            write.execute("UPDATE states SET status = 'failed' WHERE key = ?", (point.state.key,))
            write.execute(
                "INSERT INTO attempts (node, run, worker, started_at, seconds, status, kind, reason)"
                " VALUES (?, 1, '0', 0, 0, 'failed', 'diverged', ?)",
                (point.state.key, reason),
            )
        told = failed_states(Evidence(plain))[0]
        assert told.reason == reason  # so it is there to be found
        found = failed_states(Evidence(shown(plain)))[0]
        assert found.kind == "diverged"
        assert "is NaN in" in found.reason
        assert words_in(f"{found.what} {found.reason} {found.key}") == set()
        assert point.state.key[:8] not in f"{found.what} {found.reason} {found.key}"
        assert words_in(write_report(plain).read_text()) == set()


def test_networks_and_data_that_differ_between_arms_are_not_named(tmp_path: Path) -> None:
    models = "{walrus: {name: fc, options: {hidden: 13-11}}, gnu: {name: fc, options: {hidden: 9-7}}}"
    text = TEXT.replace("init: {name: fc, options: {hidden: 13-11}}", "init: $model")
    text = text.replace("treatment: [rewind, finetune]", f"treatment: [rewind]\n  model: {models}")
    text = text.replace("blind: yes", "blind: [method, model]")
    text = text.replace("fix: {treatment: rewind}", "fix: {treatment: rewind, model: gnu}")
    with Store(tmp_path / "store") as store:
        study = zoo(text)
        keep(store.ledger, new_blind(study, "registration"))
        page = write_report(Results(study, store)).read_text()
    assert not [word for word in (*LABELS, "walrus", "gnu", "13-11", "9-7") if word in page]
