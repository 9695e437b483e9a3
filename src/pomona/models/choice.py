"""What a study says of its network: which one, how it starts, and with which pretrained weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pomona.core.errors import InputError, nearest, unknown
from pomona.core.reference import is_reference
from pomona.core.schema import Late, Part
from pomona.models.catalogue import MODELS, Option

Distribution = Literal["torch", "glorot-normal", "glorot-uniform", "vgg"]

_DIGEST = Field(pattern="^[0-9a-f]{64}$")


def _check_suffix(file: object) -> object:
    if isinstance(file, str) and Path(file).suffix not in (".safetensors", ".pt", ".pth"):
        raise InputError(f"expected a state_dict as .safetensors, .pt or .pth, got {file!r}")
    return file


class StartWeights(Part):
    """A pretrained state_dict that a network starts from.

    Args:
        file: A ``.safetensors`` file, or a ``.pt``/``.pth`` file of torch; relative to the study's folder.
        sha256: Digest of the file. A torch file is only opened with it, since it is a pickle.
    """

    file: Annotated[str, BeforeValidator(_check_suffix)]
    sha256: Annotated[str, _DIGEST] | None = None

    def path(self, folder: Path | None = None) -> Path:
        """Where the file lies.

        Raises:
            InputError: There is no such file; names the nearest in that folder.
        """
        path = ((folder or Path.cwd()) / Path(self.file).expanduser()).resolve()
        if not path.is_file():
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            close = nearest(path.name, beside)
            hint = f"; did you mean {close!r}?" if close else ""
            raise InputError(f"weights: there is no file {path}{hint}")
        return path

    def digest(self, folder: Path | None = None) -> str:
        """SHA-256 of the file as it is now: what identifies the start, wherever the file lies.

        Raises:
            InputError: The file is missing, or another one than ``sha256`` says.
        """
        path = self.path(folder)
        with path.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
        if self.sha256 is not None and self.sha256 != actual:
            raise InputError(f"weights: {path} has the SHA-256 {actual}, expected {self.sha256}")
        return actual


class ModelChoice(Part):
    """A network of the catalogue or a user's own, and how its weights start.

    A plain string is read as the name: ``lenet`` is ``ModelChoice(name="lenet")``. An option that has its
    default value is left out, so that writing a default down changes no identity.

    Args:
        name: A name of ``MODELS``, or a function or class of the user's as ``mine.py:net``.
        distribution: How the weights of a catalogue network are drawn. ``torch`` is what ``torch.nn`` does.
        options: Options of the network, by name.
        weights: A pretrained state_dict that replaces what was drawn.
    """

    name: str
    distribution: Distribution = "torch"
    options: Mapping[str, Option] = {}
    weights: Annotated[StartWeights | None, Late(None)] = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(given.get("options"), Mapping):
            return given
        info = MODELS.get(str(given.get("name")))
        if info is None:
            return given
        known = {key: _typed(info.name, key, value, info.options) for key, value in given["options"].items()}
        return {**given, "options": {k: v for k, v in known.items() if v != info.options[k]}}

    @model_validator(mode="after")
    def _check_name(self) -> ModelChoice:
        if is_reference(self.name):
            if self.distribution != "torch":
                raise InputError(
                    f"{self.name!r}: distribution {self.distribution!r} is for networks of the catalogue; "
                    "a network of your own is initialised by its own constructor"
                )
        elif self.name not in MODELS:
            raise InputError(unknown("model", self.name, [*MODELS, "mine.py:net (your own)"]))
        return self

    @property
    def own(self) -> bool:
        """Whether it is a user's own network."""
        return is_reference(self.name)


def _typed(model: str, key: str, value: object, defaults: Mapping[str, Option]) -> Option:
    if key not in defaults:
        raise InputError(unknown("option", key, defaults, where=f"model {model!r}"))
    default = defaults[key]
    if isinstance(value, int) and not isinstance(value, bool) and isinstance(default, float):
        value = float(value)
    if type(value) is not type(default):
        kind = type(default).__name__
        raise InputError(f"model {model!r}: option {key!r} is {kind} as in {default!r}, got {value!r}")
    if isinstance(default, int) and not isinstance(default, bool) and int(value) < 1:
        raise InputError(f"model {model!r}: option {key!r} must be 1 or more, got {value!r}")
    if key == "hidden":
        hidden_sizes(str(value))
    if key == "dropout" and not 0 <= float(value) < 1:
        raise InputError(
            f"model {model!r}: dropout is a share of the units from 0 to less than 1, got {value!r}"
        )
    return value


def hidden_sizes(written: str) -> tuple[int, ...]:
    """Read the sizes of hidden layers.

    >>> hidden_sizes("300-100")
    (300, 100)

    Raises:
        InputError: It is not positive whole numbers joined by hyphens.
    """
    parts = written.split("-")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"expected sizes of hidden layers as '300-100', got {written!r}")
    return tuple(int(part) for part in parts)
