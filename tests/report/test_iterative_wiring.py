"""The study's key ``figures`` and where its figures come in a report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pomona.core.errors import ProblemsError
from pomona.report.evidence import Evidence
from pomona.report.iterative.all import paper_figures
from pomona.report.iterative.selection import Selection
from pomona.report.page import page
from pomona.report.write import draw_figures, write_report
from pomona.studies.blinding.blind import keep, new_blind
from pomona.studies.blinding.blinded import shown
from pomona.studies.results import Results
from pomona.studies.study import parse_study

from .conftest import METHODS, flat_text, results_of, study_text, ticket

ASKED = "figures: [iterative-pruning]"
# Factors that the figures do not know: there is nothing of theirs to draw.
OTHERS = "factors:\n  way: [l1-unstructured, l1-structured]"


def text_of(head: str = ASKED, factors: str = METHODS, method: str = "$method") -> str:
    step = ticket(2, method, treat="$treatment" if factors == METHODS else "rewind")
    return study_text("paper", head, replicates=2, factors=factors, step=step)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("paper")


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return results_of(text_of(), folder)


def test_a_study_names_sets_of_figures_that_there_are(folder: Path) -> None:
    assert parse_study(text_of()).spec.figures == ("iterative-pruning",)
    assert parse_study(text_of("")).spec.figures == ()
    with pytest.raises(ProblemsError) as raised:
        parse_study(text_of("figures: [iterative-prunning]"))
    expected = "unknown set of figures 'iterative-prunning'; did you mean 'iterative-pruning'?"
    assert expected in str(raised.value)


def test_figures_of_the_paper_come_in_its_order_and_in_place_of_the_usual_ones(results: Results) -> None:
    names = [figure.name for figure in draw_figures(Evidence(results))]
    of_paper = [name for name in names if name.startswith("paper-")]
    assert of_paper == sorted(of_paper)
    assert {"paper-01-accuracy", "paper-12-effective", "paper-one-ticket"} <= set(of_paper)
    assert [name for name in names if name not in of_paper] == ["effective-density"]
    assert "paper-02-finetune" not in of_paper


def test_a_study_that_does_not_ask_has_the_usual_figures(folder: Path, results: Results) -> None:
    evidence = Evidence(results_of(text_of(""), folder, compute=False))
    assert paper_figures(evidence) == []
    names = [figure.name for figure in draw_figures(evidence)]
    assert names == ["accuracy", "mask-distance", "effective-density", "weight-stability"]
    assert "Figures of the paper" not in page(evidence, [])


def test_a_study_without_the_arms_of_the_paper_has_the_usual_figures(tmp_path: Path) -> None:
    evidence = Evidence(results_of(text_of(factors=OTHERS, method="$way"), tmp_path))
    assert Selection(evidence).lineages("l1-unstructured") == {}
    assert "accuracy" in [figure.name for figure in draw_figures(evidence)]


def test_figures_that_name_arms_are_not_drawn_while_these_are_blinded(folder: Path, results: Results) -> None:
    found = Results(results.study, results.store)
    keep(found.store.ledger, new_blind(found.study, "registration"))
    try:
        evidence = Evidence(shown(found))
        assert evidence.blinded
        assert paper_figures(evidence) == []
        assert "accuracy" in [figure.name for figure in draw_figures(evidence)]
    finally:
        with found.store.ledger.transaction() as write:
            write.execute("DELETE FROM blindings")


def test_the_page_has_them_under_a_heading_with_their_source(results: Results) -> None:
    evidence = Evidence(results)
    figures = draw_figures(evidence)
    text = flat_text(page(evidence, figures))
    assert '<h3 id="paper">Figures of the paper</h3>' in text
    assert 'As <a href="https://arxiv.org/abs/2001.05050">arXiv:2001.05050</a> has them' in text
    numbers = [int(number) for number in re.findall(r"<b>Figure (\d+)\. ", text)]
    assert numbers == list(range(1, len(figures) + 1))
    drawn = re.findall(r'<figure id="([^"]+)"', text)
    assert drawn == [figure.name for figure in figures]
    assert text.index("Figures of the paper") < text.index('id="paper-01-accuracy"')
    assert text.index('id="paper-one-ticket"') < text.index("<h3>Other figures</h3>")
    assert "There is nothing to draw yet." not in text


def test_each_is_written_as_svg_png_and_csv(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path)
    for figure in paper_figures(Evidence(results)):
        for suffix in ("svg", "png", "csv"):
            assert (tmp_path / "figures" / f"{figure.name}.{suffix}").stat().st_size > 0
        drawn = (tmp_path / "figures" / f"{figure.name}.svg").read_text()
        assert f"<title>{figure.title}</title>" in drawn
        assert "undefined" not in drawn
