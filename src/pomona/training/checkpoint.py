"""Everything that a training needs to go on with the same bits, as tensors and plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
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
            step, best = int(record["step"]), named["best"] or None
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"not the record of a checkpoint: {dict(record)!r}") from error
        return cls(step, named["weights"], optimizer, checks, best, named["unsaved"])

    def check_fits(
        self, start: Checkpoint, masks: Mapping[str, Tensor], total: int, every: int | None
    ) -> None:
        """Check that a training can go on from here.

        Args:
            start: The same training before its first step; ``best`` is given where the stop keeps weights.
            masks: Bool, True = kept, by parameter.
            total: Its steps.
            every: Steps from one check to the next, or None without a stop.

        Raises:
            CheckpointError: This is a moment of another training, or of none.
        """
        if not 0 <= self.step <= total:
            raise CheckpointError(f"the checkpoint is of step {self.step:,}, the training has {total:,}")
        checked = [check.step for check in self.checks]
        if checked != (list(range(every, self.step + 1, every)) if every else []):
            raise CheckpointError(
                f"the checkpoint has other checks than the training: at the steps {checked}"
            )
        expected = _forms(replace(start, best=start.best if checked else None))
        given = _forms(self)
        # The order of names is no difference: a file gives its tensors back in an order of its own.
        different = sorted(name for name in {*given, *expected} if given.get(name) != expected.get(name))
        if different:
            name = different[0]
            raise CheckpointError(
                f"the checkpoint is of another optimizer or network than the training: {name}: expected "
                f"{expected.get(name, 'none')}, got {given.get(name, 'none')}"
            )
        weights = [*self.weights.items(), *(self.best or {}).items()]
        for name, tensor in weights:
            if not bool(torch.isfinite(tensor).all()):
                raise CheckpointError(f"the checkpoint has values of {name} that are not finite")
        for name, tensor in [
            *weights,
            *(item for state in self.optimizer.values() for item in state.items()),
        ]:
            if name in masks and bool((tensor[~masks[name].cpu()] != 0).any()):
                raise CheckpointError(
                    f"the checkpoint is of other masks: {name} is not zero where it is pruned"
                )


def _forms(checkpoint: Checkpoint) -> dict[str, str]:
    return {name: f"{t.dtype} of {tuple(t.shape)}" for name, t in checkpoint.parts()[0].items()}
