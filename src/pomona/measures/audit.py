"""The audit of any mask: what is kept, what came back, what never changed, and what is still alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pomona.core.errors import InputError, unknown
from pomona.measures.layout import Layout

if TYPE_CHECKING:
    from torch import nn

    from pomona.measures.units import Reached

Mask = NDArray[np.bool_]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class LayerWiring:
    """What the wiring of the network says of one layer, whatever the values of its kept weights.

    Units are the outputs of the layer. A unit without a live input is not silent: where its bias, or the
    shift of the batch normalization right behind it, is not zero, it still emits that constant.

    Args:
        effective: Kept weights that can make a difference to the output.
        without_input: Units that no kept weight connects to what may be other than zero. None where units
            cannot be told, because something else than a layer takes the weight.
        emitting: Of these, units that still emit a constant.
        without_output: Units that nothing connects to an output of the network: what is added to them never
            shows.
        used: Whether the network takes the weight at all.
    """

    effective: int
    without_input: int | None
    emitting: int | None
    without_output: int | None
    used: bool = True


@dataclass(frozen=True)
class LayerMask:
    """The mask of one layer, counted.

    Args:
        parameter: Its name.
        kept: Weights that are kept.
        total: Weights that there are.
        outputs: Output channels of all groups; units of a linear layer.
        inputs: Input channels of all groups.
        empty_outputs: Outputs that keep no weight.
        empty_inputs: Inputs that keep no weight.
        revived: Kept weights that the masks before had pruned; None where there are none to compare with.
        unchanged: Kept weights with exactly their initial value; None where that is not known.
        wiring: What its place in the network says; None where that cannot be judged.
    """

    parameter: str
    kept: int
    total: int
    outputs: int
    inputs: int
    empty_outputs: int
    empty_inputs: int
    revived: int | None
    unchanged: int | None
    wiring: LayerWiring | None

    @property
    def density(self) -> float:
        """Share of the weights that are kept."""
        return self.kept / self.total

    @property
    def collapsed(self) -> bool:
        """Whether no weight is left."""
        return self.kept == 0


@dataclass(frozen=True)
class MaskAudit:
    """The masks of a network.

    Args:
        layers: In network order.
        unjudged: Why the wiring could not be judged, with the module; empty where it was.
    """

    layers: tuple[LayerMask, ...]
    unjudged: str = ""

    @property
    def total(self) -> int:
        """Weights that there are."""
        return sum(layer.total for layer in self.layers)

    @property
    def kept(self) -> int:
        """Weights that are kept."""
        return sum(layer.kept for layer in self.layers)

    @property
    def density(self) -> float:
        """Explicit density: the share of the weights that the masks keep."""
        return self.kept / self.total

    @property
    def changed_density(self) -> float | None:
        """Share of the weights that are kept and have another value than at first; None where not known."""
        unchanged = [layer.unchanged for layer in self.layers if layer.unchanged is not None]
        return (self.kept - sum(unchanged)) / self.total if len(unchanged) == len(self.layers) else None

    @property
    def effective_density(self) -> float | None:
        """Share of the weights that are kept and can make a difference; None where that cannot be judged."""
        effective = [layer.wiring.effective for layer in self.layers if layer.wiring is not None]
        return sum(effective) / self.total if len(effective) == len(self.layers) else None


def audit_masks(
    masks: Mapping[str, Mask],
    layouts: Mapping[str, Layout] | None = None,
    *,
    module: nn.Module | None = None,
    input_shape: Sequence[int] | None = None,
    before: Mapping[str, Mask] | None = None,
    weights: Arrays | None = None,
    initial: Arrays | None = None,
    held: bool = False,
) -> MaskAudit:
    """Count what masks keep, and what it is good for.

    Args:
        masks: True where kept, by parameter name, in network order.
        layouts: Where outputs and inputs lie; (out, in, ...) of one group for a layer without one.
        module: The network with its biases, for what its wiring says; not changed.
        input_shape: Shape of one example; goes with ``module``.
        before: The masks that these were made from.
        weights: Values now; go with ``initial``.
        initial: Values at first. A layer of another shape is not compared.
        held: Whether pruned weights keep the values of ``module``: those that are not zero connect as well.

    Raises:
        InputError: There is no mask, a mask has no outputs and inputs or does not fit its weight, or only one
            of two arguments that go together is given.

    Source:
        Weights that never changed since they were initialised, as a proxy of what is disconnected: Paganini
        and Forde 2020, arXiv:2001.05050, Fig. 12. Effective density: as ``effective_masks``.
    """
    for given, names in (
        ((module, input_shape), "module and input_shape"),
        ((weights, initial), "weights and initial"),
    ):
        if (given[0] is None) != (given[1] is None):
            raise InputError(f"{names} go together: give both or neither")
    if not masks:
        raise InputError("expected the masks of at least one layer, got none")
    reached, unjudged = _reached(masks, module, input_shape, held)
    layers = []
    for name, mask in masks.items():
        found = _layer(name, mask, (layouts or {}).get(name) or Layout())
        layers.append(
            LayerMask(
                **found,
                revived=_revived(mask, (before or {}).get(name)),
                unchanged=_unchanged(name, mask, weights, initial),
                wiring=_wiring(mask, reached[name], found["outputs"]) if reached else None,
            )
        )
    return MaskAudit(tuple(layers), unjudged)


def _layer(name: str, mask: Mask, layout: Layout) -> dict[str, Any]:
    """The counts of a mask by itself."""
    if mask.dtype != np.bool_ or mask.size == 0:
        raise InputError(f"mask of {name!r}: expected bool (True = kept), got {mask.dtype} {mask.shape}")
    try:
        arranged = layout.arranged(mask)
    except InputError as error:
        raise InputError(f"mask of {name!r}: {error}") from None
    outputs, inputs = arranged.any(axis=(2, 3)), arranged.any(axis=(1, 3))
    return {
        "parameter": name,
        "kept": int(np.count_nonzero(mask)),
        "total": mask.size,
        "outputs": outputs.size,
        "inputs": inputs.size,
        "empty_outputs": int(np.count_nonzero(~outputs)),
        "empty_inputs": int(np.count_nonzero(~inputs)),
    }


def _revived(mask: Mask, before: Mask | None) -> int | None:
    if before is None or before.shape != mask.shape:
        return None
    return int(np.count_nonzero(mask & ~before))


def _unchanged(name: str, mask: Mask, weights: Arrays | None, initial: Arrays | None) -> int | None:
    if weights is None or initial is None:
        return None
    if name not in weights:
        raise InputError(unknown("weight", name, weights))
    if weights[name].shape != mask.shape:
        raise InputError(f"mask of {name!r}: shape {mask.shape}, the weight has {weights[name].shape}")
    if name not in initial or initial[name].shape != mask.shape:
        return None
    return int(np.count_nonzero(mask & (weights[name] == initial[name])))


def _reached(
    masks: Mapping[str, Mask], module: nn.Module | None, input_shape: Sequence[int] | None, held: bool
) -> tuple[dict[str, Reached] | None, str]:
    """What becomes of every layer's units, or why that cannot be said."""
    if module is None or input_shape is None:
        return None, "the network is not known"
    # Counting masks needs no torch; tracing a network does.
    from pomona.measures.units import check_fit, reached_units

    check_fit(module, masks)
    if held:
        values = {name: module.get_parameter(name).detach().cpu().numpy() for name in masks}
        masks = {name: mask | (values[name] != 0) for name, mask in masks.items()}
    try:
        return reached_units(module, masks, tuple(input_shape)), ""
    except InputError as error:
        return None, str(error)


def _wiring(mask: Mask, reached: Reached, outputs: int) -> LayerWiring:
    effective = int(np.count_nonzero(mask & reached.effective))
    if not reached.used:
        return LayerWiring(effective, outputs, 0, outputs, used=False)
    if reached.fed is None or reached.emits is None or reached.heard is None:
        return LayerWiring(effective, None, None, None)
    return LayerWiring(
        effective,
        without_input=int(np.count_nonzero(~reached.fed)),
        emitting=int(np.count_nonzero(~reached.fed & reached.emits)),
        without_output=int(np.count_nonzero(~reached.heard)),
    )
