"""The source that a user's function reaches in the user's own modules, read from syntax trees alone.

What counts as the user's own is every file in the folder of the first one, or below. Where it cannot be
seen which of two things is used, both count: a state computed once too often is cheaper than a wrong one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pomona.core.errors import InputError
from pomona.core.global_state import LOCK

_OWN_SCOPE = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Import:
    """``from module import name``, or the module as a whole; ``level`` counts the leading dots."""

    module: str
    name: str | None
    level: int


@dataclass(frozen=True)
class Module:
    """The top level of a file.

    Args:
        defined: Names that it binds itself.
        statements: All that binds or may change a name, in the order of the file.
        imports: Where an imported name comes from. Imports inside functions count too, and so do both
            branches of a ``try``.
    """

    defined: frozenset[str]
    statements: dict[str, list[ast.stmt]]
    imports: dict[str, list[Import]]

    @classmethod
    def read(cls, path: Path) -> Module:
        """Parse a file.

        Raises:
            InputError: It is not valid Python (says the line) or cannot be read.
        """
        try:
            tree = _parsed(path.read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise InputError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read as Python source: {error}") from None
        body = [node for node in tree.body if not _is_main_guard(node)]
        statements: dict[str, list[ast.stmt]] = {}
        for node in body:
            for name in sorted({*_bound(node), *_changed(node)}):
                statements.setdefault(name, []).append(node)
        imports: dict[str, list[Import]] = {}
        for inner in ast.walk(tree):
            for bound, origin in _imported(inner):
                imports.setdefault(bound, []).append(origin)
        return cls(frozenset(name for node in body for name in _bound(node)), statements, imports)


class Reach:
    """What is reached from a file: its own definitions, and those of the user's modules that it uses.

    Args:
        path: Absolute path of the first file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path.parent
        self.sources: dict[tuple[Path, str], str] = {}
        self.modules: dict[Path, Module] = {}
        self._seen: set[tuple[Path, str]] = set()

    def name(self, name: str, path: Path | None = None) -> None:
        """Reach a name of a file, and whatever its definition uses."""
        path = path or self.path
        if (path, name) in self._seen:
            return
        self._seen.add((path, name))
        module = self._module(path)
        statements = module.statements.get(name, [])
        if statements:
            self.sources[path, name] = "\n".join(_normalised(node) for node in statements)
        for origin in module.imports.get(name, []):
            self._follow(path, origin)
        if name not in module.defined and name not in module.imports:
            for origin in module.imports.get("*", []):
                self._follow(path, Import(origin.module, name, origin.level))
        for used in sorted({used for node in statements for used in _used(node)}):
            self.name(used, path)

    def whole(self, path: Path | None = None) -> None:
        """Reach everything in a file: which names of a module are used cannot be seen."""
        module = self._module(path or self.path)
        for name in sorted({*module.statements, *module.imports}):
            self.name(name, path)

    def _module(self, path: Path) -> Module:
        if path not in self.modules:
            self.modules[path] = Module.read(path)
        return self.modules[path]

    def _follow(self, path: Path, origin: Import) -> None:
        file = self._file(path, origin.module, origin.level)
        if file is not None:
            if origin.name is None or origin.name == "*":
                self.whole(file)
                return
            module = self._module(file)
            self.name(origin.name, file)
            if origin.name in module.defined or origin.name in module.imports:
                return
        if origin.name is not None:
            # `from package import module` names a file of its own.
            dotted = f"{origin.module}.{origin.name}" if origin.module else origin.name
            inner = self._file(path, dotted, origin.level)
            if inner is not None:
                self.whole(inner)

    def _file(self, path: Path, dotted: str, level: int) -> Path | None:
        """The user's own file that a module's name stands for; None for anything else."""
        folders = [path.parents[level - 1]] if 0 < level <= len(path.parents) else [self.root, path.parent]
        tail = Path(*dotted.split("."))
        for folder in folders:
            for file in (folder / tail / "__init__.py", folder / f"{tail}.py"):
                if file.is_file() and file.resolve().is_relative_to(self.root):
                    return file.resolve()
        return None


def _bound(node: ast.AST) -> Iterator[str]:
    """Names that a statement of the top level binds, in whatever block."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Store):
            yield node.id
    elif not isinstance(node, _OWN_SCOPE):
        for child in ast.iter_child_nodes(node):
            yield from _bound(child)


def _changed(node: ast.AST) -> Iterator[str]:
    """Names whose object a statement of the top level may change, as ``SIZES.append(3)``."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return
    if isinstance(node, ast.Expr):
        yield from _used(node)
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        yield from _used(node.target)
    elif isinstance(node, (ast.Assign, ast.Delete)):
        for target in node.targets:
            yield from _used(target)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _changed(child)


def _used(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        else:
            yield from (bound for bound, _ in _imported(inner))


def _imported(node: ast.AST) -> Iterator[tuple[str, Import]]:
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, Import(node.module or "", alias.name, node.level)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            parts = alias.name.split(".")
            if alias.asname:
                yield alias.asname, Import(alias.name, None, 0)
            else:
                # `import a.b` runs and binds `a`, and `a.b` with it.
                yield from (
                    (parts[0], Import(".".join(parts[:n]), None, 0)) for n in range(1, len(parts) + 1)
                )


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in set(_used(node.test))


def _parsed(source: str) -> ast.Module:
    # Some releases of Python 3.11 and 3.12 count the depth of a tree for all threads together, and fail.
    with LOCK:
        return ast.parse(source)


def _normalised(node: ast.stmt) -> str:
    copy = _parsed(ast.unparse(node)).body[0]
    for inner in ast.walk(copy):
        if not isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if ast.get_docstring(inner, clean=False) is not None:
            inner.body = inner.body[1:] or [ast.Pass()]
    return ast.unparse(copy)
