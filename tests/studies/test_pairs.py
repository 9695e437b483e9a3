"""Measures of two arms as outcomes of hypotheses, against the numbers of each pair, looked up one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import linregress, ttest_1samp, ttest_rel

from pomona.core.errors import ProblemsError
from pomona.graph.ledger import Measurement
from pomona.graph.store import Store
from pomona.report.hypotheses import outcome, parts_of
from pomona.report.units import unit_of as shown_unit
from pomona.studies.expand import expand
from pomona.studies.hypotheses.cells import FLOOR, cells, keys
from pomona.studies.hypotheses.judge import judge
from pomona.studies.hypotheses.observe import observe
from pomona.studies.hypotheses.spec import Estimand, Hypothesis
from pomona.studies.hypotheses.values import amount, unit_of
from pomona.studies.points import Pair, Point, Population
from pomona.studies.registration.printed import printed
from pomona.studies.registration.register import register
from pomona.studies.registration.registered import canonical
from pomona.studies.results import Results
from pomona.studies.study import Study
from tests.studies.filled import _attempt, fill, opened, study_of

ALL = "measure: [accuracy, density, mask-distance, agreement, {linear-connectivity: {over: [order, method], points: 5}}]"
CHANGES = [
    ("measure: [accuracy, density]", ALL),
    ("steps:", "vary: {order: 2}\nsteps:"),
    ("\n  treatment: [rewind, finetune]", ""),
    ("$treatment", "rewind"),
    ("    quokka:", "    numbat: {criterion: {norm: 2}, granularity: channel-in, scope: layer}\n    quokka:"),
]
AGREEMENT = "{measure: agreement, to: {method: quokka}, match: level, value: 2}"
KAPPA = "{measure: agreement, quantity: kappa, to: {method: quokka}, match: level, value: 2}"
MASKS = "{measure: mask-distance, to: {method: quokka}, layer: fc1.weight, match: level, value: 2}"
BARRIER = "{measure: linear-connectivity, quantity: barrier, to: {order: 1}, match: level, value: 3}"
LOSSES = (
    "{measure: linear-connectivity, quantity: loss-instability, to: {method: quokka}, match: level, value: 3}"
)
QUANTITIES = {
    "mask-distance": ("jaccard-distance", "chance-distance"),
    "agreement": ("agreement", "kappa"),
    "linear-connectivity": ("barrier", "instability", "loss-barrier", "loss-instability"),
}
LAYERS = {"mask-distance": "fc1.weight"}


def asked(contrast: str, of: str, test: str = "{paired-t: two-sided}", *changes: tuple[str, str]) -> Study:
    text = f"""
  - claim: Something holds.
    contrast: {contrast}
    of: {of}
    test: {test}
"""
    return study_of(text, [*CHANGES, *changes])


def only(study: Study) -> Study:
    """The study with no comparison that its first hypothesis does not read: thousands are slow to fill in."""
    of = first(study).of
    assert of is not None
    kept = tuple(
        one for one in study.spec.measure if str(one).partition(" ")[0] in ("accuracy", "density", of.measure)
    )
    return replace(study, spec=study.spec.model_copy(update={"measure": kept}))


def first(study: Study) -> Hypothesis:
    return study.spec.hypotheses[0]


def pairs_of(population: Population, measure: str) -> Sequence[Pair]:
    return {
        "mask-distance": population.pairs,
        "agreement": population.agreements,
        "linear-connectivity": population.paths,
    }[measure]


def filled(
    store: Store,
    study: Study,
    wanted: Callable[[Pair], bool] = lambda pair: True,
    chance: Callable[[Point], bool] = lambda point: False,
    every: bool = False,
) -> Results:
    """A store in which every comparison has a number of its own."""
    results = fill(store, study if every else only(study), lambda point: 0.8, chance=chance)
    for measure, quantities in QUANTITIES.items():
        for pair in filter(wanted, pairs_of(results.population, measure)):
            key = pair.probe.key
            drawn = np.random.default_rng(int(key[:12], 16)).uniform(0.2, 0.9, len(quantities))
            layer = LAYERS.get(measure, "")
            rows = [Measurement(q, float(v), layer) for q, v in zip(quantities, drawn, strict=True)]
            store.ledger.commit_probe(key, rows, _attempt(key), 1)
    return Results(study, store, results.population)


def number(
    results: Results, quantity: str, replicate: int, level: int, a: tuple[str, str], b: tuple[str, str]
) -> float:
    """The number of the one pair of these arms, by method and order."""
    wanted = {a, b}
    (measure,) = [name for name, own in QUANTITIES.items() if quantity in own]
    (probe,) = [
        pair.probe
        for pair in pairs_of(results.population, measure)
        if pair.a.step == "ticket"
        and (pair.a.replicate, pair.a.level) == (replicate, level)
        and {(p.arm["method"], p.arm["order"]) for p in (pair.a, pair.b)} == wanted
    ]
    found = results.measured(probe)[quantity, LAYERS.get(measure, ""), -1]
    assert found is not None
    return found


@pytest.mark.parametrize(("of", "quantity"), [(AGREEMENT, "agreement"), (KAPPA, "kappa")])
def test_agreement_is_that_of_the_two_arms_of_each_replicate(tmp_path: Path, of: str, quantity: str) -> None:
    study = asked("{a: {method: zebra}, b: {method: numbat}, fix: {order: 0}}", of)
    results = filled(opened(tmp_path), study)
    found = observe(results, first(study))
    assert [row.replicate for row in found.rows] == list(range(6))
    for row in found.rows:
        assert row.a == number(results, quantity, row.replicate, 2, ("zebra", "0"), ("quokka", "0"))
        assert row.b == number(results, quantity, row.replicate, 2, ("numbat", "0"), ("quokka", "0"))


@pytest.mark.parametrize("quantity", QUANTITIES["linear-connectivity"])
def test_barrier_is_that_of_the_line_to_the_other_order(tmp_path: Path, quantity: str) -> None:
    of = BARRIER.replace("barrier", quantity)
    study = asked("{a: {method: zebra}, b: {method: quokka}, fix: {order: 0}}", of)
    results = filled(opened(tmp_path), study)
    for row in observe(results, first(study)).rows:
        assert row.a == number(results, quantity, row.replicate, 3, ("zebra", "0"), ("zebra", "1"))
        assert row.b == number(results, quantity, row.replicate, 3, ("quokka", "0"), ("quokka", "1"))


def test_line_between_two_methods(tmp_path: Path) -> None:
    study = asked("{a: {method: zebra}, value: 0.1, fix: {order: 1}}", LOSSES)
    results = filled(opened(tmp_path), study)
    found = observe(results, first(study))
    assert found.unit == "nats"
    for row in found.rows:
        assert row.a == number(results, "loss-instability", row.replicate, 3, ("zebra", "1"), ("quokka", "1"))


def test_measures_of_two_arms_are_not_mixed_up(tmp_path: Path) -> None:
    """One pair of points is compared in all three ways."""
    store = opened(tmp_path)
    contrast = "{a: {method: zebra}, value: 0, fix: {order: 0}}"
    values = {}
    for of in (MASKS, AGREEMENT, LOSSES.replace("value: 3", "value: 2")):
        study = asked(contrast, of)
        values[of] = observe(filled(store, study, every=True), first(study)).rows[0].a
    results = filled(store, study, every=True)
    arms = ("zebra", "0"), ("quokka", "0")
    distance, chance = (number(results, q, 0, 2, *arms) for q in QUANTITIES["mask-distance"])
    assert list(values.values()) == pytest.approx(
        [distance / chance, *(number(results, q, 0, 2, *arms) for q in ("agreement", "loss-instability"))]
    )


def test_floor_is_the_agreement_of_the_arms_with_themselves_under_another_order(tmp_path: Path) -> None:
    study = asked("{a: {method: zebra}, value: floor, fix: {order: 0}}", KAPPA, "{paired-t: less}")
    results = filled(opened(tmp_path), study)
    found = observe(results, first(study))
    for row in found.rows:
        own, other = (
            number(results, "kappa", row.replicate, 2, (method, "0"), (method, "1"))
            for method in ("zebra", "quokka")
        )
        assert row.b == pytest.approx((own + other) / 2)
    assert found.floor is not None
    assert found.floor.estimate == pytest.approx(np.mean([row.b for row in found.rows]))


def test_lines_have_no_floor(tmp_path: Path) -> None:
    study = asked("{a: {method: zebra}, b: {method: quokka}, fix: {order: 0}}", BARRIER)
    assert not [cell for cell in cells(expand(study), first(study)) if cell.side == FLOOR]
    with pytest.raises(ProblemsError, match="'value: floor' goes with mask-distance and agreement"):
        asked("{a: {method: zebra}, value: floor, fix: {order: 0}}", BARRIER)


def test_slope_of_agreement_over_levels(tmp_path: Path) -> None:
    of = "{measure: agreement, to: {method: quokka}, match: level, slope: all}"
    study = asked("{a: {method: zebra}, fix: {order: 0}}", of)
    results = filled(opened(tmp_path), study)
    found = observe(results, first(study))
    assert found.unit == "share per level"
    for row in found.rows:
        y = [
            number(results, "agreement", row.replicate, level, ("zebra", "0"), ("quokka", "0"))
            for level in range(1, 5)
        ]
        assert row.a == pytest.approx(linregress([1, 2, 3, 4], y).slope)


@pytest.mark.parametrize(("of", "measure"), [(AGREEMENT, "agreement"), (BARRIER, "linear-connectivity")])
def test_keys_are_those_of_the_comparison_and_of_both_ends(of: str, measure: str) -> None:
    study = asked("{a: {method: zebra}, value: 0.5, fix: {order: 0}}", of)
    population = expand(study)
    found = [cell for cell in cells(population, first(study)) if cell.side == "a"]
    probes = [probe for cell in found for read in cell.probes for probe in read]
    assert [probe.name for probe in probes] == [measure] * 6
    assert len({probe.key for probe in probes}) == 6
    assert all(set(probe.states) <= keys(found) for probe in probes)
    assert all(len(cell.others) == len(cell.points) == 1 for cell in found)


def test_verdicts_are_those_of_scipy(tmp_path: Path) -> None:
    contrast = "{a: {method: zebra}, b: {method: numbat}, fix: {order: 0}}"
    study = asked(contrast, AGREEMENT)
    store = opened(tmp_path)
    register(study, store)
    results = filled(store, study)
    (found,) = judge(results)
    a, b = (
        [number(results, "agreement", r, 2, (method, "0"), ("quokka", "0")) for r in range(6)]
        for method in ("zebra", "numbat")
    )
    assert found.exploratory == ()
    assert found.p == pytest.approx(ttest_rel(a, b).pvalue)


def test_barrier_is_held_against_a_number(tmp_path: Path) -> None:
    study = asked("{a: {method: zebra}, value: 2pp, fix: {order: 0}}", BARRIER, "{paired-t: greater}")
    store = opened(tmp_path)
    registered = register(study, store)
    assert registered.hypotheses[0]["warnings"] == []
    results = filled(store, study)
    (found,) = judge(results)
    a = [number(results, "barrier", r, 3, ("zebra", "0"), ("zebra", "1")) for r in range(6)]
    assert found.p == pytest.approx(ttest_1samp(a, 0.02, alternative="greater").pvalue)
    assert found.verdict == "supported"


def test_comparison_that_is_not_made_yet_is_waited_for(tmp_path: Path) -> None:
    study = asked("{a: {method: zebra}, value: 0.5, fix: {order: 0}}", AGREEMENT)
    results = filled(opened(tmp_path), study, lambda pair: pair.a.replicate < 4)
    found = observe(results, first(study))
    assert [row.pending for row in found.rows] == [False] * 4 + [True] * 2
    assert found.rows[5].lost == "a: level 2: no agreement was measured"


@pytest.mark.parametrize("against", ["b: {method: numbat}", "value: floor"])
@pytest.mark.parametrize("ends", [("zebra", "quokka"), ("zebra",)])
def test_networks_that_are_at_chance_agree_on_nothing(
    tmp_path: Path, ends: tuple[str, ...], against: str
) -> None:
    study = asked(f"{{a: {{method: zebra}}, {against}, fix: {{order: 0}}}}", AGREEMENT)
    store = opened(tmp_path)
    register(study, store)
    chance = (*ends, "numbat")
    (found,) = judge(filled(store, study, chance=lambda p: p.arm.get("method") in chance))
    assert (found.verdict == "not answerable") == (ends == ("zebra", "quokka"))


@pytest.mark.parametrize(
    ("of", "one", "written"),
    [
        (AGREEMENT, "share", "3 percentage points"),
        (KAPPA, "", "0.03"),
        (BARRIER, "share", "3 percentage points"),
        (BARRIER.replace("barrier", "instability"), "share", "3 percentage points"),
        (LOSSES, "nats", "0.03 nats"),
        (AGREEMENT.replace("value: 2", "slope: all"), "share per level", "3 percentage points per level"),
    ],
)
def test_units(of: str, one: str, written: str) -> None:
    contrast = "{a: {method: zebra}, b: {method: quokka}, fix: {order: 0}}"
    if "method: quokka" in of:
        contrast = contrast.replace("b: {method: quokka}", "b: {method: numbat}")
    hypothesis = first(asked(contrast, of))
    assert hypothesis.of is not None
    assert unit_of(hypothesis.of) == one
    assert shown_unit(hypothesis).written(0.03) == written
    shown = {"share": "3 points", "share per level": "3 points per level"}.get(one, f"0.03 {one}".strip())
    assert amount(0.03, one) == shown


@pytest.mark.parametrize(
    ("contrast", "of", "said"),
    [
        (
            "{a: {method: zebra}, value: 0}",
            AGREEMENT.replace("to: {method: quokka}, ", ""),
            "needs 'to': the arm",
        ),
        (
            "{a: {method: zebra}, value: 0}",
            AGREEMENT.replace("match: level, value: 2", "match: density, value: 0.2"),
            "at equal level",
        ),
        ("{a: {method: zebra}, value: 0}", KAPPA.replace("kappa", "kapa"), "did you mean 'kappa'?"),
        ("{a: {method: zebra}, value: 0}", BARRIER.replace("barrier", "barier"), "did you mean 'barrier'?"),
        ("{a: {method: zebra}, value: 0}", BARRIER.replace("barrier", "error-along"), "unknown quantity"),
        (
            "{a: {method: zebra}, value: 0}",
            BARRIER.replace("quantity: barrier, ", ""),
            "give 'quantity', barrier or",
        ),
        (
            "{a: {method: zebra}, value: 0}",
            AGREEMENT.replace("match", "layer: fc1.weight, match"),
            "whole network",
        ),
        (
            "{a: {method: zebra}, value: 0}",
            AGREEMENT.replace("match", "corrected: no, match"),
            "goes with mask-dist",
        ),
        (
            "{a: {method: quokka}, value: 0, fix: {order: 0}}",
            AGREEMENT,
            "compared with itself: method quokka",
        ),
        (
            "{a: {method: zebra}, value: 0, average: [order]}",
            BARRIER,
            "compared with itself: method zebra, order 1 of step 'ticket' is what 'to' names",
        ),
        (
            "{a: {method: zebra}, value: 0, fix: {order: 0}}",
            AGREEMENT.replace("value: 2", "value: 0"),
            "from 1 on",
        ),
        (
            "{a: {method: zebra}, value: 0, fix: {order: 0}}",
            BARRIER.replace("order: 1", "order: 1, method: quokka"),
            "'to' differs in method and order from method zebra, order 0",
        ),
        (
            "{a: {method: zebra}, value: 0, fix: {order: 0}}",
            BARRIER.replace("order: 1", "order: 2"),
            "order' 2",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_compute(contrast: str, of: str, said: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        asked(contrast, of)
    assert said in "\n".join(caught.value.problems)


def test_lines_are_walked_over_the_factors_that_the_measure_names() -> None:
    plain = (", points: 5}}]", "}}]"), ("over: [order, method]", "points: 5")
    with pytest.raises(ProblemsError, match="arms that differ in order alone, and 'to' differs in method"):
        asked("{a: {method: zebra}, value: 0, fix: {order: 0}}", LOSSES, "paired-t", *plain)
    begun = ("vary: {order: 2}", "vary: {order: 2, init: 2}"), ("[order, method]", "[order, init]")
    other = BARRIER.replace("order: 1", "init: 1")
    with pytest.raises(ProblemsError, match="those of another 'init' did not"):
        asked("{a: {method: zebra}, value: 0, fix: {order: 0, init: 0}}", other, "paired-t", *begun)


@pytest.mark.parametrize("of", [AGREEMENT, BARRIER])
def test_measure_that_the_study_lacks_is_named(of: str) -> None:
    with pytest.raises(ProblemsError, match=r"the study does not measure (agreement|linear-connectivity)"):
        asked("{a: {method: zebra}, value: 0, fix: {order: 0}}", of, "paired-t", (ALL, "measure: [accuracy]"))


@pytest.mark.parametrize(
    ("of", "test", "said"),
    [
        (AGREEMENT, "less", "agreement below 0.9 says nothing: networks of one method differ by noise"),
        (AGREEMENT, "greater", ""),
        (BARRIER, "greater", ""),
        (BARRIER, "less", ""),
    ],
)
def test_claims_that_noise_makes_true_are_warned_of(tmp_path: Path, of: str, test: str, said: str) -> None:
    study = asked("{a: {method: zebra}, value: 0.9, fix: {order: 0}}", of, f"{{paired-t: {test}}}")
    found = register(study, opened(tmp_path)).hypotheses[0]["warnings"]
    assert found == [] if not said else found[0].startswith(said)


def test_barrier_above_0_is_warned_of(tmp_path: Path) -> None:
    study = asked("{a: {method: zebra}, value: 0, fix: {order: 0}}", BARRIER, "{paired-t: greater}")
    (said,) = register(study, opened(tmp_path)).hypotheses[0]["warnings"]
    assert said.startswith("barrier is never below 0")


def test_registration_and_report_say_what_is_compared(tmp_path: Path) -> None:
    study = asked("{a: {method: zebra}, b: {method: numbat}, fix: {order: 0}}", KAPPA)
    text = " ".join(printed(register(study, opened(tmp_path))).split())
    assert "agreement, against method quokka, kappa, at level 2" in text
    assert "divided by chance" not in text
    assert dict(parts_of(first(study)))["In"] == "kappa of agreement with method quokka, at level 2"
    barrier = Estimand.model_validate(
        {
            "measure": "linear-connectivity",
            "quantity": "barrier",
            "to": {"order": 1},
            "match": "level",
            "value": 3,
        }
    )
    assert outcome(barrier) == "barrier of linear-connectivity to order 1, at level 3"


def test_floor_without_another_order_is_refused_at_registration(tmp_path: Path) -> None:
    study = asked(
        "{a: {method: zebra}, value: floor, fix: {order: 0}}",
        AGREEMENT,
        "{paired-t: less}",
        ("steps:", "where: [order == 0 or method == numbat]\nsteps:"),
    )
    with pytest.raises(ProblemsError, match="no arm of this contrast has predictions of both orders"):
        register(study, opened(tmp_path))


def test_canonical_text_of_masks_is_as_it_was() -> None:
    study = asked("{a: {method: zebra}, value: floor, fix: {order: 0}}", MASKS)
    assert canonical(first(study))["of"] == {
        **{"measure": "mask-distance", "match": "level", "value": 2.0, "layer": "fc1.weight"},
        "to": {"method": "quokka"},
    }
