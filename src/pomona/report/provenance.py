"""Where the numbers come from: runs, machines, data, seeds, and the keys of states."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pomona.graph import chain
from pomona.report.commands import store_arguments, study_arguments
from pomona.report.evidence import Evidence
from pomona.report.numbers import density, duration, moment, ranges
from pomona.studies.document import dump
from pomona.studies.engines import Engine

Row = tuple[str, ...]

# So many breaks of the chain are told.
_BREAKS = 5


@dataclass(frozen=True)
class Provenance:
    """The last section of a report.

    Args:
        facts: Name and text of single facts.
        runs: Number, start, end, outcome, workers, states and measurements, command of the runs that
            computed something of this study.
        environments: Runs, and name and text of each part of the environment.
        keys: Arm, level, replicate, density, status, key of the state, key of the mask's state.
        registrations: Name and whole text of the registrations of the study.
        commands: What a reader runs to get the numbers again, and what it does.
        note: What the commands need beside that; empty where they are complete.
    """

    facts: list[Row]
    runs: list[Row]
    environments: list[tuple[str, list[Row]]]
    keys: list[Row]
    registrations: list[tuple[str, str]]
    commands: list[Row]
    note: str


def provenance(evidence: Evidence) -> Provenance:
    """Read from the ledger what computed the states and measurements of a study."""
    work = _work(evidence)
    commands, note = _commands(evidence)
    return Provenance(
        facts=list(_facts(evidence, work)),
        runs=[_run(row, work, evidence.blinded) for row in work.runs],
        environments=list(_environments(work)),
        keys=_keys(evidence),
        registrations=list(_registrations(evidence)),
        commands=commands,
        note=note,
    )


@dataclass(frozen=True)
class _Work:
    """Runs of a study, their environments, and how many attempts of each run were its."""

    runs: list[dict[str, Any]]
    environments: dict[str, dict[str, Any]]
    attempts: dict[int, int]
    seconds: float


def _work(evidence: Evidence) -> _Work:
    ledger = evidence.results.store.ledger
    graph = evidence.population.graph
    own = {*graph.states, *graph.probes}
    attempts: dict[int, int] = {}
    seconds = 0.0
    for row in ledger.rows("SELECT node, run, seconds FROM attempts WHERE status = 'done'"):
        if row["node"] in own:
            attempts[row["run"]] = attempts.get(row["run"], 0) + 1
            seconds += row["seconds"]
    # A run of this very document counts even where it found everything cached; so does another study's
    # run that computed a state which is shared.
    text = dump(evidence.study.document.content)
    runs = [
        dict(row)
        for row in ledger.rows("SELECT * FROM runs ORDER BY id")
        if row["id"] in attempts or (row["study"], row["document"]) == (evidence.study.name, text)
    ]
    wanted = {run["environment"] for run in runs}
    environments = {
        row["digest"]: json.loads(row["document"])
        for row in ledger.rows("SELECT * FROM environments")
        if row["digest"] in wanted
    }
    return _Work(runs, environments, attempts, seconds)


def _facts(evidence: Evidence, work: _Work) -> Iterator[Row]:
    graph = evidence.population.graph
    yield "Store", str(evidence.results.store.folder)
    yield "Study", f"SHA-256 {evidence.study.digest()} of the document as run"
    for choice, info in evidence.data.items() if evidence.one_setting else ():
        yield "Data", f"{choice.name}: fingerprint {info.fingerprint}; {info.source}"
    for network, engine in evidence.population.engines().items() if evidence.one_setting else ():
        yield f"Engine of {network}" if network else "Engine", _engine(engine)
    for stream, indices in _seeds(state.params for state in graph.states.values()).items():
        yield f"Seed stream {stream}", f"replicate index {ranges(indices)}"
    yield "Chain", _chain(evidence)
    if work.seconds:
        yield "Computing time", f"{duration(work.seconds)} of one worker, for all states and measurements"


def _chain(evidence: Evidence) -> str:
    """What the results and registrations are sealed by."""
    ledger = evidence.results.store.ledger
    breaks = chain.check(ledger)
    state = f"BROKEN: {'; '.join(found.what for found in breaks[:_BREAKS])}" if breaks else "unbroken"
    more = f"; and {len(breaks) - _BREAKS:,} more" if len(breaks) > _BREAKS else ""
    return f"head {chain.head(ledger)}; {state}{more}"


def _registrations(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Nothing while arms stand under codes: the text describes them."""
    from pomona.studies.registration.printed import printed

    for one in evidence.findings.registered if not evidence.findings.withheld else ():
        name = f"Registration {one.digest[:12]} of {moment(one.at)}, entry {one.entry} of the chain"
        yield name, printed(one)


def _engine(engine: Engine) -> str:
    record = engine.record
    text = f"{record['name']}, numerics {record['numerics']}, {record['precision']}"
    return f"{text}; not on the lane engine: {'; '.join(engine.reasons)}" if engine.reasons else text


def _seeds(params: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for one in params:
        for stream, index in one.get("seeds", {}).items():
            found.setdefault(stream, []).append(index)
    return found


def _run(run: Mapping[str, Any], work: _Work, blinded: bool) -> Row:
    ended = run["ended_at"]
    return (
        str(run["id"]),
        run["study"],
        moment(run["started_at"]),
        duration(ended - run["started_at"]) if ended else "–",
        run["outcome"] or "not ended",
        str(run["workers"]),
        str(work.attempts.get(run["id"], 0)),
        "withheld" if blinded else run["command"],
    )


def _environments(work: _Work) -> Iterator[tuple[str, list[Row]]]:
    for digest, about in work.environments.items():
        numbers = [run["id"] for run in work.runs if run["environment"] == digest]
        processor = about["processor"]
        packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items() if version)
        yield (
            ranges(numbers),
            [
                ("Python", about["python"]),
                ("Packages", packages),
                ("Processor", f"{processor['model']}, {about['cores']} cores, {about['machine']}"),
                ("SIMD", ", ".join(processor["simd"]) or "unknown"),
                # Runs of before there was a lane engine do not say.
                ("Kernels of the lane engine", about.get("kernels") or "none"),
                # Runs of before this was captured do not say.
                ("GPUs", ", ".join(about.get("gpus", ())) or "none"),
                ("System", about["system"]),
                ("Commit of the working folder", about["commit"] or "not a git repository"),
            ],
        )


def _keys(evidence: Evidence) -> list[Row]:
    names = {arm.place: arm.name for arm in evidence.arms}
    status = evidence.results.store.ledger.statuses("states")
    rows: list[Row] = []
    for point in evidence.population.points:
        name = names.get((point.step, tuple(point.arm.values())))
        if name is not None:
            state = status.get(point.state.key, "planned").replace("planned", "not computed")
            share = density(evidence.results.density(point))
            place = (name, str(point.level), str(point.replicate), share, state)
            keys = [evidence.results.shown_key(one.key)[:12] for one in (point.state, point.masked)]
            rows.append((*place, *keys))
    return rows


def _commands(evidence: Evidence) -> tuple[list[Row], str]:
    study, note = study_arguments(evidence.results)
    key = evidence.population.points[-1].state.key[:12]
    commands: list[Row] = [
        (f"pomona run {study}", "computes what the store lacks; what it has is not computed again"),
        (f"pomona results {study} --csv", "every number of this report and more, one a row"),
        (f"pomona report {study}", "this report"),
    ]
    if evidence.blinded:
        # Keys that could be looked up would tell the arms.
        return commands, note
    commands.append(
        (
            f"pomona show {shlex.join([key, *store_arguments(evidence.results)])}",
            "how a state came about; any key of the table below",
        )
    )
    if evidence.study.spec.hypotheses:
        commands.append((f"pomona verdicts {study}", "effect, interval, p and verdict of every hypothesis"))
    return commands, note
