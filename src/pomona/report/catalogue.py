"""Everything that can be written where something is pruned, treated or controlled, as sections of entries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pomona.pruning.actions import ACTIONS
from pomona.pruning.allocation import ALLOCATIONS
from pomona.pruning.controls import CONTROLS
from pomona.pruning.criteria import CRITERIA
from pomona.pruning.criterion import Criterion
from pomona.pruning.method import EXAMPLES, METHODS
from pomona.pruning.schedule import SCHEDULES
from pomona.pruning.treatments import TREATMENTS
from pomona.studies.schema import MEASURES


@dataclass(frozen=True)
class Entry:
    """One thing that has a name.

    Args:
        name: As it is written.
        formula: What it is.
        facts: Further lines, each with what it is called.
    """

    name: str
    formula: str
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Section:
    """Entries of one kind, how one of them is written in a study (``NAME``), and an example."""

    title: str
    form: str
    example: str
    entries: tuple[Entry, ...]

    @property
    def written(self) -> str:
        """How one of them is written in a study."""
        return self.form.replace("NAME", self.example)


GRANULARITIES = {
    "weight": "single weights",
    "channel-in": "input channels: all weights that read one input",
    "channel-out": "output channels: all weights of one output; its bias stays. The last layer, whose "
    "outputs are the classes, is left alone unless `layers` names it",
    "kernel": "kernels: the weights from one input to one output of a convolution",
    "block-4x4": "blocks of outputs x inputs, of any size, with whole kernels; those at the edge are smaller",
    "2:4": "single weights, so that two are left of every four consecutive inputs of an output; any n:m",
}
SCOPES = {
    "layer": "each layer is ranked by itself",
    "kind": "all convolutions together, all linear layers together, and so on",
    "global": "all layers together",
}
ROUNDINGS = {
    "nearest": "to the nearest count, halves to even (Paganini and Forde 2020; torch.nn.utils.prune)",
    "floor": "down, of the exact decimal product (Zhou et al. 2019)",
}
STOPS = {
    "val-accuracy < .5": "a lineage ends at a state that is less accurate on the validation part",
    "layer-collapse": "a lineage ends at a state of which a layer keeps no weight",
}


def sections() -> Iterator[Section]:
    """All of it, in the order of a study."""
    yield Section(
        "Methods by name",
        "prune: {method: NAME, amount: 20%}",
        "l1-structured",
        tuple(Entry(name, method.describe()) for name, method in METHODS.items()),
    )
    yield Section(
        "Criteria: what is scored; larger is kept",
        "method: {criterion: NAME, scope: global}",
        "snip",
        tuple(map(_criterion, CRITERIA.values())),
    )
    yield Section(
        "Granularities: the unit that goes", "granularity: NAME", "channel-in", _plain(GRANULARITIES)
    )
    yield Section("Scopes: what is ranked together", "scope: NAME", "global", _plain(SCOPES))
    yield Section(
        "Allocations: how a density is divided between layers",
        "method: {criterion: random, allocation: NAME}",
        "erk",
        tuple(Entry(a.name, a.formula, (("source", a.source),)) for a in ALLOCATIONS.values()),
    )
    yield Section(
        "Schedules: how the density falls to a target",
        "prune: {method: snip, to: 5%, schedule: NAME}",
        "cubic",
        tuple(Entry(s.name, s.formula, (("source", s.source),)) for s in SCHEDULES.values()),
    )
    yield Section(
        "Rounding rules", "prune: {method: fc-only, amount: 20%, rounding: NAME}", "floor", _plain(ROUNDINGS)
    )
    yield Section(
        "Stop rules", "prune: {method: snip, amount: 20%, stop: 'NAME'}", "val-accuracy < .5", _plain(STOPS)
    )
    yield Section(
        "Treatments of the surviving weights",
        "treat: NAME",
        "rewind",
        tuple(
            Entry(
                t.name,
                t.formula,
                _facts(("reads", _target(t.target)), ("source", t.source), ("note", t.notes)),
            )
            for t in TREATMENTS.values()
        ),
    )
    yield Section(
        "What pruned weights are",
        "method: {criterion: large-final, pruned: NAME}",
        "freeze",
        tuple(Entry(a.name, a.formula, (("holds", a.holds), ("source", a.source))) for a in ACTIONS.values()),
    )
    yield Section(
        "Controls",
        "mask: {score: dense, method: snip, control: NAME}",
        "rearrange",
        tuple(
            Entry(c.name, c.formula, _facts(("touches", c.touches), ("source", c.source), ("note", c.notes)))
            for c in CONTROLS.values()
        ),
    )
    yield Section("Measures", "measure: [accuracy, NAME]", "mask-distance", _plain(MEASURES))


def find(name: str) -> list[tuple[Section, Entry]]:
    """Entries of a name; several kinds of thing may have it."""
    return [(section, entry) for section in sections() for entry in section.entries if entry.name == name]


def names() -> list[str]:
    """All names."""
    return [entry.name for section in sections() for entry in section.entries]


def _criterion(criterion: Criterion) -> Entry:
    evidence = ", ".join(name.replace("_", " ") for name in criterion.evidence)
    reads = (
        f"{evidence}{f'; runs the network on {EXAMPLES} training examples' if criterion.reads_data else ''}"
    )
    return Entry(
        criterion.name,
        criterion.formula,
        _facts(
            ("reads", reads),
            ("for", ", ".join(criterion.only)),
            ("ties", "cut at random" if criterion.ties == "random" else ""),
            ("source", criterion.source),
            ("checked against", criterion.oracle),
            ("note", criterion.notes),
        ),
    )


def _target(target: str) -> str:
    return {"step": "the state that is gone back to", "fresh": "a new draw of the initial weights"}.get(
        target, ""
    )


def _facts(*facts: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(fact for fact in facts if fact[1])


def _plain(texts: dict[str, str]) -> tuple[Entry, ...]:
    return tuple(Entry(name, text) for name, text in texts.items())
