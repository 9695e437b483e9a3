from __future__ import annotations

import pytest

from pomona.core.errors import InputError
from pomona.graph.nodes import Graph
from pomona.graph.states import States
from pomona.graph.store import Store
from pomona.graph.tags import note, notes, tag, tag_counts, untag

from .conftest import add, run, tried


@pytest.fixture
def keys(store: Store) -> list[str]:
    graph = Graph()
    a = add(graph, 1.0)
    b = add(graph, 2.0, a)
    run(store, graph)
    return [a.key, b.key]


def test_tags_come_and_go(store: Store, keys: list[str]) -> None:
    assert tag(store.ledger, keys, "keep") == 2
    assert tag(store.ledger, keys[:1], "keep") == 0
    assert tag(store.ledger, [keys[0], keys[0]], "v1.0_x-y") == 1
    assert tag_counts(store.ledger) == {"keep": 2, "v1.0_x-y": 1}
    assert untag(store.ledger, keys, "v1.0_x-y") == 1
    assert States(store, "tag == keep").keys() == keys
    assert States(store, "tag == v1.0_x-y").keys() == []
    assert tag(store.ledger, [], "keep") == 0


def test_tags_and_notes_are_no_part_of_what_a_state_is(store: Store, keys: list[str]) -> None:
    before = tried(store)
    tag(store.ledger, keys, "keep")
    note(store.ledger, keys[0], "odd")
    graph = Graph()
    add(graph, 2.0, add(graph, 1.0))
    assert list(graph.states) == keys
    run(store, graph)
    assert tried(store) == before


@pytest.mark.parametrize("name", ["", "a b", "ä", "a/b", "x" * 101, "a\n"])
def test_name_that_is_none_is_refused(store: Store, keys: list[str], name: str) -> None:
    with pytest.raises(InputError, match="the name of a tag is up to 100 letters, digits and"):
        tag(store.ledger, keys, name)


def test_unknown_state_is_refused_and_nothing_is_tagged(store: Store, keys: list[str]) -> None:
    with pytest.raises(InputError, match="no state here has the key 'nothing'"):
        tag(store.ledger, [*keys, "nothing"], "keep")
    with pytest.raises(InputError, match="no state here"):
        note(store.ledger, "nothing", "text")
    assert tag_counts(store.ledger) == {}


def test_notes_are_kept_in_order(store: Store, keys: list[str]) -> None:
    note(store.ledger, keys[0], "  first\n")
    note(store.ledger, keys[0], "second: ünïcode")
    assert [one.text for one in notes(store.ledger, keys[0])] == ["first", "second: ünïcode"]
    assert notes(store.ledger, keys[1]) == []
    with pytest.raises(InputError, match="expected the text of a note"):
        note(store.ledger, keys[0], " ")
