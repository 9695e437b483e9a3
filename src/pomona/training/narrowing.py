"""Masks that shrink while a training goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from pomona.core.errors import InputError


def copied(masks: Mapping[str, Tensor], order: Iterable[str] = ()) -> dict[str, Tensor]:
    """Copies on the CPU, which nobody else can change.

    Args:
        masks: By parameter.
        order: Names that come first, in this order: a file gives masks back in an order of its own.
    """
    names = dict.fromkeys([*(name for name in order if name in masks), *masks])
    return {name: masks[name].detach().cpu().clone() for name in names}


def revived(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> str | None:
    """The first parameter with a weight that is pruned before and kept after.

    Args:
        before: Bool, True = kept, by parameter, on the CPU; a parameter without one is dense.
        after: Of the same network. A mask of another shape is left to ``placing.pruned``.
    """
    for name, mask in before.items():
        later = after.get(name)
        if later is not None and later.shape != mask.shape:
            continue
        back = ~mask if later is None else ~mask & later.bool()
        if bool(back.any()):
            return name
    return None


def check_narrowed(before: Mapping[str, Tensor], after: Mapping[str, Tensor], step: int) -> None:
    """Check that a training may go on under other masks.

    Args:
        before: Those so far, on the CPU.
        after: What is to come after them, on the CPU. A parameter that is left out is dense.
        step: After how many steps, for messages.

    Raises:
        InputError: A pruned weight would be kept again.
    """
    name = revived(before, after)
    if name is not None:
        raise InputError(
            f"mask of {name}: pruning at step {step:,} keeps a weight that is pruned already; masks only "
            "shrink"
        )
