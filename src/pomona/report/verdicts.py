"""What was found of one hypothesis, in the words of page and terminal. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pomona.report.hypotheses import parts_of
from pomona.report.numbers import moment, plain, ranges
from pomona.report.units import Unit, unit_of, unit_of_measure
from pomona.stats.result import number, p_text
from pomona.studies.results import Results

if TYPE_CHECKING:
    from pomona.studies.hypotheses.judge import Judged
    from pomona.studies.hypotheses.spec import Hypothesis
    from pomona.studies.registration.registered import Registered

Row = tuple[str, str]

EXPLORATORY = "exploratory"
# In the order in which they are counted; told apart without colour.
MARKS = {
    "supported": "✓",
    "refuted": "✗",
    "equivalent": "≈",
    "inconclusive": "?",
    "not answerable": "∅",
    EXPLORATORY: "○",
}
_EXPECTED = {
    "stronger": "stronger than expected",
    "weaker": "weaker than expected",
    "as expected": "as expected",
    "opposite": "opposite to what was expected",
}


@dataclass(frozen=True)
class Verdict:
    """A hypothesis and what was found of it, in words.

    Args:
        judged: The numbers.
        word: The verdict, or ``exploratory`` where there is none.
        reason: Why, in one sentence.
        effect: Estimate, interval and unit; a dash where nothing was observed.
        corrected_p: As it is printed; a dash where nothing is tested.
        n: Replicates that count, of how many.
        rows: Name and text of everything else that was found.
        registered: What it was registered in.
    """

    judged: Judged
    word: str
    reason: str
    effect: str
    corrected_p: str
    n: str
    rows: tuple[Row, ...]
    registered: Registered | None = None

    @property
    def number(self) -> int:
        """Its place in the study, from 1."""
        return self.judged.number

    @property
    def claim(self) -> str:
        """What is claimed."""
        return self.judged.hypothesis.claim

    @property
    def parts(self) -> tuple[Row, ...]:
        """Name and text of what was asked."""
        return tuple(parts_of(self.judged.hypothesis))

    @property
    def drawn(self) -> bool:
        """Whether there is something to draw of it."""
        observed, result = self.judged.observed, self.judged.result
        return (result is not None and result.estimate is not None) or bool(observed and observed.complete)

    @property
    def mark(self) -> str:
        """A sign for the verdict."""
        return MARKS[self.word]


def told(judged: Judged, results: Results, registered: Sequence[Registered] = ()) -> Verdict:
    """One hypothesis in words.

    Args:
        judged: What was found of it.
        results: The results that it was found in.
        registered: Registrations of the study.
    """
    result, unit = judged.result, unit_of(judged.hypothesis)
    own = registered_as(judged.hypothesis, results, registered)
    asked = _asked(judged, results, own)
    return Verdict(
        judged,
        judged.verdict or EXPLORATORY,
        judged.reason if judged.verdict else "; ".join(filter(None, [*judged.exploratory, judged.reason])),
        unit.interval(result.estimate, result.low, result.high) if result is not None else "–",
        _short(judged.corrected_p),
        str(judged.n) if judged.n >= asked else f"{judged.n} of {asked}",
        tuple(_rows(judged, unit, asked, own)),
        own,
    )


def _asked(judged: Judged, results: Results, own: Registered | None) -> int:
    """Replicates that are looked at: those registered, or all that are no pilot."""
    if judged.observed is not None and judged.observed.rows:
        return len(judged.observed.rows)
    if own is not None and not judged.exploratory:
        return len(own.replicates)
    return results.study.spec.replicates - results.study.spec.registration.pilot


def registered_as(
    hypothesis: Hypothesis, results: Results, registered: Sequence[Registered]
) -> Registered | None:
    """The registration of a hypothesis: that of its very states where there is one, else that of its text."""
    from pomona.studies.registration.matching import found_in

    found = found_in(registered, hypothesis, results.population) or found_in(registered, hypothesis)
    return found[0] if found else None


def _rows(judged: Judged, unit: Unit, asked: int, own: Registered | None) -> Iterator[Row]:
    if judged.result is not None:
        yield "Effect", _effect(judged, unit)
    if (arms := _arms(judged)) is not None:
        yield "Arms", arms
    if judged.p is not None:
        yield "p", _p(judged)
    yield "Replicates", _replicates(judged, asked)
    if (text := _expectation(judged, unit)) is not None:
        yield "Expectation", text
    if judged.observed is not None and judged.observed.floor is not None:
        yield "Noise floor", _floor(judged)
    for note in dict.fromkeys(judged.notes):
        yield "Note", note
    yield "Registered", _registered(own) if own is not None else "no"


def _effect(judged: Judged, unit: Unit) -> str:
    result = judged.result
    assert result is not None
    text = unit.interval(result.estimate, result.low, result.high)
    if result.low is not None:
        text += f", {plain(round(100 * result.level, 10))} % interval"
    margin = judged.hypothesis.margin
    if margin is None:
        return f"{text}; {result.method}"
    method = "" if judged.hypothesis.test_name == "equivalence" else f"; {result.method}"
    return f"{text}{method}; margin ±{unit.written(margin)}"


def _arms(judged: Judged) -> str | None:
    """The mean of each arm, where that is a number of the measure; and the effect in SDs."""
    contrast, observed, of = judged.hypothesis.contrast, judged.observed, judged.hypothesis.of
    if contrast is None or observed is None or of is None or (means := observed.means) is None:
        return None
    parts = []
    if not contrast.across and of.slope is None and of.below is None:
        unit = unit_of_measure(of)
        name = "b" if contrast.b is not None else "the floor" if contrast.value == "floor" else "the value"
        shown = [
            f"{which} {unit.place(_rounded(mean))}" for which, mean in zip(("a", name), means, strict=True)
        ]
        parts.append("means: " + ", ".join(shown))
    if judged.dz is not None and judged.dz.estimate is not None:
        ends = f" [{number(judged.dz.low)}, {number(judged.dz.high)}]"
        parts.append(f"the effect is {number(judged.dz.estimate)}{ends} SD of the differences (d_z)")
    return "; ".join(parts) or None


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _p(judged: Judged) -> str:
    parts = [f"raw {_short(judged.p)}"]
    if judged.corrected_p is not None:
        parts.append(f"corrected {_short(judged.corrected_p)} ({judged.correction})")
    if judged.smallest_p:
        parts.append(f"the smallest that this n can reach is {judged.smallest_p:.4g}")
    return "; ".join(parts)


def _short(p: float | None) -> str:
    return "–" if p is None else p_text(p).removeprefix("= ")


def _replicates(judged: Judged, asked: int) -> str:
    text = f"{judged.n} of {asked}"
    lost = _lost(judged)
    if not lost:
        return text
    waiting = judged.observed is not None and any(row.pending for row in judged.observed.rows)
    return f"{text}; {'' if waiting or not judged.n else 'the comparison is of survivors: '}{'; '.join(lost)}"


def _lost(judged: Judged) -> list[str]:
    """Why replicates have no difference, those of one reason together."""
    if judged.observed is None:
        return list(judged.lost)
    reasons: dict[str, list[int]] = {}
    for row in judged.observed.rows:
        if row.difference is None:
            reasons.setdefault(row.lost, []).append(row.replicate)
    return [f"replicate{'s' * (len(own) > 1)} {ranges(own)}: {why}" for why, own in reasons.items()]


def _expectation(judged: Judged, unit: Unit) -> str | None:
    expect, result = judged.hypothesis.expect, judged.result
    if expect is None or expect.effect is None:
        return expect.text if expect is not None else None
    expected = plain(unit.scaled(expect.effect))
    if result is None or judged.against_expectation is None:
        return f"{unit.written(expect.effect)}; not held against what was found"
    found = unit.interval(result.estimate, result.low, result.high)
    return f"{_EXPECTED[judged.against_expectation]}: {found}, expected {expected}"


def _floor(judged: Judged) -> str:
    assert judged.observed is not None
    floor, of = judged.observed.floor, judged.hypothesis.of
    assert floor is not None
    unit = unit_of_measure(of) if of is not None else unit_of(judged.hypothesis)
    # It is a value and no difference: 45 %, not 45 points.
    level = replace(unit, one=unit.absolute, many=unit.absolute) if unit.absolute else unit
    text = level.interval(floor.estimate, floor.low, floor.high)
    text += f": the same arms under other data orders, n = {floor.n}"
    contrast = judged.hypothesis.contrast
    held = contrast.number if contrast is not None else None
    return text if held is None else f"{text}; the effect counts from {plain(unit.scaled(held))}"


def _registered(one: Registered) -> str:
    return f"{moment(one.at)} as {one.digest[:12]}, entry {one.entry} of the chain"
