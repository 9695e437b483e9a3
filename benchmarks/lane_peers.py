"""The other sides: lean torch, the usual loop, SparseProp and torch's CSR matrices, each as fast as we can.

Where a peer can be used in several ways, all are tried when it is prepared and the fastest is measured. A
sparse layer is compared with torch's dense one before: wrong gradients are not measured.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import training_loop
from interleaving import Skipped, Work
from lane_works import LAYERS, LEVELS, TRAININGS, Layer, Order
from pomona.models.build import build, initial_weights
from pomona.models.choice import ModelChoice


class Gradients(NamedTuple):
    """What a layer computes, in torch's layout; the gradient of the kept weights alone, in their order."""

    output: Tensor
    inputs: Tensor
    weight: Tensor


class Way(NamedTuple):
    """One way to do a layer: what is measured, and a reader of what it returns."""

    run: Callable[[], tuple[Tensor, ...]]
    read: Callable[[tuple[Tensor, ...]], Gradients]


def lean(job: str, made_up: bool) -> Work:
    """``steps MODEL``: dense, without masks."""
    _, model = job.split()
    how = TRAININGS[model]
    data = training_loop.load(made_up, how.data)
    ways = [_lean_steps(model, data, layout) for layout in _layouts(model)]
    return fastest(ways)


def _layouts(model: str) -> Sequence[torch.memory_format]:
    # The small networks are those of the training benchmark, which has chosen.
    both = (torch.channels_last, torch.contiguous_format)
    return both if model == "conv-4" else both[:1]


def _lean_steps(model: str, data: training_loop.Data, layout: torch.memory_format) -> Work:
    how = TRAININGS[model]
    shape = training_loop.SHAPES[how.data]
    choice = ModelChoice(name=model)
    network = build(choice, shape, 10) if model == "conv-4" else training_loop.lean_network(model)
    weights = initial_weights(choice, shape, 10, 0).values()
    network.load_state_dict(dict(zip(network.state_dict(), weights, strict=True)))
    network.to(memory_format=layout)
    update = _adam(network, how.lr) if how.adam else _sgd(network, how.lr)
    steps = training_loop.lean_steps(network, data, how.batch, update)
    order = Order(len(data.train_labels), how.batch)

    def work() -> int:
        steps(torch.from_numpy(order.take(how.part_steps)))
        return how.part_steps

    return work


def _sgd(network: nn.Module, lr: float) -> Callable[[list[Tensor]], None]:
    values = [parameter.detach() for parameter in network.parameters()]
    return lambda gradients: torch._foreach_add_(values, gradients, alpha=-lr)


def _adam(network: nn.Module, lr: float) -> Callable[[list[Tensor]], None]:
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)

    def update(gradients: list[Tensor]) -> None:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()

    return update


def usual(job: str, made_up: bool, steps: int) -> Work:
    """``trajectory MODEL``: as many epochs as levels. Pruning is left out: nothing else depends on masks."""
    _, model = job.split()
    epoch = training_loop.usual(model, training_loop.shortened(training_loop.load(made_up), steps))
    epoch()

    def work() -> int:
        for _ in range(LEVELS + 1):
            epoch()
        return (LEVELS + 1) * steps

    return work


def sparseprop(job: str) -> Work:
    """``layer NAME DENSITY`` with a module of SparseProp."""
    try:
        from sparseprop.modules import SparseConv2d, SparseLinear
    except ModuleNotFoundError as error:
        if error.name not in ("sparseprop", "backend"):
            raise
        raise Skipped("SparseProp is not installed; CONTRIBUTING.md says how") from None
    layer, density = _layer(job)
    weight, _ = layer.drawn(density)
    inputs, gradient = map(torch.from_numpy, layer.batch())
    dense = torch.from_numpy(weight)
    if layer.linear:
        ways = [_module(SparseLinear(dense), inputs, gradient)]
    else:
        # Over the batch it works on the layout that it hands on itself, with the batch innermost.
        ways = [
            _module(SparseConv2d(dense, padding=1), _batch_innermost(inputs), _batch_innermost(gradient)),
            _module(SparseConv2d(dense, padding=1), inputs, gradient),
            _module(SparseConv2d(dense, padding=1, vectorizing_over_on=True), inputs, gradient),
        ]
    return _layer_work(layer, density, ways)


def _module(module: nn.Module, inputs: Tensor, gradient: Tensor) -> Way:
    inputs = inputs.detach().requires_grad_()

    def run() -> tuple[Tensor, ...]:
        output = module(inputs)
        return output, *torch.autograd.grad(output, [inputs, module.weight], gradient)

    return Way(run, lambda found: Gradients(*found))


def _batch_innermost(values: Tensor) -> Tensor:
    return values.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


def csr(job: str) -> Work:
    """``layer NAME DENSITY`` with CSR matrices; a convolution unfolds its input."""
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    torch.sparse.check_sparse_tensor_invariants.disable()
    layer, density = _layer(job)
    weight, mask = layer.drawn(density)
    inputs, gradient = map(torch.from_numpy, layer.batch())
    matrix = Csr(torch.from_numpy(weight).flatten(1), torch.from_numpy(mask).flatten(1))
    if layer.linear:
        return _layer_work(layer, density, [_csr_linear(matrix, inputs, gradient)])
    ways = [_csr_by_image(matrix, inputs, gradient), _csr_by_batch(matrix, inputs, gradient)]
    return _layer_work(layer, density, ways)


class Csr:
    """A weight as two CSR matrices, since the input gradient needs its transpose.

    Args:
        weight: Rows are outputs.
        mask: Which entries are kept.
    """

    def __init__(self, weight: Tensor, mask: Tensor) -> None:
        rows, columns = mask.nonzero(as_tuple=True)
        size = weight.shape
        self._order = torch.argsort(columns * size[0] + rows)
        self._matrix = _csr(rows, columns, weight[mask], size)
        # Filled by every backward pass: training changes the weights.
        self._transpose = _csr(
            columns[self._order], rows[self._order], torch.zeros(len(rows)), (size[1], size[0])
        )
        self.zeros = _csr(rows, columns, torch.zeros(len(rows)), size)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sparse.mm(self._matrix, inputs)

    def refresh(self) -> None:
        torch.index_select(self._matrix.values(), 0, self._order, out=self._transpose.values())

    def backward(self, gradient: Tensor) -> Tensor:
        return torch.sparse.mm(self._transpose, gradient)

    def weight_gradient(self, gradient: Tensor, inputs: Tensor, before: Tensor | None = None) -> Tensor:
        """The gradient of the kept weights, added to one from before."""
        return torch.sparse.sampled_addmm(
            self.zeros if before is None else before,
            gradient,
            inputs.T,
            beta=0.0 if before is None else 1.0,
        )


def _csr(rows: Tensor, columns: Tensor, values: Tensor, size: Sequence[int]) -> Tensor:
    # Indices of 32 bits are a little faster than those of 64.
    starts = torch.zeros(size[0] + 1, dtype=torch.int32)
    starts[1:] = torch.bincount(rows, minlength=size[0]).cumsum(0)
    return torch.sparse_csr_tensor(starts, columns.int(), values, tuple(size))


def _csr_linear(matrix: Csr, inputs: Tensor, gradient: Tensor) -> Way:
    # The batch innermost, as the products take it.
    inputs, gradient = inputs.T.contiguous(), gradient.T.contiguous()

    def run() -> tuple[Tensor, ...]:
        output = matrix.forward(inputs)
        matrix.refresh()
        return output, matrix.backward(gradient), matrix.weight_gradient(gradient, inputs)

    return Way(run, lambda found: Gradients(found[0].T, found[1].T, found[2].values()))


def _csr_by_image(matrix: Csr, inputs: Tensor, gradient: Tensor) -> Way:
    size = inputs.shape[2:]

    def run() -> tuple[Tensor, ...]:
        output, back = torch.empty_like(gradient), torch.empty_like(inputs)
        weight = None
        matrix.refresh()
        for i in range(len(inputs)):
            unfolded = F.unfold(inputs[i : i + 1], 3, padding=1)[0]
            output[i] = matrix.forward(unfolded).view(-1, *size)
            flat = gradient[i].flatten(1)
            back[i] = F.fold(matrix.backward(flat)[None], size, 3, padding=1)[0]
            weight = matrix.weight_gradient(flat, unfolded, weight)
        assert weight is not None
        return output, back, weight

    return Way(run, lambda found: Gradients(found[0], found[1], found[2].values()))


def _csr_by_batch(matrix: Csr, inputs: Tensor, gradient: Tensor) -> Way:
    inputs, flat = inputs.permute(1, 2, 3, 0).contiguous(), gradient.permute(1, 2, 3, 0).flatten(1)
    channels, height, width, count = inputs.shape
    shifts = [(i, j) for i in range(3) for j in range(3)]

    def shifted(padded: Tensor, shift: tuple[int, int]) -> Tensor:
        return padded[:, shift[0] : shift[0] + height, shift[1] : shift[1] + width]

    def run() -> tuple[Tensor, ...]:
        padded = F.pad(inputs, (0, 0, 1, 1, 1, 1))
        unfolded = torch.empty(channels, 9, height, width, count)
        for k, shift in enumerate(shifts):
            unfolded[:, k] = shifted(padded, shift)
        output = matrix.forward(unfolded.view(channels * 9, -1))
        matrix.refresh()
        back = matrix.backward(flat).view(channels, 9, height, width, count)
        folded = torch.zeros_like(padded)
        for k, shift in enumerate(shifts):
            shifted(folded, shift).add_(back[:, k])
        weight = matrix.weight_gradient(flat, unfolded.view(channels * 9, -1))
        return output, folded[:, 1:-1, 1:-1], weight

    def read(found: tuple[Tensor, ...]) -> Gradients:
        output = found[0].view(-1, height, width, count)
        return Gradients(output.permute(3, 0, 1, 2), found[1].permute(3, 0, 1, 2), found[2].values())

    return Way(run, read)


def _layer(job: str) -> tuple[Layer, float]:
    _, name, density = job.split()
    return LAYERS[name], float(density)


def _layer_work(layer: Layer, density: float, ways: Sequence[Way]) -> Work:
    expected = _dense(layer, density)
    for way in ways:
        _check(way.read(way.run()), expected)

    def once(way: Way) -> Work:
        def work() -> int:
            way.run()
            return 1

        return work

    return fastest([once(way) for way in ways])


def _dense(layer: Layer, density: float) -> Gradients:
    weight, mask = map(torch.from_numpy, layer.drawn(density))
    inputs, gradient = map(torch.from_numpy, layer.batch())
    weight.requires_grad_()
    inputs.requires_grad_()
    output = F.linear(inputs, weight) if layer.linear else F.conv2d(inputs, weight, padding=1)
    inputs_gradient, weight_gradient = torch.autograd.grad(output, [inputs, weight], gradient)
    return Gradients(output.detach(), inputs_gradient, weight_gradient[mask])


def _check(found: Gradients, expected: Gradients) -> None:
    for name, ours, theirs in zip(Gradients._fields, found, expected, strict=True):
        np.testing.assert_allclose(
            ours.detach().numpy(), theirs.numpy(), rtol=0, atol=1e-4 * float(theirs.abs().max()), err_msg=name
        )


def fastest(works: Sequence[Work]) -> Work:
    """The work that does most in a second. Each is tried three times, after a first that does not count."""

    def seconds_each(work: Work) -> float:
        work()
        best = float("inf")
        for _ in range(3 if len(works) > 1 else 0):
            begin = time.perf_counter()
            count = work()
            best = min(best, (time.perf_counter() - begin) / count)
        return best

    return min(works, key=seconds_each)
