"""The wild cluster bootstrap with the null imposed, for few clusters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pomona.stats.clusters import Codes, members
from pomona.stats.draws import Draws
from pomona.stats.given import one_of, whole

if TYPE_CHECKING:
    from pomona.stats.regression import Term

Floats = NDArray[np.float64]

DRAWS = 9_999
_FEW = 12
_WEBB = np.sqrt([1.5, 1.0, 0.5])


def kind(weights: str, count: int) -> str:
    """The weights that are meant: Webb's six for up to 12 clusters, of which signs have too few patterns."""
    one_of(weights, "weights", ("auto", "webb", "rademacher"))
    return ("webb" if count <= _FEW else "rademacher") if weights == "auto" else weights


def retested(
    exog: Floats,
    outcome: Floats,
    cluster: Codes,
    terms: tuple[Term, ...],
    level: float,
    seed: int,
    draws: int,
    weights: str,
) -> tuple[Term, ...]:
    """The terms with p and interval by the wild bootstrap; an intercept is not tested.

    The interval holds the values that the test does not reject.

    Source:
        Cameron, Gelbach and Miller 2008, Review of Economics and Statistics 90; weights: Webb 2023, Canadian
        Journal of Economics 56. Computed by cluster sums as in Roodman and others 2019, Stata Journal 19.
    """
    count = int(cluster.max()) + 1
    drawn = _weights(kind(weights, count), count, seed, whole(draws, "draws", 99))
    found = []
    for place, term in enumerate(terms):
        if term.name == "Intercept":
            found.append(replace(term, p=None))
            continue
        test = _test(exog, outcome, cluster, place, drawn)
        ends = [_end(test, term.estimate, sign * term.error, 1 - level) for sign in (-1, 1)]
        found.append(replace(term, p=test(0.0), low=ends[0], high=ends[1], df=None))
    return tuple(found)


def _weights(name: str, count: int, seed: int, draws: int) -> tuple[Floats, bool]:
    """One weight a cluster and pattern, shape (patterns, clusters), and whether these are all patterns."""
    if name == "rademacher" and 2**count <= draws:
        bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return np.asarray(1.0 - 2.0 * bits, dtype=np.float64), True
    source = Draws("wild bootstrap", seed)
    signs = source.signs(draws, count)
    return (signs if name == "rademacher" else signs * _WEBB[source.indices(3, draws, count)]), False


def _test(
    exog: Floats, outcome: Floats, cluster: Codes, place: int, drawn: tuple[Floats, bool]
) -> Callable[[float], float]:
    """Make the function from a value b to the p of "the coefficient is b"."""
    weights, listed = drawn
    others = np.delete(exog, place, axis=1)
    own = exog[:, place]
    # Residuals under the null: what the other terms leave of y - b x.
    left, moved = _residuals(others, outcome), _residuals(others, own)
    groups = members(cluster)
    bread = np.linalg.inv(exog.T @ exog)
    lead = exog @ bread[:, place]
    # By cluster: the terms' sums with the residuals, and the part of the coefficient's score they make.
    sums = np.array([[exog[g].T @ left[g], exog[g].T @ moved[g]] for g in groups])
    pulled = np.array([lead[g] @ exog[g] for g in groups])
    direct = np.array([[lead[g] @ left[g], lead[g] @ moved[g]] for g in groups])
    estimate = float(lead @ outcome)
    fitted = _residuals(exog, outcome)
    error = math.sqrt(sum(float(lead[g] @ fitted[g]) ** 2 for g in groups))

    def p(null: float) -> float:
        shares = (sums[:, 0] - null * sums[:, 1]) @ bread
        score = direct[:, 0] - null * direct[:, 1]
        parts = weights * score - weights @ (shares @ pulled.T)
        spread = np.sqrt((parts**2).sum(axis=1))
        reached = np.abs(weights @ shares[:, place]) * error >= abs(estimate - null) * spread * (1 - 1e-9)
        return float(reached.mean()) if listed else float((1 + reached.sum()) / (1 + len(weights)))

    return p


def _residuals(exog: Floats, outcome: Floats) -> Floats:
    if exog.shape[1] == 0:
        return outcome
    return np.asarray(outcome - exog @ np.linalg.lstsq(exog, outcome, rcond=None)[0])


def _end(p: Callable[[float], float], start: float, step: float, alpha: float) -> float:
    """The value at which p falls to alpha, from the estimate outwards; infinite where it never does."""
    if step == 0:
        return start
    width = 1.0
    while p(start + width * step) > alpha:
        width *= 2
        if width > 1e4:
            return math.copysign(math.inf, step)
    inside, outside = 0.0, width
    for _ in range(30):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if p(start + middle * step) > alpha else (inside, middle)
    return start + outside * step
