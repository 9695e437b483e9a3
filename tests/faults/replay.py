"""What was recorded, played again: the folder as it would be had the machine stopped at any point.

The rules are those that a program may count on, not what a file system happens to do: the content of a file
is on disk once the file was synced, a name once its folder was. What was not synced may be there, in any part
and in any order, in whole sectors of 512 bytes.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_HEAD = struct.Struct("<cIIqQ")
SECTOR = 512
# SQLite syncs the folder of its files itself, but the name of one is said to be safe with its content.
_SQLITE = "ledger.sqlite"
# An index that SQLite makes anew; it is memory that several processes share.
_VOLATILE = "-shm"

# Content of each file, None for a folder, by path below the store's folder.
Image = dict[str, bytes | None]


@dataclass(frozen=True)
class Change:
    """One change of a file or folder; ``end`` is where its record ends in the log."""

    kind: str
    path: str
    other: str
    offset: int
    data: bytes
    end: int


def read_log(log: Path, folder: Path) -> list[Change]:
    """The changes below a folder, in order, with paths relative to it."""
    content, at, found = log.read_bytes(), 0, []
    while at < len(content):
        kind, path, other, offset, size = _HEAD.unpack_from(content, at)
        start = at + _HEAD.size
        at = start + path + other + size
        first, second = content[start : start + path], content[start + path : start + path + other]
        places = [_relative(os.fsdecode(name), folder) if name else "" for name in (first, second)]
        found.append(Change(kind.decode(), *places, offset, content[at - size : at], at))
    return found


def _relative(path: str, folder: Path) -> str:
    found = os.path.relpath(path, folder)
    return "" if found == "." else found


@dataclass
class _File:
    now: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    since: list[Change] = field(default_factory=list)


@dataclass
class _Folder:
    now: dict[str, _File | _Folder] = field(default_factory=dict)
    durable: dict[str, _File | _Folder] = field(default_factory=dict)
    since: list[tuple[str, _File | _Folder | None]] = field(default_factory=list)

    def name(self, name: str, what: _File | _Folder | None) -> None:
        _set(self.now, name, what)
        self.since.append((name, what))


class Disk:
    """What is written and what is safe, change after change.

    Args:
        before: What was there and safe when it began.
    """

    def __init__(self, before: Image | None = None) -> None:
        self.root = _Folder()
        for path, content in (before or {}).items():
            folder, name = self._place(path)
            what = _Folder() if content is None else _File(bytearray(content), content)
            folder.now[name] = folder.durable[name] = what

    def apply(self, change: Change) -> None:
        """Take the next change of the log."""
        if change.path.endswith(_VOLATILE) or change.path.endswith(" (deleted)"):
            return
        folder, name = self._place(change.path)
        if change.kind == "c":
            folder.name(name, _File())
        elif change.kind == "m" and name:
            folder.name(name, _Folder())
        elif change.kind == "u":
            folder.name(name, None)
        elif change.kind == "r":
            target, new = self._place(change.other)
            moved = folder.now[name]
            folder.name(name, None)
            target.name(new, moved)
        elif change.kind == "s":
            self._sync(folder, name)
        elif change.kind in "wt":
            file = folder.now[name]
            assert isinstance(file, _File)
            _apply(file.now, change)
            file.since.append(change)

    def killed(self) -> Image:
        """After the process was killed: all that it wrote."""
        return dict(_walk(self.root, lambda folder: folder.now, lambda file: bytes(file.now)))

    def lost_power(self) -> Image:
        """After a power loss that took everything that was not synced."""
        return dict(_walk(self.root, lambda folder: folder.durable, lambda file: file.durable))

    def lost_some(self, seed: int) -> Image:
        """After a power loss that took a random part of what was not synced."""
        draw = random.Random(seed)
        kept = draw.choice([0.1, 0.5, 0.9])

        def names(folder: _Folder) -> Mapping[str, _File | _Folder]:
            found = dict(folder.durable)
            for name, what in folder.since:
                if draw.random() < kept:
                    _set(found, name, what)
            return found

        contents: dict[int, bytes] = {}

        def content(file: _File) -> bytes:
            if id(file) not in contents:  # one file may be there under two names
                found = bytearray(file.durable)
                for change in file.since:
                    for part in _sectors(change):
                        if draw.random() < kept:
                            _apply(found, part)
                contents[id(file)] = bytes(found)
            return contents[id(file)]

        return dict(_walk(self.root, names, content))

    def _place(self, path: str) -> tuple[_Folder, str]:
        *parts, name = path.split("/")
        folder = self.root
        for part in parts:
            inside = folder.now[part]
            assert isinstance(inside, _Folder)
            folder = inside
        return folder, name

    def _sync(self, folder: _Folder, name: str) -> None:
        what = folder.now[name] if name else self.root
        if isinstance(what, _Folder):
            what.durable, what.since = dict(what.now), []
        else:
            what.durable, what.since = bytes(what.now), []
            if name.startswith(_SQLITE):
                folder.durable[name] = what
                folder.since = [entry for entry in folder.since if entry[0] != name]


def taken(folder: Path) -> Image:
    """A folder as it is, folders before what is in them."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in paths}


def build(image: Image, folder: Path) -> None:
    """Write an image into an empty folder."""
    folder.mkdir(parents=True)
    for path, content in image.items():
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)


def _set(entries: dict[str, _File | _Folder], name: str, what: _File | _Folder | None) -> None:
    if what is None:
        entries.pop(name, None)
    else:
        entries[name] = what


def _apply(content: bytearray, change: Change) -> None:
    end = change.offset + len(change.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if change.kind == "t":
        del content[change.offset :]
    content[change.offset : end] = change.data


def _sectors(change: Change) -> Iterator[Change]:
    """A write in the parts that reach the disk as a whole or not at all."""
    if change.kind == "t":
        yield change
        return
    at = change.offset
    while at < change.offset + len(change.data):
        end = min((at // SECTOR + 1) * SECTOR, change.offset + len(change.data))
        yield Change(
            "w", change.path, "", at, change.data[at - change.offset : end - change.offset], change.end
        )
        at = end


def _walk(
    folder: _Folder,
    names: Callable[[_Folder], Mapping[str, _File | _Folder]],
    content: Callable[[_File], bytes],
    prefix: str = "",
) -> Iterator[tuple[str, bytes | None]]:
    for name, what in names(folder).items():
        path = f"{prefix}{name}"
        if isinstance(what, _Folder):
            yield path, None
            yield from _walk(what, names, content, f"{path}/")
        else:
            yield path, content(what)
