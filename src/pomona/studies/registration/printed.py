"""A registration as text: to print, to add to a paper, to paste into a public registry."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pomona.stats.result import number
from pomona.studies.design.designs import SAID, short
from pomona.studies.hypotheses.values import amount
from pomona.studies.registration.answers import SECTIONS
from pomona.studies.registration.registered import Registered

_WIDTH = 100


def printed(registered: Registered) -> str:
    """The whole registration, its hypotheses and the study as it was run, with what to check it by."""
    body = registered.body
    parts = [
        f"Registration of {name(body)}",
        _lines(_head(registered)),
        *(f"{heading} ({where})\n{_lines(text)}" for heading, where, text in _sections(body)),
        f"What is bound\n{_lines(_bound(body))}",
        *(
            [f"Deviations from the registration before\n{_lines(_deviations(body))}"]
            if body["before"]
            else []
        ),
        f"The study as it is run\n{textwrap.indent(body['text'].rstrip(), '    ')}",
    ]
    return "\n\n".join(parts) + "\n"


def name(body: Mapping[str, Any]) -> str:
    """What a registration is called: the study, and its preset."""
    return f"{body['study']}{', preset ' if body['preset'] else ''}{body['preset']}"


def can_show(frozen: Mapping[str, Any], correction: str) -> str:
    """What the test of a hypothesis can show with its replicates, on one line."""
    parts = [f"n = {frozen['n']}", "p has no lower bound"]
    if frozen["smallest_p"]:
        parts[1] = f"smallest p {short(frozen['smallest_p'])}"
        if frozen["comparisons"] > 1 and correction != "none":
            after = short(frozen["corrected_smallest_p"])
            parts[1] += f", {after} after {SAID[correction]} over {frozen['comparisons']}"
    if (effect := _detectable(frozen)) is not None:
        parts.append(effect)
    if frozen["expected"] is not None:
        power = f" (power {100 * frozen['power']:.0f} %)" if frozen["power"] is not None else ""
        parts.append(f"expected {amount(frozen['expected'], frozen['unit'], digits=4)}{power}")
    return "; ".join(parts)


def remarks(frozen: Mapping[str, Any]) -> list[str]:
    """What has to be known of a hypothesis: seeds that an arm speaks for, and what it does not say."""
    # Registrations of before these were kept have none.
    return [*frozen.get("speaks_for", ()), *(f"warning: {text}" for text in frozen.get("warnings", ()))]


def data_line(data: Mapping[str, int], now: bool = True) -> str:
    """What the store holds, or held at the registration, on one line."""
    # Registrations of before this was counted have none.
    seen = data.get("seen", 0)
    if not data["held"]:
        verb = "is" if now else "was"
        none = f"none of the {data['results']} results they speak of {verb} in the store"
        known = f", but the states of {seen} were measured in another way"
        return f"{none}{known}" if seen else f"no data yet: {none}"
    verb = "are in the store already" if now else "were in the store"
    return f"{data['held']} of the {data['results']} results they speak of {verb}"


def _detectable(frozen: Mapping[str, Any]) -> str | None:
    """The effect that is found with 80 % power, as far as it is known."""
    what = "smallest margin shown" if _equivalence(frozen) else "minimal detectable effect"
    sizes = []
    if frozen["minimal_dz"] is not None:
        sizes.append(f"{number(frozen['minimal_dz'])} SD")
    if frozen["minimal_effect"] is not None:
        sizes.append(
            f"{amount(frozen['minimal_effect'], frozen['unit'], digits=4)} (SD: {frozen['sd_source']})"
        )
    return f"{what} {' = '.join(sizes)}" if sizes else None


def _equivalence(frozen: Mapping[str, Any]) -> bool:
    test = frozen["text"].get("test")
    return test == "equivalence" or (isinstance(test, Mapping) and "equivalence" in test)


def _head(registered: Registered) -> Iterator[str]:
    body = registered.body
    authors = ", ".join(body["authors"]["names"]) or "not known"
    yield f"Digest:      {registered.digest}"
    yield "             (SHA-256 of the registration as JSON)"
    yield f"Time:        {body['time']}"
    yield f"Authors:     {authors} (from {body['authors']['source']})"
    yield f"Software:    Pomona {body['pomona']}"
    if body["commit"]:
        dirty = ", with changes that are not committed" if body["dirty"] else ""
        yield f"Commit:      {body['commit']}{dirty}"
    yield f"Environment: {body['environment']}"
    yield f"Study:       {body['text_digest']}"
    yield f"Chain:       entry {registered.entry}, head before it and after it:"
    yield f"             {body['chain_head']}"
    yield f"             {registered.link}"


def _sections(body: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    """Heading, place in public forms, and lines of each answer: what was written first."""
    given, made = body["answers"]["written"], body["answers"]["derived"]
    for name, (heading, where) in SECTIONS.items():
        lines = [*given.get(name, "").splitlines(), *made.get(name, ())]
        if lines:
            yield heading, where, lines


def _bound(body: Mapping[str, Any]) -> Iterator[str]:
    for frozen in body["hypotheses"]:
        yield f"{frozen['number']}. {frozen['text']['claim']}"
        yield f"   digest {frozen['digest']}"
        speaks_of = f"{frozen['results']} results, {frozen['keys_count']} keys: {frozen['keys']}"
        yield f"   {speaks_of}"
        if frozen["held"]:
            held = ", ".join(map(str, frozen["held_replicates"]))
            yield f"   {frozen['held']} of these were in the store: replicates {held}"
        if frozen.get("seen"):
            seen = ", ".join(map(str, frozen["seen_replicates"]))
            yield f"   the states of {frozen['seen']} were measured in another way: replicates {seen}"
        yield from (f"   {said}" for said in remarks(frozen))
        yield f"   {can_show(frozen, body['correction'])}"


def _deviations(body: Mapping[str, Any]) -> Iterator[str]:
    before = body["before"]
    yield f"{before['digest']} of {before['time']}; what was changed since:"
    yield from before["changes"] or ["nothing of the study"]


def _lines(lines: Iterator[str] | list[str]) -> str:
    """Lines under a heading, wrapped; what a line begins with stays in front of its rest."""
    return "\n".join(_wrapped(line) for line in lines)


def _wrapped(line: str) -> str:
    begins = len(line) - len(line.lstrip())
    return textwrap.fill(
        line.strip(),
        _WIDTH,
        initial_indent=" " * (begins + 2),
        subsequent_indent=" " * (begins + 5),
        break_long_words=False,
        break_on_hyphens=False,
    )
