from __future__ import annotations

import hashlib
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomona.core.canonical import canonical, digest, probe_key, state_key
from pomona.core.step import Step

INIT = state_key("init", 1, {"model": {"name": "lenet"}, "seeds": {"init": 3}}, [])
TRAIN_PARAMS = {
    "optimizer": {"sgd": {"lr": 0.01, "momentum": 0.9}},
    "batch_size": 32,
    "duration": Step(30, "ep"),
    "seeds": {"order": 3},
}
TRAIN = state_key("train", 1, TRAIN_PARAMS, [INIT])

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.builds(Step, st.integers(0, 10**6), st.sampled_from(["ep", "it"]))
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"n"),
        (True, b"b1"),
        (-7, b"i-7;"),
        (1.0, b"f3ff0000000000000"),
        (1e-9, b"f3e112e0be826d695"),
        ("", b"s0:"),
        ("ü", b"s2:\xc3\xbc"),
        (Step(30, "ep"), b"t4:30ep"),
        ([], b"l0:"),
        ({}, b"d0:"),
        ([1, [2.0, None]], b"l2:i1;l2:f4000000000000000n"),
        ({"b": 1, "a": [True, "x"]}, b"d2:s1:al2:b1s1:xs1:bi1;"),
    ],
)
def test_canonical_golden_bytes(value: Any, expected: bytes) -> None:
    """A change here breaks every store: every key of every state is made of these bytes."""
    assert canonical(value) == expected
    assert digest(value) == hashlib.sha256(expected).hexdigest()


def test_keys_golden() -> None:
    """A change here breaks every store: what was computed would no longer be found under its key."""
    assert INIT == "b2a752f5db6418e05e380def88ec165a943805b65ef95f980ebee0065b350f29"
    assert TRAIN == "864e36e20dc11263986bce348cb95faa84961ccd07691f579af7a22534b4af08"
    prune = {"method": {"criterion": "magnitude", "scope": "layer"}, "amount": 0.2, "level": 1}
    assert (
        state_key("prune", 2, prune, [TRAIN])
        == "048b3e197f4e9f4324aa4c01c0db77d52c486bd92eba50bf88190d833b801f3e"
    )
    assert (
        probe_key("accuracy", 1, {"data": "f" * 64, "part": "test"}, [TRAIN])
        == "9141dec20ef9cc37bd01608e511e6e19f44a23e283bddc9c11ab8bd6099fc4a8"
    )
    assert (
        probe_key("mask-distance", 1, {}, [TRAIN, INIT])
        == "ebad17c465d5c5a502d3ffbfe92dd48a87d2f6064bfab217aef93b7c16f81a1e"
    )


def test_canonical_every_type_is_distinct() -> None:
    alike = [None, True, False, 1, 0, 1.0, 0.0, "1", "1.0", "True", "None", "", "3ep", Step(3, "ep")]
    alike += [Step(3, "it"), [], {}, [1], ["1"], {"1": 1}, [None], "n", "b1", [[]], [{}]]
    assert len({digest(value) for value in alike}) == len(alike)


def test_canonical_a_tuple_is_a_list() -> None:
    assert canonical((1, (2,))) == canonical([1, [2]])


@pytest.mark.parametrize(("a", "b"), [(1e-9, 4e-9), (0.1 + 0.2, 0.3), (-0.0, 0.0), (math.inf, -math.inf)])
def test_canonical_floats_enter_with_every_bit(a: float, b: float) -> None:
    assert canonical(a) != canonical(b)


@given(st.floats(allow_nan=False))
def test_canonical_float_is_the_bits_of_the_double(value: float) -> None:
    form = canonical(value)
    (back,) = struct.unpack(">d", bytes.fromhex(form[1:].decode()))
    assert math.copysign(1, back) == math.copysign(1, value)
    assert back == value
    assert canonical(np.float64(value)) == form


@given(st.dictionaries(st.text(), leaves, min_size=2))
def test_canonical_order_of_a_mapping_is_irrelevant(value: dict[str, Any]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


def test_canonical_order_of_a_list_counts() -> None:
    assert canonical([1, 2]) != canonical([2, 1])
    assert state_key("join", 1, {}, ["a", "b"]) != state_key("join", 1, {}, ["b", "a"])


@given(values, values)
def test_canonical_is_injective(a: Any, b: Any) -> None:
    assert (canonical(a) == canonical(b)) == (_strict(a) == _strict(b))


@given(values)
def test_canonical_can_be_read_back(value: Any) -> None:
    """Unambiguous: a reader that knows only the table of the docstring finds the value again."""
    found, rest = _read(canonical(value))
    assert rest == b""
    assert _strict(found) == _strict(value)


def test_canonical_nesting_is_unambiguous() -> None:
    assert canonical([["a"], "b"]) != canonical([["a", "b"]])
    assert canonical(["a", "b"]) != canonical(["ab"])
    assert canonical({"a": {"b": 1}}) != canonical({"a": {}, "b": 1})


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (math.nan, ValueError, "value: NaN has no canonical form"),
        ({"lr": [0.1, math.nan]}, ValueError, r"value\.lr\[1\]: NaN"),
        ({"a": {"b": {1, 2}}}, TypeError, r"value\.a\.b: set has no canonical form"),
        ([b"x"], TypeError, r"value\[0\]: bytes has no canonical form"),
        (np.int64(1), TypeError, "int64 has no canonical form"),
        ({"a": {1: "x"}}, TypeError, r"value\.a: a mapping is keyed by text, got 1"),
    ],
)
def test_canonical_refuses_and_says_where(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        canonical(value)


def test_keys_depend_on_every_part() -> None:
    keys = {
        TRAIN,
        state_key("treat", 1, TRAIN_PARAMS, [INIT]),
        state_key("train", 2, TRAIN_PARAMS, [INIT]),
        state_key("train", 1, {**TRAIN_PARAMS, "batch_size": 33}, [INIT]),
        state_key("train", 1, TRAIN_PARAMS, []),
        state_key("train", 1, TRAIN_PARAMS, [TRAIN]),
        probe_key("train", 1, TRAIN_PARAMS, [INIT]),
        probe_key("train", 2, TRAIN_PARAMS, [INIT]),
        probe_key("train", 1, TRAIN_PARAMS, [TRAIN]),
    }
    assert len(keys) == 9


def _strict(value: Any) -> Any:
    """A form in which values are equal only if type and all bits are."""
    if isinstance(value, list):
        return ("list", [_strict(item) for item in value])
    if isinstance(value, dict):
        return ("dict", sorted((key, _strict(item)) for key, item in value.items()))
    return (type(value).__name__, value.hex() if isinstance(value, float) else repr(value))


def _read(form: bytes) -> tuple[Any, bytes]:
    tag, rest = form[:1], form[1:]
    if tag == b"n":
        return None, rest
    if tag == b"b":
        return rest[:1] == b"1", rest[1:]
    if tag == b"i":
        number, _, rest = rest.partition(b";")
        return int(number), rest
    if tag == b"f":
        return struct.unpack(">d", bytes.fromhex(rest[:16].decode()))[0], rest[16:]
    length, _, rest = rest.partition(b":")
    count = int(length)
    if tag in b"st":
        text = rest[:count].decode()
        return (text if tag == b"s" else Step.parse(text)), rest[count:]
    items = []
    for _ in range(count if tag == b"l" else 2 * count):
        item, rest = _read(rest)
        items.append(item)
    return (items if tag == b"l" else dict(zip(items[::2], items[1::2], strict=True))), rest
