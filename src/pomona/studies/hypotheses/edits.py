"""Whether what a hypothesis reads was edited, by the chain of the store."""

from __future__ import annotations

from dataclasses import dataclass

from pomona.graph import chain
from pomona.graph.store import Store
from pomona.studies.hypotheses.cells import cells, keys
from pomona.studies.hypotheses.spec import Hypothesis
from pomona.studies.points import Population

_NODES = "SELECT key FROM states UNION ALL SELECT key FROM probes"


@dataclass(frozen=True)
class Edits:
    """What of a store is not as it was written.

    Args:
        broken: What the chain names.
        revised: Keys of results that have a second entry with other numbers.
        nodes: Keys of all states and probes of the store, where anything is broken.
    """

    broken: tuple[chain.Break, ...] = ()
    revised: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()


def edits(store: Store) -> Edits:
    """Check the whole chain of a store."""
    broken = tuple(chain.check(store.ledger))
    nodes = frozenset(row["key"] for row in store.ledger.rows(_NODES)) if broken else frozenset()
    return Edits(broken, frozenset(chain.revised_keys(store.ledger)), nodes)


def concerning(found: Edits, population: Population, hypothesis: Hypothesis) -> tuple[str, ...]:
    """What of the edits concerns a hypothesis, in words: not the results that it does not read."""
    if not found.broken and not found.revised:
        return ()
    own, graph = keys(cells(population, hypothesis)), population.graph
    others = {*found.nodes, *graph.states, *graph.probes} - own
    broken = [one.what for one in found.broken if one.subject not in others]
    reasons = []
    if broken:
        more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
        reasons.append(
            f"the chain of the store is broken: {broken[0]}{more}; see 'pomona verify --fraction 0'"
        )
    again = len(found.revised & own)
    if again:
        reasons.append(
            f"{again} of its results have a second entry with other numbers; see 'pomona verify --fraction 0'"
        )
    return tuple(reasons)
