"""Users' own recipes and probes at work: called in a worker, and what they give checked and stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pomona.core.errors import InputError, Interrupted, PomonaError, StateFailure, StoreError
from pomona.core.global_state import lent_generators
from pomona.core.reference import Reference, user_traceback
from pomona.graph.custom import Declared, Measure, Recipe, load_declared
from pomona.graph.given import Given
from pomona.graph.jobs import Context, Job, Outcome, Stored
from pomona.graph.store import Files
from pomona.studies import bench
from pomona.studies.made import check_made, described, measurements

_CHANGED = "changed since it was planned; import it anew, then run again"


def execute_custom(job: Job, files: Files, context: Context) -> Outcome:
    """Compute the state or probe of a user's function.

    Raises:
        StateFailure: The function or what it depends on changed since it was planned, or a state is not as
            it must be.
        InputError: The function gives what cannot be kept (says what, with file and line).
        PomonaError: The function fails (says file and line).
    """
    declared = _load(job.how["function"])
    beside = declared.identity
    parameters = declared.signature.settle(
        {name: value for name, value in job.params.items() if name not in beside}, str(declared)
    )
    states = [Given(stored, files, partial(_module, _network(stored, job))) for stored in job.states]
    arguments: list[Any] = [states] if declared.signature.several else list(states)
    seed = int(job.node[:16], 16)
    with lent_generators(seed), torch.random.fork_rng(devices=[]), _in_users_code(declared):
        # Not torch.manual_seed: that would seed the generators of devices, which are not given back.
        torch.default_generator.manual_seed(seed)
        found = declared.function(*arguments, **parameters.arguments())
    if isinstance(declared, Measure):
        return Outcome(measurements=measurements(declared, found))
    assert isinstance(declared, Recipe)
    return _stored(declared, found, job, files)


def _load(function: Mapping[str, Any]) -> Declared:
    """The function, if it still is what it was planned as."""
    path, _, name = function["name"].rpartition(":")
    reference = Reference(Path(function["folder"]) / path, name)
    if not reference.path.is_file() or reference.digest() != function["source"]:
        raise StateFailure("error", f"{function['name']} {_CHANGED}")
    found = load_declared(reference, Declared)
    now = {label: digest for label, (*_, digest) in found.how["depends_on"].items()}
    planned = {label: digest for label, (*_, digest) in function["depends_on"].items()}
    changed = [label for label in planned if now.get(label) != planned[label]]
    if changed or found.how["source"] != function["source"]:
        raise StateFailure("error", f"{changed[0] if changed else function['name']} {_CHANGED}")
    return found


def _network(stored: Stored, job: Job) -> Mapping[str, Any]:
    """What is known of a state's network: by itself, else by the first state's ancestors."""
    return stored.how if "model" in stored.how else job.how


def _module(how: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> nn.Module:
    """The network of a state, with its weights."""
    if "model" not in how:
        raise InputError("no ancestor of this state says which network it is, so there is no module of it")
    return bench.loaded(how, weights)


@contextmanager
def _in_users_code(declared: Declared) -> Iterator[None]:
    """Say of what fails inside where in the user's file it does."""
    try:
        yield
    except (StateFailure, StoreError, Interrupted, MemoryError):
        raise
    except InputError as error:
        raise InputError(f"{user_traceback(error, declared.reference.path)}: {error}") from error
    except Exception as error:
        place = user_traceback(error, declared.reference.path)
        raise PomonaError(f"{place}: {type(error).__name__}: {error}") from error


def _stored(recipe: Recipe, made: object, job: Job, files: Files) -> Outcome:
    """Check what a recipe made against its first parent, and store it."""
    first = job.states[0]
    weights = dict(sorted(files.read_weights(first.outputs["weights"]).items()))
    masks, kinds = files.read_masks(first.outputs["masks"])
    others = [files.read_masks(other.outputs["masks"])[0] for other in job.states[1:]]
    checked = check_made(recipe, made, weights, masks, others)
    output = files.write_weights(checked.weights)
    same = all(np.array_equal(mask, masks[name]) for name, mask in checked.masks.items())
    facts = described(checked, masks, first.facts)
    if recipe.pruned_value == "frozen":
        facts["pruned"] = "freeze"
    if same:
        return Outcome((output, bench.same_masks(first, files)), facts)
    return Outcome((output, files.write_masks(checked.masks, kinds)), facts)
