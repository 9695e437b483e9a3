"""States, probes and the graph they form: promises until they are run."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from pomona.core.canonical import Value, probe_key, state_key
from pomona.core.errors import InputError
from pomona.core.step import Step

SNAPSHOT = "snapshot"  # the recipe whose state is an output of its parent's run, taken at step `at`


@dataclass(frozen=True)
class State:
    """A node: what a recipe makes of its parents.

    Args:
        recipe: Name of the recipe.
        version: Version of the recipe.
        params: Its parameters; with the parents they are the identity.
        parents: Keys of the parent states, in the recipe's order.
        how: What execution needs beside the identity, such as the path of a user's file. Not in the key.
        work_steps: Optimizer steps that the recipe takes; 0 where it trains nothing.
        cost: Class of work whose measured rate or duration forecasts the time.
    """

    recipe: str
    version: int
    params: Mapping[str, Value]
    parents: tuple[str, ...] = ()
    how: Mapping[str, Any] = field(default_factory=dict, compare=False)
    work_steps: int = field(default=0, compare=False)
    cost: str = field(default="", compare=False)
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", state_key(self.recipe, self.version, self.params, self.parents))


@dataclass(frozen=True)
class Probe:
    """A measurement of one or more states. It adds no state, and its result is kept."""

    name: str
    version: int
    params: Mapping[str, Value]
    states: tuple[str, ...]
    how: Mapping[str, Any] = field(default_factory=dict, compare=False)
    cost: str = field(default="", compare=False)
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", probe_key(self.name, self.version, self.params, self.states))


class Graph:
    """States and probes by key. Adding one that is there already gives back the one that is there."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}
        self.probes: dict[str, Probe] = {}

    def add(self, state: State) -> State:
        """Add a state whose parents are in the graph."""
        for parent in state.parents:
            if parent not in self.states:
                raise InputError(f"state {state.key[:12]} ({state.recipe}): parent {parent[:12]} is not here")
        return self.states.setdefault(state.key, state)

    def measure(self, probe: Probe) -> Probe:
        """Add a probe of states that are in the graph."""
        for key in probe.states:
            if key not in self.states:
                raise InputError(f"probe {probe.name}: state {key[:12]} is not in the graph")
        return self.probes.setdefault(probe.key, probe)

    def ancestors(self, key: str) -> Iterator[State]:
        """The state and everything it descends from, nearest first, each once."""
        waiting, seen = deque([key]), set()
        while waiting:
            current = waiting.popleft()
            if current not in seen:
                seen.add(current)
                yield self.states[current]
                waiting += self.states[current].parents


def to_json(value: object) -> str:
    """A value as JSON that keeps every type: a Step is an object of its own, a float keeps all bits.

    A record becomes an object of its fields, a tuple a list; only a Step may have the one key ``$step``.

    Raises:
        TypeError: For a type without a form.
        ValueError: For NaN and infinities, which JSON has no numbers for.
    """
    return json.dumps(value, default=_encode, sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_json(text: str) -> Any:
    """The value that ``to_json`` wrote."""
    return json.loads(text, object_hook=_decode)


def _encode(value: object) -> object:
    if isinstance(value, Step):
        return {"$step": str(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: getattr(value, entry.name) for entry in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _decode(value: dict[str, Any]) -> Any:
    return Step.parse(value["$step"]) if value.keys() == {"$step"} else value
