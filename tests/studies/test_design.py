from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pomona.graph.store import Store
from pomona.stats.power import simulated_power, t_power, tost_power
from pomona.stats.regression import ols
from pomona.stats.wild import DRAWS
from pomona.studies.design import detect
from pomona.studies.design.designs import Design, _needed, design, refusals
from pomona.studies.design.reachable import _of_wild, reach
from pomona.studies.design.spread import spread
from pomona.studies.expand import expand
from pomona.studies.hypotheses.observe import rows_of
from pomona.studies.plan import Pace
from pomona.studies.results import Results
from pomona.studies.run import run
from pomona.studies.study import Study, parse_study

STUDY = """
study: tiny
let:
  data: {d: {name: digits}}
  train: {t: {optimizer: {sgd: {lr: 0.1}}, batch_size: 32, duration: 1ep}}
replicates: 5
factors: {method: [l1-unstructured, random-unstructured]}
steps:
  dense: {init: {name: fc, options: {hidden: 12-8}}, on: d, train: t}
  ticket: {from: dense, repeat: 2, prune: {method: $method}, treat: rewind, on: d, train: t}
measure: [accuracy]
"""
CLAIM = """
  - claim: Magnitude outlives chance.
    contrast: {a: {method: l1-unstructured}, b: {method: random-unstructured}}
    of: {measure: accuracy, match: level, value: 2}
"""
SLOPE = """
  - claim: Accuracy falls with density.
    model:
      {rows: state, formula: accuracy ~ log(density) * method, term: log(density), cluster: lineage, where: step == ticket}
    test: {regression: two-sided}
"""


def study(*claims: str, replicates: int = 5, pilot: int = 0, correction: str = "holm") -> Study:
    """A study with a hypothesis for each text of further entries."""
    text = STUDY.replace("replicates: 5", f"replicates: {replicates}")
    text += f"registration: {{pilot: {pilot}, correction: {correction}}}\nhypotheses:\n"
    text += "".join(c if c.startswith("\n") else CLAIM + f"    {c}\n" for c in claims)
    return parse_study(text, "tiny.yaml")


def designed(
    *claims: str, store: Store | None = None, pace: Pace | None = None, **given: object
) -> list[Design]:
    planned = study(*claims, **given)  # type: ignore[arg-type]
    return design(planned, expand(planned), store, pace)


@pytest.mark.parametrize(("n", "dz"), [(3, 3.26), (5, 1.68), (10, 1.00), (20, 0.66)])
def test_minimal_effects_are_those_of_the_table(n: int, dz: float) -> None:
    (found,) = designed("assume: {sd: 2pp}", replicates=n)
    assert found.minimal_dz == pytest.approx(dz, abs=0.005)
    assert found.minimal_effect == pytest.approx(0.02 * dz, abs=0.0001)
    assert (found.n, found.unit, found.sd_source) == (n, "share", "assumed")


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3, 0.05 / 17])
def test_minimal_effect_has_its_power_with_few_replicates_and_small_alpha_too(n: int, alpha: float) -> None:
    found = detect.minimal_effect("paired-t", n, alpha, "two-sided")
    assert found is not None
    beyond = stats.nct.sf(stats.t.isf(alpha / 2, n - 1), n - 1, found * np.sqrt(n))
    assert beyond == pytest.approx(0.8, abs=1e-5)


@pytest.mark.parametrize(("n", "effect"), [(3, 1.0), (5, 0.1), (10, -0.8)])
def test_two_sided_power_counts_both_tails(n: int, effect: float) -> None:
    assert detect.power_against("paired-t", effect, n, 0.05, "two-sided") == pytest.approx(
        t_power(effect, n), abs=1e-9
    )


def test_exact_p_of_five_pairs_cannot_say_significant() -> None:
    (found,) = designed("test: permutation")
    assert (found.smallest_p, found.corrected_smallest_p, found.reaches) == (0.0625, 0.0625, False)
    assert found.replicates_to_reach == 6
    assert found.minimal_dz is None
    assert refusals([found]) == [
        "1: the exact permutation test of 5 replicates reaches p .0625 at least, alpha is .05: 6 replicates can"
    ]


@pytest.mark.parametrize(("n", "p"), [(3, 1 / 8), (5, 1 / 32)])
def test_exact_p_one_sided(n: int, p: float) -> None:
    for test in ("permutation", "wilcoxon", "sign"):
        (found,) = designed(f"test: {{{test}: greater}}", replicates=n)
        assert found.smallest_p == p
        assert found.reaches == (p <= 0.05)


def test_holm_over_fourteen_needs_ten_replicates() -> None:
    found = designed(*["test: permutation"] * 14, replicates=9)
    assert {one.replicates_to_reach for one in found} == {10}
    assert found[0].corrected_smallest_p == pytest.approx(14 / 256)
    assert found[0].alpha == pytest.approx(0.05 / 14)
    assert len(refusals(found)) == 14
    assert refusals(designed(*["test: permutation"] * 14, replicates=10)) == []


def test_refusal_names_the_family_and_the_pilot() -> None:
    found = designed("test: {paired-t: greater}", *["test: permutation"] * 2, replicates=8, pilot=3)
    assert refusals(found) == [
        f"{number}: the exact permutation test of 5 replicates reaches p .1875 at least (Holm over 3), "
        "alpha is .05: 7 replicates beside the pilot of 3 can"
        for number in (2, 3)
    ]


def test_one_replicate_gives_no_p() -> None:
    found = designed("test: paired-t", "test: equivalence\n    margin: 1pp", replicates=1)
    assert [one.reaches for one in found] == [False, False]
    assert refusals(found)[0] == (
        "1: the t test of 1 replicate gives no p (Holm over 2), alpha is .05: 2 replicates can"
    )


def test_families_are_corrected_apart() -> None:
    first, second, third = designed("primary: no", "family: other", "test: paired-t")
    assert {one.comparisons for one in (first, second, third)} == {1}
    assert {one.alpha for one in (first, second, third)} == {0.05}


@pytest.mark.parametrize(
    ("correction", "alpha"), [("none", 0.05), ("max-t", 0.05), ("benjamini-hochberg", 0.025)]
)
def test_alpha_that_is_planned_with(correction: str, alpha: float) -> None:
    found = designed("test: permutation", "test: permutation", replicates=8, correction=correction)
    assert {one.alpha for one in found} == {alpha}


def test_max_t_bounds_every_paired_test_but_does_not_grow_with_the_family() -> None:
    found = designed(*["test: paired-t"] * 3, correction="max-t")
    assert {one.corrected_smallest_p for one in found} == {0.0625}
    assert {one.replicates_to_reach for one in found} == {6}
    assert "max-T over 3" in found[0].notes[0]


def test_replicates_needed_are_the_fewest_with_enough_power() -> None:
    claims = [
        f"test: {{paired-t: two-sided}}\n    assume: {{sd: 2pp}}\n    expect: {{effect: {e}pp}}"
        for e in (1, 2, 6)
    ]
    for found in designed(*claims):
        needed, effect = found.replicates_needed, found.hypothesis.expect.effect / 0.02  # type: ignore[union-attr]
        assert needed is not None
        assert detect.power_against("paired-t", effect, needed, found.alpha, "two-sided") >= 0.8
        assert detect.power_against("paired-t", effect, needed - 1, found.alpha, "two-sided") < 0.8
        assert found.power == detect.power_against("paired-t", effect, 5, found.alpha, "two-sided")


@pytest.mark.parametrize("test", ["sign-flip", "wilcoxon", "sign"])
@pytest.mark.parametrize("effect", [0.8, 1.5, 3.0])
def test_simulated_replicates_are_those_of_a_search_from_below(test: str, effect: float) -> None:
    plain = next(
        n for n in range(2, 200) if simulated_power(test, effect, n, studies=detect.SEARCHED) >= detect.POWER
    )
    assert detect.replicates_for(test, effect, 0.05, "two-sided") == plain


def test_smallest_margin_is_shown_with_eighty_percent() -> None:
    (found,) = designed("test: equivalence\n    margin: 3pp\n    assume: {sd: 2pp}", replicates=8)
    assert found.minimal_dz is not None
    assert tost_power(8, found.minimal_dz, studies=detect.STUDIES) == pytest.approx(0.8, abs=0.001)
    assert found.minimal_effect == pytest.approx(0.02 * found.minimal_dz)
    assert found.power == tost_power(8, 1.5, studies=detect.STUDIES)
    assert found.replicates_needed is not None
    assert tost_power(found.replicates_needed, 1.5, studies=detect.STUDIES) >= 0.8
    assert tost_power(found.replicates_needed - 1, 1.5, studies=detect.STUDIES) < 0.8


def test_an_expectation_outside_the_margin_is_never_shown() -> None:
    (found,) = designed(
        "test: equivalence\n    margin: 1pp\n    assume: {sd: 2pp}\n    expect: {effect: 1.5pp}"
    )
    assert found.replicates_needed is None
    assert found.why_needed == "the expected difference is not inside the margin"


def test_without_an_sd_there_is_no_power() -> None:
    (found,) = designed("expect: {effect: 5pp}")
    assert (found.sd, found.minimal_effect, found.power, found.replicates_needed) == (None, None, None, None)
    assert found.minimal_dz == pytest.approx(1.68, abs=0.005)
    assert found.sd_source == "not known: there is no pilot and no 'assume: {sd: ...}'"
    assert found.why_needed == "the SD of the differences is not known"
    (tiny,) = designed("assume: {sd: 2pp}\n    expect: {effect: 0.001pp}")
    assert tiny.why_needed == "more than 8,000 replicates are needed"
    (none,) = designed("assume: {sd: 2pp}")
    assert none.why_needed == "no 'expect: {effect: ...}' is given"


def test_wild_bootstrap_is_bounded_by_its_draws_and_clusters() -> None:
    wild = SLOPE.replace("cluster: lineage", "cluster: replicate, errors: wild")
    (five,) = designed(wild)
    assert five.smallest_p == pytest.approx(6.0**-4)
    (two,) = designed(wild, replicates=2)
    assert (two.smallest_p, two.reaches, two.replicates_to_reach) == (1 / 6, False, 3)
    assert refusals([two])[0].startswith("1: the wild bootstrap of 2 replicates reaches p .1667 at least")
    # Two arms of 10 replicates are 20 lineages: more patterns than are drawn.
    (many,) = designed(wild.replace("cluster: replicate", "cluster: lineage"), replicates=10)
    assert many.smallest_p == 1 / (DRAWS + 1)
    (plain,) = designed(SLOPE)
    assert (plain.smallest_p, plain.reaches, plain.minimal_dz) == (0.0, True, None)


def test_clusters_that_no_replicate_adds_to_cannot_be_made_more() -> None:
    planned = study(SLOPE.replace("cluster: lineage", "cluster: method, errors: wild"))
    (found,) = design(planned, expand(planned), None)
    assert (found.smallest_p, found.replicates_to_reach) == (1 / 6, None)
    assert refusals([found])[0].endswith("no number of replicates can")
    # Without its cells only the draws bound it.
    assert reach(planned.spec.hypotheses[0], 5, 1, "none").smallest_p == 1 / (DRAWS + 1)


@pytest.mark.parametrize("clusters", [3, 4, 13])
def test_wild_bootstrap_does_not_undercut_its_bound(clusters: int) -> None:
    draw = np.random.default_rng(clusters)
    x = np.tile(np.arange(6.0), clusters)
    frame = pd.DataFrame(
        {"x": x, "y": 5 * x + draw.normal(size=x.size), "g": np.repeat(np.arange(clusters), 6)}
    )
    p = ols(frame, "y ~ x", errors="wild", cluster="g").term("x").p
    bound = _of_wild(clusters)
    assert p is not None
    # Patterns of Webb's weights are drawn, those of 13 signs are listed.
    assert p >= bound - 4 * (bound / DRAWS) ** 0.5
    assert p <= bound + 4 * (bound / DRAWS) ** 0.5 + 1 / DRAWS


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with four replicates of the study."""
    folder = tmp_path_factory.mktemp("design") / "store"
    run(study("test: paired-t", replicates=4), store=folder, workers=0)
    return folder


def accuracies(opened: Store) -> np.ndarray:
    """Differences of accuracy at level 2, by replicate."""
    planned = study("test: paired-t", replicates=4)
    frame = Results(planned, opened).frame()
    frame = frame.query("quantity == 'accuracy' and part == 'test' and level == 2")
    wide = frame.pivot(index="replicate", columns="method", values="value")
    return (wide["l1-unstructured"] - wide["random-unstructured"]).to_numpy()


def test_sd_is_that_of_the_pilot_and_of_no_replicate_that_is_tested(store: Path) -> None:
    with Store(store) as opened:
        pilot = accuracies(opened)[:3]
        (found,) = designed("expect: {effect: 1pp}", store=opened, replicates=9, pilot=3)
        (unknown,) = designed("expect: {effect: 1pp}", store=opened, replicates=9)
        (small,) = designed("assume: {sd: 2pp}", store=opened, replicates=9, pilot=2)
        (late,) = designed("assume: {sd: 2pp}", store=opened, replicates=19, pilot=14)
    assert found.n == 6
    assert found.sd == pytest.approx(pilot.std(ddof=1), rel=1e-12)
    assert found.sd_source == "pilot of 3 replicates"
    low, high = np.sqrt(2 * pilot.var(ddof=1) / stats.chi2.ppf([0.975, 0.025], 2))
    assert (found.sd_low, found.sd_high) == (pytest.approx(low), pytest.approx(high))
    assert found.minimal_effect == pytest.approx(found.minimal_dz * found.sd)  # type: ignore[operator]
    assert found.minimal_effect_high == pytest.approx(found.minimal_dz * high)  # type: ignore[operator]
    assert "an SD of 3 replicates is itself uncertain" in found.notes
    assert (unknown.sd, unknown.power) == (None, None)
    assert (small.sd, small.sd_source, small.sd_low) == (0.02, "assumed", None)
    # Four of the fourteen are there, and that is enough.
    assert late.sd_source == "pilot of 4 replicates"


def test_spread_says_what_a_pilot_lacks(store: Path) -> None:
    (hypothesis,) = study("test: paired-t").spec.hypotheses
    assert (
        spread(hypothesis, None, 4).source == "not known: 0 of 4 pilot replicates are complete, 3 are needed"
    )
    assert (
        spread(hypothesis, None, 2).source == "not known: a pilot of 2 is too small, 3 replicates are needed"
    )
    with Store(store) as opened:
        text = STUDY.replace("lr: 0.1", "lr: 0.2").replace("replicates: 5", "replicates: 9")
        fresh = parse_study(f"{text}registration: {{pilot: 4}}\nhypotheses:{CLAIM}", "fresh.yaml")
        found = spread(hypothesis, Results(fresh, opened), 4)
    assert found.source == "not known: 0 of 4 pilot replicates are complete, 3 are needed"


def test_error_of_a_regression_is_scaled_from_the_pilot(store: Path) -> None:
    planned = study(SLOPE, replicates=10, pilot=4)
    population = expand(planned)
    with Store(store) as opened:
        (found,) = design(planned, population, opened)
        model = planned.spec.hypotheses[0].model
        assert model is not None
        rows = rows_of(Results(planned, opened, population), model, pilot=True)
    assert set(rows["replicate"]) == {0, 1, 2, 3}
    error = ols(rows, model.formula, errors="cr2", cluster="lineage").term("log(density)").error
    assert found.sd == pytest.approx(2 * error)
    dz = detect.minimal_effect("paired-t", 6, 0.05, "two-sided")
    assert found.minimal_effect == pytest.approx(dz * found.sd)  # type: ignore[operator]
    assert found.minimal_dz is None


def test_missing_results_are_those_that_a_hypothesis_speaks_of(store: Path) -> None:
    with Store(store) as opened:
        (found,) = designed("test: paired-t", store=opened, replicates=6)
        (piloted,) = designed("test: paired-t", store=opened, replicates=6, pilot=3)
    # One level of two arms in each replicate, of which four are there.
    assert (found.cells, found.missing) == (12, 4)
    assert (piloted.cells, piloted.missing) == (6, 4)
    (fresh,) = designed("test: paired-t", replicates=6)
    assert (fresh.cells, fresh.missing, fresh.seconds) == (12, 12, None)


def test_cost_is_that_of_the_states_that_are_needed_and_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pomona.studies.plan.EACH_SECONDS", 0.0)
    planned = study("test: paired-t", replicates=2)
    population = expand(planned)
    graph = population.graph
    rates = {state.cost: 100.0 for state in graph.states.values() if state.work_steps}
    whole = Pace(set(), set(), rates, {}, 1)
    (found,) = design(planned, population, None, whole)
    # Dense, and two levels of two arms: all trainings lead to the second level.
    steps = sum(state.work_steps for state in graph.states.values())
    assert found.seconds == pytest.approx(steps / 100)
    assert whole.seconds(graph, graph.probes, graph.states) == found.seconds
    # Of level 1 alone the second level is not needed.
    first = parse_study(
        STUDY.replace("replicates: 5", "replicates: 2")
        + "hypotheses:"
        + CLAIM.replace("value: 2", "value: 1"),
        "tiny.yaml",
    )
    (less,) = design(first, population, None, whole)
    assert less.seconds == pytest.approx(steps / 100 * 3 / 5)
    unknown = Pace(set(), set(), {}, {}, 1)
    assert design(planned, population, None, unknown)[0].seconds is None
    # With many workers a line of descent is left: three trainings.
    assert design(planned, population, None, Pace(set(), set(), rates, {}, 50))[0].seconds == pytest.approx(
        steps / 100 * 3 / 10
    )


def test_what_a_state_that_is_there_came_from_is_not_needed() -> None:
    population = expand(study("test: paired-t", replicates=1))
    graph = population.graph
    first, last = (next(p.state for p in population.points if p.level == level) for level in (1, 2))
    whole = {state.key for state in graph.ancestors(last.key)}
    assert _needed(graph, [last.key], set()) == whole
    before = {state.key for state in graph.ancestors(first.key)}
    assert first.key in before < whole
    # The first level is there; the initial state, which rewinding goes back to, is still needed.
    origin = next(p.origin.key for p in population.points)
    assert _needed(graph, [last.key], {first.key}) == (whole - before) | {origin}
    assert _needed(graph, [last.key], {last.key}) == set()


def test_simulated_power_is_quick_where_many_ask_for_it_and_says_its_error() -> None:
    few = designed("test: permutation\n    assume: {sd: 2pp}\n    expect: {effect: 3pp}", replicates=8)
    assert few[0].power == detect.power_against("sign-flip", 1.5, 8, 0.05, "two-sided", 0.0, detect.STUDIES)
    assert few[0].notes == ("power is simulated, give or take .02",)
    claims = [
        f"test: permutation\n    assume: {{sd: {1 + i / 8}pp}}\n    expect: {{effect: 3pp}}"
        for i in range(16)
    ]
    many = designed(*claims, replicates=12)
    assert many[3].power == detect.power_against(
        "sign-flip", 0.03 / 0.01375, 12, 0.05 / 16, "two-sided", 0.0, detect.SEARCHED
    )
