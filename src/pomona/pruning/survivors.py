"""What each treatment makes of the surviving weights: pure functions from tensors to new tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pomona.core.streams import Stream
from pomona.pruning.layers import kind_of, layer_of

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]
StreamOf = Callable[[str], Stream]


@dataclass(frozen=True, eq=False)
class Survivors:
    """What a treatment works from.

    Args:
        pruned: Tensors of the pruned state.
        target: Tensors of the target; those of the pruned state where the treatment needs none.
        masks: True where kept, by parameter.
        kinds: Every prunable parameter and its kind, in network order.
        stream_of: The stream of a parameter, where random numbers are drawn.
        fan: Which fan ``rescale-fan`` looks at.
    """

    pruned: Tensors
    target: Tensors
    masks: Tensors
    kinds: Mapping[str, str]
    stream_of: StreamOf
    fan: Literal["in", "out"] = "in"

    def replaced(self, change: Callable[[str, Tensor], Tensor], biases: bool = False) -> Tensors:
        """The target with its prunable weights changed, and the biases of their layers where asked for."""
        chosen = set(self.kinds)
        if biases:
            chosen |= {f"{layer_of(parameter)}.bias" for parameter in self.kinds}
        return {
            name: change(name, tensor.detach()) if name in chosen else tensor
            for name, tensor in self.target.items()
        }


def rewind(given: Survivors) -> Tensors:
    """Take every tensor of the target, biases and buffers (batch norm's statistics) included."""
    return given.target


def finetune(given: Survivors) -> Tensors:
    """Keep every tensor as training left it."""
    return given.pruned


def permute_init(given: Survivors) -> Tensors:
    """Permute the target's values of each prunable weight within the layer, pruned entries included."""
    return given.replaced(lambda name, tensor: permuted(tensor, given.stream_of(name)))


def permute_survivors(given: Survivors) -> Tensors:
    """Permute the target's values at surviving positions among the surviving positions of the layer."""
    return given.replaced(lambda name, tensor: permuted(tensor, given.stream_of(name), given.masks.get(name)))


def sigma_sign(given: Survivors) -> Tensors:
    """Replace weights and biases of the prunable layers by sign(target) x their tensor's sample SD.

    The SD (n - 1 in the divisor) is of the target's whole tensor, pruned entries included. A tensor of a
    single value has no sample SD and takes the target's value. What is not of a prunable layer, batch norm
    above all, takes the target's values.
    """
    return given.replaced(lambda name, tensor: _scaled(tensor, tensor.sign()), biases=True)


def random_sign(given: Survivors) -> Tensors:
    """As ``sigma_sign``, with the signs drawn anew: + and - are as likely."""
    import torch

    def change(name: str, tensor: Tensor) -> Tensor:
        low = torch.from_numpy(given.stream_of(name).uniform(tensor.numel()) < 0.5).to(tensor.device)
        return _scaled(tensor, 1 - 2 * low.reshape(tensor.shape).to(tensor.dtype))

    return given.replaced(change, biases=True)


def sign(given: Survivors) -> Tensors:
    """Replace weights and biases of the prunable layers by the target's sign: -1, +1, or 0 where it is 0."""
    return given.replaced(lambda name, tensor: tensor.sign(), biases=True)


def rescale(given: Survivors) -> Tensors:
    """Multiply the target's prunable weights by size / kept of the layer; a layer without any stays."""

    def change(name: str, tensor: Tensor) -> Tensor:
        kept = int(given.masks[name].sum()) if name in given.masks else tensor.numel()
        return tensor if kept == 0 else (tensor.double() * (tensor.numel() / kept)).to(tensor.dtype)

    return given.replaced(change)


def rescale_fan(given: Survivors) -> Tensors:
    """Multiply the target's prunable weights by sqrt(fan before / fan now) of the unit that each belongs to.

    With ``fan: in`` that is the output unit (output channel) of the weight: its fan before is the number of
    weights that lead into it in the dense layer, its fan now the number of those that the mask keeps. With
    ``fan: out`` it is the input unit and the weights that lead out of it. Only the layer's own mask counts,
    not whether the unit at the other end is alive. A unit without a kept weight is not scaled. An embedding
    looks up one row and adds nothing, so it takes the target's values.
    """
    return given.replaced(lambda name, tensor: _by_fan(given, name, tensor))


def permuted(tensor: Tensor, stream: Stream, mask: Tensor | None = None) -> Tensor:
    """A new tensor with its values permuted, where a mask is given among the places that it keeps only.

    Args:
        tensor: Any shape; not changed.
        stream: Gives the permutation.
        mask: True for the places that take part. The tensor's shape, bool.
    """
    import torch

    values = tensor.reshape(-1) if mask is None else tensor[mask]
    order = torch.from_numpy(stream.permutation(values.numel())).to(tensor.device)
    if mask is None:
        return values[order].reshape(tensor.shape)
    found = tensor.clone()
    found[mask] = values[order]
    return found


def _by_fan(given: Survivors, name: str, tensor: Tensor) -> Tensor:
    from pomona.pruning.granularity import parse_unit, rows_of, spread

    kind = given.kinds[name]
    if name not in given.masks or kind_of(kind) == "embedding":
        return tensor
    unit = parse_unit("channel-out" if given.fan == "in" else "channel-in")
    rows = rows_of(given.masks[name], unit, kind)
    before, now = rows.shape[1], rows.sum(dim=1)
    factors = (before / now.clamp_min(1).double()).sqrt().masked_fill(now == 0, 1.0)
    return (tensor.double() * spread(factors, tensor, unit, kind)).to(tensor.dtype)


def _scaled(tensor: Tensor, signs: Tensor) -> Tensor:
    """Signs times the sample SD of a tensor; the tensor itself where it has but one value."""
    if tensor.numel() < 2:
        return tensor
    values = tensor.double().reshape(-1)
    # Running sums: one order of addition whatever the SIMD width.
    mean = values.cumsum(0)[-1] / values.numel()
    spread = (((values - mean) ** 2).cumsum(0)[-1] / (values.numel() - 1)).sqrt()
    return (signs.double() * spread).to(tensor.dtype)
