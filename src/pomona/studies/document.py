"""A study as a document: YAML 1.2 with places, presets and single changes applied to it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from pomona.core.errors import InputError, ProblemsError, nearest, unknown
from pomona.studies.yamltext import Place, UnreadableError, load_yaml, plain, scalar_text
from pomona.studies.yamltext import dump as dump


@dataclass(frozen=True)
class Document:
    """What a study's file says.

    Args:
        name: What messages call it: a file name or the name of a library study.
        folder: Where paths in it start from.
        content: Plain mappings, sequences and scalars.
        lines: Line number of each place of the file, from 1.
        preset: The preset that was applied, or an empty text.
        changes: Single changes that were applied, as ``path=value``.
    """

    name: str
    folder: Path
    content: dict[str, Any]
    lines: Mapping[Place, int] = field(default_factory=dict)
    preset: str = ""
    changes: tuple[str, ...] = ()

    def where(self, place: Place) -> str:
        """A place as a user finds it: ``study.yaml line 12, let.train.full.batch_size``."""
        line = next(
            (self.lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.lines), None
        )
        path = ".".join(str(part) for part in place)
        return f"{self.name}{f' line {line}' if line else ''}{f', {path}' if path else ''}"


def library() -> dict[str, Any]:
    """The studies that come with Pomona: resource by name."""
    files = resources.files("pomona.studies").joinpath("library").iterdir()
    return {file.name.removesuffix(".yaml"): file for file in files if file.name.endswith(".yaml")}


def read_document(study: str | Path) -> Document:
    """Read a study by the name of the library or from a YAML file.

    Raises:
        InputError: Neither is there (names the nearest), or the file is not valid YAML (says the line).
    """
    known = library()
    if str(study) in known:
        return parse_document(known[str(study)].read_text(encoding="utf-8"), f"{study}.yaml", Path.cwd())
    path = Path(study).expanduser()
    if path.is_dir():
        raise InputError(_folder(path))
    if not path.is_file():
        raise InputError(_no_study(path, list(known)))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from None
    return parse_document(text, path.name, path.absolute().parent)


def parse_document(text: str, name: str, folder: Path) -> Document:
    """Read YAML 1.2; a key that stands twice is refused. Keys become text.

    Raises:
        InputError: Not valid YAML, or not a mapping.
    """
    try:
        content, lines = load_yaml(text)
    except UnreadableError as error:
        line = f" line {error.line}" if error.line else ""
        column = f", column {error.column}" if error.column else ""
        raise InputError(f"{name}{line}{column}: {error.reason}") from None
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {type(content).__name__}"
        raise InputError(f"{name}: expected a mapping such as 'study: my-study', got {kind}")
    return Document(name, folder, content, lines)


def with_preset(
    document: Document, preset: str | None, changes: Sequence[str] | Mapping[str, Any] = ()
) -> Document:
    """The document with a preset and with single changes applied, in this order.

    Args:
        document: What was read.
        preset: Name of a preset, or None.
        changes: As ``path=value`` with a YAML value, or a mapping from path to a Python value.

    Raises:
        InputError: An unknown preset.
        ProblemsError: A preset or a change that cannot be applied (all reported together).
    """
    content = copy.deepcopy(document.content)
    lines = dict(document.lines)
    presets = content.pop("presets", None)
    faults: list[str] = []
    if preset is not None:
        faults += preset_shape(document, preset)
        if not faults and preset not in (presets or {}):
            raise InputError(unknown("preset", preset, presets or {}, where=document.name))
        for path, value in presets[preset].items() if not faults else ():
            line = document.lines.get(("presets", preset, path))
            _set(content, lines, path, value, document.where(("presets", preset)), faults, line)
    for path, value, where in _read_changes(changes, faults):
        _set(content, lines, path, value, where, faults)
    if faults:
        raise ProblemsError(f"{document.name} cannot be used", faults)
    return Document(document.name, document.folder, content, lines, preset or "", _as_written(changes))


def _as_written(changes: Sequence[str] | Mapping[str, Any]) -> tuple[str, ...]:
    """Changes as they are written on the command line; JSON is YAML too."""
    if not isinstance(changes, Mapping):
        return tuple(changes)
    return tuple(f"{path}={json.dumps(plain(value))}" for path, value in changes.items())


def preset_names(document: Document) -> list[str]:
    """The presets of a document that has not been applied yet."""
    presets = document.content.get("presets")
    return list(presets) if isinstance(presets, dict) else []


def preset_shape(document: Document, preset: str | None = None) -> list[str]:
    """What is wrong with the form of the presets, or of one of them."""
    presets = document.content.get("presets")
    if presets is None:
        return []
    example = "{replicates: 3, let.train.full.duration: 1ep}"
    if not isinstance(presets, dict):
        where = document.where(("presets",))
        return [f"{where}: expected names with their changes, as {{quick: {example}}}, got {presets!r}"]
    return [
        f"{document.where(('presets', name))}: expected changes as {example}, got {scalar_text(value)}"
        for name, value in presets.items()
        if preset in (None, name) and not isinstance(value, dict)
    ]


def _read_changes(
    changes: Sequence[str] | Mapping[str, Any], faults: list[str]
) -> Iterator[tuple[str, Any, str]]:
    """Path, plain value and what a message calls the change."""
    for change in changes:
        where = f"changes, {change!r}" if isinstance(changes, Mapping) else f"--set {change!r}"
        path, equals, text = change.partition("=")
        try:
            if isinstance(changes, Mapping):
                yield change, plain(changes[change]), where
            elif not equals or not path:
                faults.append(f"{where}: expected path=value, for example replicates=3")
            else:
                yield path.strip(), load_yaml(text)[0], where
        except UnreadableError as error:
            reason = error.reason.removeprefix("not valid YAML: ")
            faults.append(f"{where}: not a YAML value: {reason}")
        except InputError as error:
            faults.append(f"{where}: {error}")


def _set(
    content: dict[str, Any],
    lines: dict[Place, int],
    path: str,
    value: Any,
    where: str,
    faults: list[str],
    line: int | None = None,
) -> None:
    """Put a value at a dotted path whose parents exist.

    Of the keys that the path may go on with, the longest is taken: one with dots in it is matched whole.
    """
    target: Any = content
    place: Place = ()
    rest = path.split(".")
    while (taken := _longest(target, rest)) < len(rest) and taken:
        key = _key(target, rest[:taken])
        target, place, rest = target[key], (*place, key), rest[taken:]
    here = ".".join(map(str, place)) or "the study"
    if not taken and not (isinstance(target, dict) and len(rest) == 1):
        if not isinstance(target, dict):
            faults.append(f"{where}: {path}: {here} is {target!r}, which has no {rest[0]!r} in it")
            return
        near = nearest(rest[0], target)
        hint = f"; did you mean {near!r}?" if near else f"; it has: {', '.join(target)}" if target else ""
        faults.append(f"{where}: {path}: there is no {rest[0]!r} in {here}{hint}")
        return
    key = _key(target, rest)
    target[key] = copy.deepcopy(value)
    place = (*place, key)
    for old in [old for old in lines if old[: len(place)] == place]:
        del lines[old]
    if line is not None:
        lines[place] = line


def _longest(target: Any, parts: Sequence[str]) -> int:
    """How many parts of a path make up the longest key that there is; 0 where there is none."""
    if isinstance(target, list):
        return int(parts[0].isdecimal() and int(parts[0]) < len(target))
    keys = target if isinstance(target, dict) else {}
    return next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in keys), 0)


def _key(target: Any, parts: Sequence[str]) -> str | int:
    return int(parts[0]) if isinstance(target, list) else ".".join(parts)


def _folder(path: Path) -> str:
    files = sorted(file.name for file in path.glob("*.y*ml") if file.is_file())
    hint = f"; did you mean {str(path / files[0])!r}?" if files else ""
    return f"{str(path)!r} is a folder; expected the file of a study{hint}"


def _no_study(path: Path, known: list[str]) -> str:
    folder = path.parent
    files = [p.name for p in folder.glob("*.y*ml") if p.is_file()] if folder.is_dir() else []
    near = nearest(path.name, [*known, *files])
    hint = f"; did you mean {near!r}?" if near else ""
    return (
        f"there is no study {str(path)!r}: no file of this path, and the library has "
        f"{', '.join(sorted(known))}{hint}"
    )
