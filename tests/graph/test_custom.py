"""How users' recipes and probes are declared: what is refused, and what enters their identity."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pomona.core.errors import InputError
from pomona.core.reference import Reference
from pomona.core.step import Step
from pomona.graph.custom import TAKEN, Measure, Recipe, load_declared
from pomona.studies.identity import VERSIONS
from tests.users import HEAD, declare, own_modules, write

LINE = HEAD.count("\n") + 1
WORK = "@pomona.recipe\ndef work(state: pomona.Given, *, {}) -> pomona.Made: ...\n"


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with own_modules():
        yield


def settled(folder: Path, parameter: str, **given: Any) -> dict[str, Any]:
    return declare(folder, WORK.format(parameter)).signature.settle(given, "work").arguments()


@pytest.mark.parametrize(
    ("declaration", "said"),
    [
        ("def work(): ...", "a recipe takes a state first: def work(state: pomona.Given, ...)"),
        ("def work(*, bits: int): ...", "a recipe takes a state first"),
        ("def work(*states: pomona.Given): ...", "*states: several states are declared as states: Sequence[pomona.Given]"),
        ("def work(state: pomona.Given, **more: int): ...", "**more: parameters are declared, each by its name and type"),
        ("def work(state): ...", "'state' has no type; write one, as in state: pomona.Given"),
        ("def work(state: pomona.Given, *, bits=8): ...", "'bits' has no type; write one, as in bits: int = 8"),
        ("def work(state: pomona.Given, bits: int = 8): ...", "'bits' has a default, and what stands before '*' is a state; write '*' before it"),
        ("def work(state: pomona.Given, bits: int): ...", "'bits' stands before '*', so it is a state and its type pomona.Given or Sequence[pomona.Given], got int"),
        ("def work(state: pomona.Given, *, source: int): ...", "a parameter cannot be called 'source'; call it source_used"),
        ("def work(state: pomona.Given, *, _x: int): ...", "a parameter cannot be called '_x'; call it x_used"),
        ("def work(a: pomona.Given, b: Sequence[pomona.Given]): ...", "a sequence of states stands alone"),
        ("def work(state: pomona.Given, *, x: np.ndarray): ...", "the type of 'x' is ndarray; a parameter may be bool, int, float"),
        ("def work(state: pomona.Given, *, x: dict[int, str]): ...", "the type of 'x' is dict; a parameter may be"),
        ("def work(state: pomona.Given, *, x: 'Gone'): ...", "its annotations cannot be read (NameError: name 'Gone' is not defined)"),
        ("async def work(state: pomona.Given): ...", "a recipe is a plain function that returns its result"),
        ("def work(state: pomona.Given):\n    yield 1", "a recipe is a plain function that returns its result"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_says_what_to_write(declaration: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        _ = declare(tmp_path, f"@pomona.recipe\n{declaration}\n").signature
    assert f"mine.py:{LINE}: work: {said}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("work = pomona.recipe(lambda state: state)", "@pomona.recipe stands above a function (def ...), got a lambda"),
        ("@pomona.recipe\nclass work: ...", "@pomona.recipe stands above a function (def ...), got type"),
        ("def make():\n    @pomona.recipe\n    def work(state: pomona.Given): ...\n    return work\nwork = make()", "make.<locals>.work: a recipe stands at the top level of a file"),
        ("@pomona.recipe\ndef train(state: pomona.Given): ...", "'train' is a name of Pomona's own"),
        ("@pomona.recipe(version='2')\ndef work(state: pomona.Given): ...", "version is a whole number, got '2'"),
        ("@pomona.recipe(nested='no')\ndef work(state: pomona.Given): ...", "nested is True or False, got 'no'"),
        ("@pomona.recipe(pruned_value='one')\ndef work(state: pomona.Given): ...", "pruned_value is 'zero' or 'frozen', got 'one'"),
        ("@pomona.recipe(depends_on='tables.csv')\ndef work(state: pomona.Given): ...", "depends_on is a list"),
        ("@pomona.recipe(depends_on=['gone.csv'])\ndef work(state: pomona.Given): ...", "depends_on: there is no file"),
        ("@pomona.recipe(depends_on=[len])\ndef work(state: pomona.Given): ...", "has no source; name a file, a function or a module"),
    ],
)  # fmt: skip
def test_a_wrong_decoration_says_what_to_write(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        declare(tmp_path, text + "\n")
    assert said in str(caught.value)


def test_a_function_at_a_prompt_is_told_to_move_to_a_file() -> None:
    code = "import pomona\n@pomona.recipe\ndef work(state: pomona.Given): ...\n"
    found = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True)
    assert "work: a recipe is defined in a file, not at a prompt or in a notebook" in found.stderr


def test_a_function_under_another_name_is_refused_before_it_is_used(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", HEAD + "def plain(state: pomona.Given): ...\nwork = pomona.recipe(plain)\n")
    found = load_declared(Reference(tmp_path.resolve() / "mine.py", "work"), Recipe)
    with pytest.raises(
        InputError, match="has something else under the name 'plain'; decorate the function where"
    ):
        _ = found.identity


def test_a_plain_function_is_told_to_be_decorated(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"mine\.py:work is not a recipe: write @pomona\.recipe above its def"
    ):
        declare(tmp_path, "def work(state: pomona.Given): ...\n")
    with pytest.raises(InputError, match=r"mine\.py:work is not a probe"):
        declare(tmp_path, "@pomona.recipe\ndef work(state: pomona.Given): ...\n", kind=Measure)


def test_names_of_pomonas_own_are_those_that_run() -> None:
    assert {name for name in VERSIONS if name.isidentifier()} <= TAKEN


@pytest.mark.parametrize(
    ("parameter", "given", "value"),
    [
        ("x: int = 3", {}, 3),
        ("x: float = 1", {}, 1.0),
        ("x: float", {"x": 2}, 2.0),
        ("x: bool", {"x": True}, True),
        ("x: str | None = None", {}, None),
        ("x: int | float", {"x": 1.0}, 1.0),
        ("x: pomona.Step", {"x": "3ep"}, Step(3, "ep")),
        ("x: Literal['a', 'b']", {"x": "b"}, "b"),
        ("x: tuple[int, ...]", {"x": [1, 2]}, (1, 2)),
        ("x: Sequence[float]", {"x": (1, 2)}, [1.0, 2.0]),
        ("x: Mapping[str, list[int]]", {"x": {"fc": [1]}}, {"fc": [1]}),
    ],
)
def test_a_parameter_takes_the_type_of_its_annotation(
    parameter: str, given: dict[str, Any], value: object, tmp_path: Path
) -> None:
    found = settled(tmp_path, parameter, **given)["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("parameter", "given", "said"),
    [
        ("bits: int = 8", {"bots": 4}, "unknown parameter 'bots'; did you mean 'bits'? Known: bits"),
        ("bits: int", {}, "bits is required and missing"),
        ("bits: int", {"bits": "4"}, "bits: input should be a valid integer, got '4'"),
        ("bits: int", {"bits": 4.0}, "bits: input should be a valid integer, got 4.0"),
        ("bits: int", {"bits": True}, "bits: input should be a valid integer, got True"),
        ("bits: float", {"bits": True}, "bits: input should be a valid number, got True"),
        ("bits: float", {"bits": float("nan")}, "bits: input should be a finite number, got nan"),
        ("bits: bool", {"bits": 1}, "bits: input should be a valid boolean, got 1"),
        ("bits: str", {"bits": 1}, "bits: input should be a valid string, got 1"),
        ("at: pomona.Step", {"at": "3"}, "at: expected epochs as '30ep' or iterations as '500it', got '3'"),
        ("x: int | bool", {"x": "a"}, "integer, got 'a' or input should be a valid boolean, got 'a'"),
        ("x: list[int]", {"x": [1, "a"]}, "x: input should be a valid integer, got 'a'"),
    ],
)
def test_a_wrong_parameter_says_what_it_should_be(
    parameter: str, given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        settled(tmp_path, parameter, **given)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["identity", "json", "copy", "model_fields", "model_config", "schema"])
def test_any_name_may_be_a_parameter(name: str, tmp_path: Path) -> None:
    found = declare(tmp_path, WORK.format(f"{name}: int = 3")).signature.settle({name: 4}, "work")
    assert found.arguments() == found.identity() == {name: 4}


def test_parameters_come_back_from_their_identity(tmp_path: Path) -> None:
    from pomona.graph.nodes import from_json, to_json

    text = WORK.format("at: pomona.Step, x: tuple[float, ...] = (1,), y: dict[str, int | None] = {'a': None}")
    signature = declare(tmp_path, text).signature
    first = signature.settle({"at": "3it"}, "work")
    assert signature.settle(from_json(to_json(first.identity())), "work") == first


def test_several_states_are_a_sequence_or_one_name_each(tmp_path: Path) -> None:
    one = declare(tmp_path, "@pomona.recipe\ndef work(state: pomona.Given): ...\n").signature
    two = declare(tmp_path, "@pomona.recipe\ndef work(a: pomona.Given, b: pomona.Given): ...\n").signature
    for written in ("Sequence[pomona.Given]", "list[pomona.Given]", "tuple[pomona.Given, ...]"):
        many = declare(tmp_path, f"@pomona.recipe\ndef work(states: {written}): ...\n").signature
        assert [many.count_fault(n) for n in (0, 1, 5)] == ["takes one state or more, got none", None, None]
    assert one.count_fault(1) is None
    assert one.count_fault(2) == "takes 1 state (state), got 2"
    assert two.count_fault(1) == "takes 2 states (a, b), got 1"


IDENTITY = '''
def helper(x):
    return x + 1

@pomona.recipe(depends_on=["tables.csv", "sub/net.py"])
def work(state: pomona.Given, *, bits: int = 8) -> pomona.Made:
    """Doc."""
    return helper(bits)
'''


@pytest.mark.parametrize(
    ("name", "old", "new", "same"),
    [
        ("mine.py", '    """Doc."""\n', "    # a comment\n", True),
        ("mine.py", "helper(bits)", "helper(  bits  )", True),
        ("mine.py", "x + 1", "x + 2", False),
        ("mine.py", "bits: int = 8", "bits: int = 7", False),
        ("tables.csv", "1,2", "1,3", False),
    ],
)
def test_the_source_and_what_it_depends_on_are_the_identity(
    name: str, old: str, new: str, same: bool, tmp_path: Path
) -> None:
    write(tmp_path, "tables.csv", "1,2")
    write(tmp_path, "sub/net.py", "X = 1")
    before = declare(tmp_path, IDENTITY).identity
    assert set(before["depends_on"]) == {"tables.csv", "sub/net.py"}  # type: ignore[arg-type]
    write(tmp_path, name, (tmp_path / name).read_text().replace(old, new))
    after = load_declared(Reference(tmp_path.resolve() / "mine.py", "work"), Recipe).identity
    assert (before == after) is same


def test_functions_and_modules_may_be_depended_on(tmp_path: Path) -> None:
    write(tmp_path, "lib/far.py", "def f():\n    return g()\ndef g():\n    return 1\n")
    text = (
        "import importlib, sys\nsys.path.insert(0, __file__[:-7] + 'lib')\nfar = importlib.import_module('far')\n"
        "@pomona.recipe(depends_on=[far, far.f])\ndef work(state: pomona.Given): ...\n"
    )
    before = declare(tmp_path, text).identity["depends_on"]
    assert set(before) == {"far.py:*", "far.py:f"}  # type: ignore[arg-type]
    write(tmp_path, "lib/far.py", "def f():\n    return g()\ndef g():\n    return 2\n")
    sys.modules.pop("far")
    after = declare(tmp_path, text).identity["depends_on"]
    assert all(before[name] != after[name] for name in before)  # type: ignore[call-overload,index,union-attr]
    sys.modules.pop("far")


def test_a_declared_function_is_called_as_before(tmp_path: Path) -> None:
    found = declare(
        tmp_path,
        "@pomona.recipe\ndef work(state: pomona.Given, *, bits: int = 8):\n    'Doc.'\n    return state, bits\n",
    )
    assert found("a", bits=4) == ("a", 4)  # type: ignore[arg-type]
    assert found.__doc__ == "Doc."


def test_declaring_imports_no_torch(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", HEAD + IDENTITY.replace('(depends_on=["tables.csv", "sub/net.py"])', ""))
    code = "import sys, mine; mine.work.identity; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
