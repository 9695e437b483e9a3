"""Whether the formula of a regression can be read, seen before there are rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pomona.core.errors import InputError, unknown
from pomona.studies.hypotheses.spec import Regression

if TYPE_CHECKING:
    from pomona.studies.study import Study


def formula_fault(study: Study, model: Regression) -> str | None:
    """What is wrong with formula, term or clusters, found on made-up rows before there are any."""
    import statsmodels.formula.api as smf

    from pomona.stats.formula import model_of

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
    frame = pd.DataFrame(rows)
    for column in (name for way in model.cluster for name in way.split(":")):
        if column not in frame.columns:
            return unknown("cluster", column, map(str, frame.columns))
    try:
        names = list(model_of(smf.ols, frame, model.formula).exog_names)
    except InputError as error:
        if "of rank" in str(error):
            return None  # which terms are independent is seen with the rows of the study
        return str(error)
    if model.term not in names:
        return unknown("term", model.term, names)
    return None
