from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from pomona import __version__
from pomona.report.evidence import Evidence
from pomona.report.page import page
from pomona.report.tables import full_table
from pomona.report.write import draw_figures
from pomona.studies.results import Results
from tests.report.conftest import flat_text

_VOID = {"meta", "link", "br", "img", "hr", "input"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def page_of(results: Results) -> str:
    evidence = Evidence(results)
    return page(evidence, draw_figures(evidence))


@pytest.fixture(scope="module")
def text(main_results: Results) -> str:
    return page_of(main_results)


def test_page_loads_nothing_from_anywhere(text: str) -> None:
    reader = read(text)
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "img", "iframe", "object", "base"}
    links = [value for _, attrs in reader.tags for name, value in attrs.items() if name in ("href", "src")]
    outside = [link for link in links if not str(link).startswith(("#", "figures/"))]
    assert outside == ["https://arxiv.org/abs/2001.05050"]
    within = {str(link)[1:] for link in links if str(link).startswith("#")}
    assert within
    assert within <= {attrs.get("id") for _, attrs in reader.tags}
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_page_escapes_what_the_study_says(text: str) -> None:
    assert "<script" not in text
    assert "<u>" not in text
    assert "<i>" not in text
    assert "Roots &amp; &lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "&lt;u&gt;random&lt;/u&gt;" in text


def test_page_has_its_sections_in_order(text: str) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [
        "1 What was asked",
        "2 Hypotheses and verdicts",
        "3 Result",
        "4 Table",
        "5 Failures and flags",
        "6 Provenance",
    ]


def test_page_has_no_id_twice(text: str) -> None:
    ids = [attrs["id"] for _, attrs in read(text).tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_page_says_what_it_is_and_that_nothing_is_held_back(text: str) -> None:
    words = flat_text(text)
    assert "<b>Exploratory.</b> The hypothesis of this study is not registered" in words
    assert "<b>Validation: none.</b>" in words
    assert "validation: none" in words
    assert f"Written by Pomona {__version__}" in words


def test_page_does_not_say_none_where_validation_is_held_back(single_results: Results) -> None:
    words = flat_text(page_of(single_results))
    assert "Validation: none" not in words
    assert "validation: 100" in words
    assert "1,337 training" in words


def test_page_writes_hypotheses_out(text: str) -> None:
    words = flat_text(text)
    assert "Magnitude beats &lt;i&gt;chance&lt;/i&gt;." in words
    assert '<span class="badge verdict exploratory">○ exploratory</span>' in words
    assert "paired by replicate" in words
    assert "test accuracy, at density 0.5" in words
    assert (
        "paired-t (Student&#39;s t on paired differences), alternative: greater; level 0.05, primary" in words
    )
    assert "an effect of 10 percentage points" in words


def test_page_describes_methods_treatments_and_training(text: str) -> None:
    words = flat_text(text)
    assert "input channels by norm 1, each layer by itself" in words
    assert "40 % of what remains" in words
    assert "SGD, lr 0.1, momentum 0.9; batch 64; 30it" in words
    assert "Frankle and Carbin 2019" in words


def test_page_has_the_yaml_as_run(text: str, main_results: Results) -> None:
    from html import unescape

    shown = re.search(r"<pre>(.*?)</pre>", text, re.S)
    assert shown is not None
    assert unescape(shown[1]) == main_results.study.text()


def test_page_table_has_the_numbers_of_the_summary(text: str, main_results: Results) -> None:
    words = flat_text(text)
    summary = main_results.summary()
    for row in summary[summary["step"] == "ticket"].to_dict("records"):
        cells = f'<td class="num">{100 * row["mean"]:.1f}</td> <td class="num">{100 * row["sd"]:.1f}</td>'
        assert cells in words or cells.replace("> <", "><") in words
        assert f"{100 * row['low']:.1f} to {100 * row['high']:.1f}" in words


def test_page_names_every_arm_in_the_tables(text: str, evidence: Evidence) -> None:
    from html import escape

    short = text[text.index('<table class="short">') : text.index('<table class="full">')]
    full = text[text.index('<table class="full">') :]
    for arm in evidence.arms:
        assert escape(arm.name) in short
        assert escape(arm.name) in full


def test_page_offers_every_figure_as_file(text: str) -> None:
    links = [str(attrs.get("href")) for tag, attrs in read(text).tags if tag == "a"]
    downloads = [link for link in links if link.startswith("figures/")]
    names = ["verdicts", "accuracy", "mask-distance", "effective-density", "weight-stability"]
    assert downloads == [f"figures/{name}.{suffix}" for name in names for suffix in ("svg", "png", "csv")]


def test_page_says_that_nothing_failed(text: str) -> None:
    assert "None: every state and every measurement is there." in text


def test_page_lists_failures_with_kind_reason_and_what_they_blocked(failed_results: Results) -> None:
    words = flat_text(page_of(failed_results))
    assert "<td>diverged</td>" in words
    lost = failed_results.lost()
    root = next(found for found in lost if found.failed == found.point.state.key)
    assert root.reason.split(",")[0] in words
    assert root.failed is not None
    assert root.failed[:12] in words
    assert "None: every state" not in words


def test_page_of_a_study_that_was_not_run_says_so(new_results: Results) -> None:
    words = flat_text(page_of(new_results))
    assert "<b>Nothing has been measured yet.</b>" in words
    assert "pomona run new.yaml" in words
    assert "states of the study are not computed yet" in words
    assert "No run of this study is on record." in words


def test_page_of_one_replicate_promises_no_interval(single_results: Results) -> None:
    words = flat_text(page_of(single_results))
    assert "One replicate: no spread and no interval can be given." in words
    assert "95 % t intervals for the mean" not in words


def test_page_of_a_study_without_pruning_and_factors_is_whole(plain_results: Results) -> None:
    text = page_of(plain_results)
    read(text)
    assert "Pruning methods" not in text
    assert "Factors" not in text


def test_page_flags_chance_and_empty_layers(single_results: Results) -> None:
    words = flat_text(page_of(single_results))
    assert "where arms must not be ranked" in words
    assert "Layers without weights" in words


def test_page_says_where_numbers_come_from(text: str, main_results: Results) -> None:
    words = flat_text(text)
    (run,) = main_results.store.ledger.rows("SELECT * FROM environments")
    import json

    about = json.loads(run["document"])
    assert about["python"] in words
    assert f"torch {about['packages']['torch']}" in words
    assert main_results.study.digest() in words
    assert str(main_results.store.folder) in words
    assert all(point.state.key[:12] in words for point in main_results.population.points)
    assert "replicate index 0–2" in words


def test_full_table_has_a_cell_for_every_level(evidence: Evidence) -> None:
    table = full_table(evidence)
    assert {name: [cell.level for cell in cells] for name, cells in table.items()} == {
        arm.name: [0, 1, 2] for arm in evidence.arms
    }
    assert {cell.n for cells in table.values() for cell in cells} == {3}
