"""Graphs that grow by users' own recipes and probes. Nothing is computed here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pomona.core.errors import InputError
from pomona.core.reference import Reference
from pomona.graph.custom import Declared, Measure, Recipe
from pomona.graph.nodes import Graph, Probe, State, to_json
from pomona.graph.signature import Parameters

# What a worker needs to build the network of a state.
_NETWORK = ("model", "input_shape", "classes", "folder", "sources")


def apply(graph: Graph, recipe: Recipe, /, *parents: State | Sequence[State], **parameters: Any) -> State:
    """Add the state that a user's recipe makes; nothing is computed.

    Args:
        graph: Takes the new state.
        recipe: A function decorated with ``pomona.recipe``.
        parents: States of the graph, in the recipe's order; a sequence counts as its states.
        parameters: By name.

    Raises:
        InputError: Not a recipe, a parent that is not in the graph, another number of parents than the recipe
            takes, or a parameter that it does not take.
    """
    _check(recipe, Recipe, "apply")
    settled = recipe.signature.settle(parameters, str(recipe))
    return add_state(graph, recipe, _flat(recipe, graph, parents), settled)


def measure(graph: Graph, probe: Measure, /, *states: State | Sequence[State], **parameters: Any) -> Probe:
    """Add a measurement by a user's probe; nothing is computed.

    Args:
        graph: Takes the probe.
        probe: A function decorated with ``pomona.probe``.
        states: States of the graph, in the probe's order; a sequence counts as its states.
        parameters: By name.

    Raises:
        InputError: As ``apply``.
    """
    _check(probe, Measure, "measure")
    settled = probe.signature.settle(parameters, str(probe))
    return add_probe(graph, probe, _flat(probe, graph, states), settled)


def adopt(graph: Graph, source: Graph, *states: State) -> None:
    """Take states of another graph into this one, with all that they descend from.

    Raises:
        InputError: A state is not in the other graph.
    """
    for state in states:
        if state.key not in source.states:
            raise InputError(f"state {state.key[:12]} ({state.recipe}) is not in the graph to take it from")
        waiting = [state.key]
        while waiting:
            key = waiting[-1]
            missing = [parent for parent in source.states[key].parents if parent not in graph.states]
            if missing:
                waiting += missing
            else:
                graph.add(source.states[waiting.pop()])


def add_state(graph: Graph, recipe: Recipe, parents: Sequence[State], settled: Parameters) -> State:
    """Add the state of a recipe whose parents and parameters have been checked."""
    how = _how(graph, recipe, parents[0])
    keys = tuple(parent.key for parent in parents)
    params = recipe.params(settled)
    return graph.add(State(recipe.name, recipe.version, params, keys, how, cost=f"recipe {recipe.name}"))


def add_probe(graph: Graph, probe: Measure, states: Sequence[State], settled: Parameters) -> Probe:
    """Add the measurement of a probe whose states and parameters have been checked."""
    how = _how(graph, probe, states[0])
    keys = tuple(state.key for state in states)
    params = probe.params(settled)
    return graph.measure(Probe(probe.name, probe.version, params, keys, how, cost=f"probe {probe.name}"))


def sources_of(graph: Graph) -> dict[str, str]:
    """The normalised text of users' source by its digest: of all that states and probes say they rest on.

    Each function is read once. What is no longer as it was when it was planned is left out.
    """
    nodes: list[State | Probe] = [*graph.states.values(), *graph.probes.values()]
    hows = {id(node.how): node.how for node in nodes}
    wanted = {place for how in hows.values() for place in _references(how)}
    texts = [_text(*place) for place in {(folder, written) for folder, written, _ in wanted}]
    by_digest = {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}
    return {digest: by_digest[digest] for _, _, digest in wanted if digest in by_digest}


def is_current(how: Mapping[str, Any]) -> bool:
    """Whether the users' sources and files that execution rests on are what they were when it was planned."""
    return all(
        hashlib.sha256(_text(folder, written).encode()).hexdigest() == digest
        for folder, written, digest in _references(how)
    ) and all(_digest(Path(path)) == digest for path, digest in how.get("files", {}).items())


def _references(how: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Folder, file with name, and digest of each source that execution rests on."""
    for written, digest in how.get("sources", {}).items():
        yield how["folder"], written, digest
    function = how.get("function")
    if function is not None:
        yield function["folder"], function["name"], function["source"]
        for path, name, digest in function["depends_on"].values():
            if name:
                yield "", f"{path}:{name}", digest


def _text(folder: str, written: str) -> str:
    """The text of a source as it is now; empty where there is none."""
    path, _, name = written.rpartition(":")
    try:
        return Reference((Path(folder) / Path(path).expanduser()).resolve(), name).text()
    except InputError:
        return ""


def _digest(path: Path) -> str:
    """Of a file as it is now; empty where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def _check(given: object, kind: type[Declared], word: str) -> None:
    if isinstance(given, kind):
        return
    other = f"a {given.word}" if isinstance(given, Declared) else f"{type(given).__name__}"
    raise InputError(f"{word}: expected a function decorated with @pomona.{kind.word}, got {other}")


def _flat(declared: Declared, graph: Graph, given: Sequence[State | Sequence[State]]) -> list[State]:
    states: list[State] = []
    for one in given:
        states += one if isinstance(one, Sequence) else [one]
    for state in states:
        if not isinstance(state, State):
            raise InputError(f"{declared}: expected states, got {type(state).__name__}")
        if state.key not in graph.states:
            raise InputError(
                f"{declared}: state {state.key[:12]} ({state.recipe}) is not in this graph; take it in "
                "first: pomona.adopt(graph, the_graph_that_has_it, state)"
            )
    fault = declared.signature.count_fault(len(states))
    if fault is not None:
        raise InputError(f"{declared}: {fault}")
    return states


def _how(graph: Graph, declared: Declared, first: State) -> Mapping[str, Any]:
    """What execution needs: the function, and the network of the first state.

    States of one function and one network share one object, which the ledger turns into text once.
    """
    network: Mapping[str, Any] = first.how
    if network.get("function") is declared.how:
        return network
    if "model" not in network:
        network = next((state.how for state in graph.ancestors(first.key) if "model" in state.how), {})
    network = {name: network[name] for name in _NETWORK if name in network}
    return declared.shared.setdefault(to_json(network), {**network, "function": declared.how})
