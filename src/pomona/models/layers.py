"""Names of the weights that can be pruned in the networks of the catalogue. Importing this costs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pomona.core.errors import InputError, unknown
from pomona.models.catalogue import MODELS, Option
from pomona.models.choice import hidden_sizes

_CONVOLUTIONS = {"vgg-11": 8, "vgg-19": 16}
# Numbers of the layers with weights among the convolutions and in the head.
_IMAGENET = {
    "alexnet": ((0, 3, 6, 8, 10), (1, 4, 6)),
    "vgg-11-imagenet": ((0, 3, 6, 8, 11, 13, 16, 18), (0, 3, 6)),
}
_STAGES, _BLOCKS = 3, 3  # of ResNet-20


def prunable_weights(name: str, options: Mapping[str, Option]) -> list[str]:
    """The weights of convolutions and linear layers, in the order of the network.

    Args:
        name: A name of ``MODELS``.
        options: Those that differ from the defaults, or all.

    Raises:
        InputError: There is no such network.

    >>> prunable_weights("fc", {"hidden": "30-20"})
    ['fc1.weight', 'fc2.weight', 'fc3.weight']
    """
    if name not in MODELS:
        raise InputError(unknown("model", name, MODELS))
    return [f"{module}.weight" for module in _modules(name, {**MODELS[name].options, **options})]


def prunable_kinds(name: str, options: Mapping[str, Option]) -> dict[str, str]:
    """The kind of each of these weights, ``conv`` or ``linear``; arguments and errors as above.

    >>> prunable_kinds("lenet", {})["conv2.weight"], prunable_kinds("lenet", {})["fc1.weight"]
    ('conv', 'linear')
    """
    linear = ("fc", "classifier")
    names = prunable_weights(name, options)
    return {weight: "linear" if weight.startswith(linear) else "conv" for weight in names}


def _modules(name: str, options: Mapping[str, Option]) -> Iterator[str]:
    if name == "fc":
        yield from _numbered("fc", len(hidden_sizes(str(options["hidden"]))) + 1)
    elif name == "resnet-20":
        yield "conv"
        yield from _residual()
        yield "fc"
    elif name in _CONVOLUTIONS:
        yield from (f"convs.{i}" for i in range(_CONVOLUTIONS[name]))
        yield "fc"
    elif name in _IMAGENET:
        features, head = _IMAGENET[name]
        yield from (f"features.{i}" for i in features)
        yield from (f"classifier.{i}" for i in head)
    else:
        # LeNet has two convolutions, Conv-2 as many as its name says.
        yield from _numbered("conv", 2 if name == "lenet" else int(name.removeprefix("conv-")))
        yield from _numbered("fc", 3)


def _residual() -> Iterator[str]:
    for stage in range(_STAGES):
        for block in range(_BLOCKS):
            yield from _numbered(f"stages.{stage}.{block}.conv", 2)
            if stage and not block:
                yield f"stages.{stage}.0.shortcut.0"


def _numbered(name: str, count: int) -> Iterator[str]:
    return (f"{name}{i}" for i in range(1, count + 1))
