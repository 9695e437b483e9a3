"""What may be written of a hypothesis, and what is said of one that cannot be answered."""

from __future__ import annotations

import pytest

from pomona.core.errors import ProblemsError
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
                A_B + ", fix: {treatment: rewind}", "{measure: weight-stability, match: level, value: 2}"
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
    ],
)
def test_hypothesis_that_cannot_be_answered_is_refused_before_any_compute(hypothesis: str, said: str) -> None:
    assert said in faults(hypothesis)


def test_fault_says_where_it_is() -> None:
    assert "study line " in faults(contrast(A_B))
    assert "hypotheses.0.contrast" in faults(contrast(A_B))


def test_arm_that_the_conditions_leave_out_is_a_fault() -> None:
    text = faults(
        contrast(A_B + ", fix: {treatment: finetune}"),
        [("steps:", "where: [treatment == rewind or method == zebra]\nsteps:")],
    )
    assert "step 'ticket' has no arm with treatment: finetune, method: quokka: the conditions" in text


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
