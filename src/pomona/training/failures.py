"""What went wrong in a step, as a failure of the state: which kind, at which step, in whose code."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch
from torch import Tensor

from pomona.core.errors import StateFailure

# What torch's CPU allocator and the systems below it say; a device has an exception of its own.
_NO_MEMORY = ("not enough memory", "can't allocate memory", "Cannot allocate memory", "out of memory")
_LIBRARIES = (Path(torch.__file__).parent, Path(__file__).parent.parent)


def moment(step: int, steps_per_epoch: int) -> str:
    """A step, counted from 0, in the words of a message: both numbers counted from 1.

    >>> moment(1875, 1875)
    'step 1876 (epoch 2)'
    """
    return f"step {step + 1} (epoch {step // steps_per_epoch + 1})"


def diverged(what: str, when: str, first: str | None) -> StateFailure:
    """The failure of a training whose numbers are no longer finite.

    Args:
        what: What was seen: ``the loss is nan``.
        when: As ``moment`` says it.
        first: The first tensor or layer that is not finite; None where all weights are.
    """
    where = f"first in {first}" if first else "all weights are still finite"
    return StateFailure("diverged", f"diverged: {what} at {when}, {where}; a lower learning rate may help")


def failed(error: Exception, when: str) -> StateFailure:
    """Classify what a forward or backward pass raised."""
    if isinstance(error, StateFailure):
        return error
    text = str(error).strip()
    line = text.splitlines()[0] if text else ""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(words in text for words in _NO_MEMORY):
        return StateFailure("out of memory", f"out of memory at {when}; a smaller batch may fit: {line}")
    place = _place(error)
    return StateFailure("bad input", f"{place}the network failed at {when}: {type(error).__name__}: {line}")


def check_outputs(outputs: object, labels: Tensor, classes: int) -> None:
    """Check what a module returned for a batch.

    Args:
        outputs: What it returned.
        labels: Of the batch.
        classes: Number of labels that occur in the data, at least.

    Raises:
        StateFailure: It is not one row of logits per example.
    """
    if not isinstance(outputs, Tensor):
        raise StateFailure("bad input", f"the network returned {type(outputs).__name__}, expected a tensor")
    if outputs.ndim != 2 or len(outputs) != len(labels) or outputs.shape[1] < classes:
        raise StateFailure(
            "bad input",
            f"the network returned shape {tuple(outputs.shape)} for {len(labels)} examples, expected "
            f"({len(labels)}, classes) with {classes} classes or more",
        )
    if not outputs.is_floating_point():
        raise StateFailure("bad input", f"the network returned {outputs.dtype}, expected float32")


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(Path(f.filename).is_relative_to(lib) for lib in _LIBRARIES)]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}: in {own[-1].name}: " if own else ""
