"""A recipe and two probes of one's own: uniform symmetric quantisation of the weights, layer by layer."""

import numpy as np

import pomona


def levels(weight: np.ndarray, bits: int) -> np.ndarray:
    """The whole numbers nearest to a layer's weights on a symmetric grid: zero stays zero."""
    scale = np.abs(weight).max() / (2 ** (bits - 1) - 1)
    return np.round(weight / scale) * scale if scale > 0 else weight


@pomona.recipe
def quantise(state: pomona.Given, *, bits: int = 8) -> pomona.Made:
    """Every layer's weights on 2^bits - 1 values; biases as they are."""
    weights = dict(state.weights)
    for layer in state.masks:
        weights[layer] = levels(weights[layer], bits)
    return pomona.Made(weights, facts={"bits": bits})


@pomona.probe
def distinct(state: pomona.Given, *, layer: str | None = None) -> float:
    """Share of the kept weights' values that are distinct, of one layer or of all together."""
    names = [layer] if layer is not None else list(state.masks)
    kept = np.concatenate([state.weights[name][state.masks[name]] for name in names])
    return len(np.unique(kept)) / len(kept)


@pomona.probe
def rounding(state: pomona.Given, before: pomona.Given) -> dict[str, dict[str, float | None]]:
    """Root mean square of what rounding changed, by layer, in standard deviations of the layer before."""
    found: dict[str, float | None] = {}
    for layer, mask in state.masks.items():
        change = (state.weights[layer] - before.weights[layer])[mask]
        spread = before.weights[layer][mask].std()
        found[layer] = float(np.sqrt(np.mean(change**2)) / spread) if spread > 0 else None
    return {"rounding-error": found}
