"""The section on sources of variation: what it says, lists and draws."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from pomona.report.arms import shown_arms
from pomona.report.evidence import Evidence
from pomona.report.figures.variation import variation_figures
from pomona.report.page import page
from pomona.report.variation import title_of, variations, varied_text
from pomona.report.write import draw_figures
from pomona.studies.hypotheses.spec import Variation
from pomona.studies.results import Results

from .conftest import flat_text, results_of

TEXT = """
study: spread
let:
  data: {d: {name: digits, validation: 0}}
  train: {t: {optimizer: {sgd: {lr: $lr, momentum: 0.9}}, batch_size: 64, duration: 30it}}
replicates: 2
vary: {init: 2, order: 2}
factors:
  lr: [0.05, 0.1]
  method: [l1-unstructured, random-unstructured]
steps:
  dense: {init: {name: fc, options: {hidden: 12-8}}, on: d, train: t}
  ticket: {from: dense, repeat: 1, prune: {method: $method, amount: 50%}, treat: rewind, on: d, train: t}
measure: [accuracy]
variation:
  - {of: {measure: accuracy}, a: {method: l1-unstructured}, systematic: [lr], effect: 1pp}
  - {of: {measure: loss}, a: {method: l1-unstructured}, b: {method: random-unstructured}, fix: {lr: 0.1, order: 1}}
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_of(TEXT, tmp_path_factory.mktemp("spread"))


@pytest.fixture(scope="module")
def evidence(results: Results) -> Evidence:
    return Evidence(results)


def test_facts_carry_numbers_and_units(evidence: Evidence) -> None:
    whole, pair = variations(evidence)
    sources = evidence.sources[0]
    facts = dict(whole.facts)
    assert whole.title == "test accuracy: method l1-unstructured"
    assert facts["Values"] == "16, one for each combination of replicate, init, order and lr"
    assert sources.mean is not None
    assert sources.error is not None
    mean, error, chosen = re.findall(r"[\d.]+", facts["Mean"])
    assert float(mean) == pytest.approx(100 * sources.mean, abs=0.051)
    assert float(error) == pytest.approx(100 * sources.error, rel=0.1)
    assert float(chosen) == pytest.approx(100 * (sources.systematic_error or 0), rel=0.1, abs=0.051)
    assert facts["Mean"].endswith("(systematic, one SD) %")
    formula = "SD²(replicate) / 2 + SD²(init) / 4 + SD²(order) / 4 + SD²(interactions) / 16"
    assert formula in facts["Statistical error"]
    assert re.match(
        r"SD [\d.]+ percentage points between the means of 2 labels", facts["Systematic error: lr"]
    )
    assert facts["Replicates needed"].startswith(
        f"{sources.replicates} to show a difference of 1 percentage point of this arm from a fixed value"
    )
    assert pair.title == "test loss: method l1-unstructured less method random-unstructured; lr 0.1, order 1"
    assert dict(pair.facts)["Mean"].endswith("(statistical, one SE) nats")
    assert "Replicates needed" not in dict(pair.facts)


def test_table_has_a_row_for_each_source(evidence: Evidence) -> None:
    whole, pair = variations(evidence)
    assert whole.head[3:] == ["SD, percentage points", "Share of the variance, %"]
    assert [row[:3] for row in whole.rows] == [
        ("replicate (no other stream)", "random", "2"),
        ("init", "random", "4"),
        ("order", "random", "4"),
        ("lr", "systematic", "2"),
        ("interactions", "random", "16"),
    ]
    shares = [float(row[4].split()[0]) for row in whole.rows]
    assert sum(shares) == pytest.approx(100, abs=3)
    # What is left when init is told apart by replicate: the arms' masks follow the replicate.
    assert [row[0] for row in pair.rows] == ["replicate (mask)", "init"]
    assert pair.head[3] == "SD, nats"


def test_figure_has_the_numbers_of_the_table(evidence: Evidence) -> None:
    figure = variation_figures(evidence.sources)[0]
    assert figure.name == "variation"
    data = figure.data
    shares = data[data["panel"] == "shares"]
    sources = evidence.sources[0]
    assert list(shares["value"]) == [source.component.share for source in sources.sources]
    assert list(shares["high"]) == [source.component.share_high for source in sources.sources]
    means = data[(data["panel"] == "errors") & (data["series"] == "mean")].set_index("row")
    mean, error = 100 * (sources.mean or 0), 100 * (sources.error or 0)
    statistical = means.loc["mean ± statistical error (SE)"]
    assert (statistical.low, statistical.high) == pytest.approx((mean - error, mean + error))
    chosen = means.loc["mean ± systematic error: lr (SD)"]
    assert chosen.high - chosen.value == pytest.approx(100 * (sources.systematic[0].sd or 0))
    labels = data[data["series"].isin(["label", "label below"])]
    assert sorted(labels["label"]) == ["0.05", "0.1"]
    assert (data["series"] == "single").sum() == 16
    assert all(
        f">{text}<" in figure.svg for text in ("interactions", "0.05", "share of the variance", "accuracy, %")
    )


def test_figure_without_a_choice_names_no_systematic_error(evidence: Evidence) -> None:
    figure = variation_figures(evidence.sources)[1]
    assert figure.name == "variation-2"
    assert "systematic" not in figure.svg
    assert "difference, nats" in figure.svg


def test_page_has_the_section_between_result_and_table(evidence: Evidence) -> None:
    figures = draw_figures(evidence)
    text = page(evidence, figures)
    assert text.index('id="result"') < text.index('id="variation"') < text.index('id="table"')
    section = flat_text(
        html.unescape(text[text.index('<section id="variation"') : text.index('<section id="table"')])
    )
    assert "Seed streams that vary on their own: init (2 values), order (2 values)." in section
    assert section.count("<figure ") == 2
    numbers = [int(found) for found in re.findall(r"<b>Figure (\d+)\.", text)]
    assert numbers == list(range(1, len(figures) + 1))


def test_arms_of_the_page_are_those_at_the_first_value_of_each_stream(evidence: Evidence) -> None:
    arms = shown_arms(evidence.population)
    assert [arm.name for arm in arms] == [
        "0.05, l1-unstructured",
        "0.05, random-unstructured",
        "0.1, l1-unstructured",
        "0.1, random-unstructured",
    ]
    assert {(arm.labels["init"], arm.labels["order"]) for arm in arms} == {("0", "0")}
    assert set(evidence.frame["init"]) == {"0"}


def test_a_study_that_varies_nothing_has_no_section(plain_results: Results) -> None:
    evidence = Evidence(plain_results)
    assert varied_text(evidence) == ""
    assert variations(evidence) == []
    assert 'id="variation"' not in page(evidence, draw_figures(evidence))


def test_nothing_computed_is_said(tmp_path: Path) -> None:
    evidence = Evidence(results_of(TEXT, tmp_path, compute=False))
    whole = variations(evidence)[0]
    assert whole.facts == [("Values", "none yet")]
    assert whole.rows == []
    text = page(evidence, draw_figures(evidence))
    assert "16 missing values" in flat_text(text)
    assert "<figure" not in text


def test_titles_say_what_is_averaged_and_fixed() -> None:
    of = {"measure": "accuracy", "match": "density", "value": 0.2}
    found = Variation.model_validate({"of": of, "average": ["lr"], "fix": {"init": 0}})
    assert title_of(found) == "test accuracy, at density 0.2: init 0; averaged over lr"
