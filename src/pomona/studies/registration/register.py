"""Registration: a study frozen before its data, in the chain of a store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pomona.core.errors import ProblemsError
from pomona.graph import chain
from pomona.graph.environment import environment
from pomona.graph.nodes import to_json
from pomona.graph.store import Store
from pomona.graph.writing import write_atomically
from pomona.studies.blinding.blind import Blind, blind_factors, keep, new_blind
from pomona.studies.design.designs import design
from pomona.studies.expand import expand
from pomona.studies.hypotheses.cells import cells
from pomona.studies.points import Population
from pomona.studies.registration.frozen import Circumstances, binding, freeze
from pomona.studies.registration.obstacles import lacking, obstacles
from pomona.studies.registration.printed import printed
from pomona.studies.registration.registered import KIND, Registered, read, registrations
from pomona.studies.study import Study

FOLDER = "registrations"


@dataclass(frozen=True)
class Outcome:
    """What came of registering.

    Args:
        registered: The registration of the study as it is.
        new: Whether it was made now; else it was there already and nothing was written.
        path: Its text; the body as JSON lies beside it.
    """

    registered: Registered
    new: bool
    path: Path


def register(study: Study, store: Store, device: str = "cpu") -> Registered:
    """Freeze a study in the chain of a store; nothing is computed.

    One whose hypotheses, cells and answers are registered already is not entered again.

    Args:
        study: A checked study.
        store: Where its results will be kept.
        device: That it will run on.

    Raises:
        ProblemsError: An answer is missing, or a hypothesis cannot be answered as it is planned; everything
            together, and nothing is written.
    """
    return enter(checked(study, device), store, device).registered


def enter(population: Population, store: Store, device: str = "cpu") -> Outcome:
    """Register a study that ``checked`` let through, and say what came of it."""
    study = population.study
    around = environment()
    designs = design(study, population, store)
    speaks_of = [cells(population, hypothesis) for hypothesis in study.spec.hypotheses]
    with store.ledger.transaction() as write:
        # In the lock that also every commit takes: "no data yet" holds at the moment of the entry.
        known = registrations(store, study.name)
        before = known[-1] if known else None
        blind = new_blind(study) if blind_factors(study) else None
        body = freeze(population, store, Circumstances(around, device, designs, speaks_of, before, blind))
        same = next((one for one in known if binding(one.body) == binding(body)), None)
        found = same
        if found is None:
            write.execute("INSERT OR IGNORE INTO environments VALUES (?,?)", around)
            found = read(chain.append(store.ledger, KIND, study.name, to_json(body)))
            _keep_blind(store, blind, found)
    return Outcome(found, same is None, _write(store, found))


def checked(study: Study, device: str = "cpu") -> Population:
    """The graph of a study that can be registered.

    Raises:
        ProblemsError: It cannot be; with all reasons.
    """
    missing = list(lacking(study))
    population = expand(study, device)
    faults = [*missing, *obstacles(study, population)]
    if faults:
        raise ProblemsError(f"{study.document.name} cannot be registered", faults)
    return population


def path_of(store: Store, registered: Registered) -> Path:
    """Where the text of a registration lies."""
    return store.folder / FOLDER / f"{registered.body['study']}-{registered.digest[:12]}.txt"


def _keep_blind(store: Store, blind: Blind | None, registered: Registered) -> None:
    if blind is not None:
        keep(store.ledger, replace(blind, registration=registered.digest))


def _write(store: Store, registered: Registered) -> Path:
    """Text and JSON as files, also where they were lost; the ledger is what counts."""
    path = path_of(store, registered)
    temporary = store.folder / "tmp"
    write_atomically(path, printed(registered).encode(), temporary)
    write_atomically(path.with_suffix(".json"), to_json(registered.body).encode(), temporary)
    return path
