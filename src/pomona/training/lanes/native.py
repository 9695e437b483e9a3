"""The compiled kernels: which build of them is used, what they can run on here, and why not where not."""

from __future__ import annotations

import functools
import importlib
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

from pomona.core.errors import InputError, unknown

INSTRUCTION_SETS = ("avx512", "avx2")
FOLDER = "POMONA_KERNELS"
FORCED = "POMONA_INSTRUCTION_SET"

_INSTEAD = "use `engine: torch`"


@dataclass(frozen=True)
class Kernels:
    """One build of the kernels: a module that knows the processor and one for each instruction set.

    Args:
        folder: Where the compiled modules are; None for those that were installed with Pomona.
    """

    folder: str | None

    def instruction_sets(self) -> list[str]:
        """What this processor can run, best first."""
        found: list[str] = self._module("_processor").instruction_sets()
        return found

    def Network(  # noqa: N802 - it makes the class of that name of one instruction set
        self, instruction_set: str, input_shape: tuple[int, int, int], ops: Sequence[tuple[Any, ...]]
    ) -> Any:
        """A network that computes with ``instruction_set``.

        Args:
            instruction_set: One of :meth:`instruction_sets`.
            input_shape: Channels, height and width of an image.
            ops: Kind, inputs and attributes of each operation.

        Raises:
            ValueError: If there is no such operation or the operations do not fit.
        """
        if instruction_set not in self.instruction_sets():
            raise InputError(unknown("instruction set", instruction_set, self.instruction_sets()))
        return self._module(f"_{instruction_set}").Network(input_shape, ops)

    def _module(self, name: str) -> ModuleType:
        name = f"{__package__}.{name}"
        return importlib.import_module(name) if self.folder is None else _load(name, self.folder)


def kernels() -> Kernels:
    """The kernels, for a caller that needs them.

    Raises:
        InputError: If they cannot run here; says why and names the other engine.
    """
    reason = missing()
    if reason is not None:
        raise InputError(reason)
    return _build()


def instruction_set() -> str:
    """The best instruction set, or the one that the environment asks for with ``POMONA_INSTRUCTION_SET``.

    Raises:
        InputError: If the kernels cannot run here, or not with the instruction set that is asked for.
    """
    available = kernels().instruction_sets()
    asked = os.environ.get(FORCED)
    if not asked:
        return available[0]
    if asked not in INSTRUCTION_SETS:
        raise InputError(unknown("instruction set", asked, INSTRUCTION_SETS, where=FORCED))
    if asked not in available:
        raise InputError(f"{FORCED}: this processor cannot run {asked!r}. It runs: {', '.join(available)}")
    return asked


def missing() -> str | None:
    """Why the kernels cannot run here and what to do about it, in a sentence; None where they can."""
    try:
        available = _build().instruction_sets()
    except ModuleNotFoundError:
        return _not_built()
    except ImportError as error:
        return (
            f"the kernels of the lane engine cannot be loaded ({error}): install Pomona again, or {_INSTEAD}"
        )
    return (
        None
        if available
        else f"the lane engine needs a processor with AVX2, which this one lacks: {_INSTEAD}"
    )


def _not_built() -> str:
    machine = platform.machine()
    if machine.lower() not in ("x86_64", "amd64"):
        return f"the lane engine needs an x86-64 processor with AVX2, and this one is {machine}: {_INSTEAD}"
    if _build().folder is not None:
        return f"{FOLDER}: no kernels for this Python in {_build().folder!r}: unset it, or {_INSTEAD}"
    return (
        "Pomona was installed without the kernels of the lane engine, which are compiled at installation by "
        f"g++ 12 or clang 14 or later: install a compiler, then Pomona again, or {_INSTEAD}"
    )


def _build() -> Kernels:
    return Kernels(os.environ.get(FOLDER) or None)


@functools.cache
def _load(name: str, folder: str) -> ModuleType:
    spec = PathFinder.find_spec(name, [folder])
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module {name} in {folder}", name=name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
