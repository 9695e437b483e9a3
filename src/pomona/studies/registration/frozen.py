"""What a registration freezes: one body of plain values, whose SHA-256 names it."""

from __future__ import annotations

import contextlib
import getpass
import json
import subprocess
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pomona
from pomona.graph import chain
from pomona.graph.nodes import to_json
from pomona.graph.store import Store
from pomona.studies.blinding.blind import CANNOT_HIDE, UNBLINDED, Blind
from pomona.studies.design.designs import Design
from pomona.studies.hypotheses.cells import Cell, keys, pilot_cells
from pomona.studies.points import Population
from pomona.studies.registration.answers import derived, written
from pomona.studies.registration.cautions import warnings
from pomona.studies.registration.matching import differences, keys_digest, results_by_side, results_of
from pomona.studies.registration.registered import FORMAT, Registered, canonical, digest_of
from pomona.studies.registration.repeated import repeated
from pomona.studies.study import Study

# Probes of masks alone: they tell nothing of what a network computes.
_OF_MASKS = ("mask-distance", "mask-structure", "effective-density")
_TAKEN = "SELECT probe, state, name FROM probe_states JOIN probes ON key = probe"


@dataclass(frozen=True)
class Circumstances:
    """What is recorded of a registration beside the study.

    Args:
        environment: Digest and JSON document of the environment.
        device: That the study is to run on; other devices have other keys.
        designs: What each hypothesis can see.
        cells: What each hypothesis speaks of.
        before: The last registration of the study; None for the first.
        blind: Its blinding, if any.
    """

    environment: tuple[str, str]
    device: str
    designs: Sequence[Design]
    cells: Sequence[Sequence[Cell]]
    before: Registered | None
    blind: Blind | None


def freeze(population: Population, store: Store, around: Circumstances) -> dict[str, Any]:
    """The body of a registration. To be called in the transaction that also appends it.

    Args:
        population: The graph of the study.
        store: What holds results already.
        around: Everything else.
    """
    study, spec = population.study, population.study.spec
    every = [cell for own in around.cells for cell in own]
    there = _there(store, keys(every))
    found = zip(around.designs, around.cells, strict=True)
    frozen = [_hypothesis(planned, own, there, population) for planned, own in found]
    seen = set().union(*(_seen(own, there) for own in around.cells))
    data = {**_data(every, there), "seen": len(seen), **_pilot(population, store)}
    return {
        "format": FORMAT,
        "study": study.name,
        "preset": study.preset,
        "text": study.text(),
        "text_digest": study.digest(),
        "pomona": pomona.__version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "authors": _authors(study),
        **_commit(around.environment[1]),
        "environment": around.environment[0],
        "device": around.device,
        "replicates": spec.replicates,
        "pilot": spec.registration.pilot,
        "correction": spec.registration.correction,
        "answers": {
            "written": written(study),
            "derived": {**derived(study, data), "blinding": _blinding(study, store, around.blind)},
        },
        "data": data,
        "hypotheses": frozen,
        "blinding": _commitment(around.blind),
        "before": _before(around.before, study),
        "chain_head": chain.head(store.ledger),
    }


def binding(body: Mapping[str, Any]) -> str:
    """What makes two registrations the same: hypotheses with their cells, and what a person wrote.

    Time, authors, commit, environment and what the store holds are no part of it, and neither is the rest of
    the study.
    """
    hypotheses = [(one["digest"], one["keys"], one["family"]) for one in body["hypotheses"]]
    factors = (body["blinding"] or {}).get("factors")
    asked = [body[name] for name in ("replicates", "pilot", "correction")]
    return digest_of(to_json([hypotheses, body["answers"]["written"], asked, factors]))


def _hypothesis(
    planned: Design, found: Sequence[Cell], there: _There, population: Population
) -> dict[str, Any]:
    """What is frozen of one hypothesis."""
    hypothesis = planned.hypothesis
    text = canonical(hypothesis)
    results = {key for cell in found for key in results_of(cell)}
    held, seen = results & there.done, _seen(found, there)
    return {
        "number": planned.number,
        "text": text,
        "digest": digest_of(to_json(text)),
        "family": hypothesis.in_family,
        "keys": keys_digest(found),
        "keys_count": len(keys(found)),
        "cells": results_by_side(found),
        "results": len(results),
        "held": len(held),
        "held_replicates": _replicates(found, held),
        "seen": len(seen),
        "seen_replicates": _replicates(found, seen),
        "speaks_for": [one.text for one in repeated(population, found)],
        "warnings": warnings(hypothesis, population.study),
        **_planned(planned),
    }


def _replicates(found: Sequence[Cell], results: AbstractSet[str]) -> list[int]:
    """The replicates that some results are of."""
    return sorted({cell.replicate for cell in found if results & set(results_of(cell))})


def _seen(found: Sequence[Cell], there: _There) -> set[str]:
    """Results that are not there, but of whose states something else was measured."""
    own = {key for cell in found for key in results_of(cell)}
    states = {
        key: point.state.key
        for cell in found
        for point, read in zip(cell.points, cell.probes, strict=True)
        for key in results_of(replace(cell, points=(point,), probes=(read,)))
    }
    return {key for key in own - there.done if there.measured.get(states[key], frozenset()) - own}


def _planned(planned: Design) -> dict[str, Any]:
    """What the test can show with the registered number of replicates."""
    expect = planned.hypothesis.expect
    return {
        "n": planned.n,
        "comparisons": planned.comparisons,
        "alpha": planned.hypothesis.alpha,
        "smallest_p": planned.smallest_p,
        "corrected_smallest_p": planned.corrected_smallest_p,
        "unit": planned.unit,
        "sd": planned.sd,
        "sd_source": planned.sd_source,
        "minimal_dz": planned.minimal_dz,
        "minimal_effect": planned.minimal_effect,
        "power": planned.power,
        "expected": expect.effect if expect is not None else None,
    }


@dataclass(frozen=True)
class _There:
    """What a store knows of the states and probes of some cells, by key.

    Args:
        done: Finished, now or ever.
        failed: Tried without success.
        measured: By state the probes that were taken of it, without those of masks and densities alone.
    """

    done: frozenset[str]
    failed: frozenset[str]
    measured: Mapping[str, AbstractSet[str]]


def _there(store: Store, wanted: frozenset[str]) -> _There:
    """What is done, or ever was: an entry of the chain stays where its result was taken out."""
    tables = [store.ledger.statuses(table) for table in ("states", "probes")]
    sealed = store.ledger.rows("SELECT subject FROM chain WHERE kind IN ('state', 'probe', 'adopted')")
    done = {key for table in tables for key, status in table.items() if status == "done"}
    failed = {key for table in tables for key, status in table.items() if status == "failed"}
    done |= {row["subject"] for row in sealed}
    measured: dict[str, set[str]] = {}
    for row in store.ledger.rows(_TAKEN):
        if row["probe"] in done and row["name"] not in _OF_MASKS:
            measured.setdefault(row["state"], set()).add(row["probe"])
    return _There(wanted & done, wanted & failed, measured)


def _data(every: Sequence[Cell], there: _There) -> dict[str, int]:
    """How many results and states there are of all hypotheses together, and what the store knows of them."""
    results = {key for cell in every for key in results_of(cell)}
    states = {point.state.key for cell in every for point in cell.points}
    return {
        "results": len(results),
        "held": len(results & there.done),
        "states": len(states),
        "trained": len(states & there.done),
        "failed": len(states & there.failed),
    }


def _pilot(population: Population, store: Store) -> dict[str, int]:
    """How many results of the pilot there are, and how many of them were there."""
    own = [cell for one in population.study.spec.hypotheses for cell in pilot_cells(population, one)]
    results = frozenset(key for cell in own for key in results_of(cell))
    return {"pilot": len(results), "pilot_held": len(_there(store, results).done)}


def _authors(study: Study) -> dict[str, Any]:
    """Who registers, and how that is known."""
    if study.spec.registration.authors:
        return {"names": list(study.spec.registration.authors), "source": "the study"}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "config", "user.name"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        if done.stdout.strip():
            return {"names": [done.stdout.strip()], "source": "git's user"}
    with contextlib.suppress(KeyError, OSError, ImportError):  # a user without a name, as in containers
        return {"names": [getpass.getuser()], "source": "the login name"}
    return {"names": [], "source": "not known"}


def _commit(environment: str) -> dict[str, Any]:
    """Commit of the folder the user works in, and whether it has changes beside."""
    found = json.loads(environment).get("commit")
    return {
        "commit": found.removesuffix("-dirty") if found else None,
        "dirty": found.endswith("-dirty") if found else None,
    }


def _commitment(blind: Blind | None) -> dict[str, Any] | None:
    return None if blind is None else {"factors": list(blind.factors), "commitment": blind.commitment}


def _blinding(study: Study, store: Store, blind: Blind | None) -> list[str]:
    """Which labels are hidden, from when, and what cannot be."""
    if blind is None:
        return ["None: arms stand under their names."]
    lines = [
        f"The labels of {', '.join(blind.factors)} stand under codes until 'pomona unblind {study.name}', "
        "which logs the reveal.",
        f"Commitment to the codes: {blind.commitment}",
        *(f"Not hidden: {text}" for text in CANNOT_HIDE),
    ]
    if chain.entries(store.ledger, UNBLINDED, study.name):
        lines.append("Codes of an earlier registration of this study were revealed before this one.")
    return lines


def _before(before: Registered | None, study: Study) -> dict[str, Any] | None:
    """The registration before this one, and what of the study is others since."""
    if before is None:
        return None
    return {"digest": before.digest, "time": before.body["time"], "changes": differences(before, study)}
