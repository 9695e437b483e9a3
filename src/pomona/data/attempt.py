"""What every source of a data set is given and what it may say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pomona.data.cache import Report
from pomona.data.download import Hosts
from pomona.data.parts import Parts


@dataclass(frozen=True)
class Attempt:
    """One attempt to get a data set.

    Args:
        name: The data set.
        root: The cache's folder; downloads lie in it until they are decoded.
        report: Told what happens; lines come out with the data set's name before them.
        hosts: Which hosts have answered so far.
    """

    name: str
    root: Path
    report: Report
    hosts: Hosts = field(default_factory=Hosts)

    @property
    def downloads(self) -> Path:
        """Where downloads and their unfinished parts lie."""
        return self.root / "downloads"


@dataclass(frozen=True)
class Source:
    """A place that a data set can be had from.

    Args:
        title: How it is called when it is tried and when it fails.
        parts: Gets the four arrays, or raises a ``DataError`` that says why not. Digests are not its concern.
    """

    title: str
    parts: Callable[[Attempt], Parts]
