"""Every criterion once more, one weight after the other in plain Python.

Each function takes the evidence of one unit's kept members as lists, and the whole layer's where ranks matter,
and gives the unit's score.
"""

import math


def _sum_of(one):
    def total(unit, layer):
        return sum(
            one(**{name: values[i] for name, values in unit.items()}) for i in range(len(unit["weight"]))
        )

    return total


def _sign(x):
    return (x > 0) - (x < 0)


def _same(weight, initial):
    return _sign(weight) == _sign(initial)


def _norm(n):
    def found(unit, layer):
        sizes = [abs(w) for w in unit["weight"]]
        if not sizes:
            return 0.0
        if n == math.inf:
            return max(sizes)
        if n == -math.inf:
            return min(sizes)
        return sum(size**n for size in sizes) ** (1 / n)

    return found


def _share_of_ranks(final_key, initial_key):
    """Sum over the unit of the lower of two ranks, counted by comparing with every kept weight of the layer."""

    def found(unit, layer):
        total = 0.0
        for w, v in zip(unit["weight"], unit["initial"], strict=True):
            final = sum(final_key(x) <= final_key(w) for x in layer["weight"])
            initial = sum(initial_key(x) <= initial_key(v) for x in layer["initial"])
            total += min(final, initial) / len(layer["weight"])
        return total

    return found


def _lamp(unit, layer):
    own = sum(w * w for w in unit["weight"])
    if not unit["weight"]:
        return 0.0
    rest = [sum(w * w for w in other) for other in layer["units"]]
    return own / sum(square for square in rest if square >= own)


def _taylor(unit, layer):
    return sum(w * g for w, g in zip(unit["weight"], unit["gradient"], strict=True)) ** 2


def _negative(x):
    return -abs(x)


BY_UNIT = {
    "magnitude": _sum_of(lambda weight, **_: abs(weight)),
    "norm": _norm(2.0),
    "large-final": _sum_of(lambda weight, **_: abs(weight)),
    "small-final": _sum_of(lambda weight, **_: -abs(weight)),
    "large-init": _sum_of(lambda initial, **_: abs(initial)),
    "small-init": _sum_of(lambda initial, **_: -abs(initial)),
    "large-init-large-final": _share_of_ranks(abs, abs),
    "small-init-small-final": _share_of_ranks(_negative, _negative),
    "magnitude-increase": _sum_of(lambda weight, initial, **_: abs(weight) - abs(initial)),
    "movement": _sum_of(lambda weight, initial, **_: abs(weight - initial)),
    "large-final-same-sign": _sum_of(lambda weight, initial, **_: abs(weight) * _sign(weight / initial)),
    "large-final-diff-sign": _sum_of(lambda weight, initial, **_: abs(weight) * -_sign(weight / initial)),
    "magnitude-increase-same-sign": _sum_of(
        lambda weight, initial, **_: (abs(weight) - abs(initial)) * _sign(weight / initial)
    ),
    "magnitude-increase-diff-sign": _sum_of(
        lambda weight, initial, **_: (abs(weight) - abs(initial)) * -_sign(weight / initial)
    ),
    "large-final-same-sign-zeroed": _sum_of(
        lambda weight, initial, **_: abs(weight) if _same(weight, initial) else 0.0
    ),
    "large-final-diff-sign-zeroed": _sum_of(
        lambda weight, initial, **_: 0.0 if _same(weight, initial) else abs(weight)
    ),
    "magnitude-increase-same-sign-zeroed": _sum_of(
        lambda weight, initial, **_: abs(weight) - abs(initial) if _same(weight, initial) else 0.0
    ),
    "magnitude-increase-diff-sign-zeroed": _sum_of(
        lambda weight, initial, **_: 0.0 if _same(weight, initial) else abs(weight) - abs(initial)
    ),
    "gradient": _sum_of(lambda gradient, **_: abs(gradient)),
    "snip": _sum_of(lambda weight, gradient, **_: abs(weight * gradient)),
    "grasp": _sum_of(lambda weight, hessian_gradient, **_: weight * hessian_gradient),
    "synflow": _sum_of(lambda weight, flow, **_: abs(weight) * flow),
    "taylor": _taylor,
    "fisher": _sum_of(lambda weight, squared_gradient, **_: weight**2 * squared_gradient / 2),
    "obd": _sum_of(lambda weight, curvature, **_: weight**2 * curvature / 2),
    "obs": _sum_of(lambda weight, inverse_curvature, **_: weight**2 / (2 * inverse_curvature)),
    "wanda": _sum_of(lambda weight, input_norm, **_: abs(weight) * input_norm),
    "lamp": _lamp,
}

# What has no loop over weights: the numbers of a stream, and one number for each channel.
WHOLE = ("random", "activation", "apoz")
