"""A user's own module: called with what it accepts, under random state that is given back as it was."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pomona.core.errors import InputError, unknown
from pomona.core.global_state import lent_generators
from pomona.core.reference import Reference, user_traceback
from pomona.models.catalogue import Option


def own_network(
    written: str,
    shape: tuple[int, int, int],
    classes: int,
    options: Mapping[str, Option],
    seed: int,
    folder: Path | None = None,
) -> nn.Module:
    """Call a user's function or class and check what it returns.

    Args:
        written: As in the study: ``mine.py:net``.
        shape: Channels, height and width of the images; passed as ``input_shape`` where it is accepted.
        classes: Number of classes; passed as ``classes`` where it is accepted.
        options: Passed by name; each must be accepted.
        seed: What the global generators of torch, NumPy and Python are seeded with meanwhile.
        folder: What a relative path is relative to.

    Raises:
        InputError: It cannot be found, called, or does not return a module (says file and line).
    """
    reference = Reference.parse(written, folder)
    with _seeded(seed):
        factory = reference.load()
        keywords = _keywords(factory, written, {"input_shape": shape, "classes": classes}, options)
        try:
            module = factory(**keywords)
        except Exception as error:
            place = user_traceback(error, reference.path)
            raise InputError(f"{place}: {written!r} failed: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        hint = "; give the class or a function that makes one" if isinstance(module, type) else ""
        raise InputError(f"{written!r}: expected a torch.nn.Module, got {type(module).__name__}{hint}")
    lazy = [name for name, tensor in module.named_parameters() if is_lazy(tensor)]
    if lazy:
        raise InputError(
            f"{written!r}: {lazy[0]} has no shape yet; use layers with sizes "
            "(an argument input_shape is passed)"
        )
    return module


def _keywords(
    factory: Callable[..., Any], written: str, offered: Mapping[str, Any], options: Mapping[str, Option]
) -> dict[str, Any]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError) as error:
        raise InputError(f"{written!r}: its arguments cannot be read: {error}") from error
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    accepted = {p.name for p in named}
    for key in options:
        if not anything and key not in accepted:
            raise InputError(unknown("option", key, sorted(accepted - set(offered)), where=repr(written)))
    given = {**{k: v for k, v in offered.items() if anything or k in accepted}, **options}
    missing = [p.name for p in named if p.default is p.empty and p.name not in given]
    missing += [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if missing:
        raise InputError(
            f"{written!r}: argument {missing[0]!r} has no value; it may take input_shape and classes, and "
            "others are given as options of the model"
        )
    return given


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with lent_generators(seed), torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would seed the generators of devices, which are not given back.
        torch.default_generator.manual_seed(seed)
        yield
