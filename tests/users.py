"""A user's files in tests: written, loaded, and forgotten again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pomona.core import reference
from pomona.core.reference import Reference
from pomona.graph.custom import Declared, Recipe, load_declared

_KIND = TypeVar("_KIND", bound=Declared)
_clock = [1_700_000_000]
HEAD = "from collections.abc import Mapping, Sequence\nfrom typing import Literal\nimport numpy as np\nimport pomona\n\n"


@contextmanager
def own_modules() -> Iterator[None]:
    """Whatever is imported inside is gone after it."""
    modules, path = dict(sys.modules), list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = path
        own = set(reference._own)
        reference._own.clear()
        reference._folders.clear()
        for name in set(sys.modules) - set(modules):
            if name.startswith("pomona_user_") or getattr(sys.modules[name], "__file__", None) in own:
                del sys.modules[name]


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file, each time seconds later: what changed is seen by the time of the file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    _clock[0] += 2
    os.utime(path, (_clock[0], _clock[0]))
    return path


def declare(folder: Path, text: str, name: str = "work", kind: type[_KIND] = Recipe) -> _KIND:  # type: ignore[assignment]
    """The recipe or probe of this name in a file ``mine.py`` with this text."""
    return load_declared(Reference(write(folder, "mine.py", HEAD + text).resolve(), name), kind)
