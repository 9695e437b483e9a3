from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.errors import InputError
from pomona.graph.expression import And, Call, Comparison, Not, Or, Text, Word


def test_words_know_their_column_and_whether_they_were_quoted() -> None:
    tree = Text("query", 'a.b[3] >= 2 and not "c d" in [x, "and"]').parse()
    assert tree == And(
        (
            Comparison(Word("a.b", 1), (Word("3", 5),), ">=", (Word("2", 11),)),
            Not(Comparison(Word("c d", 21, True), (), "in", (Word("x", 31), Word("and", 34, True)))),
        )
    )


def test_or_is_looser_than_and_than_not() -> None:
    tree = Text("query", "not a == 1 and b == 2 or near(k)").parse()
    assert isinstance(tree, Or)
    assert isinstance(tree.parts[0], And)
    assert isinstance(tree.parts[0].parts[0], Not)
    assert tree.parts[1] == Call(Word("near", 26), Word("k", 31))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3),
        ("-3", -3),
        ("0.1", 0.1),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("20%", 0.2),
        ("7%", 0.07),
        ("12.5%", 0.125),
        ("30ep", None),
        ("nan", None),
        ("inf", None),
        ("1_000", None),
        ("0x10", None),
        ("9" * 200, None),
    ],
)
def test_numbers(text: str, number: float | None) -> None:
    found = Word(text, 1).number
    assert (found, type(found)) == (number, type(number))
    assert Word(text, 1, quoted=True).number is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read_back_with_every_bit(value: float) -> None:
    assert Word(repr(value), 1).number == value


@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from(["a", "(", ")", "[", "]", "and", "not", "in", "==", '"', ","])).map(" ".join)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        Text("query", text).parse()
    except InputError as error:
        assert str(error).startswith("query ")  # noqa: PT017 - either is right


def test_more_words_than_anybody_writes_are_refused() -> None:
    with pytest.raises(InputError, match="more than 20000 words"):
        Text("query", "a in [" + "x, " * 20_000 + "x]").parse()
