"""How a study says which data it uses."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pomona.core.errors import InputError, unknown
from pomona.core.reference import is_reference
from pomona.core.schema import Part
from pomona.data.catalogue import DATASETS, DatasetInfo


class DataChoice(Part):
    """A data set, what is held back for validation and how pixels become numbers.

    Args:
        name: A name of the catalogue, or a user's function as ``mine.py:load``.
        validation: Training images held back, drawn by the ``split`` stream; 0 holds back none.
        normalise: ``standard`` is (pixel/255 - mean) / sd per channel, ``unit`` is pixel/255.
    """

    name: str
    validation: Annotated[int, Field(ge=0, strict=True)] = 0
    normalise: Literal["standard", "unit"] = "standard"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        check_name(name)
        return name

    @model_validator(mode="after")
    def _leaves_training(self) -> Self:
        if self.name in DATASETS:
            check_validation(DATASETS[self.name].train_count, self.validation)
        return self

    def pixel_mean_sd(self, info: DatasetInfo) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Per channel, what is subtracted from pixel/255 and what the rest is divided by."""
        if self.normalise == "unit":
            return (0.0,) * info.shape[0], (1.0,) * info.shape[0]
        return info.mean, info.sd


def check_validation(count: int, validation: int) -> None:
    """Check that a validation part leaves something to train on.

    Raises:
        InputError: ``validation`` is negative, or not below ``count``, the number of training images.
    """
    if not 0 <= validation < count:
        raise InputError(
            f"validation: expected 0 to {count - 1} of the {count} training images, got {validation}"
        )


def check_name(name: str) -> None:
    """Check that a name is in the catalogue or has the form of a user's reference.

    Raises:
        InputError: It is neither; says the nearest name.
    """
    if name not in DATASETS and not is_reference(name):
        text = unknown("data set", name, DATASETS)
        raise InputError(f"{text}; or a function of your own as 'mine.py:load'")
