from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pomona.core import reference
from pomona.core.errors import InputError
from pomona.core.reference import WHOLE, Reference, importing, is_reference, user_traceback

NET = '''
"""A file of the user's."""
import math
from layers import block

WIDTH = 32
OTHER = 5

def net(width=WIDTH):
    """Build it."""
    # a comment
    return block(helper(width))

def helper(value):
    return math.sqrt(value) + 1

def unrelated():
    return OTHER
'''


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    """Whatever a test imports is gone after it."""
    modules, path = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    reference._own.clear()
    reference._folders.clear()
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "mine.py", NET)
    write(tmp_path, "layers.py", "def block(x):\n    return x * inner()\n\ndef inner():\n    return 2\n")
    return tmp_path


_clock = [1_700_000_000]


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file, each time a second later: what changed is seen by the time of the file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    _clock[0] += 2
    os.utime(path, (_clock[0], _clock[0]))
    return path


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    write(folder, name, text.replace(old, new))


def digest_of(folder: Path, name: str = "net") -> str:
    return Reference.parse(f"mine.py:{name}", folder).digest()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mine.py:net", True),
        ("../a b/mine.py:Net_2", True),
        ("C:\\a\\mine.py:net", True),
        ("magnitude", False),
        ("mine.py", False),
        ("mine.py:", False),
        (".py:net", False),
        ("mine.py:2net", False),
        ("mine.py:net()", False),
        ("mine.py:net\n", False),
        (3, False),
        (None, False),
    ],
)
def test_is_reference(text: object, expected: bool) -> None:
    assert is_reference(text) is expected


def test_parse_is_relative_to_the_folder_or_to_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Reference((folder / "mine.py").resolve(), "net")
    assert Reference.parse("mine.py:net", folder) == expected
    assert Reference.parse(f"{folder}/mine.py:net") == expected
    monkeypatch.chdir(folder)
    assert Reference.parse("mine.py:net") == expected
    assert str(expected) == f"{folder.resolve()}/mine.py:net"


def test_parse_a_wrong_form_says_the_right_one(folder: Path) -> None:
    with pytest.raises(InputError, match=r"expected a file and a name as 'mine.py:net', got 'mine:net'"):
        Reference.parse("mine:net", folder)


def test_parse_a_missing_file_names_the_nearest(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        Reference.parse("mien.py:net", folder)
    assert str(caught.value) == f"'mien.py:net': there is no file {folder}/mien.py; did you mean 'mine.py'?"
    with pytest.raises(InputError, match=r"there is no file .*/gone/mine.py$"):
        Reference.parse("gone/mine.py:net", folder)


def test_parse_a_missing_name_names_the_nearest_and_all(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        Reference.parse("mine.py:nett", folder)
    assert str(caught.value) == (
        f"{folder}/mine.py: unknown name 'nett'; did you mean 'net'? "
        "Known: OTHER, WIDTH, helper, net, unrelated"
    )


def test_parse_a_file_that_is_not_python_names_the_line(folder: Path) -> None:
    write(folder, "mine.py", "x = 1\ndef net(:\n    pass\n")
    with pytest.raises(InputError, match=r"mine\.py:2: not valid Python: "):
        Reference.parse("mine.py:net", folder)
    (folder / "mine.py").write_bytes(b"x = '\xff'\n")
    with pytest.raises(InputError, match=r"mine\.py: cannot be read as Python source"):
        Reference.parse("mine.py:net", folder)


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import numba\nexcept ImportError:\n    def net():\n        pass\n",
        "if True:\n    pass\nelse:\n    def net(): pass\n",
        "net = lambda: 3\n",
        "a, (net, b) = 1, (print, 2)\n",
        "net: object = print\n",
        "class net:\n    pass\n",
        "match 1:\n    case _:\n        async def net(): pass\n",
        "with open('/dev/null'):\n    net = print\n",
    ],
)
def test_parse_finds_a_name_in_any_block_of_the_top_level(folder: Path, text: str) -> None:
    write(folder, "mine.py", text)
    assert Reference.parse("mine.py:net", folder).name == "net"


@pytest.mark.parametrize(
    "text", ["def f():\n    net = 1\n", "x = [net for net in ()]\n", "print(net)\n", "import net\n"]
)
def test_parse_does_not_take_other_uses_of_a_name_for_a_definition(folder: Path, text: str) -> None:
    write(folder, "mine.py", text)
    with pytest.raises(InputError, match="unknown name 'net'"):
        Reference.parse("mine.py:net", folder)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("mine.py", "    # a comment\n", ""),
        ("mine.py", '    """Build it."""\n', ""),
        ("mine.py", "Build it.", "Build it differently."),
        ("mine.py", "A file of the user's.", "Anything."),
        ("mine.py", "return block(helper(width))", "return block(\n        helper( width ),\n    )"),
        ("mine.py", "return OTHER", "return OTHER + 1"),
        ("mine.py", "OTHER = 5", "OTHER = 6"),
        ("mine.py", "def unrelated", "if __name__ == '__main__':\n    print(net())\n\ndef unrelated"),
        ("mine.py", "def unrelated():", "def unrelated():\n    from gone import y"),
        ("layers.py", "def block", "def unrelated():\n    return 1\n\ndef block"),
    ],
)
def test_digest_is_unchanged_by(folder: Path, name: str, old: str, new: str) -> None:
    before = digest_of(folder)
    edit(folder, name, old, new)
    assert digest_of(folder) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("mine.py", "block(helper(width))", "helper(block(width))"),
        ("mine.py", "return math.sqrt(value) + 1", "return math.sqrt(value) + 2"),
        ("mine.py", "WIDTH = 32", "WIDTH = 33"),
        ("mine.py", "def net(width=WIDTH)", "def net(width=WIDTH, depth=1)"),
        ("mine.py", "def net(", "@staticmethod\ndef net("),
        ("mine.py", "OTHER = 5", "WIDTH += 1"),
        ("layers.py", "return x * inner()", "return x + inner()"),
        ("layers.py", "return 2", "return 3"),
    ],
)
def test_digest_is_changed_by(folder: Path, name: str, old: str, new: str) -> None:
    before = digest_of(folder)
    edit(folder, name, old, new)
    assert digest_of(folder) != before


# Of each: the files, and the edit of a file that must be seen.
REACHED = {
    "from import": ({"mine.py": "from h import f\ndef net(): return f()\n", "h.py": "def f(): return 1\n"}, "h.py"),
    "import as": ({"mine.py": "from h import f as g\ndef net(): return g()\n", "h.py": "def f(): return 1\n"}, "h.py"),
    "import": ({"mine.py": "import h\ndef net(): return h.f()\n", "h.py": "def f(): return 1\n"}, "h.py"),
    "import module as": ({"mine.py": "import p.h as q\ndef net(): return q.f()\n", "p/h.py": "def f(): return 1\n"}, "p/h.py"),
    "from dot": ({"mine.py": "from . import h\ndef net(): return h.f()\n", "h.py": "def f(): return 1\n"}, "h.py"),
    "from dot in a package": (
        {"mine.py": "from . import h\ndef net(): return h.f()\n", "__init__.py": "", "h.py": "def f(): return 1\n"},
        "h.py",
    ),
    "star": ({"mine.py": "from h import *\ndef net(): return f()\n", "h.py": "def f(): return 1\n"}, "h.py"),
    "inside the function": ({"mine.py": "def net():\n    from h import f\n    return f()\n", "h.py": "def f(): return 1\n"}, "h.py"),
    "two modules of one package": (
        {"mine.py": "import p.a\nimport p.b\ndef net(): return p.a.f()\n", "p/a.py": "def f(): return 1\n", "p/b.py": ""},
        "p/a.py",
    ),
    "module of a package with an init": (
        {"mine.py": "from p import a\ndef net(): return a.f()\n", "p/__init__.py": "X = 1\n", "p/a.py": "def f(): return 1\n"},
        "p/a.py",
    ),
    "name passed on by an init": (
        {"mine.py": "from p import f\ndef net(): return f()\n", "p/__init__.py": "from .a import f\n", "p/a.py": "def f(): return 1\n"},
        "p/a.py",
    ),
    "name passed on by a star": (
        {"mine.py": "from p import f\ndef net(): return f()\n", "p/__init__.py": "from .a import *\n", "p/a.py": "def f(): return 1\n"},
        "p/a.py",
    ),
    "module that passes on": (
        {"mine.py": "import h\ndef net(): return h.f()\n", "h.py": "from g import f\n", "g.py": "def f(): return 1\n"},
        "g.py",
    ),
    "two dots": (
        {
            "mine.py": "from p.q.a import f\ndef net(): return f()\n",
            "p/q/a.py": "from ..b import g\ndef f(): return g()\n",
            "p/b.py": "def g(): return 1\n",
        },
        "p/b.py",
    ),
    "two imports of one name": (
        {
            "mine.py": "def net():\n    from a import f\n    return f()\ndef other():\n    from b import f\n    return f()\n",
            "a.py": "def f(): return 1\n",
            "b.py": "def f(): return 5\n",
        },
        "a.py",
    ),
    "one of two imports": (
        {
            "mine.py": "try:\n    from a import f\nexcept ImportError:\n    def f(): return 2\ndef net(): return f()\n",
            "a.py": "def f(): return 1\n",
        },
        "a.py",
    ),
    "class and base class": (
        {"mine.py": "from h import Base\nclass net(Base): pass\n", "h.py": "class Base:\n    x = 1\n"},
        "h.py",
    ),
    "first of two bindings": ({"mine.py": "S = {'a': 1}\nS['b'] = 2\ndef net(): return S\n"}, "mine.py"),
    "a constant changed later": ({"mine.py": "S = [0]\nS.append(1)\ndef net(): return S\n"}, "mine.py"),
    "a branch": ({"mine.py": "if 1:\n    def f(): return 7\nelse:\n    def f(): return 8\ndef net(): return f()\n"}, "mine.py"),
    "a setting of a library": ({"mine.py": "import lib\nlib.setting = 1\ndef net(): return lib.x()\n"}, "mine.py"),
}  # fmt: skip


@pytest.mark.parametrize("case", REACHED)
def test_digest_reaches(tmp_path: Path, case: str) -> None:
    files, edited = REACHED[case]
    for name, text in files.items():
        write(tmp_path, name, text)
    before = digest_of(tmp_path)
    assert digest_of(tmp_path) == before
    edit(tmp_path, edited, "1", "9")
    assert digest_of(tmp_path) != before


def test_text_is_what_the_digest_is_made_from(folder: Path) -> None:
    found = Reference.parse("mine.py:net", folder)
    text = found.text()
    assert hashlib.sha256(text.encode()).hexdigest() == found.digest()
    parts = dict(part.split("\n", 1) for part in text.split("\0") if part)
    assert set(parts) >= {"net", "helper", "block", "inner", "WIDTH"}
    assert parts["net"] == "def net(width=WIDTH):\n    return block(helper(width))\n"


def test_digest_is_golden(folder: Path) -> None:
    """A change here gives another key to every state that rests on a user's function."""
    assert digest_of(folder) == "adb6726dabc90abec7b6f1e1a3609487e63d64a02b0666b8bf965aeb75d1f5e0"


def test_whole_file_is_all_of_its_definitions(folder: Path) -> None:
    found = Reference(folder.resolve() / "mine.py", WHOLE)
    before = found.digest()
    assert "def unrelated" in found.text()
    edit(folder, "mine.py", "OTHER = 5", "OTHER = 6")
    assert found.digest() != before
    assert not is_reference(f"mine.py:{WHOLE}")


def test_digest_recursion_and_import_cycles_end(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "import other\ndef net(n): return net(n - 1) if n else other.back(n)\n")
    write(
        tmp_path,
        "other.py",
        "from mine import net\nfrom other import *\ndef back(n): return net(n) or back(n)\n",
    )
    assert len(digest_of(tmp_path)) == 64


def test_digest_does_not_depend_on_the_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("elsewhere")
    for name in ("mine.py", "layers.py"):
        write(other, name, (folder / name).read_text())
    assert digest_of(folder) == digest_of(other)


def test_digest_of_another_name_in_the_file_is_another(folder: Path) -> None:
    assert digest_of(folder) != digest_of(folder, "unrelated")


def test_digest_stays_in_the_folder(tmp_path: Path) -> None:
    inner = tmp_path / "study"
    write(inner, "mine.py", "from ..outside import f\ndef net(): return f()\n")
    write(tmp_path, "outside.py", "def f(): return 1\n")
    before = digest_of(inner)
    edit(tmp_path, "outside.py", "1", "2")
    assert digest_of(inner) == before


def test_digest_imports_and_runs_nothing(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "import h\nraise SystemExit('ran')\ndef net(): return h.f()\n")
    write(tmp_path, "h.py", "import torch\nraise SystemExit('ran')\ndef f(): return torch\n")
    before = set(sys.modules)
    assert len(digest_of(tmp_path)) == 64
    assert set(sys.modules) == before


def test_load_gives_the_function_with_its_own_modules(folder: Path) -> None:
    net = Reference.parse("mine.py:net", folder).load()
    assert net(9) == 2 * (3 + 1)
    assert Reference.parse("mine.py:net", folder).load() is net


def test_load_sees_a_changed_file_and_a_changed_module(folder: Path) -> None:
    """What runs is what the digest says, also in a process that loaded an older version."""
    found = Reference.parse("mine.py:net", folder)
    assert found.load()(9) == 8
    edit(folder, "mine.py", "+ 1", "+ 10")
    assert found.load()(9) == 26
    edit(folder, "layers.py", "return 2", "return 5")
    assert found.load()(9) == 65


def test_load_two_folders_with_modules_of_the_same_name(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2)):
        write(tmp_path, f"{name}/mine.py", "from same import f\ndef net(): return f()\n")
        write(tmp_path, f"{name}/same.py", f"def f(): return {value}\n")
    a, b = (Reference.parse("mine.py:net", tmp_path / name) for name in "ab")
    assert (a.load()(), b.load()(), a.load()()) == (1, 2, 1)


def test_load_anew_runs_an_unchanged_file_again(folder: Path) -> None:
    found = Reference.parse("mine.py:net", folder)
    first = found.load()
    assert found.load() is first
    assert found.load(anew=True) is not first


def test_importing_says_which_file_this_thread_imports(folder: Path) -> None:
    text = "from pomona.core.reference import importing\nFOUND = importing()\ndef net(): return FOUND\n"
    path = write(folder, "mine.py", text).resolve()
    assert importing() is None
    assert Reference.parse("mine.py:net", folder).load()() == path
    assert importing() is None
    write(folder, "mine.py", "raise KeyError\ndef net(): pass\n")
    with pytest.raises(InputError):
        Reference.parse("mine.py:net", folder).load()
    assert importing() is None


def test_load_passes_on_what_a_declaration_is_told(folder: Path) -> None:
    write(
        folder,
        "mine.py",
        "from pomona.core.errors import InputError\nraise InputError('do so')\ndef net(): pass\n",
    )
    with pytest.raises(InputError, match=r"^do so$"):
        Reference.parse("mine.py:net", folder).load()


def test_load_a_users_module_never_shadows_a_library(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "import colorsys\ndef net(): return colorsys.__file__\n")
    write(tmp_path, "colorsys.py", "raise RuntimeError\n")
    assert str(tmp_path) not in Reference.parse("mine.py:net", tmp_path).load()()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x = 1\n\nraise KeyError('k')\ndef net(): pass\n", r"mine\.py:3: in <module>: .*KeyError: 'k'"),
        ("import h\ndef net(): pass\n", r"mine\.py:1: in <module>: .*ZeroDivisionError"),
        ("def f():\n    import h\nf()\ndef net(): pass\n", r"mine\.py:2: in f: .*ZeroDivisionError"),
        ("import sys\nsys.exit(3)\ndef net(): pass\n", r"mine\.py:2: in <module>: .*SystemExit: 3"),
        ("exec('1 +', {})\ndef net(): pass\n", "SyntaxError"),
    ],
)
def test_load_errors_name_file_and_line(tmp_path: Path, text: str, place: str) -> None:
    write(tmp_path, "mine.py", text)
    write(tmp_path, "h.py", "y = 1 / 0\n")
    for _ in range(2):
        with pytest.raises(InputError, match=place):
            Reference.parse("mine.py:net", tmp_path).load()
    write(tmp_path, "mine.py", "def net(): return 4\n")
    assert Reference.parse("mine.py:net", tmp_path).load()() == 4


def test_load_a_module_that_is_not_python_names_that_file(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "import h\ndef net(): pass\n")
    write(tmp_path, "h.py", "x = 1\ny = (\n")
    with pytest.raises(InputError, match=r"h\.py:2: not valid Python"):
        Reference.parse("mine.py:net", tmp_path).load()


@pytest.mark.parametrize(("text", "found"), [("net = 3\n", "int"), ("net = 3\ndel net\n", "NoneType")])
def test_load_refuses_what_cannot_be_called(tmp_path: Path, text: str, found: str) -> None:
    write(tmp_path, "mine.py", text)
    with pytest.raises(InputError, match=f"mine.py:net: expected a function or a class, found {found}"):
        Reference.parse("mine.py:net", tmp_path).load()


def test_user_traceback_names_the_last_line_in_the_users_file(folder: Path) -> None:
    edit(folder, "layers.py", "return 2", "return 1 / 0")
    net = Reference.parse("mine.py:net", folder)
    with pytest.raises(ZeroDivisionError) as caught:
        net.load()(9)
    assert user_traceback(caught.value, net.path) == "mine.py:12: in net"
    assert user_traceback(ValueError("elsewhere"), net.path) == "mine.py"
