"""What may be written of a hypothesis, and what is said of one that cannot be answered."""

from __future__ import annotations

import pytest

from pomona.core.errors import ProblemsError
from pomona.studies.registration.registered import hypothesis_digest
from tests.studies.filled import CONTRAST, study_of

A_B = "a: {method: zebra}, b: {method: quokka}"


def faults(hypothesis: str, changes: list[tuple[str, str]] | None = None) -> str:
    with pytest.raises(ProblemsError) as caught:
        study_of(hypothesis, changes or [])
    assert len(caught.value.problems) == 1, caught.value.problems
    return caught.value.problems[0]


def contrast(arms: str, of: str = "{measure: accuracy, match: level, value: 2}", rest: str = "") -> str:
    return f"""
  - claim: Something holds.
    contrast: {{{arms}}}
    of: {of}
{rest}"""


def at(measure: str) -> str:
    return f"{{measure: {measure}, match: level, value: 2}}"


@pytest.mark.parametrize(
    ("hypothesis", "said"),
    [
        (contrast(A_B), "factor 'treatment' is left open; fix it (fix: {treatment: rewind}), match it"),
        (contrast(A_B + ", fix: {treatment: rewnd}"), "'rewnd'; did you mean 'rewind'?"),
        (contrast(A_B + ", fix: {treatmnt: rewind}"), "unknown factor 'treatmnt'; did you mean 'treatment'?"),
        (
            contrast("a: {method: zebra}, fix: {treatment: rewind}"),
            "a contrast needs 'b', an arm, or 'value'",
        ),
        (
            contrast("a: {method: zebra}, b: {method: zebra}, fix: {treatment: rewind}"),
            "both arms are {'method': 'zebra'}: there is nothing to compare",
        ),
        (
            contrast("a: {method: zebra, treatment: rewind}, b: {method: quokka}"),
            "factor 'treatment' is given for one arm only; give it for both",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}, average: [treatment]"),
            "factor 'treatment' stands both in 'fix' and in 'average'",
        ),
        (
            contrast(A_B + ", value: 0.5, fix: {treatment: rewind}"),
            "against 'b' or against 'value', not against",
        ),
        (
            contrast("a: {step: dense}, value: 0.9, fix: {treatment: rewind}", "{measure: accuracy}"),
            "no arm depends on factor 'treatment' (steps: dense); leave it out",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", "{measure: accuracy}"),
            "has levels up to 4: say where",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", "{measure: accuracy, match: level, value: 5}"),
            "level 5 is beyond the last of step 'ticket', 4",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", "{measure: acuracy, match: level, value: 2}"),
            "unknown measure 'acuracy'; did you mean 'accuracy'?",
        ),
        (
            contrast(
                A_B + ", fix: {treatment: rewind}",
                "{measure: weight-stability, layer: fc1.weight, match: level, value: 2}",
            ),
            "the study does not measure weight-stability: add it to 'measure'",
        ),
        (
            contrast(
                A_B + ", fix: {treatment: rewind}", "{measure: accuracy, match: effective-density, value: 1}"
            ),
            "the study does not measure effective-density",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", "{measure: accuracy, match: density}"),
            "needs one of value",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", "{measure: accuracy, match: density, value: 17}"),
            "a density lies above 0 and at most at 1, got 17",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", rest="    test: equivalence"),
            "equivalence needs 'margin'",
        ),
        (
            contrast(
                A_B + ", fix: {treatment: rewind}",
                rest="    test: {paired-t: greater}\n    expect: {effect: -3pp}",
            ),
            "the expected effect -0.03 is against the alternative 'greater'",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", rest="    test: {paired-t: more}"),
            "unknown alternative of paired-t 'more'",
        ),
        (
            contrast(
                A_B + ", fix: {treatment: rewind}",
                "{measure: mask-distance, match: level, value: 1}",
            ),
            "mask-distance needs 'to'",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", at("accuracy, layer: fc1.weight")),
            "accuracy is of the whole network: leave 'layer' out",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", at("loss, layer: fc1.weight")),
            "loss is of the whole network",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", at("class-accuracy")),
            "class-accuracy needs 'class': a number from 0, or 'worst'",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", at("class-accuracy, class: 10")),
            "digits has the classes 0 to 9, got class 10",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", at("class-accuracy, class: -1")),
            "digits has the classes 0 to 9, got class -1",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", at("weight-stability")),
            "weight-stability is of single layers: give 'layer'",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", at("density, layer: fc1")),
            "unknown layer of fc 'fc1'. Known: fc1.weight, fc2.weight, fc3.weight",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", at("accuracy, part: validation")),
            "step 'ticket' holds no images back for validation",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", "{measure: accuracy, match: density, below: 90}"),
            "'below' is a share of accuracy, above 0 and at most 100 %, got 90",
        ),
        (
            contrast(A_B + ", fix: {treatment: rewind}", "{measure: accuracy, match: density, value: 17pp}"),
            "expected a density as 17% or .17, or a level, got '17pp'",
        ),
        (
            contrast("a: {method: zebra}, value: floor, fix: {treatment: rewind}"),
            "'value: floor' goes with mask-distance",
        ),
        (
            contrast("a: {method: zebra}, value: 0.5, across: {treatment: [rewind, finetune]}"),
            "leave 'value' out",
        ),
    ],
)
def test_hypothesis_that_cannot_be_answered_is_refused_before_any_compute(hypothesis: str, said: str) -> None:
    assert said in faults(hypothesis)


@pytest.mark.parametrize(
    ("of", "low"),
    [("value: 0.05", "0.05"), ("area: [50%, 5%]", "0.05"), ("slope: [1.0, 0.01]", "0.01")],
)
def test_density_that_no_level_comes_down_to_is_refused(of: str, low: str) -> None:
    said = faults(
        contrast(A_B + ", fix: {treatment: rewind}", f"{{measure: accuracy, match: density, {of}}}")
    )
    assert f"step 'ticket' ends at density 0.0625 after 4 levels, and {low} is asked for" in said


def test_last_density_may_be_asked_for_and_others_where_nothing_says_how_far_they_go() -> None:
    last = "{measure: accuracy, match: density, value: 0.0625}"
    assert study_of(contrast(A_B + ", fix: {treatment: rewind}", last))
    sparse = "{measure: accuracy, match: density, value: 0.01}"
    linear = [
        ("granularity: weight, scope: layer}", "granularity: weight, scope: layer, layers: [fc1.weight]}")
    ]
    assert study_of(contrast(A_B + ", fix: {treatment: rewind}", sparse), linear)


def test_fault_says_where_it_is() -> None:
    assert "study line " in faults(contrast(A_B))
    assert "hypotheses.0.contrast" in faults(contrast(A_B))


def test_arm_that_the_conditions_leave_out_is_a_fault() -> None:
    text = faults(
        contrast(A_B + ", fix: {treatment: finetune}"),
        [("steps:", "where: [treatment == rewind or method == zebra]\nsteps:")],
    )
    assert "step 'ticket' has no arm with treatment: finetune, method: quokka: the conditions" in text


HALF = ("steps:", "where: [treatment == rewind or method == zebra]\nsteps:")


def test_arms_that_are_averaged_over_other_labels_are_a_fault() -> None:
    said = faults(contrast(A_B + ", average: [treatment]"), [HALF])
    assert "averaged over other labels (a over finetune and rewind, b over rewind)" in said
    assert "write 'match: [treatment]', or change 'where'" in said
    order = ("steps:", "vary: {order: 2}\nwhere: [order == 0 or method == zebra]\nsteps:")
    said = faults(contrast(A_B + ", fix: {treatment: rewind}, average: [order]"), [order])
    assert "(a over 0 and 1, b over 0)" in said


@pytest.mark.parametrize(
    ("arms", "changes"),
    [
        (A_B + ", average: [treatment]", []),
        (A_B + ", match: [treatment]", [HALF]),
        # Within each label that is compared both are averaged over the same ones.
        (
            A_B + ", match: [treatment], average: [order]",
            [("steps:", "vary: {order: 2}\n" + HALF[1])],
        ),
        # The dense network is the same for all labels of the factor.
        ("a: {step: ticket}, b: {step: dense}, average: [method, treatment]", [HALF]),
    ],
)
def test_arms_that_are_averaged_over_the_same_labels_are_taken(
    arms: str, changes: list[tuple[str, str]]
) -> None:
    dense = "{measure: accuracy, match: density, value: 100%}"
    assert study_of(contrast(arms, dense), changes).spec.hypotheses


def test_masks_are_held_against_their_noise_where_the_order_varies() -> None:
    masks = "{measure: mask-distance, to: {method: quokka}, layer: fc1.weight, match: level, value: 2}"
    measured = ("measure: [accuracy, density]", "measure: [accuracy, mask-distance]")
    held = contrast("a: {method: zebra}, value: floor, fix: {treatment: rewind}", masks)
    assert "another order of the data: write 'vary: {order: 2}'" in faults(held, [measured])
    varied = held.replace("{treatment: rewind}", "{treatment: rewind, order: 0}")
    study = study_of(varied, [measured, ("steps:", "vary: {order: 2}\nsteps:")])
    found = study.spec.hypotheses[0].contrast
    assert found is not None
    assert (found.value, found.number) == ("floor", None)


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("value: 17%", "value: 0.17"),
        ("area: [50%, 10%]", "area: [0.5, 0.1]"),
        ("slope: [50%, 10%]", "slope: [0.5, 0.1]"),
    ],
)
def test_places_are_read_as_percent_too(written: str, plain: str) -> None:
    arms = A_B + ", fix: {treatment: rewind}"
    first, second = (
        study_of(contrast(arms, f"{{measure: accuracy, match: density, {text}}}")).spec.hypotheses
        for text in (written, plain)
    )
    assert first == second
    assert hypothesis_digest(first[0]) == hypothesis_digest(second[0])


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(ProblemsError) as caught:
        study_of(contrast(A_B) + contrast(A_B + ", fix: {treatment: x}"))
    assert len(caught.value.problems) == 2


MODEL = """
  - claim: Accuracy falls with density.
    model: {rows: state, formula: accuracy ~ log2(density) * C(method), term: log2(density), cluster: [replicate]}
    test: {regression: greater}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("term: log2(density)", "term: density", "unknown term 'density'"),
        ("log2(density) * C(method)", "log2(densty)", "unknown column 'densty'; did you mean 'density'?"),
        ("cluster: [replicate]", "cluster: [lineag]", "unknown cluster 'lineag'; did you mean 'lineage'?"),
        ("cluster: [replicate]", "where: level > x", "expected a number"),
        ("cluster: [replicate]", "where: methd == zebra", "unknown name 'methd'; did you mean 'method'?"),
        ("cluster: [replicate]", "errors: cr2", "errors 'cr2' need 'cluster'"),
        ("test: {regression: greater}", "test: {paired-t: greater}", "a model takes the test 'regression'"),
    ],
)
def test_regression_that_cannot_be_fitted_is_refused_before_any_compute(
    old: str, new: str, said: str
) -> None:
    assert old in MODEL
    assert said in faults(MODEL.replace(old, new))


@pytest.mark.parametrize(
    "hypothesis",
    [
        CONTRAST,
        MODEL,
        contrast(A_B + ", match: [treatment]", "{measure: accuracy, match: density, area: [0.5, 0.1]}"),
        contrast(A_B + ", average: [treatment]", "{measure: accuracy, match: density, below: 90%}"),
        contrast(A_B + ", across: {treatment: [rewind, finetune]}"),
        contrast("a: {method: zebra}, value: 50%, fix: {treatment: rewind}"),
        contrast(
            "a: {method: zebra}, fix: {treatment: rewind}", "{measure: loss, match: density, slope: all}"
        ),
        contrast("a: {step: ticket, method: zebra}, b: {step: dense}, fix: {treatment: rewind}").replace(
            "{step: dense}", "{step: ticket, method: quokka}"
        ),
    ],
)
def test_hypothesis_that_can_be_answered_is_taken(hypothesis: str) -> None:
    assert study_of(hypothesis).spec.hypotheses[0].claim
