"""The experimental science of neural-network pruning.

The names here are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pomona.studies.modules import load_module as load_module
    from pomona.studies.results import Results as Results
    from pomona.studies.results import load_results as load_results
    from pomona.studies.run import run as run
    from pomona.studies.study import Study as Study
    from pomona.studies.study import load_study as load_study
    from pomona.studies.study import parse_study as parse_study

__version__ = "0.1.0"

_PLACES = {
    "Results": "pomona.studies.results",
    "Study": "pomona.studies.study",
    "load_module": "pomona.studies.modules",
    "load_results": "pomona.studies.results",
    "load_study": "pomona.studies.study",
    "parse_study": "pomona.studies.study",
    "run": "pomona.studies.run",
}

__all__ = [
    "Results",
    "Study",
    "__version__",
    "load_module",
    "load_results",
    "load_study",
    "parse_study",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'pomona' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
