"""Clusters of rows, and the CR2 standard errors for few of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pomona.core.errors import InputError
from pomona.stats.given import columns_of

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def codes(frame: pd.DataFrame, way: str) -> Codes:
    """The cluster of each row as 0, 1, ...; ``a:b`` is the pair of two columns.

    Raises:
        InputError: A column is unknown or incomplete, or all rows are one cluster.
    """
    names = [way] if way in frame.columns else way.split(":")
    columns_of(frame, names, "cluster column")
    found = frame.groupby(names, sort=False, observed=True).ngroup()
    found = np.asarray(found, dtype=np.int64)
    if found.max() < 1:
        raise InputError(f"cluster {way!r}: all {len(frame)} rows are one cluster, at least 2 are needed")
    return found


def cr2(exog: Floats, residuals: Floats, cluster: Codes) -> tuple[Floats, Floats]:
    """Standard errors and degrees of freedom of every coefficient by CR2.

    Residuals of each cluster are divided by the square root of I - H of the cluster, which makes the variance
    unbiased if the errors are independent with one variance; the degrees of freedom are Satterthwaite's under
    that model. A cluster's own mean takes a direction out of I - H: that direction is left out.

    Args:
        exog: Terms. Shape (rows, terms).
        residuals: Of ordinary least squares. Shape (rows,).
        cluster: Codes 0, 1, ... Shape (rows,).

    Returns:
        Standard errors and degrees of freedom. Shape (terms,) each.

    Source:
        Bell and McCaffrey 2002, Survey Methodology 28; Pustejovsky and Tipton 2018, JBES 36.
    """
    bread = np.asarray(np.linalg.inv(exog.T @ exog), dtype=np.float64)
    parts = [(exog[rows], residuals[rows]) for rows in members(cluster)]
    adjusted = [_root_inverse(np.eye(len(x)) - x @ bread @ x.T) @ x for x, _ in parts]
    scores = np.array([x.T @ e for x, (_, e) in zip(adjusted, parts, strict=True)])
    errors = np.sqrt(((scores @ bread) ** 2).sum(axis=0))
    df = np.array([_satterthwaite(adjusted, parts, bread, column) for column in bread.T])
    return errors, df


def members(cluster: Codes) -> list[Codes]:
    """The rows of every cluster."""
    order = np.argsort(cluster, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1)


def _root_inverse(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    kept = values > 1e-10
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T)


def _satterthwaite(
    adjusted: list[Floats], parts: list[tuple[Floats, Floats]], bread: Floats, column: Floats
) -> float:
    """(sum of eigenvalues)^2 / sum of their squares of the quadratic form that the variance is."""
    weights = [x @ column for x in adjusted]
    inner = np.array([x.T @ w for (x, _), w in zip(parts, weights, strict=True)])
    form = np.diag([w @ w for w in weights]) - inner @ bread @ inner.T
    return float(np.trace(form) ** 2 / (form**2).sum())
