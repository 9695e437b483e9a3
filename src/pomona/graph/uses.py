"""What still needs the files of a state, so that those that nothing needs can go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class Uses:
    """Counts, for each state, the nodes to be computed that read what it left."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def begin(self, reads: Iterable[str]) -> None:
        """One more node reads these states."""
        self._counts.update(reads)

    def end(self, node: str, reads: Iterable[str]) -> list[str]:
        """A node will not read them any more; gives the states, itself among them, that nothing needs now."""
        before = list(reads)
        self._counts.subtract(before)
        return [state for state in (node, *before) if self.idle(state)]

    def idle(self, state: str) -> bool:
        """Whether nothing needs a state."""
        return self._counts[state] <= 0
