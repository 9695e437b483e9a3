"""A graph as lines of text, one a state, newest first, with its lines drawn beside it."""

from __future__ import annotations

from collections.abc import Iterator

from pomona.graph.subgraph import Subgraph

_SIGNS = {"done": "●", "planned": "○", "failed": "✗"}
_PLAIN = str.maketrans("●○✗│─├┤┼╮╭┬", "*ox|-++++++")


def rails(part: Subgraph, plain: bool = False) -> Iterator[tuple[str, str]]:
    """The drawing beside each state, and its key: descendants before what they descend from.

    Args:
        part: What to draw.
        plain: With characters of ASCII alone.
    """
    waiting: list[str | None] = []  # the state that each line leads to
    for key in _descending(part):
        before = list(waiting)
        own = waiting.index(key) if key in waiting else _free(waiting)
        waiting[own] = None
        joined, opened = [], []
        # A parent that a line leads to already is joined there; the first other one goes on from here.
        for parent in part.parents[key]:
            if parent in waiting:
                joined.append(waiting.index(parent))
            elif waiting[own] is None:
                waiting[own] = parent
            else:
                opened.append(_free(waiting, own))
                waiting[opened[-1]] = parent
        drawn = _row(own, _SIGNS[part.states[key].status], before, joined, opened)
        yield drawn.translate(_PLAIN) if plain else drawn, key
        while waiting and waiting[-1] is None:
            waiting.pop()


def _descending(part: Subgraph) -> Iterator[str]:
    """Children before parents. A line is followed until it meets one that is not drawn yet."""
    children = dict.fromkeys(part.states, 0)
    for parents in part.parents.values():
        for parent in parents:
            children[parent] += 1
    ready = [key for key in part.states if not children[key]]
    while ready:
        key = ready.pop()
        yield key
        for parent in reversed(part.parents[key]):
            children[parent] -= 1
            if not children[parent]:
                ready.append(parent)


def _free(waiting: list[str | None], after: int = -1) -> int:
    """The first place to the right that no line takes."""
    for place in range(after + 1, len(waiting)):
        if waiting[place] is None:
            return place
    waiting.append(None)
    return len(waiting) - 1


def _row(own: int, sign: str, before: list[str | None], joined: list[int], opened: list[int]) -> str:
    ends = [own, *joined, *opened]
    low, high = min(ends), max(ends)
    drawn = []
    for place in range(max(len(before), high + 1)):
        inside = low <= place <= high
        passing = place < len(before) and before[place] is not None
        if place == own:
            mark = sign
        elif place in joined:
            mark = "├" if place == low else "┤" if place == high else "┼"
        elif place in opened:
            mark = "╮" if place == high else "┬"
        else:
            mark = "│" if passing else "─" if inside else " "
        drawn.append(mark + ("─" if low <= place < high else " "))
    return "".join(drawn).rstrip()
