"""What a run still has to do, what each of it waits for, and which comes next."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping


class Waiting:
    """Nodes that are not done yet. The ready one with the longest path behind it comes first.

    Args:
        needs: For each node the ones it waits for, parents before children. What is waited for and is not
            a node itself never comes, unless it is finished by name.
        work: Size of the work of each node.
    """

    def __init__(self, needs: Mapping[str, Iterable[str]], work: Mapping[str, float]) -> None:
        self._needs = {key: set(before) for key, before in needs.items()}
        self._children: dict[str, list[str]] = {}
        for key, before in self._needs.items():
            for parent in before:
                self._children.setdefault(parent, []).append(key)
        behind: dict[str, float] = {}
        for key in reversed(self._needs):
            after = (behind[child] for child in self._children.get(key, ()))
            behind[key] = work[key] + max(after, default=0.0)
        # Equal paths in the order given, so that a run takes the same course every time.
        self._rank = {key: (-behind[key], order, key) for order, key in enumerate(self._needs)}
        self._ready: set[str] = set()
        self._queue: list[tuple[float, int, str]] = []
        for key, before in self._needs.items():
            if not before:
                self.put_back(key)

    def __contains__(self, key: object) -> bool:
        return key in self._needs

    @property
    def ready(self) -> bool:
        """Whether a node can be taken."""
        return bool(self._ready)

    def take(self) -> str:
        """The ready node with the most work on its longest path."""
        while True:
            key = heapq.heappop(self._queue)[2]
            if key in self._ready:
                self._ready.discard(key)
                return key

    def add(self, key: str) -> None:
        """One more node, which waits for nothing and comes before the others."""
        self._needs[key] = set()
        self._rank[key] = (-math.inf, len(self._rank), key)
        self.put_back(key)

    def hold(self, key: str, before: str) -> None:
        """Let a node that was taken wait for another one."""
        self._ready.discard(key)
        self._needs[key].add(before)
        self._children.setdefault(before, []).append(key)

    def put_back(self, key: str) -> None:
        """A node whose parents are done can be taken, perhaps once more."""
        if key in self._needs and key not in self._ready:
            self._ready.add(key)
            heapq.heappush(self._queue, self._rank[key])

    def children(self, key: str) -> list[str]:
        """The nodes that wait for this one."""
        return [child for child in self._children.get(key, ()) if child in self._needs]

    def finish(self, key: str) -> None:
        """A node is done: its children wait for one less."""
        self._needs.pop(key, None)
        self._ready.discard(key)
        for child in self.children(key):
            self._needs[child].discard(key)
            if not self._needs[child]:
                self.put_back(child)

    def drop(self, key: str) -> list[str]:
        """Take a node and everything that descends from it off the list; gives what was on it."""
        found, waiting = [], [key, *self.children(key)]
        while waiting:
            gone = waiting.pop()
            if self._needs.pop(gone, None) is not None:
                self._ready.discard(gone)
                found.append(gone)
                waiting += self.children(gone)
        return found
