"""What may be written of a hypothesis: claim, contrast, test, expectation."""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pomona.core.errors import InputError, unknown
from pomona.core.schema import Part
from pomona.studies.hypotheses.estimand import AGGREGATES as AGGREGATES
from pomona.studies.hypotheses.estimand import OF_TWO, WITH_FLOOR, Positive, Signed
from pomona.studies.hypotheses.estimand import Estimand as Estimand

TESTS = {
    "paired-t": "Student's t on paired differences",
    "permutation": "exact sign-flip permutation of paired differences",
    "wilcoxon": "Wilcoxon signed rank, exact",
    "sign": "sign test",
    "equivalence": "two one-sided t tests within the registered margin",
    "regression": "t of one term of a regression",
}
ALTERNATIVES = ("greater", "less", "two-sided")

NOISE = "floor"  # what the distance of masks may be held against
LINEAGE = "lineage"
# Columns that every row over lineages has beside those of the study's factors, and what formulas call.
GIVEN = ("study", "step", "replicate", "lineage", "dataset")
_CALLED = ("C", "I", "Q", "np", "log", "log2", "log10", "exp", "sqrt", "abs")

Alternative = Literal["greater", "less", "two-sided"]


class Contrast(Part):
    """Two arms, or one and a value, and what becomes of every factor that they do not compare.

    Args:
        a: Label by factor of the first arm. ``step`` names a step, as a factor would.
        b: The same of the second.
        value: What ``a`` is held against where there is no ``b``: a number, or of masks ``floor``, the
            distance that noise alone makes in the same replicate.
        across: One factor with two labels: the contrast at the first less that at the second (interaction).
        fix: Label by factor, for both arms.
        match: Factors whose labels are compared one by one, those that both arms have, and then averaged.
        average: Factors over whose labels each arm is averaged.
        pair: What pairs the arms.
    """

    a: dict[str, Any]
    b: dict[str, Any] | None = None
    value: Signed | Literal["floor"] | None = None
    across: dict[str, tuple[Any, Any]] = {}
    fix: dict[str, Any] = {}
    match: tuple[str, ...] = ()
    average: tuple[str, ...] = ()
    pair: Literal["replicate"] = "replicate"

    @model_validator(mode="after")
    def _two_sides(self) -> Contrast:
        if self.b is not None and self.value is not None:
            raise InputError("a contrast holds 'a' against 'b' or against 'value', not against both")
        if len(self.across) > 1:
            raise InputError(f"'across' takes one factor with two labels, got {len(self.across)} factors")
        if self.across and self.value is not None:
            raise InputError(
                "'across' holds the contrast at one label against that at the other: leave 'value' out"
            )
        return self

    @property
    def number(self) -> float | None:
        """The number that ``a`` is held against; None where there is none, or the noise floor."""
        return None if isinstance(self.value, str) else self.value


class Expect(Part):
    """What is expected before the data exist. The effect has the unit of the estimand."""

    effect: Signed | None = None
    text: str | None = None


class Assume(Part):
    """What a design is planned with where no pilot tells."""

    sd: Positive


class Regression(Part):
    """A regression over the results, of which one term is tested.

    Args:
        rows: One row for each state, for each state and class, or for each lineage: one replicate of one arm.
        columns: Of rows over lineages what is read of each, by the name that the formula has for it.
        formula: As in ``accuracy ~ log(density) * method``; columns as in ``Results.frame``, and ``lineage``,
            ``dataset``. Over lineages ``replicate``, ``step``, ``dataset``, the factors and ``columns``.
        term: The term that is tested, as the formula makes it.
        cluster: One or two columns; ``dataset:class`` is a pair of columns.
        errors: Kind of standard errors; ``auto`` follows the clusters: CR2 below 10, else clustered, HC3
            where there are none.
        where: Which rows: ``level > 0``; of lineages over their factors, step and replicate.
    """

    rows: Literal["state", "state x class", "lineage"]
    columns: dict[str, Estimand] = {}
    formula: str
    term: str
    cluster: tuple[str, ...] = ()
    errors: Literal["auto", "classical", "hc3", "hac", "cluster", "cr2", "wild"] = "auto"
    where: str | None = None

    @field_validator("cluster", mode="before")
    @classmethod
    def _one_or_more(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("columns", mode="before")
    @classmethod
    def _of_one_arm(cls, given: Any) -> Any:
        for name, of in given.items() if isinstance(given, Mapping) else ():
            measure = of.get("measure") if isinstance(of, Mapping) else None
            if measure in OF_TWO or (isinstance(of, Mapping) and of.get("to") is not None):
                raise InputError(f"column {name!r}: {measure} is of two arms together, and a row is of one")
        return given

    @model_validator(mode="after")
    def _named_columns(self) -> Regression:
        if (self.rows == LINEAGE) != bool(self.columns):
            raise InputError(
                "'rows: lineage' and 'columns' go together: a row is one replicate of one arm, and what is "
                "read of it is named, as 'columns: {final: {measure: accuracy, match: level, value: 5}}'"
            )
        for name in self.columns:
            if not name.isidentifier() or keyword.iskeyword(name):
                raise InputError(f"column {name!r}: formulas read names of letters, digits and _")
            if name in (*GIVEN, *_CALLED):
                raise InputError(f"column {name!r}: this name is taken; call it 'my_{name}', for example")
        return self


class Hypothesis(Part):
    """A claim that a study is to answer."""

    claim: str
    null: str | None = None
    contrast: Contrast | None = None
    model: Regression | None = None
    of: Estimand | None = None
    test: str | dict[str, str] = "paired-t"
    margin: Positive | None = None
    expect: Expect | None = None
    assume: Assume | None = None
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    primary: bool = True
    family: str | None = None
    exclude: tuple[Literal["at-chance", "layer-collapse"], ...] = ()

    @field_validator("exclude", mode="before")
    @classmethod
    def _one_or_more(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("test")
    @classmethod
    def _known_test(cls, test: str | Mapping[str, str]) -> str | Mapping[str, str]:
        names = [test] if isinstance(test, str) else list(test)
        for name in names:
            if name not in TESTS:
                raise InputError(unknown("test", name, TESTS))
        if len(names) != 1:
            raise InputError(f"expected one test, as {{paired-t: greater}}, got {len(names)}")
        if isinstance(test, Mapping):
            for name, side in test.items():
                if side not in ALTERNATIVES:
                    raise InputError(unknown(f"alternative of {name}", side, ALTERNATIVES))
        return test

    @model_validator(mode="after")
    def _answerable(self) -> Hypothesis:
        if (self.contrast is None) == (self.model is None):
            raise InputError("expected exactly one of 'contrast' and 'model'")
        if self.contrast is not None and self.of is None:
            raise InputError("a contrast needs 'of': the measure that is compared")
        if self.model is not None and self.of is not None:
            raise InputError("'of' goes with a contrast; a model's formula names its outcome")
        if self.model is not None and self.test_name != "regression":
            raise InputError("a model takes the test 'regression', as {regression: two-sided}")
        if self.contrast is not None and self.test_name == "regression":
            raise InputError("the test 'regression' goes with a model; a contrast takes a paired test")
        if self.test_name == "equivalence" and self.margin is None:
            raise InputError("equivalence needs 'margin': how large a difference would not matter, as 1pp")
        if self.test_name == "equivalence" and self.alternative != "two-sided":
            raise InputError("equivalence has no direction: write 'test: equivalence'")
        contrast, of = self.contrast, self.of
        alone = contrast is not None and contrast.b is None and contrast.value is None
        if alone and contrast is not None and not contrast.across and of is not None and of.slope is None:
            raise InputError("a contrast needs 'b', an arm, or 'value', what 'a' is held against")
        if contrast is not None and contrast.value == NOISE and (of is None or of.measure not in WITH_FLOOR):
            raise InputError(
                f"'value: floor' goes with {' and '.join(WITH_FLOOR)}: it is what the same arm has under "
                "another order of the data"
            )
        if self.expect is not None and self.expect.effect is not None and self._against(self.expect.effect):
            raise InputError(
                f"the expected effect {self.expect.effect:g} is against the alternative {self.alternative!r}"
            )
        return self

    def _against(self, effect: float) -> bool:
        return {"greater": effect <= 0, "less": effect >= 0}.get(self.alternative, math.isnan(effect))

    @property
    def test_name(self) -> str:
        """One of ``TESTS``."""
        return self.test if isinstance(self.test, str) else next(iter(self.test))

    @property
    def alternative(self) -> Alternative:
        """The direction that is claimed of a - b."""
        side = "two-sided" if isinstance(self.test, str) else next(iter(self.test.values()))
        return side  # type: ignore[return-value]  # checked above

    @property
    def in_family(self) -> str:
        """The family whose p-values are corrected together."""
        return self.family or ("primary" if self.primary else "secondary")


class Registration(Part):
    """What a registration asks for beside what Pomona derives from the study itself.

    The fields are those of AsPredicted and of OSF preregistrations.

    Args:
        authors: Who registers.
        question: The main question.
        sample_size: Why so many replicates.
        exclusions: What is left out, and when.
        missing_data: What becomes of replicates that fail.
        transformations: Of the measures.
        exploratory: What else will be looked at.
        other: Anything else.
        correction: Of the p-values of a family.
        pilot: So many replicates, the first, are a pilot: their spread plans, and they are in no test.
        blind: Whether arms stand under codes until the reveal; or which factors do.
    """

    authors: tuple[str, ...] = ()
    question: str = ""
    sample_size: str = ""
    exclusions: str = ""
    missing_data: str = ""
    transformations: str = ""
    exploratory: str = ""
    other: str = ""
    correction: Literal["holm", "benjamini-hochberg", "max-t", "none"] = "holm"
    pilot: Annotated[int, Field(ge=0, le=100_000, strict=True)] = 0
    blind: bool | tuple[str, ...] = False

    @field_validator("authors", mode="before")
    @classmethod
    def _one_or_more(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given


class Variation(Part):
    """Where the spread of an outcome comes from.

    Args:
        of: The outcome.
        a: The arm, or the first of two whose paired difference is the outcome.
        b: The second.
        fix: Label by factor.
        average: Factors over whose labels the outcome is averaged.
        random: Seed streams that vary, and ``replicate``: the statistical error. All that vary by default.
        systematic: Factors that ought not to matter, such as the learning rate: the systematic error.
        effect: Of this size, to say how many replicates would show it.
    """

    of: Estimand
    a: dict[str, Any] = {}
    b: dict[str, Any] | None = None
    fix: dict[str, Any] = {}
    average: tuple[str, ...] = ()
    random: tuple[str, ...] = ()
    systematic: tuple[str, ...] = ()
    effect: Positive | None = None
