"""A store filled with numbers that a test chooses: every state and probe is done, and nothing was computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pomona.graph.ledger import Attempt, Measurement
from pomona.graph.store import Store
from pomona.studies.points import Point
from pomona.studies.results import Results
from pomona.studies.run import Run
from pomona.studies.study import Study, parse_study

# Accuracy of a point; None leaves it without one: its state failed, as diverged.
Accuracy = Callable[[Point], float | None]
WEIGHTS = 10_000

STUDY = """
study: claims
let:
  train: {short: {optimizer: {sgd: {lr: 0.1}}, batch_size: 32, duration: 1it}}
replicates: 6
factors:
  method:
    zebra: {criterion: magnitude, granularity: weight, scope: layer}
    quokka: {criterion: random, granularity: weight, scope: layer}
  treatment: [rewind, finetune]
steps:
  dense: {init: fc, on: digits, train: short}
  ticket: {from: dense, repeat: 4, prune: {method: $method, amount: 50%}, treat: $treatment, on: digits, train: short}
measure: [accuracy, density]
registration:
  question: Does it matter what is pruned?
  sample_size: what one afternoon computes
  exclusions: none
  missing_data: replicates that fail are left out in pairs
  transformations: none
  exploratory: all else
hypotheses:
"""
CONTRAST = """
  - claim: Zebras outlive quokkas.
    contrast: {a: {method: zebra}, b: {method: quokka}, fix: {treatment: rewind}}
    of: {measure: accuracy, match: level, value: 2}
    test: {paired-t: greater}
"""


def study_of(hypotheses: str = CONTRAST, changes: Sequence[tuple[str, str]] = (), text: str = STUDY) -> Study:
    """The study with these hypotheses and with texts replaced."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return parse_study(text + hypotheses)


def fill(
    store: Store,
    study: Study,
    accuracy: Accuracy,
    *,
    chance: Callable[[Point], bool] = lambda point: False,
    density: Callable[[Point], float] = lambda point: 0.5**point.level,
    wanted: Callable[[Point], bool] = lambda point: True,
    part: str = "test",
) -> Results:
    """Commit what a run would have found, for the points that are wanted."""
    run = Run(study, store)
    graph, ledger = run.population.graph, store.ledger
    status = ledger.statuses("states")
    for point in filter(wanted, run.population.points):
        value = accuracy(point)
        line = list(graph.ancestors(point.state.key))
        if any(status.get(state.key) == "failed" for state in line):
            continue
        kept = {"kept": {"fc1.weight": [round(density(point) * WEIGHTS), WEIGHTS]}}
        for state in line:
            if status.get(state.key) == "done":
                continue
            if value is None and state.key == point.state.key:
                ledger.commit_failure(_attempt(state.key, "failed"), 1, final=True)
                status[state.key] = "failed"
                break
            facts = kept if state.key in (point.masked.key, point.state.key, point.start.key) else {}
            ledger.commit_state(state.key, [], facts, _attempt(state.key), 1)
            status[state.key] = "done"
        if status.get(point.state.key) == "done" and value is not None:
            rows = [
                Measurement("accuracy", value),
                Measurement("chance", 0.1),
                Measurement("at-chance", float(chance(point))),
                *(Measurement("class-accuracy", value - 0.01 * k, class_=k) for k in range(3)),
                *(Measurement("class-count", 10.0 * (k + 1), class_=k) for k in range(3)),
            ]
            ledger.commit_probe(point.probes[part].key, rows, _attempt(point.probes[part].key), 1)
    return Results(study, store, run.population)


def opened(folder: Path) -> Store:
    """A new store."""
    return Store(folder / "store")


def _attempt(node: str, status: str = "done") -> Attempt:
    failed = {"kind": "diverged", "reason": "the loss is not finite"} if status == "failed" else {}
    return Attempt(node, "test", time.time(), 0.1, status, **failed)
