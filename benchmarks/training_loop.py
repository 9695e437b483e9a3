"""Optimizer steps per second of three training loops, two processes of one thread each at a time.

    python benchmarks/training_loop.py [--random] [--models lenet fc] [--repeats 7] [--seconds 4]

ours    ``pomona.training.train`` and ``evaluate``, as a study runs them.
usual   The loop that most papers' code has: a PIL image per example through ToTensor and Normalize (written
        out here), a DataLoader, ``optimizer.step()``, masks multiplied in after it, evaluation every epoch
        through the same pipeline.
lean    The fastest plain torch that we know: normalised floats in memory, gathered by index, channels-last,
        ReLU after pooling, foreach updates.

All sides train the same network at a density of 0.8 with SGD and batch 32, evaluate on a sixth as many test
images after every epoch, and have the same memory settings. Their measurements are interleaved; a ratio is
of two measurements of the same round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SIDES = ("ours", "usual", "lean")
BATCH, LR, DENSITY, PROCESSES = 32, 0.01, 0.8, 2
MEAN, SD = 0.1307, 0.3081
TRAIN, TEST = 9_600, 1_600
SHAPES = {"mnist": (1, 28, 28), "cifar-10": (3, 32, 32)}
# Large temporary tensors are kept by the allocator instead of being given back and page-faulted in again.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}


@dataclass(frozen=True)
class Data:
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load(random: bool, name: str = "mnist") -> Data:
    if random:
        draw = np.random.Generator(np.random.Philox(key=1))
        images = draw.integers(0, 256, (TRAIN + TEST, *SHAPES[name]), dtype=np.uint8)
        labels = draw.integers(0, 10, TRAIN + TEST).astype(np.uint8)
        return Data(images[:TRAIN], labels[:TRAIN], images[TRAIN:], labels[TRAIN:])
    from pomona.data.dataset import load as load_set

    found = load_set(name)
    return Data(
        found.train_images[:TRAIN],
        found.train_labels[:TRAIN],
        found.test_images[:TEST],
        found.test_labels[:TEST],
    )


def shortened(data: Data, steps: int) -> Data:
    """An epoch of so many steps, and a sixth as many test images."""
    train, test = steps * BATCH, -(-steps * BATCH // 6)
    return Data(
        data.train_images[:train], data.train_labels[:train], data.test_images[:test], data.test_labels[:test]
    )


def start(model: str):
    """Weights and masks that all sides share."""
    import torch

    from pomona.models.build import build, initial_weights
    from pomona.models.choice import ModelChoice
    from pomona.pruning.kinds import layer_kinds

    choice = ModelChoice(name=model)
    module = build(choice, (1, 28, 28), 10)
    weights = initial_weights(choice, (1, 28, 28), 10, 0)
    generator = torch.Generator().manual_seed(0)
    masks = {
        name: torch.rand(weights[name].shape, generator=generator) < DENSITY for name in layer_kinds(module)
    }
    for name, mask in masks.items():
        weights[name] *= mask
    return module, weights, masks


def ours(model: str, data: Data) -> Callable[[], None]:
    from pomona.training.batches import Examples
    from pomona.training.config import Optimizer, Sgd, Train
    from pomona.training.evaluate import evaluate
    from pomona.training.loop import train

    module, weights, masks = start(model)
    scale, shift = (1 / (255 * SD),), (-MEAN / SD,)
    examples = Examples(data.train_images, data.train_labels, scale, shift)
    tests = Examples(data.test_images, data.test_labels, scale, shift)
    config = Train.model_validate(
        {"optimizer": Optimizer(sgd=Sgd(lr=LR)), "batch_size": BATCH, "duration": "1ep"}
    )
    draw = np.random.default_rng(0)

    def epoch() -> None:
        nonlocal weights
        result = train(
            module,
            weights,
            masks,
            examples,
            np.arange(TRAIN),
            np.arange(0),
            config,
            order=lambda _: draw.permutation(TRAIN),
            dropout_seed=lambda step: step,
            random_forward=False,
        )
        weights = result.weights
        assert np.isfinite(evaluate(module, weights, tests, None, 10).loss)

    return epoch


def usual(model: str, data: Data) -> Callable[[], None]:
    import torch
    from PIL import Image
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    def to_tensor(picture: Image.Image) -> torch.Tensor:
        array = torch.from_numpy(np.array(picture, np.uint8, copy=True))
        array = array.view(picture.size[1], picture.size[0], 1).permute((2, 0, 1)).contiguous()
        return array.to(torch.float32).div(255)

    def normalize(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        mean = torch.as_tensor((MEAN,), dtype=tensor.dtype).view(-1, 1, 1)
        sd = torch.as_tensor((SD,), dtype=tensor.dtype).view(-1, 1, 1)
        return tensor.sub_(mean).div_(sd)

    class Pictures(Dataset):
        def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
            self.images, self.labels = torch.from_numpy(images[:, 0].copy()), torch.from_numpy(labels.copy())

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, index: int):
            picture = Image.fromarray(self.images[index].numpy())
            return normalize(to_tensor(picture)), int(self.labels[index])

    network = _lenet(nn, before=True) if model == "lenet" else _fc(nn)
    _, weights, masks = start(model)
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    named = dict(zip([n for n, p in network.named_parameters() if p.dim() > 1], masks.values(), strict=True))
    masked = [(p, named[n].float()) for n, p in network.named_parameters() if n in named]
    optimizer = torch.optim.SGD(network.parameters(), lr=LR)
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(Pictures(data.train_images, data.train_labels), batch_size=BATCH, shuffle=True)
    tests = DataLoader(Pictures(data.test_images, data.test_labels), batch_size=1000)

    def epoch() -> None:
        for images, labels in loader:
            network.train()
            optimizer.zero_grad()
            loss = criterion(network(images), labels)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for parameter, mask in masked:
                    parameter.mul_(mask)
        network.eval()
        total = 0.0
        with torch.no_grad():
            for images, labels in tests:
                total += criterion(network(images), labels).item()
        assert np.isfinite(total)

    return epoch


def lean(model: str, data: Data) -> Callable[[], None]:
    import torch
    import torch.nn.functional as F

    test_images, test_labels = floats(data.test_images), torch.from_numpy(data.test_labels.astype(np.int64))
    network = lean_network(model)
    _, weights, masks = start(model)
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    parameters = list(network.parameters())
    positions = [i for i, p in enumerate(parameters) if p.dim() > 1]
    factors = [
        torch.empty_like(parameters[i]).copy_(m) for i, m in zip(positions, masks.values(), strict=True)
    ]
    values = [p.detach() for p in parameters]
    generator = torch.Generator().manual_seed(0)

    def update(gradients) -> None:
        torch._foreach_mul_([gradients[i] for i in positions], factors)
        torch._foreach_add_(values, gradients, alpha=-LR)

    steps = lean_steps(network, data, BATCH, update)

    def epoch() -> None:
        network.train()
        steps(torch.randperm(TRAIN, generator=generator))
        network.eval()
        total = 0.0
        with torch.no_grad():
            for begin in range(0, TEST, 100):
                logits = network(test_images[begin : begin + 100])
                total += F.cross_entropy(logits, test_labels[begin : begin + 100]).item()
        assert np.isfinite(total)

    return epoch


def floats(images: np.ndarray):
    import torch

    return (torch.from_numpy(images.copy()).float() / 255 - MEAN) / SD


def lean_network(model: str):
    import torch
    from torch import nn

    network = _lenet(nn, before=False) if model == "lenet" else _fc(nn)
    return network.to(memory_format=torch.channels_last)


def lean_steps(network, data: Data, batch: int, update) -> Callable:
    """Steps over the training part in a given order; ``update`` takes the list of gradients."""
    import torch
    import torch.nn.functional as F

    train_images, train_labels = (
        floats(data.train_images),
        torch.from_numpy(data.train_labels.astype(np.int64)),
    )
    parameters = list(network.parameters())

    def take(order: torch.Tensor) -> None:
        for begin in range(0, len(order), batch):
            chosen = order[begin : begin + batch]
            images, labels = train_images.index_select(0, chosen), train_labels.index_select(0, chosen)
            update(list(torch.autograd.grad(F.cross_entropy(network(images), labels), parameters)))

    return take


def _lenet(nn, before: bool):
    def stage(channels: int, width: int):
        conv, relu, pool = nn.Conv2d(channels, width, 3), nn.ReLU(inplace=not before), nn.MaxPool2d(2)
        return (conv, relu, pool) if before else (conv, pool, relu)

    head = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*stage(1, 6), *stage(6, 16), nn.Flatten(), *head)


def _fc(nn):
    layers = [nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


def work(side: str, model: str, random: bool, seconds: float) -> None:
    """Measure once for every line of standard input; print steps per second."""
    import torch

    torch.set_num_threads(1)
    epoch = {"ours": ours, "usual": usual, "lean": lean}[side](model, load(random))
    epoch()
    print("ready", flush=True)
    steps = -(-TRAIN // BATCH)
    for _ in sys.stdin:
        count, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            epoch()
            count += steps
        print(count / (time.perf_counter() - begin), flush=True)


def measure(model: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Steps per second of all processes of a side together, by side and round."""
    environment = {**os.environ, **MEMORY, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--models", model, "--seconds", str(options.seconds)]
    command += ["--random"] if options.random else []
    workers = {
        side: [
            subprocess.Popen(
                [*command, "--worker", side],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            for _ in range(PROCESSES)
        ]
        for side in SIDES
    }
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    try:
        for worker in (w for side in SIDES for w in workers[side]):
            if _answer(worker) != "ready":
                raise SystemExit("a worker did not start")
        for round_number in range(options.repeats):
            # The order turns, so that no side always follows the same other.
            for side in SIDES[round_number % 3 :] + SIDES[: round_number % 3]:
                for worker in workers[side]:
                    assert worker.stdin is not None
                    worker.stdin.write("go\n")
                    worker.stdin.flush()
                rates[side].append(sum(float(_answer(worker)) for worker in workers[side]))
    finally:
        for worker in (w for side in SIDES for w in workers[side]):
            worker.kill()
            worker.wait()
    return rates


def _answer(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    line = worker.stdout.readline().strip()
    if not line:
        raise SystemExit("a worker ended; its message is above")
    return line


def report(model: str, rates: dict[str, list[float]]) -> None:
    print(f"{model}: steps per second, {PROCESSES} processes of one thread together", flush=True)
    for side, values in rates.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"  {side:6} min {low:8.0f}   median {middle:8.0f}   max {high:8.0f}")
    for other, target in (("usual", 1.9 if model == "lenet" else 3.4), ("lean", 0.9)):
        ratios = [a / b for a, b in zip(rates["ours"], rates[other], strict=True)]
        print(
            f"  ours / {other:5} median {statistics.median(ratios):5.2f}   "
            f"range {min(ratios):.2f} to {max(ratios):.2f}   target {target} or more"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=("lenet", "fc"), default=["lenet", "fc"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--random", action="store_true", help="random images instead of MNIST: needs no data")
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.models[0], options.random, options.seconds)
        return
    print(f"images: {'random' if options.random else 'MNIST'}; batch {BATCH}; density {DENSITY}", flush=True)
    for model in options.models:
        report(model, measure(model, options))


if __name__ == "__main__":
    main()
