"""How a study says which data it uses."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pomona.core.errors import InputError, unknown
from pomona.core.reference import is_reference
from pomona.core.schema import Fraction, Late, Part
from pomona.data.catalogue import DATASETS, DatasetInfo


class Corruption(Part):
    """What is spoilt of the training part, as a control. Validation and test images stay clean.

    A network that trains on random labels is therefore judged on true ones: its validation accuracy is that
    of the clean labels of the images held back (chance, where all training labels are random), and a stop
    that waits for an accuracy waits for that one.

    Args:
        labels: Share of the training examples whose label is drawn anew, uniformly over all classes, so that
            about 1 in ``classes`` of them keeps its own.
        pixels: Whether the pixels of each training image are permuted, each image by its own permutation
            and all channels alike. Labels stay as they are unless ``labels`` says otherwise.
        examples: Share of the training examples that is left, drawn uniformly. An epoch keeps the number of
            steps that it has on all of them.

    Source:
        Su et al. 2020, arXiv:2009.11094. Its code draws random labels wherever it permutes pixels; here the
        two are asked for separately, and fewer examples train for as many steps, not for as many epochs.
    """

    labels: Annotated[Fraction, Late(0.0)] = 0.0
    pixels: Annotated[bool, Late(False)] = False
    examples: Annotated[Fraction, Field(gt=0), Late(1.0)] = 1.0

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise InputError("expected at least one of labels, pixels and examples, got nothing")
        return self

    @property
    def streams(self) -> tuple[str, ...]:
        """The seed streams that it consumes, so that their indices are part of a key."""
        used = {"label-noise": self.labels > 0, "pixel-noise": self.pixels, "subset": self.examples < 1}
        return tuple(name for name, consumed in used.items() if consumed)


def _yes_or_no(written: object) -> object:
    # As a word or a bool; 1 might be meant as a probability.
    if isinstance(written, (int, float)) and not isinstance(written, bool):
        raise InputError(
            f"expected yes or no, got the number {written}; images are flipped with probability 1/2"
        )
    return written


def _padding(written: object) -> object:
    if written is not None and (isinstance(written, bool) or not isinstance(written, int) or written < 1):
        raise InputError(f"expected 1 pixel of padding or more, got {written!r}; without a crop leave it out")
    return written


class Augmentation(Part):
    """How training images are varied anew in each epoch. It is of images: of rows of features it is refused.

    Batches that train are augmented and nothing else: neither the images held back nor those of the test, nor
    what a criterion reads of the training images.

    Args:
        crop: Pixels of zero (of the bytes, before normalisation) added on each of the four sides, after which
            a window of the image's size is taken, all of its places equally likely. Below height and width.
        flip: Whether each image is mirrored left to right with probability 1/2, after the crop.

    Source:
        The code of Paganini & Forde 2020, arXiv:2001.05050, has a crop of 4 and a flip on MNIST, although its
        text names no regularisation. He et al. 2016, arXiv:1512.03385, have both on CIFAR-10.
    """

    crop: Annotated[int | None, BeforeValidator(_padding), Late(None)] = None
    flip: Annotated[bool, BeforeValidator(_yes_or_no), Late(False)] = False

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise InputError("expected crop, flip or both, got nothing")
        return self


class DataChoice(Part):
    """A data set, what is held back for validation and how pixels become numbers.

    Args:
        name: A name of the catalogue, or a user's function as ``mine.py:load``.
        validation: Training images held back, drawn by the ``split`` stream; 0 holds back none.
        normalise: ``standard`` is (pixel/255 - mean) / sd per channel, ``unit`` is pixel/255.
        corrupt: What is spoilt of the training part. None where nothing is, however that was written.
        augment: How training images are varied in each epoch, after that. None where they are not.
    """

    name: str
    validation: Annotated[int, Field(ge=0, strict=True)] = 0
    normalise: Literal["standard", "unit"] = "standard"
    corrupt: Annotated[Corruption | None, Late(None)] = None
    augment: Annotated[Augmentation | None, Late(None)] = None

    @field_validator("corrupt")
    @classmethod
    def _clean(cls, given: Corruption | None) -> Corruption | None:
        # A factor may list `labels: 0` beside other shares: it is the clean data, and must be one identity.
        return given if given is not None and given.streams else None

    @field_validator("augment")
    @classmethod
    def _varied(cls, given: Augmentation | None) -> Augmentation | None:
        return given if given is not None and (given.crop or given.flip) else None

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        check_name(name)
        return name

    @model_validator(mode="after")
    def _leaves_training(self) -> Self:
        if self.name in DATASETS:
            count = DATASETS[self.name].train_count
            check_validation(count, self.validation)
            if self.corrupt is not None:
                check_corruption(count - self.validation, self.corrupt)
            if self.augment is not None:
                check_augmentation(DATASETS[self.name].shape, self.augment)
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


def check_corruption(count: int, corruption: Corruption) -> None:
    """Check that a corruption of so many training examples changes something and leaves something.

    Raises:
        InputError: A share rounds to none of them, or the examples left round to all.
    """
    left = round(corruption.examples * count)
    if left == 0 or (corruption.examples < 1 and left == count):
        raise InputError(
            f"corrupt: examples {corruption.examples:g} of {count} training images leaves {left} of them"
        )
    if corruption.labels > 0 and round(corruption.labels * left) == 0:
        raise InputError(f"corrupt: labels {corruption.labels:g} of {left} training images is none of them")


def check_augmentation(shape: tuple[int, int, int], augmentation: Augmentation) -> None:
    """Check that images of a shape (channels, height, width) can be augmented so.

    Raises:
        InputError: They are rows of features or one pixel wide, or a crop may leave nothing of them.
    """
    channels, height, width = shape
    size = f"{channels}x{height}x{width}"
    if height == width == 1:
        raise InputError(f"augment: it moves the pixels of images, and these are rows of {channels} features")
    if augmentation.flip and width == 1:
        raise InputError(f"augment: flip: images of {size} are one pixel wide and stay as they are")
    if augmentation.crop is not None and augmentation.crop >= min(height, width):
        raise InputError(
            f"augment: crop: expected 1 to {min(height, width) - 1} pixels of padding for images of {size}, "
            f"got {augmentation.crop}"
        )


def check_name(name: str) -> None:
    """Check that a name is in the catalogue or has the form of a user's reference.

    Raises:
        InputError: It is neither; says the nearest name.
    """
    if name not in DATASETS and not is_reference(name):
        text = unknown("data set", name, DATASETS)
        raise InputError(f"{text}; or a function of your own as 'mine.py:load'")
