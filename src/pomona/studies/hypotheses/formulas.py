"""Whether the formula of a regression can be read, seen before there are rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pomona.core.errors import InputError, unknown
from pomona.studies.hypotheses.columns import row_arms
from pomona.studies.hypotheses.spec import LINEAGE, Regression

if TYPE_CHECKING:
    from pomona.studies.study import Study

_REPLICATES = 20  # of made-up lineages: rows enough for any formula


def formula_fault(study: Study, model: Regression) -> str | None:
    """What is wrong with formula, term or clusters, found on made-up rows before there are any."""
    import statsmodels.formula.api as smf

    from pomona.stats.formula import model_of

    lineages = model.rows == LINEAGE
    frame = pd.DataFrame(_lineages(study, model) if lineages else _states(study, model))
    known = [str(name) for name in frame.columns if name not in model.columns]
    for column in (name for way in model.cluster for name in way.split(":")):
        if column not in known:
            return unknown("cluster", column, known)
    try:
        names = list(model_of(smf.ols, frame, model.formula).exog_names)
    except InputError as error:
        # Of states, which terms are independent is seen with the rows of the study; of lineages all arms are
        # known. What is no study for verdicts may have too few of them.
        certain = lineages and study.spec.verdicts
        return None if "of rank" in str(error) and not certain else str(error)
    if model.term not in names:
        return unknown("term", model.term, names)
    return None


def _states(study: Study, model: Regression) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)  # of made-up rows, which no result depends on
    arms = [(step, arm) for step in study.order for arm in study.arms_of(step)]
    rows = []
    for number in range(max(40, 4 * len(arms)) * 4):
        step, arm = arms[number % len(arms)]
        accuracy, density = generator.uniform(0.1, 0.9, 2)
        row = {
            **{"study": study.name, "step": step, "replicate": number % 7, "level": 1 + number % 5},
            **{"lineage": f"{number % 7} {number % len(arms)}", "dataset": ("a", "b", "c")[number % 3]},
            **{"density": density, "sparsity": 1 - density, "accuracy": accuracy},
            **{"loss": float(generator.uniform()), "effective_density": float(generator.uniform(0.1, 1))},
            **{factor: arm.get(factor, "") for factor in study.factors},
        }
        by_class = {"class": int(generator.integers(10)), "class_share": float(generator.uniform())}
        rows.append({**row, **by_class} if model.rows != "state" else row)
    return rows


def _lineages(study: Study, model: Regression) -> list[dict[str, Any]]:
    """Every arm in more replicates than any study needs, with a random number in each column."""
    generator = np.random.default_rng(0)
    return [
        {
            **{"study": study.name, "step": step, "replicate": replicate},
            **{"lineage": f"{number} {replicate}", "dataset": ("a", "b", "c")[number % 3]},
            **{factor: arm.get(factor, "") for factor in study.factors},
            **{name: float(generator.uniform(0.1, 0.9)) for name in model.columns},
        }
        for number, (step, arm) in enumerate(row_arms(study, model))
        for replicate in range(_REPLICATES)
    ]
