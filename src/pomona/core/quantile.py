"""The normal quantile function from +, -, *, / and square roots alone.

A library's logarithm may differ in its last bit between platforms; these five operations may not. So the
same word gives the same normal number everywhere, now and later.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Rational approximations of AS 241 (PPND16), highest power first, by region.
_CENTRE = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
     13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.3871328727963666080),
    (5226.4952788528545610, 28729.085735721942674, 39307.895800092710610, 21213.794301586595867,
     5394.1960214247511077, 687.18700749205790830, 42.313330701600911252, 1.0),
)  # fmt: skip
_TAIL = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 0.241780725177450611770, 1.27045825245236838258,
     3.64784832476320460504, 5.76949722146069140550, 4.63033784615654529590, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
     0.148103976427480074590, 0.689767334985100004550, 1.67638483018380384940, 2.05319162663775882187, 1.0),
)  # fmt: skip
_FAR_TAIL = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
     2.65321895265761230930e-2, 0.296560571828504891230, 1.78482653991729133580, 5.46378491116411436990,
     6.65790464350110377720),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
     7.86869131145613259100e-4, 1.48753612908506148525e-2, 0.136929880922735805310,
     0.599832206555887937690, 1.0),
)  # fmt: skip

_LN2_HIGH = 0.693147180369123816490  # its low 32 bits are zero: a small integer times it is exact
_LN2_LOW = 1.90821492927058770002e-10


def normal_quantile(probability: Floats) -> Floats:
    """The standard normal value below which the given probability lies.

    Args:
        probability: Strictly between 0 and 1. Any shape.

    Returns:
        Quantiles, float64, same shape; relative error about 1e-15.

    Source:
        Wichura 1988, Algorithm AS 241, Applied Statistics 37(3), 477-484.
    """
    offset = probability - 0.5
    centred = np.abs(offset) <= 0.425
    result = np.empty_like(probability)
    inner = offset[centred]
    result[centred] = inner * _ratio(_CENTRE, 0.180625 - inner * inner)
    outer = offset[~centred]
    beyond = np.where(outer < 0, probability[~centred], 1.0 - probability[~centred])
    radius = np.sqrt(-_log(beyond))
    size = np.where(radius <= 5.0, _ratio(_TAIL, radius - 1.6), _ratio(_FAR_TAIL, radius - 5.0))
    result[~centred] = np.where(outer < 0, -size, size)
    return result


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], at: Floats) -> Floats:
    above, below = coefficients
    return _horner(above, at) / _horner(below, at)


def _horner(coefficients: tuple[float, ...], at: Floats) -> Floats:
    total = np.full_like(at, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * at + coefficient
    return total


def _log(value: Floats) -> Floats:
    """Natural logarithm of positive numbers: the exponent, and the atanh series of the mantissa."""
    mantissa, exponent = np.frexp(value)
    low = mantissa < 0.70710678118654752440
    mantissa = np.where(low, mantissa * 2.0, mantissa)
    power = exponent.astype(np.float64) - low
    s = (mantissa - 1.0) / (mantissa + 1.0)
    # |s| <= .1716: the first term left out is below 1e-18 relative to the sum.
    series = _horner(tuple(1.0 / odd for odd in range(25, 0, -2)), s * s)
    return power * _LN2_HIGH + (2.0 * s * series + power * _LN2_LOW)
