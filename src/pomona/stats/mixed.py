"""Mixed models: fixed terms by formula, random effects by column."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from numpy.typing import NDArray

from pomona.core.errors import InputError
from pomona.stats import clusters
from pomona.stats.formula import model_of
from pomona.stats.given import columns_of, level_of
from pomona.stats.regression import FEW_CLUSTERS, Fit, Regression, terms_of


def mixed(
    frame: pd.DataFrame,
    formula: str,
    groups: str | Sequence[str],
    *,
    slope: str | None = None,
    level: float = 0.95,
) -> Regression:
    """A linear mixed model by restricted maximum likelihood.

    One group column gives a random intercept, with ``slope`` also a random slope; several give crossed random
    intercepts. statsmodels takes z for the fixed terms, which rejects too often with few groups; here it is
    t. Terms that are constant within groups have as many degrees of freedom as there are groups (of the
    column that has fewest) less the number of such terms; the others groups - 1, which is cautious.

    Args:
        frame: Tidy: one row for each observation.
        formula: Of the fixed terms.
        groups: Column or columns whose values have an effect of their own.
        slope: Column whose slope differs between groups (one group column only).
        level: Level of the intervals.

    Raises:
        InputError: As ``ols``; a slope with several group columns; or nothing was found because the data do
            not determine the random effects.

    Source:
        Laird and Ware 1982; ``statsmodels`` ``MixedLM``. Degrees of freedom: Pinheiro and Bates
        2000, section 2.4.2, for the terms between groups.
    """
    names = [groups] if isinstance(groups, str) else list(groups)
    if not names or (slope is not None and len(names) > 1):
        raise InputError(f"mixed model: a slope needs exactly one group column, got {names}")
    columns_of(frame, [*names, *([slope] if slope else [])])
    counts = {name: int(clusters.codes(frame, name).max()) + 1 for name in names}
    model = model_of(smf.mixedlm, frame, formula, **_random(frame, names, slope))
    found, notes = _fitted(model, formula)
    fewest = min(counts.values())
    df = _df(model.exog, clusters.codes(frame, min(names, key=counts.__getitem__)))
    name = "mixed model (REML), t by groups"
    estimates = np.asarray(found.fe_params, dtype=np.float64)
    fit = Fit(name, estimates, np.asarray(found.bse_fe), df)
    terms = terms_of(fit, list(found.model.exog_names), level_of(level))
    if fewest < FEW_CLUSTERS:
        notes.append(f"few groups ({fewest}): the components of variance are uncertain")
    return Regression(
        name,
        formula,
        level,
        len(frame),
        terms,
        counts,
        _variances(found, names, slope),
        tuple(notes),
    )


def _random(frame: pd.DataFrame, names: Sequence[str], slope: str | None) -> dict[str, Any]:
    if len(names) == 1:
        return {"groups": frame[names[0]].to_numpy(), "re_formula": f"~{slope}" if slope else "1"}
    return {"groups": np.ones(len(frame)), "vc_formula": {name: f"0 + C({name})" for name in names}}


def _df(exog: NDArray[np.float64], code: clusters.Codes) -> NDArray[np.float64]:
    """Degrees of freedom of each term, by whether it varies within groups."""
    rows = clusters.members(code)
    between = np.all([np.ptp(exog[group], axis=0) == 0 for group in rows], axis=0)
    return np.where(between, max(1.0, len(rows) - between.sum()), len(rows) - 1.0)


def _fitted(model: Any, formula: str) -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = model.fit(reml=True)
        except (np.linalg.LinAlgError, ValueError) as error:
            raise InputError(
                f"mixed model {formula!r}: {error}; are there groups with more than one row?"
            ) from None
    notes = [] if found.converged else ["the fit did not converge: do not rely on it"]
    if any("boundary" in str(warning.message) for warning in caught):
        notes.append("a component of variance is at or near 0")
    return found, notes


def _variances(found: Any, names: Sequence[str], slope: str | None) -> dict[str, float]:
    residual = {"residual": float(found.scale)}
    if len(names) > 1:
        # statsmodels orders these components by name.
        return dict(zip(sorted(names), map(float, found.vcomp), strict=True)) | residual
    diagonal = np.diag(np.asarray(found.cov_re))
    kinds = [names[0], *([f"{names[0]}: slope of {slope}"] if slope else [])]
    return dict(zip(kinds, map(float, diagonal), strict=True)) | residual
