"""A user's own recipes and probes: how they are declared, and what makes their identity."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar, overload

from pomona.core.canonical import Value
from pomona.core.errors import InputError
from pomona.core.reference import WHOLE, Reference
from pomona.core.source import Module
from pomona.graph.given import Given
from pomona.graph.signature import Parameters, Signature, check_form, read_signature

Function = Callable[..., Any]
_DECLARED = TypeVar("_DECLARED", bound="Declared")
Dependency = str | Path | Function | ModuleType

# What the names of recipes and probes mean elsewhere: a user's must be others.
TAKEN = frozenset(
    [
        *("init", "train", "prune", "treat", "transfer", "join", "import", "snapshot", "control"),
        *("predict", "ensemble", "calibrate", "evaluate", "agreement"),
    ]
)


class Declared:
    """A user's function with what makes its identity. Calling it calls the function.

    Args:
        function: What was decorated: at the top level of a file.
        version: A new one gives new keys.
        depends_on: Files, relative to that of the function, and functions or modules whose source counts
            though it cannot be seen from the function's.
    """

    word: Literal["recipe", "probe"]

    def __init__(self, function: Function, version: int, depends_on: Sequence[Dependency]) -> None:
        self.function = function
        self.version = version
        self.name = getattr(function, "__name__", "")
        self.__doc__ = function.__doc__
        self.reference = Reference(self._file(), self.name)
        if isinstance(version, bool) or not isinstance(version, int):
            raise InputError(f"{self}: version is a whole number, got {version!r}")
        if isinstance(depends_on, (str, Path)) or not isinstance(depends_on, Sequence):
            raise InputError(f"{self}: depends_on is a list, as in depends_on=['tables.csv', helper]")
        self._depends_on = [self._dependency(one) for one in depends_on]
        self.shared: dict[str, Mapping[str, Any]] = {}  # what execution needs, by the form of the network
        with self._placed():
            check_form(inspect.unwrap(function), self.word)

    def __call__(self, *states: Given, **parameters: Any) -> Any:
        """Call the function, as a test of it does."""
        return self.function(*states, **parameters)

    def __str__(self) -> str:
        return f"{self.reference.path.name}:{self.line}: {self.name}"

    @property
    def line(self) -> int:
        """Where the function begins in its file."""
        return int(inspect.unwrap(self.function).__code__.co_firstlineno)

    @cached_property
    def signature(self) -> Signature:
        """What the function takes."""
        with self._placed():
            return read_signature(inspect.unwrap(self.function), Given)

    @cached_property
    def identity(self) -> dict[str, Value]:
        """What enters a key beside the parameters; the files are read once."""
        bound = inspect.unwrap(self.function).__globals__.get(self.name)
        if self.name not in Module.read(self.reference.path).defined or bound is not self:
            raise InputError(
                f"{self}: {self.reference.path.name} has something else under the name {self.name!r}; "
                "decorate the function where it is defined, and use what the file has after its last import"
            )
        found: dict[str, Value] = {"source": self.reference.digest()}
        if self._depends_on:
            found["depends_on"] = {
                label: digest or Reference(path, name).digest()
                for label, path, name, digest in self._depends_on
            }
        return found

    @cached_property
    def how(self) -> dict[str, Any]:
        """What a worker needs to load it, and to see that it is still the same."""
        depends_on = self.identity.get("depends_on", {})
        assert isinstance(depends_on, Mapping)
        return {
            "name": f"{self.reference.path.name}:{self.name}",
            "folder": str(self.reference.path.parent),
            "source": self.identity["source"],
            "depends_on": {
                label: [str(path), name, depends_on[label]] for label, path, name, _ in self._depends_on
            },
        }

    def outdated(self) -> bool:
        """Whether a file that it depends on has changed since it was imported."""
        return any(digest and _content(path) != digest for _, path, _, digest in self._depends_on)

    def params(self, settled: Parameters) -> dict[str, Value]:
        """All that enters a key."""
        return {**settled.identity(), **self.identity}

    def _file(self) -> Path:
        function = inspect.unwrap(self.function)
        if not inspect.isfunction(function) or self.name == "<lambda>":
            kind = "a lambda" if self.name == "<lambda>" else type(function).__name__
            raise InputError(f"@pomona.{self.word} stands above a function (def ...), got {kind}")
        path = Path(function.__code__.co_filename)
        if not path.is_file():
            raise InputError(
                f"{self.name}: a {self.word} is defined in a file, not at a prompt or in a notebook: its "
                "source is part of its identity, and workers import it; move it to a file and import it"
            )
        if "." in function.__qualname__:
            raise InputError(
                f"{path.name}:{function.__code__.co_firstlineno}: {function.__qualname__}: a {self.word} "
                "stands at the top level of a file, not inside of a function or a class"
            )
        if self.name in TAKEN:
            line = function.__code__.co_firstlineno
            raise InputError(f"{path.name}:{line}: {self.name!r} is a name of Pomona's own; choose another")
        return path.resolve()

    def _dependency(self, one: Dependency) -> tuple[str, Path, str, str]:
        """Its label in the key, its file, the name in the file, and the digest of a file's content.

        A file is read now, when the user's module may have read it too.
        """
        if isinstance(one, (str, Path)):
            written = Path(one)
            path = (self.reference.path.parent / written).resolve()
            if not path.is_file():
                raise InputError(f"{self}: depends_on: there is no file {path}")
            return written.name if written.is_absolute() else written.as_posix(), path, "", _content(path)
        if isinstance(one, Declared):
            return f"{one.reference.path.name}:{one.name}", one.reference.path, one.name, ""
        try:
            path = Path(inspect.getfile(inspect.unwrap(one)))  # type: ignore[arg-type]
        except TypeError:
            path = Path()
        if path.suffix != ".py" or not path.is_file():
            raise InputError(
                f"{self}: depends_on: {one!r} has no source; name a file, a function or a module"
            )
        name = WHOLE if isinstance(one, ModuleType) else one.__name__
        return f"{path.name}:{name}", path.resolve(), name, ""

    @contextmanager
    def _placed(self) -> Iterator[None]:
        """Put the place of the function before what is said of it."""
        try:
            yield
        except InputError as error:
            raise InputError(f"{self}: {error}") from None


class Recipe(Declared):
    """A user's recipe: makes a state from one or more.

    Args:
        pruned_value: ``zero``, or ``frozen`` where pruned weights keep a value.
        nested: Whether masks may only shrink: what no parent keeps is not kept.
    """

    word = "recipe"

    def __init__(
        self,
        function: Function,
        version: int = 1,
        depends_on: Sequence[Dependency] = (),
        pruned_value: Literal["zero", "frozen"] = "zero",
        nested: bool = True,
    ) -> None:
        super().__init__(function, version, depends_on)
        if pruned_value not in ("zero", "frozen"):
            raise InputError(f"{self}: pruned_value is 'zero' or 'frozen', got {pruned_value!r}")
        if not isinstance(nested, bool):
            raise InputError(f"{self}: nested is True or False, got {nested!r}")
        self.pruned_value = pruned_value
        self.nested = nested


class Measure(Declared):
    """A user's probe: measures one state or more."""

    word = "probe"


def load_declared(reference: Reference, kind: type[_DECLARED]) -> _DECLARED:
    """Import a user's file and give a recipe or a probe of it.

    Raises:
        InputError: The file cannot be imported, or has something else under the name.
    """
    found = reference.load()
    if isinstance(found, Declared) and found.outdated():
        found = reference.load(anew=True)
    if not isinstance(found, kind):
        word = getattr(kind, "word", "recipe")
        raise InputError(
            f"{reference.path.name}:{reference.name} is not a {word}: write @pomona.{word} above its def"
        )
    return found


def _content(path: Path) -> str:
    """SHA-256 of a file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"depends_on: {path} cannot be read: {error.strerror}") from None


@overload
def recipe(function: Function, /) -> Recipe: ...
@overload
def recipe(
    *,
    version: int = 1,
    depends_on: Sequence[Dependency] = (),
    pruned_value: Literal["zero", "frozen"] = "zero",
    nested: bool = True,
) -> Callable[[Function], Recipe]: ...
def recipe(function: Function | None = None, /, **declared: Any) -> Recipe | Callable[[Function], Recipe]:
    """Declare a function as a recipe: it takes states by position, parameters by name, and gives ``Made``.

    Args:
        function: At the top level of a file.
        declared: ``version`` (a new one gives new keys); ``depends_on``: files, functions and modules that
            count though the function's source does not show it; ``pruned_value``: ``zero``, or ``frozen``
            where pruned weights keep a value; ``nested``: whether masks may only shrink.

    Raises:
        InputError: A wrong declaration; says what to write instead.
    """
    return Recipe(function) if function is not None else lambda function: Recipe(function, **declared)


@overload
def probe(function: Function, /) -> Measure: ...
@overload
def probe(*, version: int = 1, depends_on: Sequence[Dependency] = ()) -> Callable[[Function], Measure]: ...
def probe(
    function: Function | None = None, /, *, version: int = 1, depends_on: Sequence[Dependency] = ()
) -> Measure | Callable[[Function], Measure]:
    """Declare a function as a probe: it takes states by position, parameters by name, and gives numbers.

    One number, a mapping from quantity to number, or from quantity to a mapping from layer to number. None
    stands for no number.

    Args:
        function: At the top level of a file.
        version: A new one gives new keys.
        depends_on: Files, functions and modules that count though the function's source does not show it.

    Raises:
        InputError: A wrong declaration; says what to write instead.
    """
    if function is not None:
        return Measure(function, version, depends_on)
    return lambda function: Measure(function, version, depends_on)
