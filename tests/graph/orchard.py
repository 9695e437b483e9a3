"""A small store with something of everything that queries ask for, and the same as plain Python values."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pomona.core.step import Step
from pomona.graph.ledger import Measurement, Output
from pomona.graph.nodes import Graph, Probe, State
from pomona.graph.store import Store
from pomona.graph.tags import tag

from .conftest import attempt

STATES = 60
RECIPES = ("init", "train", "prune")
KINDS = ("diverged", "out of memory", "lost worker")
TAGS = ("keep", "try-again", "and")
METHODS = ("l1", "l2-structured", "0.5")
PARTS = (None, "test", "validation")
FLOATS = (0.1, 0.1 + 0.2, 0.3, 1e-9, 4e-9, 32.0, 1e300)


@dataclass
class Plain:
    """What the store holds of one state."""

    state: State
    status: str
    distance: int
    kind: str | None = None
    tags: set[str] = field(default_factory=set)
    places: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[tuple[str, str, str, int, float | None]] = field(default_factory=list)  # with the part
    ancestors: set[str] = field(default_factory=set)
    kept: tuple[int, int] | None = None


def grow(folder: Path, seed: int = 7) -> dict[str, Plain]:
    """Write the store, and give what is in it."""
    draw = random.Random(seed)
    graph, found = Graph(), {}
    for state in _states(draw, graph):
        parents = [found[key] for key in state.parents]
        distance = 1 + min(parent.distance for parent in parents) if parents else 0
        plain = Plain(state, draw.choice(("planned", "done", "failed")), distance)
        plain.ancestors = {key for parent in parents for key in (parent.state.key, *parent.ancestors)}
        found[state.key] = plain
    with Store(folder) as store:
        store.ledger.plan(graph.states.values(), [])
        for plain in found.values():
            _fill(store, draw, plain)
        _measure(store, draw, list(found.values()), graph)
    return found


def _states(draw: random.Random, graph: Graph) -> Iterator[State]:
    known: list[State] = []
    for i in range(STATES):
        parents = draw.sample(known, min(len(known), draw.choice((0, 1, 1, 1, 2))))
        params: dict[str, Any] = {
            "index": i,
            "lr": draw.choice(FLOATS),
            "duration": Step(draw.choice((1, 30)), draw.choice(("ep", "it"))),
            "nested": {"flag": draw.choice((True, False, None)), "name": draw.choice(("a", "none", "32"))},
        }
        if draw.random() < 0.5:
            params["sizes"] = [draw.choice((3, 5.0, "x")), 1]
        keys = tuple(parent.key for parent in parents)
        known.append(graph.add(State(draw.choice(RECIPES), 1, params, keys)))
        yield known[-1]


def _fill(store: Store, draw: random.Random, plain: Plain) -> None:
    key, ledger = plain.state.key, store.ledger
    if plain.status == "done":
        facts = {}
        if draw.random() < 0.7:
            plain.kept = (draw.randrange(1, 9), 8)
            facts = {"kept": {"a": [plain.kept[0], 8], "b": [0, 4]}}
        ledger.commit_state(key, [Output("weights", "0" * 64, 1, {})], facts, None, 1)
    for _ in range(draw.choice((0, 0, 1, 2))):
        plain.kind = draw.choice(KINDS)
        failure = attempt(key, "failed", kind=plain.kind, reason="for the test")
        ledger.commit_failure(failure, 1, final=False)
    if plain.status == "failed":
        plain.kind = draw.choice(KINDS)
        ledger.commit_failure(attempt(key, "failed", kind=plain.kind, reason="at last"), 1, final=True)
    for name in TAGS:
        if draw.random() < 0.3:
            tag(ledger, [key], name)
            plain.tags.add(name)
    for _ in range(draw.choice((0, 1, 1, 2, 3))):
        arm = {"method": draw.choice(METHODS)} if draw.random() < 0.8 else {}
        arm |= {"level": draw.choice(("low", "high"))} if draw.random() < 0.5 else {}
        place = {
            "study": draw.choice(("one", "two")),
            "step": draw.choice(("dense", "ticket")),
            "replicate": draw.randrange(3),
            "level": draw.randrange(4),
            "arm": arm,
        }
        plain.places.append(place)
        ledger.label(place["study"], [(key, place["step"], place["replicate"], place["level"], arm)])


def _measure(store: Store, draw: random.Random, states: list[Plain], graph: Graph) -> None:
    for i in range(2 * STATES):
        measured = draw.sample(states, draw.choice((1, 1, 1, 2)))
        part = draw.choice(PARTS)
        params = {"index": i, **({"part": part} if part else {})}
        probe = graph.measure(Probe("look", 1, params, tuple(plain.state.key for plain in measured)))
        store.ledger.plan([], [probe])
        values: dict[tuple[str, str, int], float | None] = {}
        for _ in range(3):
            quantity = draw.choice(("accuracy", "class-accuracy", "stability", "own.share", "status"))
            layer = draw.choice(("conv1.weight", "fc")) if quantity == "stability" else ""
            class_ = draw.randrange(3) if quantity == "class-accuracy" else -1
            values[quantity, layer, class_] = draw.choice((None, *FLOATS, 0.9, draw.random()))
        rows = [Measurement(q, value, layer, class_) for (q, layer, class_), value in values.items()]
        store.ledger.commit_probe(probe.key, rows, attempt(probe.key), 1)
        for plain in measured:
            plain.numbers += [(q, part or "test", layer, c, v) for (q, layer, c), v in values.items()]
