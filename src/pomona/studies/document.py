"""A study as a document: YAML 1.2 with places, presets and single changes applied to it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError

from pomona.core.errors import InputError, ProblemsError, nearest, unknown

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """What a study's file says.

    Args:
        name: What messages call it: a file name or the name of a library study.
        folder: Where paths in it start from.
        content: Plain mappings, sequences and scalars.
        lines: Line number of each place of the file, from 1.
        preset: The preset that was applied, or an empty text.
    """

    name: str
    folder: Path
    content: dict[str, Any]
    lines: Mapping[Place, int] = field(default_factory=dict)
    preset: str = ""

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
    if not path.is_file():
        raise InputError(_no_study(path, list(known)))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from None
    return parse_document(text, path.name, path.absolute().parent)


def parse_document(text: str, name: str, folder: Path) -> Document:
    """Read YAML 1.2; a key that stands twice is refused.

    Raises:
        InputError: Not valid YAML, or not a mapping.
    """
    try:
        loaded = _yaml().load(text)
    except DuplicateKeyError as error:
        place = error.problem_mark
        said = str(error.problem).split(" with ")[0].replace("found ", "")
        raise InputError(f"{name} line {place.line + 1}: {said}; a key may stand once") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{name}{place}: not valid YAML: {error.problem}") from None
    if not isinstance(loaded, Mapping):
        raise InputError(f"{name}: expected a mapping such as 'study: my-study', got {type(loaded).__name__}")
    lines: dict[Place, int] = {}
    _note_lines(loaded, (), lines)
    return Document(name, folder, _plain(loaded), lines)


def with_preset(document: Document, preset: str | None, changes: Sequence[str] = ()) -> Document:
    """The document with a preset and with single changes ``path=value`` applied, in this order.

    Raises:
        ProblemsError: An unknown preset, or a change that has no place (all reported together).
    """
    content = copy.deepcopy(document.content)
    presets = content.get("presets") or {}
    problems: list[str] = []
    if preset is not None:
        if not isinstance(presets, Mapping) or preset not in presets:
            raise InputError(unknown("preset", preset, list(presets), where=document.name))
        for path, value in presets[preset].items():
            _set(content, str(path), value, f"{document.where(('presets', preset))}", problems)
    for change in changes:
        path, equals, written = change.partition("=")
        if not equals or not path:
            problems.append(f"--set {change!r}: expected path=value, for example replicates=3")
            continue
        _set(content, path.strip(), parse_value(written, change), f"--set {change!r}", problems)
    if problems:
        raise ProblemsError(f"{document.name} cannot be used", problems)
    content.pop("presets", None)
    return Document(document.name, document.folder, content, document.lines, preset or "")


def parse_value(text: str, where: str) -> Any:
    """One YAML value given on the command line."""
    try:
        return _plain(_yaml().load(text))
    except MarkedYAMLError as error:
        raise InputError(f"--set {where!r}: not a YAML value: {error.problem}") from None


def dump(content: Mapping[str, Any]) -> str:
    """A document as YAML text."""
    stream = StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = 110
    writer.dump(dict(content), stream)
    return stream.getvalue()


def _yaml() -> YAML:
    reader = YAML(typ="rt", pure=True)
    # YAML 1.2 is the default of this reader, and so is the refusal of duplicate keys.
    return reader


def _set(content: dict[str, Any], path: str, value: Any, where: str, problems: list[str]) -> None:
    """Put a value at a dotted path whose parents exist; keys with dots in them are matched whole."""
    *parents, last = path.split(".")
    target: Any = content
    for depth, part in enumerate(parents):
        if isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        elif isinstance(target, dict) and part in target:
            target = target[part]
        else:
            here = ".".join(parents[:depth]) or "the study"
            known = list(target) if isinstance(target, dict) else []
            near = nearest(part, known)
            hint = f"; did you mean {near!r}?" if near else f"; it has: {', '.join(known)}" if known else ""
            problems.append(f"{where}: {path}: there is no {part!r} in {here}{hint}")
            return
    if isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        problems.append(f"{where}: {path}: {'.'.join(parents)} is {target!r}, which has no {last!r} in it")


def _no_study(path: Path, known: list[str]) -> str:
    folder = path.parent
    files = [p.name for p in folder.glob("*.y*ml")] if folder.is_dir() else []
    near = nearest(path.name, [*known, *files])
    hint = f"; did you mean {near!r}?" if near else ""
    return (
        f"there is no study {str(path)!r}: no file of this path, and the library has "
        f"{', '.join(sorted(known))}{hint}"
    )


def _note_lines(node: Any, place: Place, lines: dict[Place, int]) -> None:
    if isinstance(node, CommentedMap):
        for key in node:
            lines[(*place, key)] = node.lc.key(key)[0] + 1
            _note_lines(node[key], (*place, key), lines)
    elif isinstance(node, CommentedSeq):
        for index, item in enumerate(node):
            lines[(*place, index)] = node.lc.item(index)[0] + 1
            _note_lines(item, (*place, index), lines)


def _plain(node: Any) -> Any:
    """Plain types instead of those that remember comments and quotes."""
    if isinstance(node, Mapping):
        return {_plain(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node
