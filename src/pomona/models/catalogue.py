"""The networks of the field, by name: what they are and what may be set. Importing this costs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pomona.core.errors import InputError, unknown

Option = int | float | bool | str


# The words of the engine itself, which are not to be had without torch.
_NO_BATCH_NORM = (
    "BatchNorm2d is not among the lane engine's layers "
    "(Conv2d, Linear, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten, Dropout)"
)
_NO_RESIZING = (
    "interpolate: it is not among the lane engine's functions "
    "(relu, max_pool2d, avg_pool2d, adaptive_avg_pool2d, mean, flatten, view, reshape, dropout)"
)


@dataclass(frozen=True)
class ModelInfo:
    """One network of the catalogue.

    Args:
        name: As written in a study.
        title: As written in a report.
        source: The paper that introduced it, or the one whose variant it is.
        options: What may be set, with the default of each; the type of a default is the option's type. A
            default never changes: identities leave out an option that has it.
        note: Where it departs from its source, and how it adapts to data of another size.
        first_norm: Path of its first batch norm, or empty where it has none. An option ``batch_norm`` says
            whether there is one.
        beyond_lanes: What the lane engine says of the first thing in it, other than batch norm, that it
            does not have; empty where there is none.
    """

    name: str
    title: str
    source: str
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    note: str = ""
    first_norm: str = ""
    beyond_lanes: str = ""


def _conv(pairs: int) -> ModelInfo:
    widths = ", ".join(f"{w}-{w}" for w in (64, 128, 256)[:pairs])
    return ModelInfo(
        name=f"conv-{2 * pairs}",
        title=f"Conv-{2 * pairs}",
        source="Frankle & Carbin 2019, arXiv:1803.03635; Zhou et al. 2019, arXiv:1905.01067",
        note=f"3x3 convolutions {widths} padded by 1, max-pooling after each pair, then 256-256-classes.",
    )


def _imagenet(name: str, title: str, source: str, resize: int, note: str) -> ModelInfo:
    return ModelInfo(
        name=name,
        title=title,
        source=f"{source}; as torchvision has it, in Paganini & Forde 2020, arXiv:2001.05050",
        options=MappingProxyType({"width": 64, "outputs": 1000, "resize": resize, "dropout": 0.5}),
        note=f"{note} Images are brought to `resize` rows and columns, bilinearly, and grey ones repeated in "
        "three channels. `outputs` beyond the classes of the data are of ImageNet: no image has them, and "
        "training takes them down. Layers are named as in torchvision, whose checkpoints fit.",
        beyond_lanes=f"resize: {_NO_RESIZING}",
    )


_CATALOGUE = (
    ModelInfo(
        name="lenet",
        title="LeNet",
        source="LeCun et al. 1998, in the variant of Paganini & Forde 2020, arXiv:2001.05050",
        note="3x3 convolutions 6 and 16 without padding, each max-pooled by 2, then 120-84-classes. "
        "On 1x28x28 and 10 classes 59,838 weights and 60,074 parameters. Needs 10x10 pixels or more.",
    ),
    ModelInfo(
        name="fc",
        title="FC",
        source="LeCun et al. 1998 (LeNet-300-100), as in Frankle & Carbin 2019, arXiv:1803.03635",
        options=MappingProxyType({"hidden": "300-100"}),
        note="Fully connected layers of the sizes in `hidden`, joined by hyphens, then the classes.",
    ),
    _conv(1),
    _conv(2),
    _conv(3),
    ModelInfo(
        name="resnet-20",
        title="ResNet-20",
        source="He et al. 2016, arXiv:1512.03385, section 4.2",
        options=MappingProxyType({"width": 16}),
        note="Three stages of three blocks at 1, 2 and 4 times `width`. Shortcuts that change the shape are "
        "1x1 convolutions with batch norm, as pruning papers have them; He et al. pad with zeros.",
        first_norm="bn",
    ),
    ModelInfo(
        name="vgg-11",
        title="VGG-11",
        source="Simonyan & Zisserman 2015, arXiv:1409.1556",
        options=MappingProxyType({"width": 64, "batch_norm": False}),
        note="`width` is that of the first convolution (64 in the paper). Global average pooling and one "
        "linear layer instead of the head of 4096 units, as is usual on images of 32x32.",
        first_norm="norms.0",
    ),
    ModelInfo(
        name="vgg-19",
        title="VGG-19",
        source="Simonyan & Zisserman 2015, arXiv:1409.1556",
        options=MappingProxyType({"width": 64, "batch_norm": True}),
        note="`width` is that of the first convolution (64 in the paper). Batch norm, global average pooling "
        "and one linear layer instead of the head of 4096 units, as is usual on images of 32x32.",
        first_norm="norms.0",
    ),
    _imagenet(
        "alexnet",
        "AlexNet",
        "Krizhevsky 2014, arXiv:1404.5997",
        resize=224,
        note="Five convolutions from `width` channels on (64 in the paper), a head of 64 times `width` units "
        "with dropout. On three channels 61,100,840 parameters.",
    ),
    _imagenet(
        "vgg-11-imagenet",
        "VGG-11 with its whole head",
        "Simonyan & Zisserman 2015, arXiv:1409.1556",
        resize=32,
        note="VGG-11 with the head that `vgg-11` leaves out: 64 times `width` units, with dropout. On three "
        "channels 132,863,336 parameters. `resize: 32` leaves CIFAR as it is, as in the paper on pruning, "
        "where the head then sees one place 49 times. `distribution: vgg` starts it as torchvision does.",
    ),
)

MODELS: Mapping[str, ModelInfo] = MappingProxyType({info.name: info for info in _CATALOGUE})


def lanes_blocker(name: str, options: Mapping[str, Option]) -> str | None:
    """Why the lane engine cannot run a network of the catalogue. The size of the images makes no difference.

    Args:
        name: A name of ``MODELS``.
        options: Those that differ from the defaults, or all.

    Returns:
        The first reason, as ``module.path: reason``, or None where it can.

    Raises:
        InputError: There is no such network.

    >>> lanes_blocker("vgg-19", {"batch_norm": False}) is None
    True
    """
    norm = norm_of(name, options)
    if norm:
        return f"{norm}: {_NO_BATCH_NORM}"
    return MODELS[name].beyond_lanes or None


def norm_of(name: str, options: Mapping[str, Option]) -> str:
    """Path of the first batch norm of a network of the catalogue; empty where it has none.

    Args:
        name: A name of ``MODELS``.
        options: Those that differ from the defaults, or all.

    Raises:
        InputError: There is no such network.
    """
    if name not in MODELS:
        raise InputError(unknown("model", name, MODELS))
    info = MODELS[name]
    return info.first_norm if {**info.options, **options}.get("batch_norm", True) else ""


def draws(name: str, options: Mapping[str, Option]) -> bool:
    """Whether a network of the catalogue draws random numbers when it trains: it drops units.

    Args:
        name: A name of ``MODELS``.
        options: Those that differ from the defaults, or all.

    Raises:
        InputError: There is no such network.

    >>> draws("alexnet", {}), draws("alexnet", {"dropout": 0.0}), draws("lenet", {})
    (True, False, False)
    """
    if name not in MODELS:
        raise InputError(unknown("model", name, MODELS))
    return bool({**MODELS[name].options, **options}.get("dropout", 0.0))
