from __future__ import annotations

import itertools
import random
import xml.etree.ElementTree as ElementTree

import pytest

from pomona.core.errors import InputError
from pomona.graph.drawing import MOST_STATES, draw
from pomona.graph.nodes import Graph, State
from pomona.graph.rails import rails
from pomona.graph.store import Store
from pomona.graph.subgraph import generations, subgraph

from .conftest import add, attempt
from .test_lineage import chain


def drawn(store: Store, query: str | None = None, plain: bool = False) -> list[str]:
    part = subgraph(store, query)
    return [f"{rail} {part.states[key].recipe}" for rail, key in rails(part, plain)]


def test_lineage_is_drawn_with_its_joins(store: Store) -> None:
    states = chain(Graph(), 32, levels=2)
    store.ledger.plan(states, [])
    store.ledger.commit_failure(attempt(states[-1].key, "failed", kind="error", reason="x"), 1, final=True)
    assert drawn(store) == [
        "✗ train",
        "○─╮ treat",
        "○ │ prune",
        "○ │ train",
        "○─┤ treat",
        "○ │ prune",
        "○─┤ train",
        "  ○ init",
    ]
    assert drawn(store, plain=True)[:2] == ["x train", "o-+ treat"]


def test_restricted_graph_has_lines_through_what_is_left_out(store: Store) -> None:
    graph = Graph()
    start = add(graph, 0.0)
    one, other = add(graph, 1.0, start), add(graph, 2.0, start)
    last = graph.add(State("join", 1, {}, (one.key, other.key)))
    store.ledger.plan(graph.states.values(), [])
    part = subgraph(store, "recipe == join or distance == 0")
    assert part.parents == {start.key: (), last.key: (start.key,)}
    assert drawn(store, "recipe == join or distance == 0") == ["○ join", "○ add"]


def random_graph(draw_: random.Random, size: int) -> Graph:
    graph = Graph()
    for i in range(size):
        known = list(graph.states.values())
        add(graph, float(i), *draw_.sample(known, min(len(known), draw_.choice((0, 1, 1, 2, 3)))))
    return graph


@pytest.mark.parametrize("seed", range(30))
def test_each_state_is_drawn_once_and_every_line_can_be_followed(store: Store, seed: int) -> None:
    graph = random_graph(random.Random(seed), 25)
    store.ledger.plan(graph.states.values(), [])
    part = subgraph(store)
    rows = list(rails(part))
    keys = [key for _, key in rows]
    assert sorted(keys) == sorted(graph.states)
    place = {key: i for i, key in enumerate(keys)}
    for key, state in graph.states.items():
        assert all(place[key] < place[parent] for parent in state.parents)
    # A line that comes down from a row goes on in the next, until it meets its state.
    for (above, _), (below, key) in itertools.pairwise(rows):
        down = {i for i, sign in enumerate(above) if sign in "│├┤┼╮┬"}
        sign = below.index(next(c for c in below if c in "●○✗"))
        for column in down - {sign}:
            assert column < len(below), f"a line is lost above {key}"
            assert below[column] in "│├┤┼", f"a line is lost above {key}"


def test_generations_put_every_state_after_its_parents(store: Store) -> None:
    graph = random_graph(random.Random(3), 40)
    store.ledger.plan(graph.states.values(), [])
    columns = generations(subgraph(store))
    for key, state in graph.states.items():
        assert all(columns[parent] < columns[key] for parent in state.parents)


def test_picture_is_svg_with_everything_in_it(store: Store) -> None:
    states = chain(Graph(), 32, levels=3)
    own = State("my-recipe<&>", 1, {"text": 'a "quoted" <b>\x07'}, (states[-1].key,))
    store.ledger.plan([*states, own], [])
    store.ledger.label("s", [(states[-1].key, "ticket", 0, 3, {"method": "l1 & l2"})])
    root = ElementTree.fromstring(draw(subgraph(store), "a <title>"))
    space = "{http://www.w3.org/2000/svg}"
    titles = [title.text or "" for title in root.iter(f"{space}title")]
    assert len(titles) == len(states) + 1
    for state in (*states, own):
        assert any(state.key[:12] in title and state.recipe in title for title in titles)
    assert any("train.batch_size: 32" in title for title in titles)
    lines = sum(len(state.parents) for state in (*states, own))
    assert len(list(root.iter(f"{space}path"))) == lines
    texts = [text.text for text in root.iter(f"{space}text")]
    assert "a <title>" in texts
    assert "ticket l1 & l2 replicate 0" in texts
    assert {"init", "train", "prune", "treat", "my-recipe<&>", "planned"} <= set(texts)
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    places = [(float(c.get("cx", "-1")), float(c.get("cy", "-1"))) for c in root.iter(f"{space}circle")]
    assert all(0 < x < width and 0 < y < height for x, y in places)
    assert len(set(places)) == len(places), "two states lie upon each other"


def test_too_much_or_nothing_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="there is no state to draw"):
        draw(subgraph(store), "")
    graph = Graph()
    for i in range(MOST_STATES + 1):
        add(graph, float(i))
    store.ledger.plan(graph.states.values(), [])
    with pytest.raises(InputError, match=r"3,001 states make no readable picture .* --where"):
        draw(subgraph(store), "")
