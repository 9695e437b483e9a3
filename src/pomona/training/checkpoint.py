"""Everything that a training needs to go on with the same bits, as tensors and plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pomona.core.errors import InputError
from pomona.training.narrowing import copied, revived
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
        masks: Bool, True = kept, by parameter; None while they are those that the training began with.
        best_masks: Those of ``best``; given where both ``best`` and ``masks`` are.
    """

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]
    checks: tuple[Check, ...] = ()
    best: dict[str, Tensor] | None = None
    unsaved: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] | None = None
    best_masks: dict[str, Tensor] | None = None

    def parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Two parts that can be stored without pickle: tensors by a flat name, and a record for JSON."""
        tensors = {f"weights/{name}": tensor for name, tensor in self.weights.items()}
        for kind, state in self.optimizer.items():
            tensors.update({f"optimizer/{kind}/{name}": tensor for name, tensor in state.items()})
        tensors.update({f"unsaved/{name}": tensor for name, tensor in self.unsaved.items()})
        groups = {"best": self.best, "masks": self.masks, "best-masks": self.best_masks}
        for group, named in groups.items():
            tensors.update({f"{group}/{name}": tensor for name, tensor in (named or {}).items()})
        record: dict[str, Any] = {"step": self.step, "checks": [list(check) for check in self.checks]}
        # Names alone would not tell masks that nothing has from masks of the start.
        return tensors, record if self.masks is None else {**record, "masks": True}

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> Checkpoint:
        """The checkpoint that ``parts`` was called on.

        Raises:
            CheckpointError: They are not the parts of a checkpoint.
        """
        groups = ("weights", "best", "unsaved", "masks", "best-masks")
        named: dict[str, dict[str, Tensor]] = {group: {} for group in groups}
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
            step = int(record["step"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"not the record of a checkpoint: {dict(record)!r}") from error
        best = named["best"] or None
        masks = named["masks"] if record.get("masks") else None
        best_masks = named["best-masks"] if best is not None and masks is not None else None
        return cls(step, named["weights"], optimizer, checks, best, named["unsaved"], masks, best_masks)

    def check_fits(
        self,
        start: Checkpoint,
        masks: Mapping[str, Tensor],
        total: int,
        every: int | None,
        prune_at: Sequence[int] = (),
        frozen: bool = False,
    ) -> None:
        """Check that a training can go on from here.

        Args:
            start: The same training before its first step; ``best`` is given where the stop keeps weights.
            masks: Bool, True = kept, by parameter: those that it begins with.
            total: The step that it ends at.
            every: Steps from one check to the next, or None without a stop.
            prune_at: Steps at which its masks shrink; at that of the checkpoint they have shrunk.
            frozen: Whether pruned weights keep the values of ``start``.

        Raises:
            CheckpointError: This is a moment of another training, or of none.
        """
        if not start.step <= self.step <= total:
            raise CheckpointError(f"the checkpoint is of step {self.step:,}, the training has {total:,}")
        checked = [check.step for check in self.checks]
        begin = start.step
        if checked != ([s for s in range(every, self.step + 1, every) if s > begin] if every else []):
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
        for name, tensor in [*self.weights.items(), *(self.best or {}).items()]:
            if not bool(torch.isfinite(tensor).all()):
                raise CheckpointError(f"the checkpoint has values of {name} that are not finite")
        self._check_masks(start, masks, any(step <= self.step for step in prune_at))
        held = start.weights if frozen else {}
        now = masks if self.masks is None else self.masks
        best = masks if self.best_masks is None else self.best_masks
        _check_pruned(self.weights, now, held)
        _check_pruned(self.best or {}, best, held)
        for state in self.optimizer.values():
            _check_pruned(state, now, {})

    def _check_masks(self, start: Checkpoint, masks: Mapping[str, Tensor], shrunk: bool) -> None:
        if shrunk != (self.masks is not None):
            raise CheckpointError(
                f"the checkpoint of step {self.step:,} has {'no masks' if shrunk else 'masks'} of its own: "
                "it is of a training that prunes at other steps"
            )
        if self.masks is None:
            return
        for found in (self.masks, self.best_masks or {}):
            for name, mask in found.items():
                if name not in start.weights or mask.shape != start.weights[name].shape:
                    raise CheckpointError(f"the checkpoint has a mask of {name} that does not fit")
                if mask.dtype != torch.bool:
                    raise CheckpointError(f"the checkpoint has a mask of {name} of {mask.dtype}")
        begun, best = copied(masks), self.best_masks
        pairs = [(begun, self.masks)] if best is None else [(begun, best), (best, self.masks)]
        for before, after in pairs:
            back = revived(before, after)
            if back is not None:
                raise CheckpointError(f"the checkpoint is of other masks: {back} keeps what is pruned")


def _check_pruned(
    tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor], held: Mapping[str, Tensor]
) -> None:
    for name in [name for name in tensors if name in masks]:
        where = ~masks[name].cpu()
        wanted = held[name][where] if name in held else 0
        if bool((tensors[name][where] != wanted).any()):
            value = "what it was" if name in held else "zero"
            raise CheckpointError(
                f"the checkpoint is of other masks: {name} is not {value} where it is pruned"
            )


def _forms(checkpoint: Checkpoint) -> dict[str, str]:
    # Masks are those of an event, which may name other parameters than the masks of the start.
    checkpoint = replace(checkpoint, masks=None, best_masks=None)
    return {name: f"{t.dtype} of {tuple(t.shape)}" for name, t in checkpoint.parts()[0].items()}
