"""Regressions over lineages, against least squares on a table that is made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

from pomona.core.errors import ProblemsError
from pomona.graph.ledger import Measurement
from pomona.graph.store import Store
from pomona.report.hypotheses import parts_of
from pomona.studies.blinding.blind import blind_factors
from pomona.studies.blinding.blinded import shown
from pomona.studies.design.designs import design
from pomona.studies.expand import expand
from pomona.studies.hypotheses.cells import cells, keys
from pomona.studies.hypotheses.judge import Judged, judge
from pomona.studies.hypotheses.observe import rows_of
from pomona.studies.hypotheses.regress import regressed
from pomona.studies.hypotheses.spec import Hypothesis
from pomona.studies.points import Point
from pomona.studies.registration.printed import printed
from pomona.studies.registration.register import register
from pomona.studies.registration.registered import canonical, hypothesis_digest
from pomona.studies.results import Results
from pomona.studies.study import Study
from tests.studies.filled import _attempt, fill, opened, study_of

STABILITY = "{measure: moving-stability, layer: fc1.weight, match: level, value: 2}"
MODEL = f"""
  - claim: Early stability goes with the final accuracy.
    model:
      rows: lineage
      columns:
        final: {{measure: accuracy, match: level, value: 4}}
        early: {STABILITY}
      formula: final ~ early + method
      term: early
      cluster: replicate
      where: treatment == rewind
    test: {{regression: less}}
"""
MEASURES = ("measure: [accuracy, density]", "measure: [accuracy, density, moving-stability]")


def lineages(text: str = MODEL, *changes: tuple[str, str]) -> Study:
    return study_of(text, [MEASURES, *changes])


def replaced(*changes: tuple[str, str]) -> str:
    text = MODEL
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def drawn(seed: int = 0) -> Callable[[Point], tuple[float, float]]:
    """Stability of level 2 and accuracy of each point: the more a lineage moves early, the lower it ends."""
    generator = np.random.default_rng(seed)
    moved: dict[tuple[object, ...], float] = {}

    def numbers(point: Point) -> tuple[float, float]:
        place = (point.step, point.replicate, *point.arm.values())
        early = moved.setdefault(place, float(generator.uniform(0.1, 0.9)))
        noise = moved.setdefault((*place, point.level), float(generator.normal(0, 0.01)))
        gain = 0.05 if point.arm.get("method") == "zebra" else 0.0
        return early + 0.01 * (point.level - 2), 0.8 + gain - 0.1 * early - 0.01 * point.level + noise

    return numbers


def filled(
    store: Store,
    study: Study,
    numbers: Callable[[Point], tuple[float, float]] | None = None,
    failing: Callable[[Point], bool] = lambda point: False,
    chance: Callable[[Point], bool] = lambda point: False,
    unmeasured: Callable[[Point], bool] = lambda point: False,
) -> Results:
    made = numbers or drawn()
    results = fill(store, study, lambda p: None if failing(p) else made(p)[1], chance=chance)
    status = store.ledger.statuses("states")
    for point in results.population.points:
        probe = point.probes.get("moving-stability")
        there = probe is not None and all(status.get(key) == "done" for key in probe.states)
        if probe is not None and there and not unmeasured(point):
            rows = [Measurement("moving-stability", made(point)[0], "fc1.weight")]
            store.ledger.commit_probe(probe.key, rows, _attempt(probe.key), 1)
    return Results(study, store, results.population)


def by_hand(results: Results, final: int = 4, early: int = 2) -> pd.DataFrame:
    """The same table from the tidy one, as anybody would make it."""
    frame = results.frame()
    own = frame[(frame["step"] == "ticket") & (frame["treatment"] == "rewind")]
    last = own[(own["quantity"] == "accuracy") & (own["level"] == final)]
    first = own[(own["quantity"] == "moving-stability") & (own["level"] == early)]
    place = ["replicate", "method"]
    names = {"value_x": "final", "value_y": "early"}
    return last.merge(first, on=place).rename(columns=names)[[*place, "final", "early"]]


def of_first(study: Study) -> Hypothesis:
    return study.spec.hypotheses[0]


def test_rows_are_those_of_a_table_made_by_hand(tmp_path: Path) -> None:
    study = lineages()
    results = filled(opened(tmp_path), study)
    model = of_first(study).model
    assert model is not None
    frame = rows_of(results, model)
    assert list(frame.columns) == [
        *("study", "step", "replicate", "lineage", "method", "treatment", "dataset", "final", "early"),
    ]
    wanted = by_hand(results).sort_values(["replicate", "method"]).to_numpy().tolist()
    found = frame.sort_values(["replicate", "method"])[["replicate", "method", "final", "early"]]
    assert found.to_numpy().tolist() == wanted
    assert len(frame) == frame["lineage"].nunique() == 12


@pytest.mark.parametrize(
    ("errors", "kind"), [("cluster", "cluster"), ("hc3", "HC3"), ("classical", "nonrobust")]
)
def test_term_is_that_of_statsmodels(tmp_path: Path, errors: str, kind: str) -> None:
    cluster = "cluster: replicate" if errors == "cluster" else "cluster: []"
    text = replaced(("cluster: replicate", f"{cluster}\n      errors: {errors}"))
    study = lineages(text)
    results = filled(opened(tmp_path), study)
    table = by_hand(results)
    options: dict[str, object] = {"cov_type": kind, "use_t": True}
    if errors == "cluster":
        options["cov_kwds"] = {"groups": table["replicate"].to_numpy(), "df_correction": True}
    wanted = smf.ols("final ~ early + method", table).fit(**options)
    found = regressed(results, of_first(study)).result
    assert found is not None
    assert found.estimate == pytest.approx(wanted.params["early"], rel=1e-12)
    low, high = wanted.conf_int(0.05).loc["early"]
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.p == pytest.approx(wanted.pvalues["early"], rel=1e-9)
    assert found.n == 6


def test_columns_are_whatever_a_contrast_may_read(tmp_path: Path) -> None:
    columns = (
        "        final: {measure: accuracy, match: density, area: [50%, 12.5%]}\n"
        f"        early: {STABILITY}\n"
        "        fall: {measure: accuracy, match: level, slope: [1, 3]}\n"
        "        reach: {measure: class-accuracy, class: worst, match: level, value: 1}\n"
    )
    text = replaced(
        (MODEL[MODEL.index("        final:") : MODEL.index("      formula:")], columns),
        ("final ~ early + method", "final ~ early + fall + reach"),
    )
    study = lineages(text)
    results = filled(opened(tmp_path), study)
    model = of_first(study).model
    assert model is not None
    frame = rows_of(results, model).set_index(["replicate", "method"])
    tidy = results.frame()
    tidy = tidy[(tidy["step"] == "ticket") & (tidy["treatment"] == "rewind")]
    for place, row in frame.iterrows():
        own = tidy[(tidy["replicate"] == place[0]) & (tidy["method"] == place[1])]  # type: ignore[index]
        accuracy = own[own["quantity"] == "accuracy"].set_index("level")["value"]
        assert row["final"] == pytest.approx((accuracy[1] + 2 * accuracy[2] + accuracy[3]) / 4)
        assert row["fall"] == pytest.approx((accuracy[3] - accuracy[1]) / 2)
        worst = own[(own["quantity"] == "class-accuracy") & (own["level"] == 1)]["value"].min()
        assert row["reach"] == pytest.approx(worst)


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("where: treatment == rewind and replicate < 4", 8),
        ("where: method == zebra", 12),
        ("where: step == ticket", 24),
        ("where: step != dense and not (method == zebra and treatment == finetune)", 18),
        ("", 24),
    ],
)
def test_where_takes_factors_step_and_replicate(tmp_path: Path, where: str, count: int) -> None:
    study = lineages(replaced(("where: treatment == rewind", where), ("+ method", "")))
    model = of_first(study).model
    assert model is not None
    assert len(rows_of(filled(opened(tmp_path), study), model)) == count
    assert len(cells(expand(study), of_first(study))) == count


def test_step_is_the_last_that_has_every_column() -> None:
    after = (
        "measure: [accuracy",
        "  shuffled: {weights: dense, mask: {of: ticket, control: shuffle-weights}, on: digits, train: short}\n"
        "measure: [accuracy",
    )
    study = lineages(MODEL, after)
    assert {cell.points[0].step for cell in cells(expand(study), of_first(study))} == {"ticket"}
    accuracies = replaced((STABILITY, "{measure: accuracy, match: level, value: 2}"))
    study = lineages(accuracies, after)
    assert {cell.points[0].step for cell in cells(expand(study), of_first(study))} == {"shuffled"}
    with pytest.raises(ProblemsError, match="levels of step 'shuffled' do not follow each other"):
        lineages(replaced(("treatment == rewind", "step == shuffled")), after)


def test_keys_are_those_of_every_column_and_of_no_other_level() -> None:
    study = lineages()
    population = expand(study)
    found = cells(population, of_first(study))
    own = [p for p in population.points if p.step == "ticket" and p.arm["treatment"] == "rewind"]
    wanted = {p.probes["test"].key for p in own if p.level == 4}
    wanted |= {p.probes["moving-stability"].key for p in own if p.level == 2}
    assert {probe.key for cell in found for read in cell.probes for probe in read} == wanted
    assert wanted <= keys(found)
    assert not {p.state.key for p in own if p.level == 3} & keys(found)
    # What stability compares level 2 with is read too.
    assert {p.state.key for p in own if p.level == 1} <= keys(found)


def judged(folder: Path, study: Study, **given: object) -> Judged:
    store = opened(folder)
    register(study, store)
    (found,) = judge(filled(store, study, **given))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(("test", "verdict"), [("less", "supported"), ("greater", "refuted")])
def test_verdict_follows_the_term(tmp_path: Path, test: str, verdict: str) -> None:
    found = judged(tmp_path, lineages(replaced(("regression: less", f"regression: {test}"))))
    assert (found.verdict, found.exploratory, found.n) == (verdict, (), 6)
    assert found.result is not None
    assert found.result.estimate == pytest.approx(-0.1, abs=0.04)
    assert "12 rows of 6 replicates" in found.result.notes


def test_lineage_that_failed_is_lost_and_said_with_the_column(tmp_path: Path) -> None:
    def failing(point: Point) -> bool:
        own = point.arm.get("method") == "quokka" and point.arm.get("treatment") == "rewind"
        return own and (point.replicate, point.level) in ((1, 3), (4, 3))

    found = judged(tmp_path, lineages(), failing=failing)
    assert found.verdict == "supported"
    # Level 4 is not there because level 3 failed.
    assert len(found.lost) == 2
    assert all("1 lineage: final: level 4: diverged" in line for line in found.lost)


def test_nothing_is_tested_before_every_column_is_measured(tmp_path: Path) -> None:
    def unmeasured(point: Point) -> bool:
        return (point.replicate, point.level) == (2, 2) and point.arm.get("method") == "zebra"

    found = judged(tmp_path, lineages(), unmeasured=unmeasured)
    assert found.verdict is None
    assert any("1 rows are not computed" in reason for reason in found.exploratory)
    assert found.lost == ("1 lineage: early: level 2: no moving-stability of fc1.weight was measured",)


@pytest.mark.parametrize(("level", "verdict"), [(4, "not answerable"), (3, "supported")])
def test_lineages_that_are_read_at_chance_are_not_answerable(
    tmp_path: Path, level: int, verdict: str
) -> None:
    def chance(point: Point) -> bool:
        return point.level == level and point.replicate < 4

    found = judged(tmp_path, lineages(), chance=chance)
    assert found.verdict == verdict
    if verdict == "not answerable":
        assert found.reason == "67% of the lineages are at chance: neither equal nor different"


def test_excluded_lineages_are_in_no_row(tmp_path: Path) -> None:
    text = replaced(("    test:", "    exclude: at-chance\n    test:"))
    found = judged(tmp_path, lineages(text), chance=lambda p: (p.replicate, p.level) == (0, 4))
    assert found.lost == ("2 lineages left out by the rule at-chance",)
    assert found.n == 5


def test_bounds_are_no_answer(tmp_path: Path) -> None:
    below = ("{measure: accuracy, match: level, value: 4}", "{measure: accuracy, match: level, below: 10%}")
    found = judged(tmp_path, lineages(replaced(below)))
    assert found.verdict == "not answerable"
    assert found.reason == "100% of the lineages never fall below the value: these are bounds"


def test_rule_of_a_regression_over_states_leaves_states_out(tmp_path: Path) -> None:
    text = """
  - claim: Accuracy falls.
    model: {rows: state, formula: accuracy ~ level, term: level, cluster: replicate, where: level > 0}
    exclude: at-chance
    test: {regression: less}
"""
    study = lineages(text)
    store = opened(tmp_path)
    register(study, store)
    (found,) = judge(filled(store, study, chance=lambda point: point.level > 2))
    assert found.verdict == "supported"
    assert found.lost == ("48 states left out by the rule at-chance",)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("      rows: lineage", "      rows: state", "'rows: lineage' and 'columns' go together"),
        ("term: early", "term: erly", "unknown term 'erly'; did you mean 'early'?"),
        ("+ method", "+ mthod", "unknown column 'mthod'; did you mean 'method'?"),
        ("+ method", "+ accuracy", "unknown column 'accuracy'"),
        ("+ method", "+ I(2 * early)", "some are the sum of others, or constant"),
        ("early + method", "method", "column 'early' is not in the formula"),
        ("cluster: replicate", "cluster: early", "unknown cluster 'early'"),
        ("cluster: replicate", "cluster: replicat", "unknown cluster 'replicat'; did you mean 'replicate'?"),
        ("treatment == rewind", "level > 1", "a lineage has all of its levels"),
        ("treatment == rewind", "treatmnt == rewind", "unknown name 'treatmnt'; did you mean 'treatment'?"),
        ("treatment == rewind", "replicate > 9", "'where: replicate > 9' leaves none of them"),
        ("treatment == rewind", "step == dense", "level 4 is beyond the last of step 'dense'"),
        ("value: 4}", "value: 5}", "level 5 is beyond the last of step 'ticket', 4"),
        ("measure: accuracy, match: level, value: 4", "measure: accuracy", "has levels up to 4: say where"),
        ("measure: accuracy", "measure: acuracy", "unknown measure 'acuracy'; did you mean 'accuracy'?"),
        ("moving-stability", "weight-stability", "the study does not measure weight-stability"),
        ("fc1.weight", "fc9.weight", "unknown layer of fc 'fc9.weight'"),
        ("layer: fc1.weight, ", "", "moving-stability is of single layers: give 'layer'"),
        ("value: 2}", "value: 0}", "level 0 has none before it"),
        (
            STABILITY,
            "{measure: density, to: {method: quokka}, match: level, value: 2}",
            "and a row is of one",
        ),
        (
            STABILITY,
            "{measure: mask-distance, match: level, value: 2}",
            "mask-distance is of two arms together",
        ),
        ("early", "replicate", "column 'replicate': this name is taken"),
        ("early", "method", "column 'method' has the name of a factor"),
        ("early", "my-early", "formulas read names of letters, digits and _"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_any_compute(old: str, new: str, said: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        lineages(replaced((old, new)))
    assert said in "\n".join(caught.value.problems)


def test_fault_of_a_column_says_where_it_is() -> None:
    with pytest.raises(ProblemsError, match=r"hypotheses\.0\.model\.columns\.early: unknown layer"):
        lineages(replaced(("fc1.weight", "fc9.weight")))


def test_quantity_of_a_column_is_checked() -> None:
    measured = ("density, moving-stability]", "density, moving-stability, mask-structure]")
    structure = STABILITY.replace("moving-stability", "mask-structure")
    with pytest.raises(ProblemsError, match="mask-structure has several numbers: give 'quantity'"):
        lineages(replaced((STABILITY, structure)), measured)
    named = structure.replace("layer", "quantity: row-dispersio, layer")
    with pytest.raises(ProblemsError, match="did you mean 'row-dispersion'"):
        lineages(replaced((STABILITY, named)), measured)


def test_terms_that_no_arms_can_tell_apart_are_refused_but_where_there_are_no_verdicts() -> None:
    text = replaced(("+ method", "+ method * treatment"), ("treatment == rewind", "step == ticket"))
    assert lineages(text).spec.hypotheses
    half = "where: [treatment == rewind or method == zebra]\nsteps:"
    with pytest.raises(ProblemsError, match="5 terms of rank 4"):
        lineages(text, ("steps:", half))
    assert lineages(text, ("steps:", f"verdicts: no\n{half}")).spec.hypotheses


def test_plan_takes_the_error_of_the_pilot(tmp_path: Path) -> None:
    study = lineages(
        MODEL, ("registration:", "registration:\n  pilot: 4"), ("replicates: 6", "replicates: 10")
    )
    store = opened(tmp_path)
    results = filled(store, study)
    (found,) = design(study, results.population, store)
    table = by_hand(results)
    table = table[table["replicate"] < 4]
    wanted = regressed(results, of_first(study), pilot=True).result
    assert wanted is not None
    fitted = sm.OLS.from_formula("final ~ early + method", table).fit()
    assert wanted.estimate == pytest.approx(fitted.params["early"], rel=1e-12)
    assert found.sd == pytest.approx(2 * wanted.estimate / wanted.statistic)  # type: ignore[operator]
    assert found.sd_source == "pilot of 4 replicates"
    # Of each tested lineage one accuracy and one stability.
    assert (found.n, found.cells, found.missing, found.test) == (6, 24, 0, "regression")


def test_wild_bootstrap_counts_its_clusters() -> None:
    study = lineages(replaced(("cluster: replicate", "cluster: replicate\n      errors: wild")))
    (found,) = design(study, expand(study), None)
    assert found.test == "wild"
    assert found.smallest_p == pytest.approx(0.5 * max(1 / 6**5, 1 / 10_000), rel=0.5)


def test_registration_prints_what_is_read_and_judges_by_it(tmp_path: Path) -> None:
    study, store = lineages(), opened(tmp_path)
    found = register(study, store)
    text = " ".join(printed(found).split())
    assert "early is moving-stability, fc1.weight, at level 2" in text
    assert "final is accuracy, test part, at level 4" in text
    assert "every lineage of step ticket where treatment == rewind" in text
    assert found.body["hypotheses"][0]["results"] == 24
    assert list(found.body["hypotheses"][0]["cells"]) == ["row"]
    shown_parts = dict(parts_of(of_first(study)))["Regression"]
    assert "early is moving-stability of fc1.weight, at level 2" in shown_parts
    assert "one row for each lineage" in shown_parts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([], ""),
        (
            [("+ method", "")],
            "rows differ in method, and the formula does not name it: early tells arms apart",
        ),
        ([("treatment == rewind", "step == ticket")], "rows differ in treatment, and"),
        ([("+ method", ""), ("treatment == rewind", "treatment == rewind and method == zebra")], ""),
        ([("cluster: replicate", "cluster: lineage")], "nothing is clustered by replicate"),
        ([("cluster: replicate", "cluster: replicate:method")], "nothing is clustered by replicate"),
    ],
)
def test_rows_that_are_not_independent_are_warned_of(
    tmp_path: Path, changes: list[tuple[str, str]], said: str
) -> None:
    found = register(lineages(replaced(*changes)), opened(tmp_path))
    warned = found.hypotheses[0]["warnings"]
    assert len(warned) == bool(said)
    assert said in " ".join(warned)
    assert all(f"warning: {one}" in " ".join(printed(found).split()) for one in warned)


def test_a_changed_column_is_a_deviation(tmp_path: Path) -> None:
    store = opened(tmp_path)
    register(lineages(), store)
    later = lineages(replaced(("value: 2}", "value: 3}")))
    (found,) = judge(filled(store, later))
    assert found.verdict is None
    assert "changed after registration: model.columns" in found.exploratory[0]


def test_canonical_text_of_other_regressions_is_as_it_was() -> None:
    text = """
  - claim: Accuracy falls.
    model: {rows: state, formula: accuracy ~ level, term: level, cluster: replicate}
    test: {regression: less}
"""
    hypothesis = of_first(study_of(text))
    assert canonical(hypothesis)["model"] == {
        **{"rows": "state", "formula": "accuracy ~ level", "term": "level", "cluster": ["replicate"]},
    }
    own = of_first(lineages())
    assert hypothesis_digest(Hypothesis.model_validate(canonical(own))) == hypothesis_digest(own)


def test_a_blinded_study_hides_the_factors_of_the_formula(tmp_path: Path) -> None:
    study = lineages(MODEL, ("registration:", "registration:\n  blind: yes"))
    assert blind_factors(study) == ("method",)
    store = opened(tmp_path)
    register(study, store)
    coded = shown(filled(store, study))
    assert coded.study.spec.hypotheses == ()
    assert {point.arm.get("method", "") for point in coded.population.points}.isdisjoint({"zebra", "quokka"})
    assert "early" not in coded.study.text()
