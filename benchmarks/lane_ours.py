"""Our side: the lane engine, driven as the loop of a study drives it, in one call for many steps."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn

import training_loop
from interleaving import Work
from lane_works import AMOUNT, LAYER_BATCH, LAYERS, LEVELS, TRAININGS, Order, Training
from pomona.models.build import build, initial_weights
from pomona.models.choice import ModelChoice
from pomona.pruning.kinds import layer_kinds
from pomona.pruning.method import Method
from pomona.pruning.prune import prune
from pomona.training.batches import Examples
from pomona.training.lanes.network import LaneNetwork

_PLAIN = {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0}
_ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
# No call returns before its steps are done.
_SLICE_SECONDS = 1e9

Tensors = Mapping[str, Tensor]


class Lanes:
    """A network on the lane engine, with the examples that it is trained on.

    Args:
        module: What is traced.
        weights: Where it starts, dense.
        data: Both parts.
        how: Batch, optimizer and learning rate.
    """

    def __init__(self, module: nn.Module, weights: Tensors, data: training_loop.Data, how: Training) -> None:
        channels = data.train_images.shape[1]
        examples = Examples(
            np.concatenate([data.train_images, data.test_images]),
            np.concatenate([data.train_labels, data.test_labels]),
            (1 / (255 * training_loop.SD),) * channels,
            (-training_loop.MEAN / training_loop.SD,) * channels,
        )
        self._network = LaneNetwork(module, weights, examples)
        self._how = how
        self._order = Order(len(data.train_labels), how.batch)
        self._test = np.arange(len(data.train_labels), len(examples))
        self.start(weights, {})

    def start(self, weights: Tensors, masks: Tensors) -> None:
        """From these weights under these masks, with a new optimizer."""
        kept = {name: weight * masks[name] if name in masks else weight for name, weight in weights.items()}
        self._network.place(kept)
        self._network.prune({name: ~mask for name, mask in masks.items()})
        self._network.kernel.set_optimizer(*(("adam", _ADAM) if self._how.adam else ("sgd", _PLAIN)))
        self._steps = 0

    def train(self, steps: int) -> int:
        """Take steps; says how many."""
        done, failed = self._network.kernel.train(
            self._network.images,
            self._network.labels,
            self._order.take(steps),
            self._how.batch,
            self._steps,
            np.full(steps, self._how.lr),
            np.zeros(0, np.uint64),
            _SLICE_SECONDS,
            _not_interrupted,
        )
        assert (done, failed) == (steps, -1), f"step {done} of {steps} failed at op {failed}"
        self._steps += steps
        return steps

    def evaluate(self) -> int:
        """Evaluate the test part; says how many examples."""
        assert np.isfinite(self._network.evaluate(self._test, self._network.program.outputs).loss)
        return len(self._test)

    def weights(self) -> dict[str, Tensor]:
        return self._network.weights()


def _not_interrupted() -> bool:
    return False


def prepare(job: str, made_up: bool, steps: int) -> Work:
    """One of the jobs that ``lane_works.rows`` names: steps, training, evaluation, trajectory, layer."""
    kind, name, *rest = job.split()
    if kind == "layer":
        return _layer(name, float(rest[0]))
    data = training_loop.load(made_up, TRAININGS[name].data)
    if kind == "trajectory":
        return _trajectory(name, training_loop.shortened(data, steps), steps)
    lanes = _started(name, data, float(rest[0]) if rest else 1.0)
    how = TRAININGS[name]
    if kind == "steps":
        return lambda: lanes.train(how.part_steps)
    if kind == "training":
        return lambda: lanes.train(how.part_steps) * how.batch
    assert kind == "evaluation", kind
    return lanes.evaluate


def _built(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    choice, shape = ModelChoice(name=name), training_loop.SHAPES[TRAININGS[name].data]
    return build(choice, shape, 10), initial_weights(choice, shape, 10, 0)


def _started(name: str, data: training_loop.Data, density: float) -> Lanes:
    """A network at its initial weights, without the smallest of briefly trained ones in each layer."""
    module, weights = _built(name)
    lanes = Lanes(module, weights, data, TRAININGS[name])
    lanes.train(TRAININGS[name].brief_steps)
    if density < 1:
        kinds = layer_kinds(module)
        kept = prune(lanes.weights(), {}, kinds, Method(criterion="magnitude"), 1 - density)
        lanes.start(weights, kept.masks)
        lanes.train(TRAININGS[name].part_steps)
    return lanes


def _trajectory(name: str, data: training_loop.Data, steps: int) -> Work:
    """Two whole trajectories at once, each in a thread: what is pruned is rewound to the initial weights."""
    module, weights = _built(name)
    kinds, method = layer_kinds(module), Method(criterion="magnitude")
    networks = [Lanes(module, weights, data, TRAININGS[name]) for _ in range(2)]

    def train(lanes: Lanes) -> int:
        masks: Tensors = {}
        for level in range(LEVELS + 1):
            if level:
                masks = prune(lanes.weights(), masks, kinds, method, AMOUNT).masks
            lanes.start(weights, masks)
            lanes.train(steps)
            lanes.evaluate()
        return (LEVELS + 1) * steps

    threads = ThreadPoolExecutor(2)

    def work() -> int:
        return sum(threads.map(train, networks))

    work()
    return work


def _layer(name: str, density: float) -> Work:
    """Whole training steps at rate 0 of a network around the layer, since that is what the engine runs.

    Beside the layer's outputs and both its gradients a step has: the gather of images of one channel; a layer
    before it, so that there is an input gradient, without kept weights, so that its biases are the inputs;
    after a convolution, global average pooling; the loss, with as many logits as the layer has outputs; the
    update. At a density of 0.02 that is 5 % (the largest convolution) to 50 % (the smallest linear layer).
    """
    layer = LAYERS[name]
    weight, mask = map(torch.from_numpy, layer.drawn(density))
    (outputs, inputs), size = weight.shape[:2], (1, 1) if layer.linear else layer.inputs[1:]
    if layer.linear:
        before, own = nn.Linear(1, inputs), nn.Linear(inputs, outputs, bias=False)
        module = nn.Sequential(nn.Flatten(), before, own)
    else:
        before, own = nn.Conv2d(1, inputs, 1), nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        module = nn.Sequential(before, own, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    own.weight = nn.Parameter(weight)
    weights = module.state_dict()
    masks = {
        key: mask if value is own.weight else torch.zeros_like(value, dtype=torch.bool)
        for key, value in module.named_parameters()
        if value.dim() > 1
    }
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (10 * LAYER_BATCH, 1, *size), dtype=np.uint8)
    labels = draw.integers(0, 10, len(images)).astype(np.uint8)
    how = Training("", LAYER_BATCH, adam=False, lr=0.0, part_steps=50 if layer.linear else 1, brief_steps=0)
    lanes = Lanes(module, weights, training_loop.Data(images, labels, images, labels), how)
    lanes.start(weights, masks)
    lanes.train(how.part_steps)
    return lambda: lanes.train(how.part_steps)
