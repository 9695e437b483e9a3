"""What a user's function takes, read from its declaration: states by position, parameters by name."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Strict, ValidationError, create_model

from pomona.core.canonical import Value
from pomona.core.errors import InputError, unknown
from pomona.core.schema import Part, StepField
from pomona.core.step import Step

# Words of a study, and what stands beside the parameters in a key.
RESERVED = ("recipe", "probe", "over", "against", "source", "depends_on")
_TYPES = "bool, int, float, str, Step, Literal, a Part, or lists, tuples, dicts and unions of these"


class Parameters(Part):
    """The parameters of one function. Fields end in ``_``, so that any name may be a parameter."""

    model_config = ConfigDict(protected_namespaces=())

    def identity(self) -> dict[str, Value]:
        """As ``Part.identity``, by the parameters' own names."""
        return {name[:-1]: value for name, value in super().identity().items()}

    def arguments(self) -> dict[str, Any]:
        """The values to call the function with."""
        return {name[:-1]: getattr(self, name) for name in type(self).model_fields}


@dataclass(frozen=True)
class Signature:
    """What a function takes.

    Args:
        states: Names of the parameters that stand for states.
        several: Whether the one of them is a sequence of states.
        parameters: Type of the others, together.
    """

    states: tuple[str, ...]
    several: bool
    parameters: type[Parameters]

    def count_fault(self, count: int) -> str | None:
        """Why it cannot take this many states; None where it can."""
        if self.several:
            return None if count else "takes one state or more, got none"
        wanted = len(self.states)
        if count == wanted:
            return None
        named = f"{wanted} state{'s' if wanted > 1 else ''} ({', '.join(self.states)})"
        return f"takes {named}, got {count}"

    def settle(self, given: Mapping[str, Any], what: str) -> Parameters:
        """Check parameters, with the defaults of those that are not given.

        Raises:
            InputError: One is not known (says the nearest), is missing or of another type.
        """
        try:
            return self.parameters.model_validate(given)
        except ValidationError as error:
            names = [field.alias for field in self.parameters.model_fields.values()]
            raise InputError(f"{what}: {'; '.join(_faults(error, names))}") from None


def check_form(function: Callable[..., Any], word: str) -> None:
    """What can be told of a declaration before its annotations are read.

    Args:
        function: What was decorated.
        word: ``recipe`` or ``probe``.

    Raises:
        InputError: A wrong declaration; says what to write instead.
    """
    taken = inspect.signature(function).parameters.values()
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise InputError(f"a {word} is a plain function that returns its result, not async, without yield")
    for one in taken:
        if one.kind is one.VAR_POSITIONAL:
            raise InputError(f"*{one.name}: several states are declared as states: Sequence[pomona.Given]")
        if one.kind is one.VAR_KEYWORD:
            raise InputError(f"**{one.name}: parameters are declared, each by its name and type")
        if one.annotation is one.empty:
            kind = "bits: int = 8" if one.kind is one.KEYWORD_ONLY else f"{one.name}: pomona.Given"
            raise InputError(f"{one.name!r} has no type; write one, as in {kind}")
        if one.kind is not one.KEYWORD_ONLY and one.default is not one.empty:
            raise InputError(
                f"{one.name!r} has a default, and what stands before '*' is a state; write '*' before "
                "it to make it a parameter"
            )
        if one.kind is one.KEYWORD_ONLY and (one.name in RESERVED or one.name.startswith("_")):
            raise InputError(f"a parameter cannot be called {one.name!r}; call it {one.name.strip('_')}_used")
    if not any(one.kind is not one.KEYWORD_ONLY for one in taken):
        raise InputError(f"a {word} takes a state first: def {function.__name__}(state: pomona.Given, ...)")


def read_signature(function: Callable[..., Any], given: type) -> Signature:
    """The types of a declaration whose form has been checked.

    Args:
        function: What was decorated.
        given: The type of a state.

    Raises:
        InputError: An annotation cannot be read, or is of no type that can be used (says which can).
    """
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise InputError(
            f"its annotations cannot be read ({type(error).__name__}: {error}); what they name must be "
            "there when the file runs, not only for type checkers"
        ) from None
    taken = inspect.signature(function).parameters
    states = [name for name, one in taken.items() if one.kind is not one.KEYWORD_ONLY]
    several = [_is_several(hints[name], given) for name in states]
    for name, many in zip(states, several, strict=True):
        if not many and hints[name] is not given:
            raise InputError(
                f"{name!r} stands before '*', so it is a state and its type pomona.Given or "
                f"Sequence[pomona.Given], got {_shown(hints[name])}; a parameter stands after '*'"
            )
    if any(several) and len(states) > 1:
        raise InputError("a sequence of states stands alone; write either one sequence or one name for each")
    fields: dict[str, Any] = {}
    for name, one in taken.items():
        if one.kind is one.KEYWORD_ONLY:
            default = ... if one.default is one.empty else one.default
            fields[f"{name}_"] = (Annotated[_schema_type(hints[name], name), Field(alias=name)], default)
    model = create_model(function.__name__, __base__=Parameters, **fields)
    return Signature(tuple(states), any(several), model)


def _is_several(annotation: Any, given: type) -> bool:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return inner == (given, ...)
    return origin in (list, Sequence) and inner == (given,)


def _schema_type(annotation: Any, name: str) -> Any:
    """The annotation with numbers, booleans and text as strict as in a study: ``"4"`` and 4.0 are no int."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (bool, int, float, str):
        return Annotated[annotation, Strict()]
    if annotation in (None, types.NoneType):
        return None
    if annotation is Step:
        return StepField
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    if origin is Annotated:
        return Annotated[(_schema_type(inner[0], name), *inner[1:])]
    if origin is Literal and all(one is None or isinstance(one, (bool, int, str)) for one in inner):
        return annotation
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_schema_type(one, name) for one in inner)]  # noqa: UP007
    if origin in (list, Sequence):
        return list[_schema_type(inner[0], name)]  # type: ignore[misc]
    if origin is tuple:
        return tuple[tuple(one if one is ... else _schema_type(one, name) for one in inner)]  # type: ignore[misc]
    if origin in (dict, Mapping) and inner[0] is str:
        return dict[str, _schema_type(inner[1], name)]  # type: ignore[misc]
    raise InputError(f"the type of {name!r} is {_shown(annotation)}; a parameter may be {_TYPES}")


def _shown(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation).replace("typing.", "")


def _faults(error: ValidationError, names: Sequence[str | None]) -> list[str]:
    """One text for each parameter at fault; the alternatives of a union are joined."""
    lines: list[str] = []
    kinds: dict[str, list[str]] = {}
    for fault in error.errors(include_url=False):
        name = str(fault["loc"][0])
        if fault["type"] == "extra_forbidden":
            lines.append(unknown("parameter", name, [known for known in names if known]))
        elif fault["type"] == "missing" and len(fault["loc"]) == 1:
            lines.append(f"{name} is required and missing")
        else:
            said = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else fault["msg"]
            kinds.setdefault(name, []).append(f"{said[0].lower()}{said[1:]}, got {fault['input']!r}")
    return [*lines, *(f"{name}: {' or '.join(texts)}" for name, texts in kinds.items())]
