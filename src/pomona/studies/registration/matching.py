"""Whether a hypothesis is as it was registered, and what of the study is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pomona.graph.nodes import to_json
from pomona.studies.hypotheses.cells import Cell, cells, pilot_cells
from pomona.studies.hypotheses.spec import Hypothesis
from pomona.studies.points import Population
from pomona.studies.registration.registered import Registered, canonical, digest_of, hypothesis_digest
from pomona.studies.study import Study
from pomona.studies.yamltext import load_yaml, scalar_text

# So much of a key tells the results of a study apart; the digest of all keys is what binds.
_SHORT = 12
_SHOWN_CHARACTERS = 60
_NOTHING = object()
# What makes two hypotheses the same question; claim, family, level and expectation may be worded anew.
_ASKED = ("contrast", "model", "of", "test", "margin", "exclude")


def why_exploratory(
    registered: Sequence[Registered], hypothesis: Hypothesis, population: Population
) -> tuple[str, ...]:
    """Why a hypothesis gets no verdict; empty where it is as registered, before its data.

    More replicates than registered do no harm.

    Args:
        registered: The registrations of its study, oldest first.
        hypothesis: One of the study as it is now.
        population: The graph of the study as it is now.
    """
    found = deciding(registered, hypothesis, population)
    if found is None:
        same = [frozen for _, frozen in _of_this_text(registered, hypothesis)]
        if not same:
            return (_changed(registered, hypothesis, population.study),)
        return (_others(same[-1], cells_in(population, hypothesis, registered[-1].replicates)),)
    one, frozen = found
    if frozen["digest"] != hypothesis_digest(hypothesis):
        return (_said(_changes(frozen["text"], hypothesis)),)
    spec, pilot = population.study.spec, population.study.spec.registration.pilot
    if spec.replicates < one.body["replicates"]:
        return (
            f"the study has {spec.replicates} replicates, registered were {one.body['replicates']}: the "
            "number was fixed, so nothing is tested before",
        )
    own = cells_in(population, hypothesis, one.replicates)
    if keys_digest(own) != frozen["keys"]:
        return (_others(frozen, own),)
    if pilot > one.body["pilot"]:
        return (f"the pilot has {pilot} replicates, registered were {one.body['pilot']}",)
    return tuple(_known_before(frozen))


def deciding(
    registered: Sequence[Registered], hypothesis: Hypothesis, population: Population
) -> tuple[Registered, Mapping[str, Any]] | None:
    """The registration that counts for a hypothesis, and what it froze of it; None where there is none.

    One counts among all that ask the same of some of the same states, in whatever words: the last that was
    made before any of its results was known, else the first. So a claim cannot be registered with several
    numbers of replicates, or in several wordings, of which one is taken when the results are there.
    """
    concerned = [
        (one, frozen)
        for one, frozen in _asking_this(registered, hypothesis)
        if _overlap(frozen, cells_in(population, hypothesis, one.replicates))
    ]
    before = [(one, frozen) for one, frozen in concerned if not list(_known_before(frozen))]
    return before[-1] if before else concerned[0] if concerned else None


def found_in(
    registered: Sequence[Registered], hypothesis: Hypothesis, population: Population | None = None
) -> tuple[Registered, Mapping[str, Any]] | None:
    """The registration of a hypothesis, and what it froze of it; with a population the one that counts."""
    if population is not None:
        return deciding(registered, hypothesis, population)
    return next(_of_this_text(registered, hypothesis), None)


def family_of(
    registered: Sequence[Registered], hypothesis: Hypothesis, population: Population
) -> tuple[str, list[Hypothesis]]:
    """The correction of a registered hypothesis, and the family that it is corrected with.

    The family is all that was ever registered for the study under its name before its data: claims that are
    registered one after the other, or dropped, are no less a family for it. What is asked twice in other
    words counts once.

    Returns:
        The correction; the family with the hypothesis itself, in the order of the registrations. Without a
        registration: no correction, and the hypothesis alone.
    """
    found = deciding(registered, hypothesis, population)
    if found is None:
        return "none", [hypothesis]
    one, frozen = found
    members: dict[str, Hypothesis] = {}
    for other in registered:
        for member in other.hypotheses:
            if member["family"] == frozen["family"] and not list(_known_before(member)):
                members[asked_digest(member["text"])] = Hypothesis.model_validate(member["text"])
    members[asked_digest(canonical(hypothesis))] = hypothesis
    return one.body["correction"], list(members.values())


def dropped(registered: Sequence[Registered], study: Study) -> list[str]:
    """Claims that were registered before their data and that the study no longer asks, in any words."""
    still = {asked_digest(canonical(hypothesis)) for hypothesis in study.spec.hypotheses}
    gone = {
        asked_digest(member["text"]): member["text"]["claim"]
        for one in registered
        for member in one.hypotheses
        if not list(_known_before(member))
    }
    return [claim for asked, claim in gone.items() if asked not in still]


def earlier_attempts(registered: Sequence[Registered], hypothesis: Hypothesis, population: Population) -> int:
    """How many registrations asked the same of other states, or of other replicates."""
    found = deciding(registered, hypothesis, population)
    same = [frozen for _, frozen in _asking_this(registered, hypothesis)]
    return len({frozen["keys"] for frozen in same} - ({found[1]["keys"]} if found else set()))


def registered_replicates(
    registered: Sequence[Registered], hypothesis: Hypothesis, population: Population | None = None
) -> range | None:
    """The replicates that a registered hypothesis is tested on; None where it is not registered."""
    found = found_in(registered, hypothesis, population)
    return found[0].replicates if found else None


def differences(registered: Registered, study: Study) -> list[str]:
    """What of the study is no longer as it was registered: ``replicates: 5 -> 10``, a line for each place."""
    before = load_yaml(registered.body["text"])[0]
    return list(_differing((), before, study.document.content))


def cells_in(population: Population, hypothesis: Hypothesis, replicates: range) -> list[Cell]:
    """The cells of these replicates, whichever of them are a pilot now."""
    every = [*pilot_cells(population, hypothesis), *cells(population, hypothesis)]
    return [cell for cell in every if cell.replicate in replicates]


def keys_digest(found: Sequence[Cell]) -> str:
    """SHA-256 over the keys of cells: which side and replicate reads which, level by level.

    Labels are no part of it: they are names, and what they stand for is in the keys.
    """
    lines = sorted(
        f"{cell.side} {cell.replicate} "
        + " ".join(
            "/".join([point.state.key, point.masked.key, *(probe.key for probe in read)])
            for point, read in zip(cell.points, cell.probes, strict=True)
        )
        for cell in found
    )
    return digest_of("\n".join(lines))


def results_of(cell: Cell) -> list[str]:
    """Keys of the results of a cell: its probes; of a measure that needs none, the states of the masks.

    A level of which nothing is read, as level 0 of what compares with the level before, has no result.
    """
    if not any(cell.probes):
        return [point.masked.key for point in cell.points]
    return [probe.key for read in cell.probes for probe in read]


def results_by_side(found: Sequence[Cell]) -> dict[str, dict[str, str]]:
    """Beginnings of the keys of results, by side and replicate, to say later which of them are others."""
    each: dict[str, dict[str, set[str]]] = {}
    for cell in found:
        place = each.setdefault(cell.side, {}).setdefault(str(cell.replicate), set())
        place.update(key[:_SHORT] for key in results_of(cell))
    return {side: {r: " ".join(sorted(own)) for r, own in by.items()} for side, by in each.items()}


def asked_digest(text: Mapping[str, Any]) -> str:
    """SHA-256 of what a hypothesis asks, whatever its words."""
    return digest_of(to_json({key: text[key] for key in _ASKED if key in text}))


def _asking_this(
    registered: Sequence[Registered], hypothesis: Hypothesis
) -> Iterator[tuple[Registered, Mapping[str, Any]]]:
    now = asked_digest(canonical(hypothesis))
    for one in registered:
        yield from ((one, frozen) for frozen in one.hypotheses if asked_digest(frozen["text"]) == now)


def _overlap(frozen: Mapping[str, Any], now: Sequence[Cell]) -> bool:
    """Whether any of the registered results is among the present ones."""
    before = {key for by in frozen["cells"].values() for text in by.values() for key in text.split()}
    return any(key[:_SHORT] in before for cell in now for key in results_of(cell))


def _known_before(frozen: Mapping[str, Any]) -> Iterator[str]:
    """What was known of the results of a hypothesis when it was registered."""
    held, count, seen = frozen["held"], frozen["results"], frozen.get("seen", 0)
    if held:
        yield f"{held} of its {count} results were in the store when it was registered"
    elif seen:
        yield f"{seen} of its states had been measured in another way when it was registered"


def _of_this_text(
    registered: Sequence[Registered], hypothesis: Hypothesis
) -> Iterator[tuple[Registered, Mapping[str, Any]]]:
    now = hypothesis_digest(hypothesis)
    for one in registered:
        yield from ((one, frozen) for frozen in one.hypotheses if frozen["digest"] == now)


def _changed(registered: Sequence[Registered], hypothesis: Hypothesis, study: Study) -> str:
    """What is others than in the last registration, if it is there."""
    before = _predecessor(registered, hypothesis, study)
    if before is None:
        return "not registered"
    return _said(_changes(before, hypothesis))


def _said(changes: Iterable[tuple[str, str]]) -> str:
    return "changed after registration: " + "; ".join(f"{path} ({change})" for path, change in changes)


def _changes(before: Mapping[str, Any], hypothesis: Hypothesis) -> Iterator[tuple[str, str]]:
    """Fields of a hypothesis that are others than they were; of its parts the fields."""
    was, now = (
        one.model_dump(mode="json", by_alias=True) for one in (Hypothesis.model_validate(before), hypothesis)
    )
    for name in now:
        parts = (was[name], now[name])
        if name != "test" and all(isinstance(part, Mapping) for part in parts):
            for key in now[name]:
                if was[name][key] != now[name][key]:
                    yield f"{name}.{key}", _change(was[name][key], now[name][key])
        elif was[name] != now[name]:
            yield name, _change(*parts)


def _predecessor(
    registered: Sequence[Registered], hypothesis: Hypothesis, study: Study
) -> Mapping[str, Any] | None:
    """The registered hypothesis of the same claim, else of the same place, that the study no longer has."""
    if not registered:
        return None
    still = {hypothesis_digest(other) for other in study.spec.hypotheses}
    gone = [frozen for frozen in registered[-1].hypotheses if frozen["digest"] not in still]
    place = next((i for i, other in enumerate(study.spec.hypotheses, 1) if other == hypothesis), 0)
    claimed = [frozen for frozen in gone if frozen["text"].get("claim") == hypothesis.claim]
    placed = [frozen for frozen in gone if frozen["number"] == place]
    return next((frozen["text"] for frozen in [*claimed, *placed]), None)


def _others(frozen: Mapping[str, Any], now: Sequence[Cell]) -> str:
    """How many of the registered results are others now, and whose."""
    present = results_by_side(now)
    sides: list[str] = []
    gone: set[str] = set()
    for side, by in frozen["cells"].items():
        own = {key for r, text in by.items() for key in set(text.split()) - _shorts(present, side, r)}
        gone |= own
        sides += [side] if own else []
    whose = f", of {' and '.join(sides)}" if sides else "; which arm reads which, or how many, is another"
    differ = f"{len(gone)} of {frozen['results']} differ{whose}"
    return f"the states it speaks of are others than registered ({differ})"


def _shorts(present: Mapping[str, Mapping[str, str]], side: str, replicate: str) -> set[str]:
    return set(present.get(side, {}).get(replicate, "").split())


def _differing(place: tuple[str, ...], before: Any, now: Any) -> Iterator[str]:
    """Paths whose values are others."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from _differing((*place, str(key)), before.get(key, _NOTHING), now.get(key, _NOTHING))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _differing((*place, str(i)), old, new)
    elif before != now or type(before) is not type(now):
        yield f"{'.'.join(place)}: {_change(before, now)}"


def _change(before: Any, now: Any) -> str:
    return f"{_shown(before)} -> {_shown(now)}"


def _shown(value: Any) -> str:
    """A value on one line, cut where it is long."""
    text = " ".join(_text(value).split())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def _text(value: Any) -> str:
    if value is _NOTHING or value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return scalar_text(value).removesuffix(".0") if isinstance(value, float) else scalar_text(value)
