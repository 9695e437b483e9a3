"""What a registered claim does not say, although it may look as if it did."""

from __future__ import annotations

from pomona.studies.hypotheses.columns import mentioned, row_arms
from pomona.studies.hypotheses.estimand import LINE, MASKS, PREDICTIONS
from pomona.studies.hypotheses.spec import LINEAGE, Hypothesis, Regression
from pomona.studies.study import Study


def warnings(hypothesis: Hypothesis, study: Study) -> list[str]:
    """What a claim does not say although it may look as if it did."""
    if hypothesis.model is not None:
        return _of_rows(study, hypothesis.model) if hypothesis.model.rows == LINEAGE else []
    return _of_numbers(hypothesis)


def _of_rows(study: Study, model: Regression) -> list[str]:
    """Lineages that are not independent of each other, or that differ in what the formula does not name."""
    arms = [arm for _, arm in row_arms(study, model)]
    found = []
    # Streams are drawn; labels of the other factors are chosen.
    chosen = [factor for factor in study.factors if factor not in study.spec.vary]
    several = [factor for factor in chosen if len({arm.get(factor) for arm in arms}) > 1]
    open_ = [factor for factor in several if factor not in mentioned(model.formula, several)]
    if open_:
        names = " and ".join(open_)
        found.append(
            f"rows differ in {names}, and the formula does not name it: {model.term} tells arms apart too, "
            "which are few and chosen, so that p is too small; for what holds within them write "
            f"'+ {' + '.join(open_)}'"
        )
    if len(arms) > 1 and "replicate" not in model.cluster:
        found.append(
            "the arms of one replicate share its seeds, and nothing is clustered by replicate: p is too "
            "small; write 'cluster: replicate'"
        )
    return found


def _of_numbers(hypothesis: Hypothesis) -> list[str]:
    """Numbers that noise alone is above, or below."""
    contrast, of = hypothesis.contrast, hypothesis.of
    number = contrast.number if contrast is not None else None
    if of is None or of.to is None or number is None or of.slope is not None or of.below is not None:
        return []
    side = hypothesis.alternative
    if of.measure == MASKS and side != "less" and number < 1:
        # Below a distance, or beside that of independent masks: noise does not make that true.
        return [
            f"a distance that is larger than {number:g} says nothing: masks of one method differ by "
            "noise; write 'value: floor'"
        ]
    if of.measure == PREDICTIONS and side != "greater":
        return [
            f"{of.quantity or of.measure} below {number:g} says nothing: networks of one method differ by "
            "noise; write 'value: floor'"
        ]
    if of.measure == LINE and side != "less" and number <= 0:
        return [
            f"{of.quantity} is never below 0, so that one above 0 says nothing; hold it against a number "
            "that would matter, as 2pp"
        ]
    return []
