from __future__ import annotations

import operator
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.core.errors import InputError
from pomona.core.step import Step
from pomona.graph.query import Query
from pomona.graph.states import States
from pomona.graph.store import Store

from .orchard import FLOATS, KINDS, METHODS, RECIPES, TAGS, Plain, grow

# Made here and not in a fixture: what is drawn below depends on it.
_FOLDER = Path(tempfile.mkdtemp(prefix="pomona-orchard-"))
ORCHARD = grow(_FOLDER)
KEYS = sorted(ORCHARD)
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@pytest.fixture(scope="module")
def orchard() -> Iterator[Store]:
    import shutil

    with Store(_FOLDER, create=False) as store:
        yield store
    shutil.rmtree(_FOLDER)


@dataclass(frozen=True)
class Term:
    """A term as text, and what it means for a state at one of its places, if it has any."""

    text: str
    holds: Callable[[Plain, dict[str, Any] | None], bool]


@dataclass(frozen=True)
class Joined:
    sign: str
    parts: tuple[Any, ...]

    @property
    def text(self) -> str:
        if self.sign == "not":
            return f"not ({self.parts[0].text})"
        return f" {self.sign} ".join(f"({part.text})" for part in self.parts)


def somewhere(plain: Plain, tree: Any) -> bool:
    return any(at_place(plain, place, tree) for place in plain.places or [None])


def at_place(plain: Plain, place: dict[str, Any] | None, tree: Any) -> bool:
    if isinstance(tree, Term):
        return tree.holds(plain, place)
    if tree.sign == "not":
        return not somewhere(plain, tree.parts[0])
    together = all if tree.sign == "and" else any
    return together(at_place(plain, place, part) for part in tree.parts)


def values_of(plain: Plain, place: dict[str, Any] | None, name: str) -> list[Any]:
    """All values that a state has of a term: of the place where it is about places."""
    if name in ("study", "step", "replicate", "level"):
        return [place[name]] if place else []
    if name.removeprefix("arm.") in ("method",) or name == "arm.level":
        label = place["arm"].get(name.removeprefix("arm.")) if place else None
        return [] if label is None else [label]
    own = {
        "recipe": plain.state.recipe,
        "status": plain.status,
        "distance": plain.distance,
        "kind": plain.kind,
        "density": plain.kept[0] / 12 if plain.kept else None,
    }
    if name in own:
        return [] if own[name] is None else [own[name]]
    return sorted(plain.tags)


def is_about_places(name: str) -> bool:
    return name in ("study", "step", "replicate", "level", "method", "arm.method", "arm.level")


def compared(name: str, sign: str, text: str, value: Any) -> Any:
    if sign == "!=":
        return Joined("not", (compared(name, "==", text, value),))
    compare = ORDERS[sign]
    return Term(
        f"{name} {sign} {text}",
        lambda plain, place: any(compare(found, value) for found in values_of(plain, place, name)),
    )


TEXTS = {
    "recipe": RECIPES,
    "status": ("planned", "done", "failed"),
    "kind": KINDS,
    "tag": (*TAGS, "nobody-has-it"),
    "study": ("one", "two"),
    "step": ("dense", "ticket"),
    "method": METHODS,
    "arm.method": METHODS,
    "arm.level": ("low", "high"),
}


@st.composite
def text_terms(draw: st.DrawFn) -> Any:
    name = draw(st.sampled_from(sorted(TEXTS)))
    if draw(st.booleans()):
        labels = draw(st.lists(st.sampled_from(TEXTS[name]), min_size=1, max_size=3))
        inside = Term(
            f"{name} in [{', '.join(quoted(label) for label in labels)}]",
            lambda plain, place: any(found in labels for found in values_of(plain, place, name)),
        )
        return inside
    label = draw(st.sampled_from(TEXTS[name]))
    return compared(name, draw(st.sampled_from(("==", "!="))), quoted(label), label)


def quoted(label: str) -> str:
    return f'"{label}"' if " " in label or label == "and" else label


@st.composite
def number_terms(draw: st.DrawFn) -> Any:
    name = draw(st.sampled_from(("distance", "replicate", "level", "density")))
    value = draw(st.sampled_from((0, 1, 2, 3, 0.5, 0.25)))
    return compared(name, draw(st.sampled_from(sorted(ORDERS))), repr(value), value)


@st.composite
def measured_terms(draw: st.DrawFn) -> Any:
    text, quantity, layer, class_ = draw(
        st.sampled_from(
            (
                ("accuracy", "accuracy", "", -1),
                ("own.share", "own.share", "", -1),
                ("measured.status", "status", "", -1),
                ("class-accuracy{}[1]", "class-accuracy", "", 1),
                ("stability{}[conv1.weight]", "stability", "conv1.weight", -1),
                ('stability{}["fc"]', "stability", "fc", -1),
            )
        )
    )
    part = draw(st.sampled_from(("test", "validation")))
    suffix = f".{part}" if part != "test" or draw(st.booleans()) else ""
    text = text.format(suffix) if "{}" in text else text + suffix
    sign = draw(st.sampled_from(sorted(ORDERS)))
    value = draw(st.sampled_from((*FLOATS, 0.9, 0.5, None)))
    if value is None:
        sign = draw(st.sampled_from(("==", "!=")))
    compare = ORDERS["==" if sign == "!=" else sign]

    def holds(plain: Plain, place: dict[str, Any] | None) -> bool:
        wanted = (quantity, part, layer, class_)
        found = [number[4] for number in plain.numbers if number[:4] == wanted]
        if value is None:
            return None in found
        return any(compare(number, value) for number in found if number is not None)

    term = Term(f"{text} {'==' if sign == '!=' else sign} {'none' if value is None else repr(value)}", holds)
    return Joined("not", (term,)) if sign == "!=" else term


@st.composite
def parameter_terms(draw: st.DrawFn) -> Any:
    path, steps = draw(
        st.sampled_from(
            (
                ("params.lr", ("lr",)),
                ("params.duration", ("duration",)),
                ("params.nested.flag", ("nested", "flag")),
                ("params.nested.name", ("nested", "name")),
                ("params.sizes[0]", ("sizes", 0)),
                ("params.index", ("index",)),
            )
        )
    )
    word = draw(
        st.sampled_from(
            (*(repr(value) for value in FLOATS), "32", "5", "true", "none", "30ep", "1it", "a", "x")
        )
    )
    marks = draw(st.booleans())
    number = None
    if not marks:
        try:
            number = float(word)
        except ValueError:
            number = None
    sign = draw(st.sampled_from(sorted(ORDERS) if number is not None else ("==", "!=")))
    plain_sign = "==" if sign == "!=" else sign

    def holds(plain: Plain, place: dict[str, Any] | None) -> bool:
        found: Any = plain.state.params
        for step in steps:
            if isinstance(found, dict) and step not in found:
                return False
            found = found[step]  # type: ignore[index]
        if isinstance(found, (str, Step)):
            return plain_sign == "==" and str(found) == word
        if found is None or isinstance(found, bool):
            return (
                plain_sign == "=="
                and not marks
                and {None: "none", True: "true", False: "false"}[found] == word
            )
        return number is not None and ORDERS[plain_sign](found, number)

    shown = f"'{word}'" if marks else word
    term = Term(f"{path} {plain_sign} {shown}", holds)
    return Joined("not", (term,)) if sign == "!=" else term


@st.composite
def key_terms(draw: st.DrawFn) -> Any:
    key = draw(st.sampled_from(KEYS))
    kind = draw(st.sampled_from(("key", "ancestors", "descendants")))
    if kind == "key":
        prefix = key[: draw(st.integers(1, 6))]
        return Term(f"key == {prefix}", lambda plain, place: plain.state.key.startswith(prefix))
    if kind == "ancestors":
        return Term(f"ancestors({key[:16]})", lambda plain, place: plain.state.key in ORCHARD[key].ancestors)
    return Term(f"descendants({key[:16]})", lambda plain, place: key in plain.ancestors)


TREES = st.recursive(
    st.one_of(text_terms(), number_terms(), measured_terms(), parameter_terms(), key_terms()),
    lambda inner: st.one_of(
        st.builds(lambda part: Joined("not", (part,)), inner),
        st.builds(
            lambda sign, parts: Joined(sign, tuple(parts)),
            st.sampled_from(("and", "or")),
            st.lists(inner, min_size=2, max_size=3),
        ),
    ),
    max_leaves=6,
)


def expected(tree: Any) -> list[str]:
    found = [plain for plain in ORCHARD.values() if somewhere(plain, tree)]
    return [plain.state.key for plain in sorted(found, key=lambda p: (p.distance, p.state.key))]


@settings(max_examples=400)
@given(tree=TREES)
def test_query_finds_what_plain_python_finds(orchard: Store, tree: Any) -> None:
    assert States(orchard, tree.text).keys() == expected(tree)


@settings(max_examples=60)
@given(a=TREES, b=TREES)
def test_queries_combine(orchard: Store, a: Any, b: Any) -> None:
    one, other = Query(a.text), Query(b.text)
    assert States(orchard, one & other).keys() == expected(Joined("and", (a, b)))
    assert States(orchard, one | other).keys() == expected(Joined("or", (a, b)))
    assert set(States(orchard, ~one).keys()) == set(KEYS) - set(States(orchard, one).keys())


def test_places_of_one_state_are_not_mixed(tmp_path: Path) -> None:
    from pomona.graph.nodes import State

    state = State("train", 1, {})
    with Store(tmp_path / "store") as store:
        store.ledger.plan([state], [])
        store.ledger.label("one", [(state.key, "ticket", 0, 3, {})])
        store.ledger.label("two", [(state.key, "ticket", 0, 1, {})])
        assert len(States(store, "study == one and level == 3")) == 1
        assert len(States(store, "study == one and level == 1")) == 0
        assert len(States(store, "not (study == one and level == 1)")) == 1
        assert len(States(store, "study == one and level != 1")) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a name at the end"),
        ("accuracy >", "expected a value of accuracy at the end"),
        ("accuracy 0.9", "column 10: expected ==, !=, <, <=, >, >=, in or not in after 'accuracy'"),
        ("(level == 3", "expected '\\)'"),
        ("level == 3)", "column 11: did not expect '\\)'"),
        ("level = 3", "column 7: cannot read '= 3'"),
        ('tag == "keep', "is a quote not closed"),
        ("kind == out of memory", "did not expect 'of'; a label of several words is quoted: \"out of .."),
        ("level == 3 && tag == keep", "did not expect '&&'; write and"),
        ("level in [1, 2", "expected ']'"),
        ("level in []", "expected a value of level, got ']'"),
        ("in == 3", "expected a name, got 'in'"),
        ("level == 3\x00", "cannot be printed"),
        ("(" * 30 + "level == 3" + ")" * 30, "nested deeper than 20"),
    ],
)
def test_broken_grammar_says_where(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Query(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recpe == train", "column 1: unknown term 'recpe'; did you mean 'recipe'. Known: recipe, status"),
        ("acuracy > 0.9", "did you mean 'accuracy'"),
        (
            "recipe == trian",
            "column 11: unknown recipe 'trian'; did you mean 'train'. Known: init, prune, train",
        ),
        ("status == ok", "unknown status 'ok'. Known: planned, done, failed"),
        ("kind == divrged", "did you mean 'diverged'"),
        ("study == thre", "unknown study 'thre'"),
        ("step == tiket", "did you mean 'ticket'"),
        ("method == l3", "unknown label of factor 'method' 'l3'"),
        ("level == high", "level is a number, got 'high'"),
        ("accuracy > high", "column 12: accuracy is a number"),
        ("recipe < train", "recipe is text: expected ==, !=, in or not in, got '<'"),
        ("level[3] == 1", "level has no subscripts"),
        ("method[3] == l1", "method has no subscripts"),
        ("class-accuracy > 0.9", r"there is no 'class-accuracy'; did you mean 'class-accuracy\["),
        (
            "class-accuracy[7] > 0.9",
            r"Measured: class-accuracy\[0\], class-accuracy\[1\], class-accuracy\[2\]",
        ),
        ("class-accuracy[99999999999999999999] > 0", "there is no"),
        ("stability[conv2.weight] < 1", r"did you mean 'stability\[conv1.weight\]'"),
        (
            "accuracy.train > 0.9",
            "accuracy was not measured on the part 'train'; there is accuracy.test, accuracy.val",
        ),
        ("params.nested.nam == a", "unknown parameter 'nested.nam'; did you mean 'nested.name'"),
        ("params.lr > fast", "> expects a number, got 'fast'"),
        ("key == xyz", "expected the beginning of a key"),
        ("ancestors(zz)", "column 11: no state in .* has a key that begins with 'zz'"),
        ("ancestor(3)", "unknown function 'ancestor'; did you mean 'ancestors'"),
    ],
)
def test_unknown_name_says_the_nearest(orchard: Store, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        States(orchard, text).keys()


def test_nothing_is_unknown_where_nothing_is_there_yet(store: Store) -> None:
    for text in ("accuracy > 0.9", "recipe == train", "step == ticket", "params.lr == 1", "a[b][3] > 1"):
        assert States(store, text).keys() == []


def test_huge_numbers_are_numbers(orchard: Store) -> None:
    assert len(States(orchard, "level < 99999999999999999999999 or level >= 0")) == len(
        States(orchard, "level >= 0")
    )
    with pytest.raises(InputError, match="is a number"):
        States(orchard, f"level == {'9' * 5000}").keys()


def test_percent_is_a_fraction(orchard: Store) -> None:
    assert States(orchard, "params.lr == 10%").keys() == States(orchard, "params.lr == 0.1").keys() != []
    assert States(orchard, "density < 50%").keys() == States(orchard, "density < 0.5").keys() != []


def test_long_query_is_no_problem_for_sqlite(orchard: Store) -> None:
    wanted = [key for i, key in enumerate(KEYS) if i % 2]
    assert sorted(States(orchard, f"key in [{', '.join(wanted * 50)}]").keys()) == wanted
    text = " and ".join(["level >= 0", "recipe != train"] * 700)
    assert States(orchard, text).keys() == States(orchard, "level >= 0 and recipe != train").keys()


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("accuracy > 0.9 and recipe == train", "measurements_quantity"),
        ("accuracy > 0.9 and recipe == train", "states_recipe"),
        ("step == ticket and level >= 1", "labels_state"),
        ("tag == keep", "tags_tag"),
        ("kind == diverged", "attempts_node"),
        ("ancestors({})", "sqlite_autoindex_parents"),
        ("descendants({})", "parents_parent"),
    ],
)
def test_query_uses_the_index(orchard: Store, text: str, index: str) -> None:
    condition = Query(text.format(KEYS[0])).condition(orchard.ledger, orchard.find)
    sql = f"EXPLAIN QUERY PLAN SELECT s.key FROM states s WHERE {condition.sql}"
    plan = " ".join(str(row["detail"]) for row in orchard.ledger.rows(sql, condition.values))
    assert index in plan
    assert "SCAN m" not in plan
