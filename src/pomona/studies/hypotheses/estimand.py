"""What a hypothesis reads: a measure, and how the levels of a lineage become one number."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from pomona.core.errors import InputError, unknown
from pomona.core.schema import Part, parse_fraction
from pomona.studies import landscape

AGGREGATES = ("value", "area", "slope", "below")


def _number(written: object) -> object:
    """Read ``10pp``, ``-3%`` or a plain number."""
    if not isinstance(written, str):
        if isinstance(written, bool):
            raise InputError(f"expected a number or points as '10pp', got {written!r}")
        return written
    text = written.strip()
    sign = -1.0 if text.startswith(("-", "−")) else 1.0
    found = parse_fraction(text.lstrip("+-−"))
    assert isinstance(found, float)
    return sign * found


# A signed number; points and percent are hundredths.
Signed = Annotated[
    float,
    BeforeValidator(_number),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": "^[-+]?[0-9.]+(%|pp)$"}]}),
]
Positive = Annotated[Signed, Field(gt=0)]


def _share(written: object) -> object:
    """Read ``17%`` or a plain number."""
    if isinstance(written, bool) or (isinstance(written, str) and not written.strip().endswith("%")):
        raise InputError(f"expected a density as 17% or .17, or a level, got {written!r}")
    return parse_fraction(written)


# A density or a level: where an estimand reads a lineage.
Place = Annotated[
    float,
    BeforeValidator(_share),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": "^[0-9.]+%$"}]}),
]
EVALUATED = ("accuracy", "class-accuracy", "loss")  # on a part of the data; of the whole network
# Measured of layers and never of a whole network.
PER_LAYER = ("weight-stability", "moving-stability", "rank-correlation", "mask-structure")
SHARES = ("accuracy", "class-accuracy", "density", "effective-density")
MASKS, PREDICTIONS, LINE = "mask-distance", "agreement", landscape.NAME
# Of two arms together: what each may be asked for; the first is meant where none is named.
OF_TWO: dict[str, tuple[str, ...]] = {
    MASKS: (),
    PREDICTIONS: ("agreement", "kappa"),
    LINE: tuple(name for name in landscape.QUANTITIES if name not in landscape.ALONG),
}
# Those that two trainings of one arm have too, which differ by the order of their data alone.
WITH_FLOOR = (MASKS, PREDICTIONS)


class Estimand(Part):
    """What is compared: a measure, and how the levels of a lineage become one number.

    Args:
        measure: One of the study's measures.
        match: Along what levels are placed: explicit density, effective density, the level itself, or, for a
            slope, its logarithm.
        value: The measure at this density or level; between levels on the line over log density.
        area: The mean of the measure over log density (or level) between two ends.
        slope: Its slope per doubling of density (per level, or per doubling of the level), between two ends
            or, with ``all``, over all pruned levels.
        below: The log2 density (or the level) at which the measure first falls below this value.
        layer: Of the measure, where it has layers; the whole network by default.
        class_: One class, or ``worst``.
        part: Of the data.
        to: Arm that masks, predictions or weights of each arm are compared with.
        corrected: Whether a mask distance is divided by that of independent masks of the same counts.
        quantity: Of a measure that gives several.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    measure: str
    match: Literal["density", "effective-density", "level", "log-level"] | None = None
    value: Place | None = None
    area: tuple[Place, Place] | None = None
    slope: tuple[Place, Place] | Literal["all"] | None = None
    below: Signed | None = None
    layer: str | None = None
    class_: Annotated[int | Literal["worst"] | None, Field(alias="class")] = None
    part: Literal["test", "validation"] = "test"
    to: dict[str, Any] | None = None
    corrected: bool = True
    quantity: str | None = None

    @property
    def aggregate(self) -> str | None:
        """Which of ``AGGREGATES`` makes one number of the levels; None where there is one level only."""
        return next((name for name in AGGREGATES if getattr(self, name) is not None), None)

    @property
    def along(self) -> str:
        """What levels are placed along."""
        return self.match or "density"

    @property
    def step_along(self) -> str:
        """What a slope is per: ``level``, ``doubling of the level``, ``doubling of density``."""
        steps = {"level": "level", "log-level": "doubling of the level"}
        return steps.get(self.along, f"doubling of {self.along.replace('-', ' ')}")

    @property
    def by_level(self) -> bool:
        """Whether places are levels, or logarithms of them, and no densities."""
        return self.match in ("level", "log-level")

    @model_validator(mode="after")
    def _possible(self) -> Estimand:
        given = [name for name in AGGREGATES if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(f"give one of {', '.join(AGGREGATES)}, got {', '.join(given)}")
        if given and self.match is None:
            raise InputError(f"{given[0]!r} needs 'match': density, effective-density or level")
        if self.match is not None and not given:
            example = "value: 5" if self.match == "level" else "value: 0.17"
            raise InputError(f"'match: {self.match}' needs one of {', '.join(AGGREGATES)}, as {example}")
        for name in ("value", "area", "slope"):
            self._check_places(getattr(self, name))
        self._check_two()
        if self.match == "log-level" and self.slope is None:
            raise InputError(f"'match: log-level' goes with 'slope'; write 'match: level' with {given[0]!r}")
        if self.class_ is not None and self.measure != "class-accuracy":
            raise InputError(f"'class' goes with class-accuracy, not with {self.measure}")
        if self.class_ is None and self.measure == "class-accuracy":
            raise InputError("class-accuracy needs 'class': a number from 0, or 'worst'")
        if self.layer is not None and self.measure in EVALUATED:
            raise InputError(f"{self.measure} is of the whole network: leave 'layer' out")
        if self.layer is None and self.measure.partition("@")[0] in PER_LAYER:
            raise InputError(f"{self.measure} is of single layers: give 'layer', as 'layer: fc1.weight'")
        if self.below is not None and self.measure in SHARES and not 0 < self.below <= 1:
            raise InputError(
                f"'below' is a share of {self.measure}, above 0 and at most 100 %, got {self.below:g}"
            )
        return self

    def _check_two(self) -> None:
        """Of a measure of two arms: the other one, at equal level."""
        if self.measure not in OF_TWO:
            if self.to is not None:
                raise InputError(f"'to' goes with {', '.join(OF_TWO)}, not with {self.measure}")
            return
        what = {MASKS: "masks", PREDICTIONS: "predictions", LINE: "weights"}[self.measure]
        if self.to is None:
            raise InputError(
                f"{self.measure} needs 'to': the arm that {what} are compared with, as in Results"
            )
        if not (self.match is None or self.by_level):
            raise InputError(f"{what} are compared at equal level: {self.measure} takes 'match: level'")
        if self.measure == MASKS:
            return
        known = OF_TWO[self.measure]
        if self.quantity is None and self.measure not in known:
            raise InputError(f"{self.measure} has several numbers: give 'quantity', {' or '.join(known)}")
        if self.quantity is not None and self.quantity not in known:
            raise InputError(unknown("quantity", self.quantity, known, where=self.measure))
        if self.layer is not None:
            raise InputError(f"{self.measure} is of the whole network: leave 'layer' out")
        if not self.corrected:
            raise InputError(f"'corrected' goes with {MASKS}: nothing divides {self.measure} by chance")

    def _check_places(self, given: float | tuple[float, float] | Literal["all"] | None) -> None:
        if given is None or given == "all":
            return
        places = given if isinstance(given, tuple) else (given,)
        for place in places:
            if not self.by_level and not 0 < place <= 1:
                raise InputError(f"a density lies above 0 and at most at 1, got {place:g}")
            least = 1 if self.match == "log-level" else 0
            if self.by_level and (place < least or place != int(place)):
                raise InputError(f"a level is a whole number, {least} or more, got {place:g}")
        if len(places) == 2 and places[0] == places[1]:
            raise InputError(f"expected two different ends, got {places[0]:g} twice")
