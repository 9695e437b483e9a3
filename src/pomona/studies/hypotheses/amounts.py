"""Effects in words: their units, and numbers with them."""

from __future__ import annotations

from pomona.studies.hypotheses.estimand import LINE, MASKS, PREDICTIONS, Estimand

# Measures that are shares, and the units of others.
SHARES = frozenset(
    ["accuracy", "class-accuracy", "density", "effective-density", "changed-density", "ensemble-gain"]
)
UNITS = {
    "loss": "nats",
    "weight-stability": "SDs of the layer",
    "moving-stability": "SDs of the layer",
    "weight-magnitude": "|w|",
}


def unit_of(of: Estimand) -> str:
    """The unit of the number: shares are shown in percent, their differences in points."""
    if of.below is not None:
        return "levels" if of.match == "level" else "doublings of density"
    unit = "share" if is_share(of) else UNITS.get(of.measure, "")
    if of.measure == MASKS:
        unit = "distance / chance" if of.corrected else "distance"
    if of.measure == LINE and not is_share(of):
        unit = "nats"
    if of.slope is not None:
        return f"{unit} per {of.step_along}".lstrip()
    return unit


def is_share(of: Estimand) -> bool:
    """Whether what is read is a share: of images that are classified alike, say, or an error."""
    if of.measure == PREDICTIONS:
        return of.quantity != "kappa"
    if of.measure == LINE:
        return not str(of.quantity).startswith("loss")
    return of.measure in SHARES


def amount(value: float, unit: str, digits: int = 3) -> str:
    """An effect with its unit; a difference of shares is in points.

    >>> amount(0.042, "share"), amount(-0.01, "share per level"), amount(1.5, "nats"), amount(2.0, "")
    ('4.2 points', '-1 point per level', '1.5 nats', '2')
    """
    if unit.startswith("share"):
        number = f"{100 * value:.{digits}g}"
        return f"{number} point{'' if number in ('1', '-1') else 's'}{unit.removeprefix('share')}"
    return f"{value:.{digits}g} {unit}".rstrip()
