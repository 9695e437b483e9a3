"""What the lane benchmark measures: its rows, the jobs that they compare, the layers that all sides build."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A trajectory: levels 0 (dense) to 20, each without a fifth of what the one before had in each layer.
LEVELS, AMOUNT = 20, 0.2
LAYER_BATCH = 32
DENSITIES = (0.2, 0.1, 0.05, 0.02)
# Ours with AVX2 has to reach this share of the floors.
AVX2 = 0.85


@dataclass(frozen=True)
class Training:
    """How a network is trained, on every side.

    Args:
        data: Name of the data set.
        batch: Examples of a step.
        adam: Adam instead of SGD.
        lr: Learning rate.
        part_steps: Steps between two looks at the clock.
        brief_steps: How long the dense network is trained whose magnitudes give the masks.
    """

    data: str
    batch: int
    adam: bool
    lr: float
    part_steps: int
    brief_steps: int


TRAININGS = {
    "lenet": Training("mnist", 32, adam=False, lr=0.01, part_steps=200, brief_steps=300),
    "fc": Training("mnist", 32, adam=False, lr=0.01, part_steps=200, brief_steps=300),
    "conv-4": Training("cifar-10", 60, adam=True, lr=3e-4, part_steps=1, brief_steps=10),
}


class Order:
    """Whole batches out of one permutation of the examples after the other.

    Args:
        examples: How many there are, a multiple of the batch.
        batch: Examples of a step.
    """

    def __init__(self, examples: int, batch: int) -> None:
        assert examples % batch == 0
        self._draw = np.random.default_rng(0)
        self._examples, self._batch = examples, batch
        self._rest = np.zeros(0, np.int64)

    def take(self, steps: int) -> NDArray[np.int64]:
        """The examples of the next steps."""
        while len(self._rest) < steps * self._batch:
            self._rest = np.concatenate([self._rest, self._draw.permutation(self._examples)])
        taken, self._rest = np.split(self._rest, [steps * self._batch])
        return taken


@dataclass(frozen=True)
class Side:
    """One job of one side, in as many processes at once.

    Args:
        name: ``ours``, ``lean``, ``usual``, ``sparseprop`` or ``csr``.
        job: What a process of that side is told: words, the first of which is the kind of job.
        processes: How many do the same job at the same time; their counts are added.
    """

    name: str
    job: str
    processes: int = 1


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        name: As ``--only`` takes it.
        group: Rows of a group share processes and rounds.
        ours: The side whose rate is the numerator.
        peer: The side whose rate is the denominator.
        against: The peer, in words.
        floor: Ratio with AVX-512 below which the row is not met.
        stretch: Ratio that is hoped for.
        unit: What is counted in a second.
    """

    name: str
    group: str
    ours: Side
    peer: Side
    against: str
    floor: float
    stretch: float
    unit: str = "steps/s"


@dataclass(frozen=True)
class Layer:
    """A layer by itself on a made-up input.

    Args:
        inputs: Channels, height and width; a linear layer takes them flat.
        weight: Shape of the weight, as torch has it; a convolution keeps height and width.
    """

    inputs: tuple[int, int, int]
    weight: tuple[int, ...]

    @property
    def linear(self) -> bool:
        return len(self.weight) == 2

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (LAYER_BATCH, math.prod(self.inputs)) if self.linear else (LAYER_BATCH, *self.inputs)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (
            (LAYER_BATCH, self.weight[0]) if self.linear else (LAYER_BATCH, self.weight[0], *self.inputs[1:])
        )

    def drawn(self, density: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Weight and mask, the same for every side."""
        draw = np.random.Generator(np.random.Philox(key=2))
        weight = draw.standard_normal(self.weight, np.float32) / np.float32(math.prod(self.weight[1:]) ** 0.5)
        mask = draw.random(self.weight) < density
        return weight * mask, mask

    def batch(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Inputs, and gradients of the outputs."""
        draw = np.random.Generator(np.random.Philox(key=3))
        inputs = draw.standard_normal(self.input_shape, np.float32)
        return inputs, draw.standard_normal(self.output_shape, np.float32)


LAYERS = {
    "linear-784x300": Layer((1, 28, 28), (300, 784)),
    "linear-400x120": Layer((1, 20, 20), (120, 400)),
    "linear-512x512": Layer((1, 16, 32), (512, 512)),
    "conv-64x64-on-32x32": Layer((64, 32, 32), (64, 64, 3, 3)),
    "conv-64x64-on-16x16": Layer((64, 16, 16), (64, 64, 3, 3)),
}


def rows() -> list[Row]:
    return [*_small_networks(), *_trajectories(), *_conv_4(), *_layers(), *_evaluations()]


def _small_networks() -> Iterator[Row]:
    floors = {
        "lenet": {0: (5.5, 6.5), 10: (14, 19), 20: (20, 40)},
        "fc": {0: (1.9, 2.05), 10: (5.5, 6.5), 20: (21, 35)},
    }
    for model, by_level in floors.items():
        for level, (floor, stretch) in by_level.items():
            name = f"{model}-level-{level}" if level else f"{model}-dense"
            ours = Side("ours", f"steps {model} {(1 - AMOUNT) ** level}")
            yield Row(name, model, ours, Side("lean", f"steps {model}"), "lean torch, dense", floor, stretch)


def _trajectories() -> Iterator[Row]:
    for model, floor, stretch in (("lenet", 24, 30), ("fc", 16, 20)):
        job = f"trajectory {model}"
        peer = Side("usual", job, processes=2)
        yield Row(
            f"{model}-trajectory", job, Side("ours", job), peer, "usual loop, 2 processes", floor, stretch
        )


def _conv_4() -> Iterator[Row]:
    for name, density, floor, stretch in (("dense", 1.0, 0.95, 1.1), ("density-0.05", 0.05, 4, 6)):
        ours = Side("ours", f"steps conv-4 {density}")
        peer = Side("lean", "steps conv-4")
        yield Row(f"conv-4-{name}", "conv-4", ours, peer, "lean torch, dense", floor, stretch)


def _layers() -> Iterator[Row]:
    for layer in LAYERS:
        for density in DENSITIES:
            job = f"layer {layer} {density}"
            for peer, against, floor, stretch in (
                ("sparseprop", "SparseProp", 2, 4),
                ("csr", "torch CSR", 1.4, 2),
            ):
                yield Row(
                    f"{layer}-{density}-{peer}",
                    layer,
                    Side("ours", job),
                    Side(peer, job),
                    against,
                    floor,
                    stretch,
                )


def _evaluations() -> Iterator[Row]:
    for model, floor in (("lenet", 2.5), ("fc", 1.9)):
        ours, peer = Side("ours", f"evaluation {model}"), Side("ours", f"training {model}")
        yield Row(
            f"{model}-evaluation", model, ours, peer, "our own training", floor, floor, unit="examples/s"
        )
