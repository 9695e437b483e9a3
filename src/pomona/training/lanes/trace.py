"""Reads a module of torch into a program of the lane engine, or says everything that stands against it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from torch import fx, nn

from pomona.core.errors import InputError
from pomona.core.global_state import LOCK
from pomona.training.lanes.capture import capture, shown
from pomona.training.lanes.faithful import UNFAITHFUL, runs, unfaithful
from pomona.training.lanes.fuse import fuse
from pomona.training.lanes.lower import Lowered, lower
from pomona.training.lanes.program import Program
from pomona.training.lanes.screen import screened, unused
from pomona.training.lanes.value import Maps, sizes


class Unsupported(InputError):
    """A network that the lane engine cannot run.

    Args:
        name: The class of the network.
        reasons: Each as ``module.path: reason``; at least one.
    """

    def __init__(self, name: str, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        count = f"{len(reasons)} reason{'s' if len(reasons) > 1 else ''}"
        lines = "\n".join(f"  - {line}" for line in reasons)
        super().__init__(f"{name} cannot run on the lane engine: {count}\n{lines}")


def trace(module: nn.Module, input_shape: Sequence[int]) -> Program:
    """Read a module.

    It is traced in training and in evaluation mode, which may differ in dropout alone, and read for batches
    of two sizes, which may not differ. Nothing of it is changed, and its weights are not read.

    Args:
        module: A network from images to logits, shape ``(n, K)``.
        input_shape: Channels, height and width of an image.

    Raises:
        Unsupported: The engine cannot run it, or might compute something else; has all the reasons.
        InputError: Torch itself cannot run it on such images (names the layer).
    """
    shape = _image_shape(module, input_shape)
    kept = _kept.get(module, {})
    if shape in kept:
        return kept[shape]
    # What tracing replaces and what warnings say belongs to the process.
    with LOCK, warnings.catch_warnings():
        # What torch has to say of a layer it says when that is trained.
        warnings.simplefilter("ignore")
        training, evaluation = (_read(module, shape, mode) for mode in (True, False))
        reasons = screened(module) + training.reasons + evaluation.reasons
        if training.lowered and evaluation.lowered:
            reasons += unused(module, training.lowered[0].used)
        if not reasons:
            reasons = _differences(module, training.lowered, evaluation.lowered)
        for mode in (training, evaluation) if not reasons else ():
            reasons += unfaithful(module, mode.graph, shape, mode.training)
    if reasons:
        raise Unsupported(type(module).__name__, list(dict.fromkeys(reasons)))
    found = training.lowered[0]
    program = Program(shape, fuse(found.ops), found.outputs)
    if module in _kept:
        kept[shape] = program
    return program


def trace_once(module: nn.Module) -> nn.Module:
    """Say that what a module's ``forward`` does never changes: ``trace`` then reads it once for each shape.

    Of a user's module that cannot be known; of one of the catalogue it is.
    """
    _kept.setdefault(module, {})
    return module


_kept: WeakKeyDictionary[nn.Module, dict[Maps, Program]] = WeakKeyDictionary()


@dataclass(frozen=True)
class _Read:
    """A network in one mode: for a batch of two and, where nothing stands against that, for one of one."""

    training: bool
    graph: fx.Graph
    lowered: list[Lowered]
    reasons: list[str]


def _read(module: nn.Module, shape: Maps, training: bool) -> _Read:
    graph, reasons = capture(module, training)
    read = _Read(training, graph or fx.Graph(), [], reasons)
    # A batch of one is where squeeze() loses it.
    for batch in (2, 1) if graph else ():
        try:
            lowered = lower(module, read.graph, shape, batch, training)
        except InputError:
            if not runs(module, shape, training):
                raise
            read.reasons.append(f"{shown(module)}: {UNFAITHFUL}")
            break
        read.lowered.append(lowered)
        read.reasons.extend(lowered.reasons)
        if lowered.reasons:
            break
    return read


def _image_shape(module: nn.Module, given: Sequence[int]) -> Maps:
    name = type(module).__name__
    if len(given) != 3:
        raise Unsupported(
            name, [f"{name}: an example has the shape {sizes(given)}; expected channels, height and width"]
        )
    if not all(isinstance(size, int) and size > 0 for size in given):
        raise InputError(f"{name}: input shape {tuple(given)}: expected three whole numbers, 1 or more")
    channels, height, width = given
    return channels, height, width


def _differences(module: nn.Module, training: Sequence[Lowered], evaluation: Sequence[Lowered]) -> list[str]:
    """Why what was read in both modes and for both sizes of a batch is not one network."""
    if any(two.ops != one.ops for two, one in (training, evaluation)):
        return [f"{shown(module)}: forward computes something else for another size of the batch"]
    # Values are numbered past the dropouts.
    plain = [
        [replace(op, inputs=()) for op in lowered[0].ops if op.kind != "dropout"]
        for lowered in (training, evaluation)
    ]
    if plain[0] != plain[1]:
        return [f"{shown(module)}: forward computes something else in evaluation than in training"]
    if all(op.weight is None for op in plain[0]):
        return [f"{shown(module)}: it has no layer with weights; the lane engine trains Conv2d and Linear"]
    return []
