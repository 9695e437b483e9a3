"""How often intervals cover."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
from scipy import stats

from pomona.stats.aggregate import interquartile_mean, performance_profile, probability_of_improvement
from pomona.stats.bootstrap import bca, percentile, two_level
from pomona.stats.effects import cohen_dz, superiority, superiority_unpaired
from pomona.stats.equivalence import tost
from pomona.stats.examples import cohens_kappa, fleiss_kappa, mcnemar
from pomona.stats.paired import paired
from pomona.stats.result import Result
from pomona.stats.unpaired import welch
from pomona.stats.variance import variance_components

from .page import Rate, Table, rng

SIZES = (3, 5, 6, 10, 20)
LEVEL = 0.95
_WITHIN = 0.02


def covering(found: Iterable[Result], truth: float) -> float:
    """Share of intervals that hold the truth; where there is none it does not."""
    ends = [(r.low, r.high) for r in found]
    return float(np.mean([low is not None and low <= truth <= high for low, high in ends]))


def asked(
    labels: tuple[object, ...], found: float, studies: int, level: float = LEVEL, both: bool = True
) -> Rate:
    """A coverage within two points of its level; above it where the interval is cautious by design."""
    return Rate(labels, found, studies, low=level - _WITHIN, high=level + _WITHIN if both else None)


def replicates(studies: int, sizes: tuple[int, ...] = SIZES) -> Table:
    """Intervals over replicates."""
    return Table(
        "Coverage of intervals over replicates",
        "Normal differences of mean and standard deviation 1, nominal 95 %. Exact tests' intervals are infinite where no "
        "shift can be rejected, and cover more than 95 % where p is coarse. The bootstrap below n = 20 is what "
        "others report; here BCa gives the t interval there. Sign flips at n = 20 are from a tenth of the studies.",
        ("interval", "n"),
        list(_replicates(studies, sizes)),
    )


def _replicates(studies: int, sizes: tuple[int, ...]) -> Iterator[Rate]:
    for n in sizes:
        given = rng(20, n).normal(1, 1, (studies, n))
        yield asked(("t", n), covering((paired("paired-t", d) for d in given), 1), studies)
        for test in ("sign-flip", "wilcoxon", "sign"):
            part = given[: max(50, studies // 10)] if test == "sign-flip" and n == 20 else given
            found = covering((paired(test, d) for d in part), 1)
            yield asked((test, n), found, len(part), both=False)
        yield Rate(
            ("percentile bootstrap", n), covering((percentile(d, draws=999) for d in given), 1), studies
        )
        found = covering((bca(d, draws=999) for d in given), 1)
        yield asked((f"bca ({'BCa' if n >= 20 else 't'})", n), found, studies)
        yield asked(("d_z, noncentral t", n), covering((cohen_dz(d) for d in given), 1), studies)
        truth = float(stats.norm.cdf(1))
        found = covering((superiority(d) for d in given), truth)
        yield asked(("superiority, paired", n), found, studies, both=False)
        a, b = given, rng(21, n).normal(0, 1, (studies, n))
        found = covering(
            (superiority_unpaired(x, y) for x, y in zip(a, b, strict=True)), stats.norm.cdf(1 / np.sqrt(2))
        )
        yield Rate(("superiority, unpaired", n), found, studies)
        found = covering((welch(x, y) for x, y in zip(a, b, strict=True)), 1)
        yield asked(("welch", n), found, studies)
        yield asked(("TOST (90 %)", n), covering((tost(d, margin=5.0) for d in given), 1), studies, 0.9)


def examples_and_tasks(studies: int) -> Table:
    """Intervals over examples, over both, and over tasks."""
    return Table(
        "Coverage of intervals over examples and tasks",
        f"{studies} studies. Two-level: R replicates x 300 examples with a standard deviation of replicates, of "
        f"examples and of both, as named; it is cautious where the third is nearly alone. Aggregates: five tasks.",
        ("interval", "design"),
        [*_two_level(studies), *_examples(studies), *_tasks(studies)],
    )


def _two_level(studies: int) -> Iterator[Rate]:
    for k, (rows, sd) in enumerate(
        [
            (5, (0.1, 1.0, 1.0)),
            (5, (0.02, 1.0, 1.0)),
            (5, (0.3, 1.0, 1.0)),
            (10, (0.1, 1.0, 1.0)),
            (3, (0.1, 1.0, 1.0)),
            (3, (0.3, 0.1, 0.1)),
            (5, (0.06, 1.0, 0.1)),
            (5, (0.0, 0.0, 1.0)),
        ]
    ):
        draw = rng(22, k)
        tables = (
            draw.normal(0, sd[0], (rows, 1))
            + draw.normal(0, sd[1], (1, 300))
            + draw.normal(0, sd[2], (rows, 300))
            for _ in range(studies)
        )
        found = covering((two_level(t, draws=499) for t in tables), 0)
        yield asked(
            ("two-level bootstrap", f"R = {rows}, SD {sd[0]} / {sd[1]} / {sd[2]}"), found, studies, both=False
        )


def _examples(studies: int) -> Iterator[Rate]:
    draw = rng(23)
    hard = draw.random((studies, 300, 1))
    correct = draw.random((studies, 300, 2)) < np.clip(hard + np.array([0.05, -0.05]), 0, 1)
    # Of a uniform chance u: the means of min(u + .05, 1) and max(u - .05, 0).
    truth = 0.1 - 0.05**2
    yield asked(
        ("McNemar difference", "300 examples"), covering((mcnemar(*c.T) for c in correct), truth), studies
    )
    # With probability .7 a network gives the example's own class, else any of four: kappa is .7^2.
    own, guess = draw.integers(0, 4, (studies, 300, 1)), draw.integers(0, 4, (studies, 300, 5))
    given = np.where(draw.random((studies, 300, 5)) < 0.7, own, guess)
    yield asked(
        ("Cohen's kappa", "300 examples"),
        covering((cohens_kappa(*g.T[:2]).kappa for g in given), 0.49),
        studies,
    )
    found = covering((fleiss_kappa(g, draws=499).kappa for g in given), 0.49)
    yield asked(("Fleiss' kappa", "300 examples, 5 networks"), found, studies)


def _tasks(studies: int) -> Iterator[Rate]:
    centres = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    middle = _middle(centres)
    for n in (5, 10, 20):
        draw = rng(24, n)
        a, b = draw.normal(centres, 1, (studies, n, 5)), draw.normal(centres - 0.5, 1, (studies, n, 5))
        found = covering((interquartile_mean(x, draws=499) for x in a), middle)
        yield Rate(("interquartile mean", f"n = {n}"), found, studies)
        pairs = (probability_of_improvement(x, y, draws=499) for x, y in zip(a, b, strict=True))
        yield Rate(
            ("probability of improvement", f"n = {n}"),
            covering(pairs, stats.norm.cdf(0.5 / np.sqrt(2))),
            studies,
        )
        truth = float(np.mean(stats.norm.sf(2 - centres)))
        found = covering((performance_profile(x, [2.0], draws=499)[0] for x in a), truth)
        yield Rate(("performance profile", f"n = {n}"), found, studies)


def _middle(centres: np.ndarray) -> float:
    """The interquartile mean of the mixture: by symmetry its centre."""
    return float(centres.mean())


def components(studies: int) -> Table:
    """Variance components: absolute and as shares."""
    rates: list[Rate] = []
    for k, (name, design) in enumerate(DESIGNS.items()):
        rates += _components(name, design(), studies, rng(25, k))
    return Table(
        "Coverage of variance components",
        f"{studies} studies, nominal 95 %. Balanced designs have generalised intervals, the others simulated ones, whose "
        f"coverage is shown for comparison.",
        ("design", "source", "of", "true value"),
        rates,
    )


def _crossed(a: int, b: int, r: int) -> pd.DataFrame:
    index = [(i, j) for i in range(a) for j in range(b) for _ in range(r)]
    return pd.DataFrame(index, columns=["init", "order"])


DESIGNS: dict[str, Callable[[], pd.DataFrame]] = {
    "10 groups of 5": lambda: _crossed(10, 5, 1).drop(columns="order"),
    "5 x 5 x 2 factorial": lambda: _crossed(5, 5, 2),
    "10 x 10 x 1 factorial": lambda: _crossed(10, 10, 1),
    "10 groups of 2 to 11": lambda: pd.DataFrame({"init": np.repeat(np.arange(10), np.arange(2, 12))}),
}
SD = {"init": 1.0, "order": 0.5, "residual": 0.7}


def _components(name: str, frame: pd.DataFrame, studies: int, draw: np.random.Generator) -> Iterator[Rate]:
    sources = list(frame.columns)
    truth = {source: SD[source] ** 2 for source in [*sources, "residual"]}
    total, hits = sum(truth.values()), {(s, of): 0 for s in truth for of in ("variance", "share")}
    for _ in range(studies):
        y = draw.normal(0, SD["residual"], len(frame))
        for source in sources:
            y = y + draw.normal(0, SD[source], int(frame[source].max()) + 1)[frame[source]]
        for c in variance_components(frame.assign(y=y), "y", sources, draws=499).components:
            hits[c.source, "variance"] += _holds(c.low, truth[c.source], c.high)
            hits[c.source, "share"] += _holds(c.share_low, truth[c.source] / total, c.share_high)
    balanced = DESIGNS[name]().groupby(sources).size().nunique() == 1
    for (source, of), count in hits.items():
        value = truth[source] / (total if of == "share" else 1)
        labels = (name, source, of, f"{value:.3f}")
        yield (
            asked(labels, count / studies, studies, both=False)
            if balanced
            else Rate(labels, count / studies, studies)
        )


def _holds(low: float, truth: float, high: float) -> bool:
    return low <= truth <= high
