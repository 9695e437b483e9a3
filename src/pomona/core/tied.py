"""Parameters that a network has under more than one name."""

from __future__ import annotations

from collections.abc import Iterable


def twins(parameters: Iterable[tuple[str, object]]) -> dict[str, str]:
    """The first name of each parameter that comes again under another name.

    A state keeps a tied parameter once, under its first name; what is loaded there is loaded for all names.

    Args:
        parameters: With their names, tied ones under each: ``named_parameters(remove_duplicate=False)``.

    Returns:
        The first name by each later one. Empty where nothing is tied.

    >>> shared = object()
    >>> twins([("encoder", shared), ("bias", object()), ("decoder", shared)])
    {'decoder': 'encoder'}
    """
    # The objects are held, so that no identity is given out twice.
    known = list(parameters)
    first: dict[int, str] = {}
    names = {name: first.setdefault(id(parameter), name) for name, parameter in known}
    return {name: origin for name, origin in names.items() if name != origin}
