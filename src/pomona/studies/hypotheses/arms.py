"""The arms of a contrast: their labels, and the step that each is an arm of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pomona.studies.hypotheses.spec import Contrast
from pomona.studies.yamltext import scalar_text

if TYPE_CHECKING:
    from pomona.studies.study import Study

Labels = Mapping[str, str]


def step_of(study: Study, arm: Mapping[str, Any], contrast: Contrast) -> str:
    """The step of an arm: the one that it names, else the last that reaches all factors that are compared.

    An ensemble has to be named.
    """
    if "step" in arm:
        return str(arm["step"])
    compared = {*contrast.a, *(contrast.b or {}), *contrast.across} - {"step"}
    reaching = [step for step in study.networks if compared <= study.reach[step]]
    return (reaching or study.networks)[-1]


def labels_of(arm: Mapping[str, Any]) -> dict[str, str]:
    """Labels of an arm as text, without the name of a step."""
    return {factor: scalar_text(label) for factor, label in arm.items() if factor != "step"}


def sides(contrast: Contrast) -> dict[str, dict[str, Any]]:
    """The arms of a contrast by side, with what is fixed; an interaction has four."""
    arms = {"a": contrast.a, **({"b": contrast.b} if contrast.b is not None else {})}
    if not contrast.across:
        return {side: {**contrast.fix, **arm} for side, arm in arms.items()}
    ((factor, labels),) = contrast.across.items()
    return {
        f"{side}{'' if number == 0 else '2'}": {**contrast.fix, factor: label, **arm}
        for number, label in enumerate(labels)
        for side, arm in arms.items()
    }
