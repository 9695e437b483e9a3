"""The section on sources of variation: what is said and listed of each outcome."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pomona.report.evidence import Evidence
from pomona.report.hypotheses import outcome
from pomona.report.units import Unit, unit_of
from pomona.studies.hypotheses.spec import Variation
from pomona.studies.roles import REPLICATE, as_hypothesis
from pomona.studies.variation import ALPHA, POWER, Source, Sources, Systematic

Row = tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """One outcome with its sources.

    Args:
        title: Number and outcome.
        facts: Name and text: mean, errors, spread, replicates needed.
        head: Of the table of sources.
        rows: A row for each source.
        notes: What to know about the numbers.
        lost: What is missing and why.
    """

    title: str
    facts: list[Row]
    head: list[str]
    rows: list[Row]
    notes: tuple[str, ...]
    lost: tuple[str, ...]


def variations(evidence: Evidence) -> list[Shown]:
    """What the report says of each outcome."""
    return [_shown(sources) for sources in evidence.sources]


def varied_text(evidence: Evidence) -> str:
    """Which streams vary on their own; empty where none does.

    Returns:
        As ``init (4 values), order (2 values)``.
    """
    vary = evidence.study.spec.vary
    return ", ".join(f"{stream} ({count} values)" for stream, count in vary.items())


def title_of(variation: Variation) -> str:
    """The outcome and the arms in words.

    >>> title_of(Variation(of={"measure": "accuracy"}, a={"method": "x"}, b={"method": "y"}))
    'test accuracy: method x less method y'
    """
    text = outcome(variation.of)
    arms = [_labels(arm) for arm in (variation.a, variation.b) if arm]
    fixed = _labels(variation.fix)
    parts = [" less ".join(arms), *([fixed] if fixed else [])]
    averaged = f"averaged over {', '.join(variation.average)}" if variation.average else ""
    where = "; ".join(part for part in (*parts, averaged) if part)
    return f"{text}: {where}" if where else text


def name_of(source: Source, sources: Sources) -> str:
    """What a source is called; of replicates, what else they differ in."""
    if source.name != REPLICATE:
        return source.name
    return f"replicate ({', '.join(sources.followers) or 'no other stream'})"


def unit_of_outcome(sources: Sources) -> Unit:
    """The unit of differences, errors and spreads."""
    return unit_of(as_hypothesis(sources.variation))


def value_text(sources: Sources, unit: Unit, value: float, digits: int) -> str:
    """A value of the outcome itself, with its unit."""
    return f"{unit.number(value, digits)} {counted_in(sources, unit)}".strip()


def counted_in(sources: Sources, unit: Unit) -> str:
    """What values of the outcome are counted in: of one arm percent where differences are points."""
    alone = sources.variation.b is None and sources.variation.of.slope is None
    return (unit.absolute if alone else "") or unit.many


def digits_of(sources: Sources, unit: Unit) -> int:
    """Decimals that show two digits of the smaller error."""
    errors = [sources.error, sources.systematic_error, sources.spread]
    sizes = [unit.scale * error for error in errors if error]
    return min(max(0, 1 - math.floor(math.log10(min(sizes)))), 8) if sizes else 3


def _shown(sources: Sources) -> Shown:
    unit = unit_of_outcome(sources)
    head = [
        "Source",
        "Kind",
        "Values",
        f"SD{f', {unit.many}' if unit.many else ''}",
        "Share of the variance, %",
    ]
    return Shown(
        title=title_of(sources.variation),
        facts=list(_facts(sources, unit)),
        head=head,
        rows=[_row(source, sources, unit) for source in sources.sources],
        notes=sources.notes,
        lost=sources.lost,
    )


def _row(source: Source, sources: Sources, unit: Unit) -> Row:
    found = source.component
    sd = unit.interval(source.sd, math.sqrt(found.low), math.sqrt(found.high))
    share = 100 * found.share
    return (
        name_of(source, sources),
        source.kind,
        f"{source.draws:.3g}",
        sd.removesuffix(unit.many).strip(),
        f"{share:.0f} [{100 * found.share_low:.0f}, {100 * found.share_high:.0f}]",
    )


def _facts(sources: Sources, unit: Unit) -> Iterator[Row]:
    digits = digits_of(sources, unit)
    if sources.mean is None:
        yield "Values", "none yet"
        return
    yield "Values", f"{len(sources.frame)}, one for each combination of {_named(sources)}"
    yield "Mean", _mean(sources, unit, digits)
    if sources.error is not None:
        parts = [f"SD²({one.name}) / {one.draws:.3g}" for one in sources.sources if one.kind == "random"]
        error = f"{unit.number(sources.error, digits)} {unit.many}".strip()
        yield "Statistical error", f"{error}: the root of {' + '.join(parts)}; more draws make it smaller"
    for one in sources.systematic:
        yield f"Systematic error: {one.factor}", _systematic(one, sources, unit, digits)
    if sources.spread is not None and sources.total is not None:
        spread, total = (
            f"{unit.number(sd, digits)} {unit.many}".strip() for sd in (sources.spread, sources.total)
        )
        chosen = (
            f"; {total} with the choice of {_and(sources.variation.systematic)}" if sources.systematic else ""
        )
        yield "Total spread", f"SD of one value {spread}, where all that is random is drawn anew{chosen}"
    if sources.replicates is not None:
        effect = unit.written(sources.variation.effect or 0.0)
        two = sources.variation.b is not None
        between = "between the two arms" if two else "of this arm from a fixed value"
        yield (
            "Replicates needed",
            f"{sources.replicates} to show a difference of {effect} {between}, with {100 * POWER:.0f} % "
            f"power at level {ALPHA:g} (two-sided t test; the SD of one value is taken as known)",
        )


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _named(sources: Sources) -> str:
    names = [name for name in sources.frame.columns[:-1] if sources.frame[name].nunique() > 1]
    return _and(names) if names else "what is asked for"


def _mean(sources: Sources, unit: Unit, digits: int) -> str:
    assert sources.mean is not None
    text = unit.number(sources.mean, digits)
    if sources.error is not None:
        text += f" ± {unit.number(sources.error, digits)} (statistical, one SE)"
    if sources.systematic_error is not None:
        joined = ", in quadrature" if len(sources.systematic) > 1 else ""
        text += f" ± {unit.number(sources.systematic_error, digits)} (systematic, one SD{joined})"
    return f"{text} {counted_in(sources, unit)}".strip()


def _systematic(one: Systematic, sources: Sources, unit: Unit, digits: int) -> str:
    if one.sd is None:
        return "no two labels with the same draws are there"
    low, high = one.ends
    span = unit.number(one.means[high] - one.means[low], digits)
    ends = " to ".join(f"{value_text(sources, unit, one.means[end], digits)} ({end})" for end in (low, high))
    return (
        f"SD {unit.number(one.sd, digits)} {unit.many} between the means of {len(one.means)} labels; from "
        f"{ends}, a range of {span}; more draws do not make it smaller"
    )


def _labels(arm: Mapping[str, Any] | Sequence[Any]) -> str:
    return ", ".join(f"{factor} {label}" for factor, label in dict(arm).items())
