"""Everything that a training needs to go on with the same bits, as tensors and plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pomona.core.errors import InputError
from pomona.training.stopping import Check


class CheckpointError(InputError):
    """A checkpoint cannot be resumed. The training is whole without it: it starts at step 0 again."""


@dataclass(frozen=True)
class Checkpoint:
    """A training after some of its steps.

    Args:
        step: How many optimizer steps were taken.
        weights: Parameters and buffers by name.
        optimizer: State of the optimizer: by kind (``momentum``), then by parameter.
        checks: The evaluations so far.
        best: The weights of the best check, where the stop keeps them.
        unsaved: Buffers that are not among the weights (``persistent=False``).
    """

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]
    checks: tuple[Check, ...] = ()
    best: dict[str, Tensor] | None = None
    unsaved: dict[str, Tensor] = field(default_factory=dict)

    def parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Two parts that can be stored without pickle: tensors by a flat name, and a record for JSON."""
        tensors = {f"weights/{name}": tensor for name, tensor in self.weights.items()}
        for kind, state in self.optimizer.items():
            tensors.update({f"optimizer/{kind}/{name}": tensor for name, tensor in state.items()})
        tensors.update({f"unsaved/{name}": tensor for name, tensor in self.unsaved.items()})
        tensors.update({f"best/{name}": tensor for name, tensor in (self.best or {}).items()})
        record = {"step": self.step, "checks": [list(check) for check in self.checks]}
        return tensors, record

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> Checkpoint:
        """The checkpoint that ``parts`` was called on.

        Raises:
            CheckpointError: They are not the parts of a checkpoint.
        """
        named: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "unsaved": {}}
        optimizer: dict[str, dict[str, Tensor]] = {}
        for flat, tensor in tensors.items():
            group, _, name = flat.partition("/")
            if group == "optimizer" and "/" in name:
                kind, _, name = name.partition("/")
                optimizer.setdefault(kind, {})[name] = tensor
            elif group in named:
                named[group][name] = tensor
            else:
                raise CheckpointError(f"not a part of a checkpoint: {flat!r}")
        try:
            checks = tuple(Check(int(s), float(a), float(loss)) for s, a, loss in record["checks"])
            best = named["best"] or None
            return cls(int(record["step"]), named["weights"], optimizer, checks, best, named["unsaved"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"not the record of a checkpoint: {dict(record)!r}") from error
