"""The experimental science of neural-network pruning.

The names here are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pomona.core.step import Step as Step
    from pomona.graph.custom import probe as probe
    from pomona.graph.custom import recipe as recipe
    from pomona.graph.given import Given as Given
    from pomona.graph.given import Made as Made
    from pomona.graph.growth import adopt as adopt
    from pomona.graph.growth import apply as apply
    from pomona.graph.growth import measure as measure
    from pomona.graph.nodes import Graph as Graph
    from pomona.studies.audits import audit as audit
    from pomona.studies.compute import Computed as Computed
    from pomona.studies.compute import compute as compute
    from pomona.studies.exported import export_checkpoint as export_checkpoint
    from pomona.studies.imported import Imported as Imported
    from pomona.studies.imported import import_checkpoint as import_checkpoint
    from pomona.studies.modules import load_module as load_module
    from pomona.studies.results import Results as Results
    from pomona.studies.results import load_results as load_results
    from pomona.studies.run import run as run
    from pomona.studies.study import Study as Study
    from pomona.studies.study import load_study as load_study
    from pomona.studies.study import parse_study as parse_study

__version__ = "0.1.0"

_PLACES = {
    "Computed": "pomona.studies.compute",
    "Given": "pomona.graph.given",
    "Graph": "pomona.graph.nodes",
    "Imported": "pomona.studies.imported",
    "Made": "pomona.graph.given",
    "Results": "pomona.studies.results",
    "Step": "pomona.core.step",
    "Study": "pomona.studies.study",
    "adopt": "pomona.graph.growth",
    "apply": "pomona.graph.growth",
    "audit": "pomona.studies.audits",
    "compute": "pomona.studies.compute",
    "export_checkpoint": "pomona.studies.exported",
    "import_checkpoint": "pomona.studies.imported",
    "load_module": "pomona.studies.modules",
    "load_results": "pomona.studies.results",
    "load_study": "pomona.studies.study",
    "measure": "pomona.graph.growth",
    "parse_study": "pomona.studies.study",
    "probe": "pomona.graph.custom",
    "recipe": "pomona.graph.custom",
    "run": "pomona.studies.run",
}

__all__ = [
    "Computed",
    "Given",
    "Graph",
    "Imported",
    "Made",
    "Results",
    "Step",
    "Study",
    "__version__",
    "adopt",
    "apply",
    "audit",
    "compute",
    "export_checkpoint",
    "import_checkpoint",
    "load_module",
    "load_results",
    "load_study",
    "measure",
    "parse_study",
    "probe",
    "recipe",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'pomona' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
