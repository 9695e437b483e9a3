"""What the hypotheses of a study can see, as ``pomona plan`` says it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from pomona.cli.wording import duration, moment
from pomona.graph.store import Store
from pomona.studies.design.designs import SAID, Design, refusals, short
from pomona.studies.hypotheses.values import amount
from pomona.studies.points import Population
from pomona.studies.registration.matching import found_in, why_exploratory
from pomona.studies.registration.registered import Registered, registrations
from pomona.studies.registration.repeated import unreplicated

_WIDTH = 100
_TESTS = {
    "paired-t": "paired t",
    "permutation": "exact permutation",
    "wilcoxon": "exact Wilcoxon",
    "sign": "sign test",
    "equivalence": "equivalence",
    "regression": "regression",
}


def designs_text(population: Population, store: Store | None, designs: Sequence[Design]) -> str:
    """All hypotheses with their designs, and what keeps them from being registered."""
    registered = registrations(store, population.study.name) if store is not None else []
    lines = [_row("hypotheses", _head(population, designs, registered), 2, 14)]
    for found in designs:
        lines.append(_wrapped(found.hypothesis.claim, f"  {found.number}. ", 5))
        lines += [_row(name, text, 5, 12) for name, text in _block(found)]
        if registered:
            lines.append(_row("status", _status(found, registered, population), 5, 12))
    refused = [*refusals(designs), *(f"{index + 1}: {why}" for index, why in unreplicated(population))]
    lines += [_wrapped(refusal, "  cannot be registered: ", 4) for refusal in refused]
    return "\n".join(lines)


def _head(population: Population, designs: Sequence[Design], registered: Sequence[Registered]) -> str:
    families = {found.hypothesis.in_family: found for found in designs}
    said = [f"{found.comparisons} in family {name}{_corrected(found)}" for name, found in families.items()]
    alphas = {found.hypothesis.alpha for found in designs}
    said += [f"alpha {short(alphas.pop())}"] if len(alphas) == 1 else []
    pilot = designs[0].pilot
    said += [f"{pilot} of {population.study.spec.replicates} replicates are a pilot"] if pilot else []
    if not population.study.spec.verdicts:
        status = "'verdicts: no': estimates only"
    else:
        status = "" if registered else "not registered: estimates only"
    return ", ".join(said) + (f"; {status}" if status else "")


def _corrected(found: Design) -> str:
    """The correction; stepwise ones are planned with the smallest alpha that a claim may have to pass."""
    if found.comparisons == 1:
        return ""
    worst = ", the worst step: alpha / " + str(found.comparisons)
    return f" ({SAID[found.correction]}{worst if found.alpha < found.hypothesis.alpha else ''})"


def _block(found: Design) -> Iterator[tuple[str, str]]:
    yield "test", _test(found)
    yield "shows" if found.test == "equivalence" else "detects", _detects(found)
    yield "needs", _needs(found)
    yield "missing", _missing(found)
    if found.notes:
        yield "notes", "; ".join(found.notes)


def _test(found: Design) -> str:
    hypothesis = found.hypothesis
    name = _TESTS[hypothesis.test_name]
    if found.test == "equivalence":
        name += f" within {amount(hypothesis.margin or 0.0, found.unit)}"
    else:
        name += f" of {hypothesis.model.term!r}" if hypothesis.model is not None else ""
        name += f", {hypothesis.alternative}"
    if found.corrected_smallest_p == 0:
        return f"{name}; smallest p: no bound (t)"
    said = f"{name}; smallest p {short(found.smallest_p)}"
    if found.corrected_smallest_p != found.smallest_p:
        said += f", {short(found.corrected_smallest_p)} by {SAID[found.correction]} over {found.comparisons}"
    return said if found.reaches else f"{said}: cannot reach alpha {short(found.hypothesis.alpha)}"


def _detects(found: Design) -> str:
    if not found.reaches or found.n < 2:
        return f"nothing: no p of {_replicates(found.n)} reaches alpha {short(found.hypothesis.alpha)}"
    at = f"with 80 % power at alpha {short(found.alpha)}"
    if found.test == "equivalence":
        at = f"where there is no difference, {at}"
    sizes = []
    if found.minimal_dz is not None:
        of = "a margin of {:.2f} SD or more" if found.test == "equivalence" else "d_z {:.2f} or more"
        sizes.append(of.format(found.minimal_dz))
    if found.minimal_effect is not None:
        sizes.append(amount(found.minimal_effect, found.unit) + ("" if sizes else " or more"))
        return f"{', '.join(sizes)} ({_spread(found)}) {at}"
    reason = found.sd_source.removeprefix("not known: ")
    if not sizes:
        return f"not known before data: {reason}"
    return f"{sizes[0]} {at}; in {_unit(found)} not known: {reason}"


def _spread(found: Design) -> str:
    assert found.sd is not None
    what = "the term in one replicate" if found.hypothesis.model is not None else "differences"
    said = f"SD of {what} {amount(found.sd, found.unit)}"
    if found.sd_low is None or found.sd_high is None or found.minimal_effect_high is None:
        return f"{said}, {found.sd_source}"
    scale = 100 if found.unit.startswith("share") else 1
    ends = f"{scale * found.sd_low:.3g} to {scale * found.sd_high:.3g}"
    high = amount(found.minimal_effect_high, found.unit)
    return f"{said} in a {found.sd_source}: {ends}; at the upper end {high}"


def _unit(found: Design) -> str:
    return amount(0, found.unit).removeprefix("0").strip() or "the unit of the measure"


def _needs(found: Design) -> str:
    hypothesis = found.hypothesis
    planned = f"{found.n} {'is' if found.n == 1 else 'are'} planned"
    if found.power is not None:
        planned += f" (power {_power(found.power)})"
    expected = hypothesis.expect.effect if hypothesis.expect is not None else None
    what = f"the expected {amount(expected or 0.0, found.unit)}"
    if found.test == "equivalence":
        what = f"the margin, {what if expected else 'where there is no difference'}"
    if found.replicates_needed is None:
        return f"not known: {found.why_needed}; {planned}{_enough(found)}"
    return f"{_replicates(found.replicates_needed)} for {what}; {planned}"


def _enough(found: Design) -> str:
    """Up to which SD the replicates are enough, where the SD is not known."""
    hypothesis = found.hypothesis
    sought = hypothesis.expect.effect if hypothesis.expect is not None else None
    if found.test == "equivalence":
        sought = None if sought else hypothesis.margin
    if found.sd is not None or found.minimal_dz is None or not sought:
        return ""
    most = amount(abs(sought) / found.minimal_dz, found.unit)
    return f", enough for {amount(abs(sought), found.unit)} up to an SD of {most}"


def _power(power: float) -> str:
    return "above .99" if power > 0.99 else "below .01" if power < 0.01 else f"{power:.2f}".removeprefix("0")


def _replicates(count: int) -> str:
    return f"{count} replicate{'' if count == 1 else 's'}"


def _missing(found: Design) -> str:
    if not found.cells:
        return "the study has no state that it speaks of"
    if not found.missing:
        return f"nothing: all {found.cells:,} results are there"
    time = f", about {duration(found.seconds)}" if found.seconds is not None else ""
    return f"{found.missing:,} of {found.cells:,} results{time}"


def _status(found: Design, registered: Sequence[Registered], population: Population) -> str:
    reasons = why_exploratory(registered, found.hypothesis, population)
    if reasons:
        return f"exploratory: {'; '.join(reasons)}"
    there = found_in(registered, found.hypothesis, population)
    assert there is not None
    return f"registered {there[0].digest[:12]} on {moment(there[0].at)}"


def _row(name: str, text: str, indent: int, width: int) -> str:
    return _wrapped(text, " " * indent + name.ljust(width), indent + width)


def _wrapped(text: str, first: str, indent: int) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
