"""Training time as a type: epochs and iterations cannot be confused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pomona.core.errors import InputError

_WRITTEN = re.compile(r"(0|[1-9][0-9]*)(ep|it)")


@dataclass(frozen=True)
class Step:
    """A point of training, kept as it was written: ``30ep`` or ``500it``.

    ``Step(1, "ep")`` and ``Step(1875, "it")`` may be the same moment for one data set and batch size, and
    are different values: what was asked for is part of an identity.
    """

    count: int
    unit: Literal["ep", "it"]

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError(f"a step counts from 0, got {self.count}{self.unit}")

    @classmethod
    def parse(cls, written: str | Step) -> Step:
        """Read ``30ep`` (epochs) or ``500it`` (iterations).

        >>> Step.parse("500it")
        Step(count=500, unit='it')

        Raises:
            InputError: For anything else, a bare number included.
        """
        if isinstance(written, Step):
            return written
        found = _WRITTEN.fullmatch(written) if isinstance(written, str) else None
        if found is None:
            hint = f"; did you mean '{written}ep' or '{written}it'?" if str(written).isdigit() else ""
            raise InputError(f"expected epochs as '30ep' or iterations as '500it', got {written!r}{hint}")
        return cls(int(found[1]), "ep" if found[2] == "ep" else "it")

    def iterations(self, steps_per_epoch: int) -> int:
        """The number of optimizer steps from the start up to here."""
        return self.count * steps_per_epoch if self.unit == "ep" else self.count

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Steps of one epoch: ceil(examples / batch size), the short batch kept.

    >>> steps_per_epoch(60_000, 32), steps_per_epoch(55_000, 60)
    (1875, 917)
    """
    return -(-examples // batch_size)
