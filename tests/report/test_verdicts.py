"""What page and terminal say of hypotheses, on stores that hold numbers of known effects."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pomona.graph import chain
from pomona.report.evidence import Evidence
from pomona.report.figures.verdicts import verdict_figure
from pomona.report.findings import Findings, counted, find, standing
from pomona.report.page import page
from pomona.report.text import summary_table
from pomona.report.verdicts import EXPLORATORY, MARKS, Verdict, told
from pomona.report.write import is_current
from pomona.stats.result import Result
from pomona.studies.blinding.blinded import shown
from pomona.studies.hypotheses.judge import VERDICTS
from pomona.studies.points import Point
from pomona.studies.registration.printed import printed
from pomona.studies.registration.register import register
from pomona.studies.registration.registered import registrations
from pomona.studies.results import Results
from tests.report.conftest import flat_text
from tests.studies.filled import fill, opened, study_of

ARMS = "contrast: {a: {method: zebra}, b: {method: quokka}, fix: {treatment: rewind}}"
CLAIMS = f"""
  - claim: Zebras outlive quokkas.
    {ARMS}
    of: {{measure: accuracy, match: level, value: 2}}
    test: {{paired-t: greater}}
    expect: {{effect: 1pp}}
  - claim: Quokkas outlive <i>zebras</i>.
    {ARMS}
    of: {{measure: accuracy, match: level, value: 2}}
    test: {{paired-t: less}}
  - claim: Dense, they are the same.
    {ARMS}
    of: {{measure: accuracy, match: level, value: 1}}
    test: equivalence
    margin: 5pp
  - claim: The sparser, the worse.
    model: {{rows: state, formula: "accuracy ~ level", term: level, cluster: lineage}}
    test: {{regression: two-sided}}
    primary: no
"""
NOISE = (0.001, -0.002, 0.004, 0.002, -0.003, 0.0005)


def accuracy(point: Point) -> float:
    """Zebras are better by .1 at level 2, and by next to nothing at level 1."""
    gain = 0.1 if "zebra" in point.arm.values() and point.level == 2 else 0.0
    wiggle = NOISE[(point.replicate + point.level + len(point.arm.get("method", ""))) % len(NOISE)]
    return 0.8 - 0.01 * point.level + gain + wiggle


def results_of(
    folder: Path,
    value: Callable[[Point], float | None] = accuracy,
    text: str = CLAIMS,
    registered: bool = True,
    **given: Callable[[Point], bool],
) -> Results:
    study, store = study_of(text), opened(folder)
    if registered:
        register(study, store)
    return fill(store, study, value, **given)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_of(tmp_path_factory.mktemp("judged"))


@pytest.fixture(scope="module")
def findings(results: Results) -> Findings:
    return find(results)


@pytest.fixture(scope="module")
def text(results: Results) -> str:
    evidence = Evidence(results)
    figure = verdict_figure(evidence.findings.verdicts)
    assert figure is not None
    return page(evidence, [figure])


def rows(verdict: Verdict) -> dict[str, str]:
    return dict(verdict.rows)


def test_every_verdict_has_a_sign_of_its_own() -> None:
    assert list(MARKS) == [*VERDICTS, EXPLORATORY]
    assert len(set(MARKS.values())) == len(MARKS)


def test_verdicts_are_those_of_the_judge_in_words(findings: Findings) -> None:
    words = [verdict.word for verdict in findings.verdicts]
    assert words == ["supported", "refuted", "equivalent", findings.verdicts[3].judged.verdict]
    first = findings.verdicts[0]
    result = first.judged.result
    assert result is not None
    assert result.low is not None
    assert result.high is not None
    assert result.estimate == pytest.approx(0.1, abs=0.005)
    shown = [float(number) for number in re.findall(r"[\d.]+", first.effect)]
    assert shown == pytest.approx(
        [100 * result.estimate, 100 * result.low, 100 * result.high], abs=10 ** -decimals(first.effect)
    )
    assert first.effect.endswith("] percentage points")


def decimals(text: str) -> int:
    return len(text.split(" ")[0].partition(".")[2])


def test_rows_have_interval_p_correction_n_and_expectation(findings: Findings) -> None:
    first = findings.verdicts[0]
    found = rows(first)
    assert found["Effect"] == f"{first.effect}, 95 % interval; paired t"
    assert re.fullmatch(r"raw < 0\.0001; corrected < 0\.0001 \(Holm over 3 in family primary\)", found["p"])
    assert found["Replicates"] == "6 of 6"
    assert found["Expectation"] == f"stronger than expected: {first.effect}, expected 1"
    assert first.n == "6"
    assert "±5 percentage points" in rows(findings.verdicts[2])["Effect"]
    assert "90 % interval" in rows(findings.verdicts[2])["Effect"]


def test_rows_say_where_it_was_registered(results: Results, findings: Findings) -> None:
    (one,) = registrations(results.store, "claims")
    assert all(verdict.registered == one for verdict in findings.verdicts)
    assert f"as {one.digest[:12]}, entry 1 of the chain" in rows(findings.verdicts[0])["Registered"]


def test_smallest_p_is_said_of_exact_tests(tmp_path: Path) -> None:
    (verdict,) = find(
        results_of(tmp_path, text=CLAIMS.partition("\n  - claim: Quokkas")[0].replace("paired-t", "sign"))
    ).verdicts
    assert verdict.corrected_p == "0.01562"
    assert rows(verdict)["p"].endswith("; the smallest that this n can reach is 0.01562")


def test_survivors_are_named_with_what_was_lost(tmp_path: Path) -> None:
    def diverges(point: Point) -> float | None:
        lost = point.replicate in (1, 2) and point.level == 2 and "zebra" in point.arm.values()
        return None if lost else accuracy(point)

    first = find(results_of(tmp_path, diverges)).verdicts[0]
    assert first.word == "supported"
    assert first.n == "4 of 6"
    assert rows(first)["Replicates"] == (
        "4 of 6; the comparison is of survivors: replicates 1–2: a: level 2: diverged: the loss is not finite"
    )


def test_arms_at_chance_are_not_answerable(tmp_path: Path) -> None:
    verdict = find(results_of(tmp_path, chance=lambda point: True)).verdicts[0]
    assert verdict.word == "not answerable"
    assert verdict.corrected_p == "–"
    assert "p" not in rows(verdict)


def test_what_is_missing_is_counted_with_the_command(tmp_path: Path) -> None:
    results = results_of(tmp_path, wanted=lambda point: point.replicate < 4)
    found = find(results)
    assert {verdict.word for verdict in found.verdicts} == {EXPLORATORY}
    assert "nothing is tested before the last" in found.verdicts[0].reason
    assert re.match(r"\d+ of the \d+ states and measurements that they speak of", found.missing)
    assert found.run.startswith("pomona run claims.yaml --store ")
    words = flat_text(page(Evidence(results), []))
    assert f"{found.missing}; to compute them: <code>{found.run}</code>" in words
    assert "survivors" not in rows(found.verdicts[0])["Replicates"]
    assert "replicates 4–5: " in rows(found.verdicts[0])["Replicates"]


def test_nothing_is_missing_where_all_is_there(findings: Findings) -> None:
    assert findings.missing == ""


def test_what_is_not_registered_is_exploratory(tmp_path: Path) -> None:
    found = find(results_of(tmp_path, registered=False))
    assert {verdict.word for verdict in found.verdicts} == {EXPLORATORY}
    assert all("p" not in rows(verdict) for verdict in found.verdicts)
    assert found.verdicts[0].effect.endswith("percentage points")
    assert rows(found.verdicts[0])["Registered"] == "no"
    assert counted(found) == "4 exploratory: not registered"
    assert standing(found)[0] == "Exploratory."
    assert "None of the 4 hypotheses of this study is registered" in standing(found)[1]


def test_a_changed_test_is_labelled_and_listed(results: Results) -> None:
    changed = study_of(CLAIMS.replace("paired-t: greater", "paired-t: two-sided"))
    found = find(Results(changed, results.store))
    assert [verdict.word for verdict in found.verdicts[:3]] == [EXPLORATORY, "refuted", "equivalent"]
    assert "changed after registration" in found.verdicts[0].reason
    assert found.differences == ["hypotheses.0.test.paired-t: greater -> two-sided"]
    words = flat_text(page(Evidence(Results(changed, results.store)), []))
    assert "<b>Other than registered</b>" in words
    assert "hypotheses.0.test.paired-t: greater -&gt; two-sided" in words


def test_counts_are_in_the_order_of_the_verdicts(findings: Findings) -> None:
    assert counted(findings).startswith("1 supported, 1 refuted, 1 equivalent") or counted(
        findings
    ).startswith("2 supported, 1 refuted, 1 equivalent")


def test_summary_ends_with_the_verdicts(results: Results, findings: Findings) -> None:
    last = " ".join(summary_table(results).partition("hypotheses: ")[2].split())
    assert last == f"{counted(findings)}; see '{findings.command}'"
    assert findings.command == f"pomona verdicts claims.yaml --store {results.store.folder}"


def test_header_says_that_it_was_registered(results: Results, text: str) -> None:
    (one,) = registrations(results.store, "claims")
    words = flat_text(text)
    assert "<b>Registered.</b> The study was registered on" in words
    assert f"as {one.digest[:12]}. " in words
    assert "Its 4 hypotheses stand as registered before the data: " in words


def test_page_has_a_table_and_a_part_for_each_hypothesis(text: str, findings: Findings) -> None:
    words = flat_text(text)
    assert words.count('<span class="badge verdict supported">✓ supported</span>') >= 2
    assert "Quokkas outlive &lt;i&gt;zebras&lt;/i&gt;." in words
    assert "<i>zebras" not in words
    for verdict in findings.verdicts:
        assert f'<a href="#hypothesis-{verdict.number}">{verdict.number}</a>' in words
        assert f'id="hypothesis-{verdict.number}"' in words
        assert all(f"<td>{value}</td>" in words for name, value in verdict.rows if name == "Replicates")
    assert '(<a href="#verdicts">figure 1</a>)' in words
    assert "method zebra (a) with method quokka (b); at treatment rewind" in words
    assert "<code>pomona verdicts claims.yaml" in words


def test_page_has_the_whole_registration_and_the_chain(text: str, results: Results) -> None:
    from html import unescape

    (one,) = registrations(results.store, "claims")
    assert printed(one) in unescape(text)
    assert f"head {chain.head(results.store.ledger)}; unbroken" in text


def test_page_says_where_the_chain_is_broken(tmp_path: Path) -> None:
    results = results_of(tmp_path)
    with results.store.ledger.transaction() as write:
        write.execute("UPDATE chain SET content = 'x' WHERE number = 3")
    words = flat_text(page(Evidence(results), []))
    assert "unbroken" not in words
    assert "BROKEN: " in words


def test_page_of_before_the_registration_is_not_current(tmp_path: Path) -> None:
    results, written = results_of(tmp_path, registered=False), tmp_path / "index.html"
    written.write_text(page(Evidence(results), []))
    assert is_current(written, results)
    register(results.study, results.store)
    assert not is_current(written, results)
    written.write_text(page(Evidence(results), []))
    assert is_current(written, results)


def test_page_of_a_study_without_hypotheses_says_so(plain_results: Results) -> None:
    words = flat_text(page(Evidence(plain_results), []))
    assert "<b>Exploratory.</b> This study states no hypothesis." in words
    assert find(plain_results).verdicts == []
    assert "hypotheses" not in summary_table(plain_results)


def test_blinded_page_and_summary_withhold_verdicts(tmp_path: Path) -> None:
    study = study_of(CLAIMS, [("registration:\n", "registration:\n  blind: yes\n")])
    store = opened(tmp_path)
    register(study, store)
    results = fill(store, study, accuracy)
    found = find(results)
    assert found.verdicts == []
    assert found.withheld == "verdicts are withheld until 'pomona unblind claims'"
    evidence = Evidence(shown(results))
    assert verdict_figure(evidence.findings.verdicts) is None
    words = flat_text(page(evidence, []))
    assert "Verdicts are withheld until &#39;pomona unblind claims&#39;." in words
    for told_apart in ("zebra", "quokka", "✓ supported"):
        assert told_apart not in words


def test_figure_has_a_row_for_each_and_nothing_but_what_was_found(findings: Findings) -> None:
    figure = verdict_figure(findings.verdicts)
    assert figure is not None
    data = figure.data
    for verdict in findings.verdicts[:3]:
        observed, result = verdict.judged.observed, verdict.judged.result
        assert observed is not None
        assert result is not None
        own = data[data["hypothesis"] == verdict.number]
        singles = own[own["series"] == "replicate"]
        assert singles["value"].tolist() == pytest.approx((100 * observed.differences).tolist())
        assert singles["replicate"].tolist() == [row.replicate for row in observed.complete]
        (mean,) = own[own["series"] == "mean"].to_dict("records")
        assert [mean[name] for name in ("value", "low", "high")] == pytest.approx(
            [100 * x for x in (result.estimate, result.low, result.high) if x is not None]
        )
    assert data.loc[data["series"] == "expected", ["hypothesis", "value"]].to_numpy().tolist() == [[1, 1.0]]
    assert data.loc[data["series"] == "margin", ["low", "high"]].to_numpy().tolist() == [[-5.0, 5.0]]
    assert set(data["unit"]) == {"percentage points", "coefficient of level"}
    assert data.loc[data["hypothesis"] == 4, "series"].tolist() == ["mean"]


def test_figure_names_units_verdicts_and_claims(findings: Findings) -> None:
    figure = verdict_figure(findings.verdicts)
    assert figure is not None
    words = flat_text(" ".join(ET.fromstring(figure.svg).itertext()))
    for part in ("difference (percentage points)", "coefficient of level", "1 Zebras outlive quokkas."):
        assert part in words
    assert words.count("refuted") == 1
    assert "Green band" in figure.caption
    assert "Orange" not in figure.caption


def with_floor(verdict: Verdict, results: Results) -> Verdict:
    """The same, of a distance that is held against .2, with a noise floor."""
    of = {"measure": "mask-distance", "match": "level", "value": 2, "layer": "x", "to": {"method": "quokka"}}
    written = {"claim": "Masks differ.", "contrast": {"a": {"method": "zebra"}, "value": 0.2}, "of": of}
    hypothesis = type(verdict.judged.hypothesis).model_validate(written)
    floor = Result("t", 0.11, 0.09, 0.13, 0.95, None, 6)
    observed = verdict.judged.observed
    assert observed is not None
    observed = dataclasses.replace(observed, floor=floor, unit="distance / chance")
    return told(dataclasses.replace(verdict.judged, hypothesis=hypothesis, observed=observed), results)


def test_noise_floor_has_the_unit_of_the_distance(results: Results, findings: Findings) -> None:
    verdict = with_floor(findings.verdicts[0], results)
    assert rows(verdict)["Noise floor"] == (
        "0.110 [0.090, 0.130] of the distance of independent masks: the same arms under other data orders, "
        "n = 6; the effect counts from 0.2"
    )
    figure = verdict_figure([verdict])
    assert figure is not None
    (floor,) = figure.data[figure.data["series"] == "floor"].to_dict("records")
    assert [floor[name] for name in ("low", "value", "high")] == pytest.approx([-0.11, -0.09, -0.07])
    assert "Orange band" in figure.caption


def test_figure_survives_any_text_in_a_claim(findings: Findings) -> None:
    first = findings.verdicts[0]
    claim = 'It\'s \\ "quoted" | {braced} <b>&amp;</b>'
    hypothesis = first.judged.hypothesis.model_copy(update={"claim": claim})
    changed = dataclasses.replace(first, judged=dataclasses.replace(first.judged, hypothesis=hypothesis))
    figure = verdict_figure([changed])
    assert figure is not None
    words = flat_text(" ".join(ET.fromstring(figure.svg).itertext()))
    assert 'It\'s \\ "quoted" / {braced}' in words


def test_no_figure_where_nothing_was_observed(tmp_path: Path) -> None:
    found = find(results_of(tmp_path, wanted=lambda point: False))
    assert verdict_figure(found.verdicts) is None
    assert verdict_figure([]) is None
    assert [verdict.effect for verdict in found.verdicts] == ["–"] * 4


def test_unseen_hypotheses_are_named_in_the_caption(results: Results, findings: Findings) -> None:
    first = findings.verdicts[0]
    assert first.judged.observed is not None
    observed = dataclasses.replace(first.judged.observed, rows=())
    nothing = dataclasses.replace(first.judged, number=9, result=None, observed=observed)
    figure = verdict_figure([first, told(nothing, results)])
    assert figure is not None
    assert figure.caption.endswith("Nothing was observed of hypothesis 9.")
    assert pd.unique(figure.data["hypothesis"]).tolist() == [1]
