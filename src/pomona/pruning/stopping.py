"""When a lineage is pruned no further."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pomona.core.errors import InputError
from pomona.core.schema import parse_fraction

COLLAPSE = "layer-collapse"
_ACCURACY = re.compile(r"\s*val-accuracy\s*<\s*(\S+)\s*")


@dataclass(frozen=True)
class StopRule:
    """A condition on the state that would be pruned next.

    Args:
        least: Accuracy on the validation part below which it is not; None for a layer without a kept weight.
    """

    least: float | None = None

    def __str__(self) -> str:
        """As it is written, in one form."""
        return COLLAPSE if self.least is None else f"val-accuracy < {self.least!r}"


def parse_stop(written: str) -> StopRule:
    """Read ``val-accuracy < .5`` or ``layer-collapse``.

    Raises:
        InputError: It is neither. Accuracy on the test set decides nothing.
    """
    if written == COLLAPSE:
        return StopRule()
    found = _ACCURACY.fullmatch(written)
    try:
        least = None if found is None else float(str(parse_fraction(_number(found[1]))))
    except (InputError, ValueError):
        least = None
    if least is None or not 0 < least <= 1:
        raise InputError(f"expected a stop as 'val-accuracy < .5' or 'layer-collapse', got {written!r}")
    return StopRule(least)


def _number(text: str) -> str | float:
    return text if text.endswith("%") else float(text)
