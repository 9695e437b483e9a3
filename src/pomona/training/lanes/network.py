"""The weights of a module in a network of the kernels, by their names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pomona.core.errors import InputError, StateFailure
from pomona.training.batches import Examples
from pomona.training.evaluation import Evaluation
from pomona.training.lanes import native
from pomona.training.lanes.program import Program
from pomona.training.lanes.trace import Unsupported, trace
from pomona.training.placing import check_fit


@dataclass(frozen=True)
class _Place:
    """Where a parameter is: ``which`` (weight or bias) of an op; the kernels know a weight as a matrix."""

    op: int
    which: str
    shape: torch.Size

    def tensor(self, values: NDArray[np.float32]) -> Tensor:
        """What the kernels gave, in the shape of the parameter."""
        return torch.from_numpy(values.reshape(self.shape))


class LaneNetwork:
    """A network of the kernels, and the examples that it sees.

    Args:
        module: What is computed. It is read, not changed.
        weights: Parameters and buffers by name.
        examples: Images and labels; copied where they are not contiguous.

    Attributes:
        program: What was read from the module.
        kernel: The network of the kernels.
        images: As the kernels take them.
        labels: As the kernels take them.

    Raises:
        InputError: The kernels are missing here, cannot run the module, or the weights do not fit it.
        StateFailure: Memory ran out.
    """

    def __init__(self, module: nn.Module, weights: Mapping[str, Tensor], examples: Examples) -> None:
        kernels, instruction_set = native.kernels(), native.instruction_set()
        self.program = trace(module, examples.shape)
        own = module.state_dict()
        check_fit(own, weights)
        self._places = _places(self.program, own)
        self._names = list(own)
        # The program has a place for every parameter; what is left are buffers that no layer reads.
        self._buffers = {name: own[name].cpu().clone() for name in own if name not in self._places}
        ops = [(op.kind, list(op.inputs), dict(op.attributes)) for op in self.program.ops]
        with running_out_of_memory("the start"):
            self.images = np.ascontiguousarray(examples.images)
            self.labels = np.ascontiguousarray(examples.labels)
            try:
                self.kernel = kernels.Network(instruction_set, self.program.input_shape, ops)
            except ValueError as error:
                name = type(module).__name__
                raise Unsupported(name, [f"{name}: {error}"]) from error
            self.kernel.set_input(np.array(examples.scale, np.float32), np.array(examples.shift, np.float32))
            self.place(weights)

    @property
    def weight_names(self) -> list[str]:
        """Names of what can be pruned: the weights of layers, without biases."""
        return [name for name, place in self._places.items() if place.which == "weight"]

    def place(self, weights: Mapping[str, Tensor]) -> None:
        """Take on weights and buffers: one for each name of ``state_dict``, of its shape."""
        for name, buffer in self._buffers.items():
            buffer.copy_(weights[name])
        for name, place in self._places.items():
            write = self.kernel.set_weight if place.which == "weight" else self.kernel.set_bias
            write(place.op, _array(weights[name]))

    def prune(self, pruned: Mapping[str, Tensor], kernels: str = "auto") -> None:
        """Leave weights out of every computation; they are zero from now on. Resets the optimizer.

        Args:
            pruned: Bool, True = pruned, by parameter.
            kernels: ``auto``, ``dense`` or ``sparse``. ``auto`` chooses by the masks alone. The bits are the
                same, but for wide 3x3 convolutions: dense ones are in Winograd's form.

        Raises:
            InputError: A bias is among them.
        """
        biases = [name for name in pruned if name not in self.weight_names]
        if biases:
            raise InputError(
                f"mask of {biases[0]}: the lane engine prunes weights, not biases: use `engine: torch`"
            )
        masks = {
            self._places[name].op: np.ascontiguousarray((~where).cpu().numpy())
            for name, where in pruned.items()
        }
        self.kernel.set_masks(masks, kernels)

    def weights(self) -> dict[str, Tensor]:
        """Copies of weights and buffers, in the order of ``state_dict``."""
        found = {name: buffer.clone() for name, buffer in self._buffers.items()}
        for name, place in self._places.items():
            read = self.kernel.weight if place.which == "weight" else self.kernel.bias
            found[name] = place.tensor(read(place.op))
        return {name: found[name] for name in self._names}

    def state(self, slot: int) -> dict[str, Tensor]:
        """Copies of what the optimizer keeps, by parameter."""
        return {
            name: place.tensor(self.kernel.state(place.op, place.which, slot))
            for name, place in self._places.items()
        }

    def set_state(self, slot: int, state: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` gave."""
        for name, place in self._places.items():
            self.kernel.set_state(place.op, place.which, slot, _array(state[name]))

    def evaluate(self, indices: NDArray[np.int64], classes: int) -> Evaluation:
        """Evaluate the present weights on some examples.

        Raises:
            StateFailure: There are fewer logits than classes, or memory ran out.
        """
        self.check_outputs(classes)
        chosen = np.ascontiguousarray(indices, dtype=np.int64)
        with running_out_of_memory("evaluation"):
            predicted, loss_sum = self.kernel.evaluate(self.images, self.labels, chosen, lambda: False)
        truth = self.labels[chosen]
        correct = np.bincount(truth[predicted == truth], minlength=classes)
        return Evaluation(correct, np.bincount(truth, minlength=classes), loss_sum)

    def logits(self, indices: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
        """The logits of some examples under the present weights, examples x outputs.

        Raises:
            StateFailure: There are fewer logits than classes, or memory ran out.
        """
        self.check_outputs(classes)
        with running_out_of_memory("prediction"):
            found: NDArray[np.float32] = self.kernel.logits(
                self.images, np.ascontiguousarray(indices, dtype=np.int64)
            )
        return found

    def check_outputs(self, classes: int) -> None:
        """Check that there is a logit for every class.

        Raises:
            StateFailure: There is not.
        """
        if self.program.outputs < classes:
            raise StateFailure(
                "bad input",
                f"the network returns {self.program.outputs} logits for each example, expected one for each "
                f"of {classes} classes or more",
            )


@contextlib.contextmanager
def running_out_of_memory(when: str) -> Iterator[None]:
    """Let it be a failure of the state."""
    try:
        yield
    except MemoryError as error:
        raise StateFailure("out of memory", f"out of memory at {when}") from error


def _places(program: Program, own: Mapping[str, Tensor]) -> dict[str, _Place]:
    named = [
        (name, index, which)
        for index, op in enumerate(program.ops)
        for which, name in (("weight", op.weight), ("bias", op.bias))
    ]
    return {name: _Place(index, which, own[name].shape) for name, index, which in named if name is not None}


def _array(tensor: Tensor) -> NDArray[np.float32]:
    """The values as the kernels take them."""
    return np.ascontiguousarray(tensor.detach().to("cpu", torch.float32).numpy())
