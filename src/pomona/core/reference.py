"""A user's own function, named as ``mine.py:net``, and the identity of its source.

The identity is the normalised source of the function and of everything it reaches in the user's own
modules (files in the folder of the first one, or below). A comment, a docstring or a reformat changes
nothing; a changed helper does. It is read from the syntax tree: nothing is imported for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import re
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pomona.core.errors import InputError, nearest, unknown
from pomona.core.global_state import LOCK
from pomona.core.source import Module, Reach

WHOLE = "*"
_WRITTEN = re.compile(r"(?P<path>.+\.py):(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


def is_reference(text: object) -> bool:
    """Whether a name points at a user's file (``mine.py:net``) rather than into a catalogue."""
    return isinstance(text, str) and _WRITTEN.fullmatch(text) is not None


@dataclass(frozen=True)
class Reference:
    """A function or class in a user's file.

    Args:
        path: Absolute path of the file.
        name: Name defined at the top level of the file; ``WHOLE`` for all of it, which cannot be loaded.
    """

    path: Path
    name: str

    @classmethod
    def parse(cls, written: str, folder: Path | None = None) -> Reference:
        """Read ``mine.py:net``, relative to ``folder`` (the study's), and check that both parts exist.

        Raises:
            InputError: The form, the file or the name is wrong; says the nearest valid one.
        """
        found = _WRITTEN.fullmatch(written)
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
        defined = Module.read(path).defined
        if found["name"] not in defined:
            raise InputError(unknown("name", found["name"], sorted(defined), where=str(path)))
        return cls(path, found["name"])

    def digest(self) -> str:
        """SHA-256 of ``text``: what enters an identity."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def text(self) -> str:
        """The normalised source of the function and of what it reaches in the user's modules.

        Each definition is its name, a line end, its source, a line end and a zero character.
        """
        reach = Reach(self.path)
        if self.name == WHOLE:
            reach.whole()
        else:
            reach.name(self.name)
        return "".join(f"{name}\n{source}\n\0" for (_, name), source in reach.sources.items())

    def load(self, anew: bool = False) -> Callable[..., Any]:
        """Import the file and return the function. One thread at a time: the modules are the process's.

        Args:
            anew: Also if it was imported before and has not changed.

        Raises:
            InputError: The file fails while it is imported (says the line), or the name is not callable.
        """
        with LOCK:
            module = _import_file(self.path, anew)
        found = getattr(module, self.name, None)
        if not callable(found):
            raise InputError(f"{self}: expected a function or a class, found {type(found).__name__}")
        return found  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return f"{self.path}:{self.name}"


def user_traceback(error: BaseException, path: Path) -> str:
    """The last line of a user's file that an error passed through, as ``mine.py:12: in net``."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"{Path(error.filename or path).name}:{error.lineno}"
    return f"{path.name}:{frames[-1].lineno}: in {frames[-1].name}" if frames else path.name


def importing() -> Path | None:
    """The user's file that this thread is importing as a worker would; None where it is importing none."""
    return _imports.paths[-1] if _imports.paths else None


class _Imports(threading.local):
    def __init__(self) -> None:
        self.paths: list[Path] = []


_imports = _Imports()

# The user's files that stand in sys.modules, and when each was written last.
_own: dict[str, int] = {}
_folders: list[str] = []


def _import_file(path: Path, anew: bool) -> Any:
    name = f"pomona_user_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    reach = Reach(path)
    reach.whole()
    stamps = {str(file): _stamp(str(file)) for file in (path, *reach.modules)}
    known = sys.modules.get(name)
    if not anew and known is not None and getattr(known, "__pomona_stamps__", None) == stamps:
        return known
    _forget_others(path.parent)
    _add_folder(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _own.update({file: stamp for file, stamp in stamps.items() if file != str(path)})
    _imports.paths.append(path)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        if isinstance(error, InputError):
            raise
        place = user_traceback(error, path)
        raise InputError(f"{place}: failed while it was imported: {type(error).__name__}: {error}") from error
    finally:
        _imports.paths.pop()
    module.__dict__["__pomona_stamps__"] = stamps
    return module


def _forget_others(folder: Path) -> None:
    """Drop the user's modules if one has changed since, or is another folder's of perhaps the same name.

    What runs must be the source that the identity was made from.
    """
    if all(_stamp(file) == stamp and Path(file).is_relative_to(folder) for file, stamp in _own.items()):
        return
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) in _own and not name.startswith("pomona_user_"):
            del sys.modules[name]
    _own.clear()


def _add_folder(folder: str) -> None:
    """Let a folder's own modules be found: behind everything installed, before other users' folders."""
    importlib.invalidate_caches()
    for known in _folders:
        with contextlib.suppress(ValueError):
            sys.path.remove(known)
    if folder in _folders:
        _folders.remove(folder)
    if folder not in sys.path:
        _folders.insert(0, folder)
    sys.path.extend(_folders)


def _stamp(file: str) -> int:
    with contextlib.suppress(OSError):
        return Path(file).stat().st_mtime_ns
    return 0
