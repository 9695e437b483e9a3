"""What a user can meet when something is wrong, and how it is said."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Literal

FailureKind = Literal[
    "diverged", "out of memory", "layer collapse", "lost worker", "bad input", "stopped", "error"
]


class PomonaError(Exception):
    """Root of every error that a user can meet. Its text is shown as it is, without a traceback."""


class InputError(PomonaError, ValueError):
    """Something that was given cannot be used: says what, what was expected, and where."""


class DataError(PomonaError):
    """A data set could not be had or is not what it must be."""


class StoreError(PomonaError):
    """A store cannot be opened, read or written."""


class StoreWriteError(StoreError):
    """A store cannot take results: the disk is full or a folder is not writable. A run ends with it."""


class BlobLost(StoreError):
    """A file of a store is not there or not what its name says. What it held can be computed again.

    Args:
        digest: SHA-256 that names the file.
        message: What was found.
    """

    def __init__(self, digest: str, message: str) -> None:
        super().__init__(message)
        self.digest = digest


class Interrupted(PomonaError):
    """A run was stopped on request. What was finished is kept."""


class StateFailure(PomonaError):
    """The computation of one state failed; failures are data and carry their kind.

    Args:
        kind: The class of failure that is recorded and reported.
        message: What happened, with step and layer where known.
    """

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind


class ProblemsError(InputError):
    """Several faults of one document, reported together.

    Args:
        title: What was being checked.
        problems: One line each; at least one.
    """

    def __init__(self, title: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        super().__init__(f"{title}: {count}\n" + "\n".join(f"  - {line}" for line in problems))


def nearest(given: str, choices: Iterable[str]) -> str | None:
    """The choice most like what was given, or None where nothing is alike.

    >>> nearest("magnitud", ["magnitude", "random"])
    'magnitude'
    """
    lower = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(given.lower(), list(lower), n=1, cutoff=0.5)
    return lower[found[0]] if found else None


def unknown(what: str, given: object, choices: Iterable[str], where: str = "") -> str:
    """The one wording for a name that is not known: given, place, nearest, all choices.

    >>> unknown("criterion", "magnitud", ["magnitude", "random"])
    "unknown criterion 'magnitud'; did you mean 'magnitude'? Known: magnitude, random"
    """
    known = list(choices)
    text = f"{where}: " if where else ""
    text += f"unknown {what} {given!r}"
    close = nearest(str(given), known)
    if close is not None:
        text += f"; did you mean {close!r}?"
    else:
        text += "."
    return f"{text} Known: {', '.join(known) if known else '(none)'}"
