"""How a study is named on the command line, so that what is printed can be run."""

from __future__ import annotations

import contextlib
import shlex

from pomona.core.errors import InputError
from pomona.graph.store import DEFAULT_STORE
from pomona.studies.document import library, read_document, with_preset
from pomona.studies.results import Results

_CHANGED = "The study was changed from its file: make the same changes before these commands."


def study_arguments(results: Results) -> tuple[str, str]:
    """Study, preset, changes and store as arguments, and what they lack for the document as it was run."""
    name, note = _named(results)
    preset = ["--preset", results.study.preset] if results.study.preset else []
    written = results.study.document.changes
    if written and results.blind:
        # They may name arms.
        written, note = (
            (),
            "The study was changed from its file: make the same changes before these commands.",
        )
    changes = [part for change in written for part in ("--set", change)]
    return shlex.join([name, *preset, *changes, *store_arguments(results)]), note


def store_arguments(results: Results) -> list[str]:
    """The store as arguments; none where it is the default one of this folder."""
    store = results.store.folder
    return ["--store", str(store)] if store != DEFAULT_STORE.absolute() else []


def _named(results: Results) -> tuple[str, str]:
    """How the study is named, and what is missing for the document as it was run."""
    document = results.study.document
    name = document.name.removesuffix(".yaml")
    path = document.folder / document.name
    if name not in library() and not path.is_file():
        file = f"{results.study.name}.yaml"
        return file, f"This study was not read from a file: save the YAML above as {file} first."
    argument = name if name in library() else str(path)
    with contextlib.suppress(InputError):
        read = with_preset(read_document(argument), document.preset or None, document.changes)
        if read.content == document.content:
            return argument, ""
    return argument, _CHANGED
