"""What the lane engine runs: ops in the order of a network, and the parameters that each computes with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Op:
    """One op, as the kernels take it.

    The attributes of each kind: h and w are height and width; k, s, p and d are kernel, stride, padding
    (top, left, bottom, right) and dilation in pixels; flags are 0 or 1.

    - ``conv``: out kh kw sh sw pt pl pb pr dh dw bias relu pool. With ReLU where ``relu`` is 1 and a 2x2
      max-pool of stride 2 that rounds down where ``pool`` is 2.
    - ``linear``: out bias relu. Takes its input in the order (channel, row, column).
    - ``maxpool``: kh kw sh sw pt pl pb pr. Rounds down; padding is below every value.
    - ``avgpool``: kh kw sh sw pt pl pb pr include_pad divisor. A divisor of 0 is the size of the window.
    - ``adaptive_avgpool``: oh ow. ``relu``: none. ``dropout``: p, the probability of a zero.

    Args:
        kind: One of these.
        inputs: The values it takes: 0 is the image, op ``i`` makes value ``i + 1``.
        attributes: Every attribute of its kind.
        module: Path of the layer, or of the module whose ``forward`` calls the function; the name of the
            class where that is the network itself. What is fused into a convolution or a linear layer has
            the path of that layer.
        weight: Name of the parameter, or None.
        bias: Name of the parameter, or None.
    """

    kind: str
    inputs: tuple[int, ...]
    attributes: Mapping[str, float]
    module: str
    weight: str | None = None
    bias: str | None = None


@dataclass(frozen=True)
class Program:
    """A network as ops; the value of the last one is the logits.

    Args:
        input_shape: Channels, height and width of an image.
        ops: At least one.
        outputs: Number of logits.
    """

    input_shape: tuple[int, int, int]
    ops: tuple[Op, ...]
    outputs: int

    @property
    def random(self) -> bool:
        """Whether training draws random numbers: there is dropout."""
        return any(op.kind == "dropout" for op in self.ops)
