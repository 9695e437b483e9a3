"""A graph as SVG: generations as columns, lines of first parents as lanes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from pomona.core.errors import InputError
from pomona.graph.fields import flat
from pomona.graph.states import StateRecord
from pomona.graph.subgraph import Subgraph, generations

MOST_STATES = 3000
_COLUMN, _LANE, _RADIUS, _MARGIN, _HEAD = 30, 24, 8, 18, 40
_LETTER = 6.2  # width of a character at 11 px
_SMALL_ENOUGH_FOR_KEYS = 60
# Okabe and Ito 2008: told apart with any colour vision, and by lightness in print.
_COLOURS = {
    "init": "#f0e442",
    "train": "#56b4e9",
    "prune": "#d55e00",
    "treat": "#009e73",
    "snapshot": "#bfe3f7",
    "transfer": "#cc79a7",
    "join": "#0072b2",
}
_OTHERS = ("#e69f00", "#999999", "#cfa3e0", "#a6d854", "#ffd9b3")
_OUTLINES = {
    "done": 'stroke="#333" stroke-width="1"',
    "planned": 'stroke="#333" stroke-width="1.5" stroke-dasharray="3 2" fill-opacity="0.25"',
    "failed": 'stroke="#c00" stroke-width="3"',
}


@dataclass(frozen=True)
class _Layout:
    """Where everything lies, in pixels."""

    at: Mapping[str, tuple[float, float]]
    lane_ends: Mapping[str, str]  # the last labelled state of each lane, by the lane's last state
    width: float
    height: float


def check_size(count: int) -> None:
    """Whether so many states can be drawn.

    Raises:
        InputError: There is nothing to draw, or too much to be read.
    """
    if not count:
        raise InputError("there is no state to draw")
    if count > MOST_STATES:
        raise InputError(
            f"{count:,} states make no readable picture (the most is {MOST_STATES:,}); choose some with "
            '--where, as in --where "recipe == train and replicate == 0"'
        )


def draw(part: Subgraph, title: str) -> str:
    """Draw a part of a graph.

    Args:
        part: What to draw.
        title: Stands above.

    Raises:
        InputError: As ``check_size``.
    """
    check_size(len(part.states))
    layout = _layout(part)
    legend, width = _legend(part)
    width = max(layout.width, width, len(title) * _LETTER * 1.2 + 2 * _MARGIN)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{layout.height:.0f}"'
        f' viewBox="0 0 {width:.0f} {layout.height:.0f}" font-family="Helvetica, Arial, sans-serif"'
        ' font-size="11">',
        f'<rect width="{width:.0f}" height="{layout.height:.0f}" fill="white"/>',
        f'<text x="{_MARGIN - _RADIUS}" y="17" font-size="13" font-weight="bold">{_text(title)}</text>',
        *legend,
        *_edges(part, layout),
        *_nodes(part, layout),
        *_lane_labels(part, layout),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _layout(part: Subgraph) -> _Layout:
    columns = generations(part)
    followers: dict[str, list[str]] = {}
    for key in part.states:
        if part.parents[key]:
            followers.setdefault(part.parents[key][0], []).append(key)
    rank = _ranks(part, followers)
    lanes: dict[str, int] = {}
    last: dict[int, str] = {}
    for root in sorted((key for key in part.states if not part.parents[key]), key=rank.__getitem__):
        waiting = [(root, len(last))]
        while waiting:
            key, lane = waiting.pop()
            # The first follower stays in the lane, each other one begins a new one when its turn comes.
            lanes[key] = lane = lane if lane >= 0 else len(last)
            last[lane] = key
            after = sorted(followers.get(key, ()), key=rank.__getitem__)
            waiting += [(follower, -1) for follower in reversed(after[1:])]
            waiting += [(after[0], lane)] if after else []
    apart = _LANE + 8 * _has_keys(part)
    at = {
        key: (_MARGIN + columns[key] * _COLUMN, _HEAD + _MARGIN + lanes[key] * apart) for key in part.states
    }
    ends = {key: _lane_title(part, key) for key in last.values()}
    right = max(at[key][0] + 2 * _RADIUS + len(text) * _LETTER for key, text in ends.items())
    return _Layout(at, ends, right + _MARGIN, _HEAD + 2 * _MARGIN + (len(last) - 1) * apart + 8)


def _ranks(part: Subgraph, followers: Mapping[str, list[str]]) -> dict[str, tuple[str, str]]:
    """What to sort by: what a state, or the first that goes on from it, stands for."""
    found: dict[str, tuple[str, str]] = {}
    for key in reversed(list(part.states)):
        own = part.states[key].what
        after = [found[follower] for follower in followers.get(key, ())]
        found[key] = (own, key) if own else min(after, default=("", key))
    return found


def _lane_title(part: Subgraph, key: str) -> str:
    """Step, arm and replicate of the last state of the lane that stands for something."""
    current: str | None = key
    while current is not None:
        places = part.states[current].places
        if places:
            return " ".join([places[0].step, *places[0].arm.values(), f"replicate {places[0].replicate}"])
        current = next(iter(part.parents[current]), None)
    return part.states[key].recipe


def _edges(part: Subgraph, layout: _Layout) -> Iterator[str]:
    # The lines of further parents are long and many: pale, and under those of the first ones.
    for key, parents in part.parents.items():
        for parent in parents[1:]:
            path = _between_lanes(*layout.at[parent], *layout.at[key])
            yield f'<path d="{path}" fill="none" stroke="#b5dccf"/>'
    for key, parents in part.parents.items():
        for parent in parents[:1]:
            path = _along_lane(*layout.at[parent], *layout.at[key])
            yield f'<path d="{path}" fill="none" stroke="#555" stroke-width="1.4"/>'


def _along_lane(x0: float, y0: float, x1: float, y1: float) -> str:
    bend = min(x1 - x0, 2 * _COLUMN)
    return f"M{x0} {y0}C{x0 + bend / 2} {y0} {x0 + bend / 4} {y1} {x0 + bend} {y1}H{x1}"


def _between_lanes(x0: float, y0: float, x1: float, y1: float) -> str:
    y, bend = y1 - _LANE / 2, _COLUMN / 2
    return f"M{x0} {y0}C{x0 + bend} {y0} {x0} {y} {x0 + bend} {y}H{x1 - bend}Q{x1} {y} {x1} {y1}"


def _nodes(part: Subgraph, layout: _Layout) -> Iterator[str]:
    colours = _colours(part)
    for key, state in part.states.items():
        x, y = layout.at[key]
        level = str(state.places[0].level) if state.places else ""
        yield (
            f'<g><title>{_text(_tooltip(state))}</title><circle cx="{x}" cy="{y}" r="{_RADIUS}"'
            f' fill="{colours[state.recipe]}" {_OUTLINES[state.status]}/>'
        )
        if level:
            yield f'<text x="{x}" y="{y + 3.2}" font-size="9" text-anchor="middle">{level}</text>'
        if _has_keys(part):
            yield f'<text x="{x}" y="{y + 15}" font-size="6" text-anchor="middle">{key[:7]}</text>'
        yield "</g>"


def _has_keys(part: Subgraph) -> bool:
    """Whether there is room for the beginnings of keys."""
    return len(part.states) <= _SMALL_ENOUGH_FOR_KEYS


def _lane_labels(part: Subgraph, layout: _Layout) -> Iterator[str]:
    for key, text in layout.lane_ends.items():
        x, y = layout.at[key]
        yield f'<text x="{x + 2 * _RADIUS}" y="{y + 4}">{_text(text)}</text>'


def _legend(part: Subgraph) -> tuple[list[str], float]:
    colours = _colours(part)
    entries = [(recipe, f'fill="{colour}" {_OUTLINES["done"]}') for recipe, colour in colours.items()]
    there = {state.status for state in part.states.values()}
    entries += [(status, f'fill="#ddd" {look}') for status, look in _OUTLINES.items() if status in there]
    x, lines = float(_MARGIN), []
    for text, look in entries:
        lines.append(f'<circle cx="{x}" cy="32" r="6" {look}/>')
        lines.append(f'<text x="{x + 10}" y="36">{_text(text)}</text>')
        x += 26 + len(text) * _LETTER
    if any(state.places for state in part.states.values()):
        lines.append(f'<text x="{x}" y="36" fill="#555">number: level</text>')
        x += 90
    return lines, x


def _colours(part: Subgraph) -> dict[str, str]:
    """Colour by recipe, for those that are there."""
    recipes = dict.fromkeys(state.recipe for state in part.states.values())
    own = [recipe for recipe in sorted(recipes) if recipe not in _COLOURS]
    more = {recipe: _OTHERS[i % len(_OTHERS)] for i, recipe in enumerate(own)}
    return {recipe: colour for recipe, colour in {**_COLOURS, **more}.items() if recipe in recipes}


def _tooltip(state: StateRecord) -> str:
    head = f"{state.key[:12]} {state.recipe}, {state.status}"
    fields = [f"{path}: {value}" for path, value in flat(state.params).items()]
    return "\n".join([head, *([state.what] if state.what else []), *fields])


def _text(text: str) -> str:
    """For XML, which has no place for control characters."""
    return escape("".join(c for c in text if c == "\n" or c.isprintable()))
