"""A user's own function, named as ``mine.py:net``, and the identity of its source.

The identity is the normalised source of the function and of everything it reaches in the user's own
modules (files in the folder of the first one, or below). A comment, a docstring or a reformat changes
nothing; a changed helper does. It is read from the syntax tree: nothing is imported for it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pomona.core.errors import InputError, nearest, unknown

_WRITTEN = re.compile(r"^(?P<path>.+\.py):(?P<name>[A-Za-z_][A-Za-z0-9_]*)$")


def is_reference(text: object) -> bool:
    """Whether a name points at a user's file (``mine.py:net``) rather than into a catalogue."""
    return isinstance(text, str) and _WRITTEN.match(text) is not None


@dataclass(frozen=True)
class Reference:
    """A function or class in a user's file.

    Args:
        path: Absolute path of the file.
        name: Name defined at the top level of the file.
    """

    path: Path
    name: str

    @classmethod
    def parse(cls, written: str, folder: Path | None = None) -> Reference:
        """Read ``mine.py:net``, relative to ``folder`` (the study's), and check that both parts exist.

        Raises:
            InputError: The form, the file or the name is wrong; says the nearest valid one.
        """
        found = _WRITTEN.match(written)
        if found is None:
            raise InputError(f"expected a file and a name as 'mine.py:net', got {written!r}")
        path = ((folder or Path.cwd()) / Path(found["path"]).expanduser()).resolve()
        if not path.is_file():
            near = (
                nearest(path.name, [p.name for p in path.parent.glob("*.py")])
                if path.parent.is_dir()
                else None
            )
            hint = f"; did you mean {near!r}?" if near else ""
            raise InputError(f"{written!r}: there is no file {path}{hint}")
        module = _Module.read(path)
        if found["name"] not in module.definitions:
            raise InputError(unknown("name", found["name"], sorted(module.definitions), where=str(path)))
        return cls(path, found["name"])

    def digest(self) -> str:
        """SHA-256 of the normalised source of the function and of what it reaches in the user's modules."""
        modules = {self.path: _Module.read(self.path)}
        seen: dict[tuple[Path, str], str] = {}
        _collect(self.path, self.name, self.path.parent, modules, seen)
        form = hashlib.sha256()
        for (_, name), source in seen.items():
            form.update(f"{name}\n{source}\n\0".encode())
        return form.hexdigest()

    def load(self) -> Callable[..., Any]:
        """Import the file and return the function.

        Raises:
            InputError: The file fails while it is imported (says the line), or the name is not callable.
        """
        module = _import_file(self.path)
        found = getattr(module, self.name)
        if not callable(found):
            raise InputError(f"{self}: expected a function or a class, found {type(found).__name__}")
        return found  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return f"{self.path}:{self.name}"


def user_traceback(error: BaseException, path: Path) -> str:
    """The last line of a user's file that an error passed through, as ``mine.py:12: in net``."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"{path.name}:{error.lineno}"
    return f"{path.name}:{frames[-1].lineno}: in {frames[-1].name}" if frames else path.name


@dataclass(frozen=True)
class _Module:
    """The top-level names of a file: what defines them, and where an imported one comes from."""

    definitions: dict[str, ast.stmt]
    imported: dict[str, tuple[str, str | None]]

    @classmethod
    def read(cls, path: Path) -> _Module:
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise InputError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as Python source: {error}") from None
        definitions: dict[str, ast.stmt] = {}
        imported: dict[str, tuple[str, str | None]] = {}
        for node in tree.body:
            for name in _defined(node):
                definitions[name] = node
        # Imports inside functions count too: they reach the same files.
        for inner in ast.walk(tree):
            if isinstance(inner, ast.ImportFrom):
                for alias in inner.names:
                    imported[alias.asname or alias.name] = (inner.module or "", alias.name)
            elif isinstance(inner, ast.Import):
                for alias in inner.names:
                    imported[alias.asname or alias.name.split(".")[0]] = (alias.name, None)
        return cls(definitions, imported)


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (inner.id for inner in ast.walk(target) if isinstance(inner, ast.Name))
    elif isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                yield from _defined(child)


def _collect(
    path: Path, name: str, root: Path, modules: dict[Path, _Module], seen: dict[tuple[Path, str], str]
) -> None:
    if (path, name) in seen:
        return
    module = modules.setdefault(path, _Module.read(path))
    node = module.definitions.get(name)
    if node is None:
        return
    seen[path, name] = _normalised(node)
    for used in sorted({n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | _imported_names(node)):
        if used in module.definitions:
            _collect(path, used, root, modules, seen)
        elif used in module.imported:
            _follow_import(path, module.imported[used], root, modules, seen)


def _imported_names(node: ast.AST) -> set[str]:
    inner = [n for n in ast.walk(node) if isinstance(n, (ast.Import, ast.ImportFrom))]
    return {alias.asname or alias.name.split(".")[0] for n in inner for alias in n.names}


def _follow_import(
    path: Path,
    target: tuple[str, str | None],
    root: Path,
    modules: dict[Path, _Module],
    seen: dict[tuple[Path, str], str],
) -> None:
    dotted, name = target
    file = _own_file(dotted, path, root)
    if file is None and name is not None:
        # `from package import module` names a file of its own.
        file, name = _own_file(f"{dotted}.{name}" if dotted else name, path, root), None
    if file is None:
        return
    module = modules.setdefault(file, _Module.read(file))
    # A module imported as a whole counts as a whole: which of its names are used cannot be seen.
    for used in sorted(module.definitions) if name is None or name == "*" else [name]:
        _collect(file, used, root, modules, seen)


def _own_file(dotted: str, path: Path, root: Path) -> Path | None:
    tail = Path(*dotted.split(".")) if dotted else Path()
    for folder in dict.fromkeys((path.parent, root)):
        for file in (folder / tail.with_suffix(".py") if dotted else None, folder / tail / "__init__.py"):
            if file is not None and file.is_file() and file.resolve().is_relative_to(root):
                return file.resolve()
    return None


def _normalised(node: ast.stmt) -> str:
    copy = ast.parse(ast.unparse(node)).body[0]
    for inner in ast.walk(copy):
        if not isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if ast.get_docstring(inner, clean=False) is not None:
            inner.body = inner.body[1:] or [ast.Pass()]
    return ast.unparse(copy)


def _import_file(path: Path) -> Any:
    name = f"pomona_user_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    stamp = path.stat().st_mtime_ns
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__pomona_stamp__", None) == stamp:
        return known
    # Behind everything installed: a user's folder never shadows a library, and its own modules are found.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        place = user_traceback(error, path)
        raise InputError(f"{place}: failed while it was imported: {type(error).__name__}: {error}") from error
    module.__dict__["__pomona_stamp__"] = stamp
    return module
