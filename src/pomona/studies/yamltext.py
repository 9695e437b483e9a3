"""YAML 1.2 as plain values with the line of each, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, NodeEvent
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scalarbool import ScalarBoolean

from pomona.core.errors import InputError

Place = tuple[str | int, ...]


@dataclass
class UnreadableError(Exception):
    """Text that is not YAML as a study may use it.

    Args:
        reason: What is wrong.
        line: Where, from 1; None where that is not known.
        column: Where in the line, from 1.
    """

    reason: str
    line: int | None = None
    column: int | None = None


def load_yaml(text: str) -> tuple[Any, dict[Place, int]]:
    """Read YAML 1.2 as plain values. Keys become text.

    Returns:
        The value, and the line of each place in it, from 1.

    Raises:
        UnreadableError: Not YAML, or something that a study has no use for: a tag, a mapping as a key.
    """
    lines: dict[Place, int] = {}
    try:
        _refuse_tags_and_circles(text)
        # YAML 1.2 is the default of this reader, and so is the refusal of duplicate keys.
        loaded = YAML(typ="rt", pure=True).load(text)
        _note_lines(loaded, (), lines)
        return plain(loaded), lines
    except DuplicateKeyError as error:
        said = str(error.problem).split(" with ")[0].replace("found ", "")
        raise UnreadableError(f"{said}; a key may stand once", error.problem_mark.line + 1) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = (mark.line + 1, mark.column + 1) if mark else ()
        raise UnreadableError(f"not valid YAML: {error.problem}", *place) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        said = f"the character U+{ord(text[error.position]):04X} may not stand in YAML"
        raise UnreadableError(f"not valid YAML: {said}", line) from None
    except RecursionError:
        raise UnreadableError("nested too deeply") from None
    except InputError as error:
        raise UnreadableError(str(error)) from None
    except (YAMLError, ValueError) as error:  # a date that does not exist, a number of 5000 digits
        raise UnreadableError(f"not valid YAML: {error}") from None


def plain(value: Any) -> Any:
    """Plain Python for what was read or given: text, numbers, booleans, None, lists, mappings.

    NumPy scalars and arrays are taken too. Keys become text.

    Raises:
        InputError: It is something else, or two keys are the same text.
    """
    if hasattr(value, "tolist"):  # NumPy's
        value = value.tolist()
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for key, item in value.items():
            text = _key(key)
            if text in found:
                raise InputError(f'duplicate key "{text}"; a key may stand once')
            found[text] = plain(item)
        return found
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, ScalarBoolean):  # a boolean with an anchor
        return bool(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, date):
        return str(value)
    if value is None:
        return None
    raise InputError(f"expected text, a number, true, false, a list or a mapping, got {value!r}")


def scalar_text(value: Any) -> str:
    """A value as the text that names it: ``true``, ``null``, ``0.1``."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def dump(content: Mapping[str, Any]) -> str:
    """A document as YAML text."""
    stream = StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = 110
    writer.dump(dict(content), stream)
    return stream.getvalue()


def _key(key: Any) -> str:
    if isinstance(key, (Mapping, list, tuple)):
        raise InputError("a mapping or a list cannot be a key; a key is text or a number")
    return scalar_text(plain(key))


def _refuse_tags_and_circles(text: str) -> None:
    open_anchors: list[str | None] = []
    for event in YAML(typ="rt", pure=True).parse(text):
        line = event.start_mark.line + 1
        tag = getattr(event, "tag", None)
        if tag is not None:
            short = str(tag).replace("tag:yaml.org,2002:", "!!")
            raise UnreadableError(f"tags such as {short} are not read; write the value without it", line)
        if isinstance(event, AliasEvent) and event.anchor in open_anchors:
            raise UnreadableError(f"*{event.anchor} stands inside of what it names", line)
        kind = type(event).__name__
        if kind.endswith("StartEvent") and isinstance(event, NodeEvent):
            open_anchors.append(event.anchor)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            open_anchors.pop()


def _note_lines(node: Any, place: Place, lines: dict[Place, int]) -> None:
    if isinstance(node, CommentedMap):
        for key in node:
            # What a merge (<<) brought in has no line here; its parent's is shown.
            line = node.lc.key(key)[0] + 1 if key in (node.lc.data or {}) else None
            try:
                here = (*place, _key(key))
            except InputError as error:
                raise UnreadableError(str(error), line) from None
            if line is not None:
                lines[here] = line
            _note_lines(node[key], here, lines)
    elif isinstance(node, CommentedSeq):
        for index, item in enumerate(node):
            lines[(*place, index)] = node.lc.item(index)[0] + 1
            _note_lines(item, (*place, index), lines)
