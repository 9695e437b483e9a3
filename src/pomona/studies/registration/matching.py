"""Whether a hypothesis is as it was registered, and what of the study is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pomona.studies.expand import Population
from pomona.studies.hypotheses.cells import Cell, cells, keys, pilot_cells
from pomona.studies.hypotheses.spec import Hypothesis
from pomona.studies.registration.registered import Registered, digest_of, hypothesis_digest
from pomona.studies.study import Study
from pomona.studies.yamltext import load_yaml, scalar_text

# So much of a key tells the results of a study apart; the digest of all keys is what binds.
_SHORT = 12
_SHOWN_CHARACTERS = 60
_NOTHING = object()


def why_exploratory(
    registered: Sequence[Registered], hypothesis: Hypothesis, population: Population
) -> tuple[str, ...]:
    """Why a hypothesis gets no verdict; empty where it is as registered, before its data.

    Of several registrations the first that fits counts. More replicates than registered do no harm.

    Args:
        registered: The registrations of its study, oldest first.
        hypothesis: One of the study as it is now.
        population: The graph of the study as it is now.
    """
    same = list(_of_this_text(registered, hypothesis))
    if not same:
        return (_changed(registered, hypothesis, population.study),)
    pilot = population.study.spec.registration.pilot
    for one, frozen in same:
        if keys_digest(cells_in(population, hypothesis, one.replicates)) == frozen["keys"]:
            if pilot > one.body["pilot"]:
                return (f"the pilot has {pilot} replicates, registered were {one.body['pilot']}",)
            held, count = frozen["held"], frozen["results"]
            return (
                (f"{held} of its {count} results were in the store when it was registered",) if held else ()
            )
    one, frozen = same[-1]
    spec = population.study.spec
    if spec.replicates < one.body["replicates"]:
        return (
            f"the study has {spec.replicates} replicates, registered were {one.body['replicates']}: the "
            "number was fixed, so nothing is tested before",
        )
    return (_others(frozen, cells_in(population, hypothesis, one.replicates)),)


def found_in(
    registered: Sequence[Registered], hypothesis: Hypothesis, population: Population | None = None
) -> tuple[Registered, Mapping[str, Any]] | None:
    """The first registration of a hypothesis, and what it froze of it; with a population, of these cells."""
    return next(_fitting(registered, hypothesis, population), None)


def family_of(
    registered: Sequence[Registered], hypothesis: Hypothesis, population: Population
) -> tuple[str, list[Hypothesis]]:
    """The correction of a registered hypothesis, and the registered family that it is corrected with.

    Of several registrations that fit it is the largest family: claims that are registered one after the
    other are no less a family for it.

    Returns:
        The correction; the family with the hypothesis itself, in the order of the registration. Without a
        registration: no correction, and the hypothesis alone.
    """
    families = [
        (one.body["correction"], [o["text"] for o in one.hypotheses if o["family"] == frozen["family"]])
        for one, frozen in _fitting(registered, hypothesis, population)
    ]
    if not families:
        return "none", [hypothesis]
    correction, members = max(families, key=lambda family: len(family[1]))
    return correction, [Hypothesis.model_validate(text) for text in members]


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
    """SHA-256 over the keys of cells, whatever their order."""
    return digest_of("\n".join(sorted(keys(found))))


def results_of(cell: Cell) -> list[str]:
    """Keys of the results of a cell: its probes; where a point needs none, the state whose mask it is."""
    return [
        key
        for point, read in zip(cell.points, cell.probes, strict=True)
        for key in ([probe.key for probe in read] or [point.masked.key])
    ]


def results_by_side(found: Sequence[Cell]) -> dict[str, dict[str, str]]:
    """Beginnings of the keys of results, by side and replicate, to say later which of them are others."""
    each: dict[str, dict[str, set[str]]] = {}
    for cell in found:
        place = each.setdefault(cell.side, {}).setdefault(str(cell.replicate), set())
        place.update(key[:_SHORT] for key in results_of(cell))
    return {side: {r: " ".join(sorted(own)) for r, own in by.items()} for side, by in each.items()}


def _fitting(
    registered: Sequence[Registered], hypothesis: Hypothesis, population: Population | None
) -> Iterator[tuple[Registered, Mapping[str, Any]]]:
    """Registrations of this text; with a population, those of its cells."""
    for one, frozen in _of_this_text(registered, hypothesis):
        if population is not None:
            own = cells_in(population, hypothesis, one.replicates)
            if keys_digest(own) != frozen["keys"]:
                continue
        yield one, frozen


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
    parts = [f"{path} ({change})" for path, change in _changes(before, hypothesis)]
    return f"changed after registration: {'; '.join(parts)}"


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
    apart: Counter[str] = Counter()
    for side, by in frozen["cells"].items():
        for replicate, text in by.items():
            gone = set(text.split()) - set(present.get(side, {}).get(replicate, "").split())
            apart[side] += len(gone)
    sides = [side for side, count in apart.items() if count]
    count = sum(apart.values())
    whose = f", of {' and '.join(sides)}" if sides else "; there are more now"
    return (
        f"the states it speaks of are others than registered ({count} of {frozen['results']} differ{whose})"
    )


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
