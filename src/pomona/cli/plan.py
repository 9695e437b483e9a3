"""``pomona plan``: what a run would do, how long it would take, and what its hypotheses can see."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from pomona.cli.options import (
    DEFAULT_STORE,
    DeviceOption,
    PresetOption,
    SetOption,
    StoreOption,
    StudyArgument,
    WorkersOption,
)

if TYPE_CHECKING:
    from pomona.graph.nodes import Probe, State
    from pomona.studies.points import Population


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="plan", epilog="Example: pomona plan iterative-pruning --preset quick")(plan)


def plan(
    study: StudyArgument,
    preset: PresetOption = None,
    store: StoreOption = DEFAULT_STORE,
    workers: WorkersOption = None,
    device: DeviceOption = "cpu",
    changes: SetOption = None,
) -> None:
    """Say what a run would compute and how long it takes, and what the hypotheses can see."""
    from pomona.cli.wording import duration, rows
    from pomona.graph.store import LEDGER, Store
    from pomona.studies.expand import expand
    from pomona.studies.plan import make_plan
    from pomona.studies.run import check_device
    from pomona.studies.study import load_study

    checked = load_study(study, preset, changes or ())
    size = os.cpu_count() or 1 if workers is None else workers
    check_device(device)
    population = expand(checked, device)
    there = (store / LEDGER).is_file()
    opened = Store(store, create=False) if there else None
    found = make_plan(population, opened, size, device)
    to_run = found.states - found.cached
    others = f" ({found.from_others} of them asked for by other studies too)" if found.from_others else ""
    lines = [
        ("states", f"{found.states:,}: {to_run:,} to run, {found.cached:,} cached{others}"),
        (
            "shared",
            f"{found.shared:,} states serve several arms and save {found.trainings_saved:,} trainings",
        ),
        ("trainings", f"{found.trainings:,}, {found.work_steps:,} optimizer steps"),
        *_engines(found.engines),
        ("measurements", f"{found.measurements:,}"),
        *_own(population),
    ]
    if found.seconds is None:
        lines.append(("time", f"not known: {found.source}"))
    elif to_run or found.measurements:
        worker = f"{max(size, 1)} worker{'s' if size > 1 else ''}"
        lines.append(("time", f"about {duration(found.seconds)} with {worker}, from {found.source}"))
        lines += [("", f"{cost}: {rate:,.0f} steps/s a worker") for cost, rate in sorted(found.rates.items())]
    else:
        lines.append(("time", "nothing to run"))
    if not checked.spec.hypotheses:
        lines.append(("hypotheses", "none"))
    arms = {step: len(checked.arms_of(step)) for step in checked.order}
    steps = ", ".join(f"{step} ({n or 'no'} arm{'' if n == 1 else 's'})" for step, n in arms.items())
    count = checked.spec.replicates
    lines.insert(0, ("steps", f"{steps}; {count} replicate{'' if count == 1 else 's'}"))
    typer.echo(f"{checked.name}{f', preset {checked.preset}' if checked.preset else ''}")
    typer.echo(rows([(f"  {name}", text) for name, text in lines]))
    if checked.spec.hypotheses:
        # The statistics take a second to import.
        from pomona.cli.designs import designs_text
        from pomona.studies.design.designs import design

        typer.echo(designs_text(population, opened, design(checked, population, opened, found.pace)))


def _own(population: Population) -> list[tuple[str, str]]:
    """The functions of the user's own, and how often each is called."""
    graph = population.graph
    nodes: list[State | Probe] = [*graph.states.values(), *graph.probes.values()]
    names = Counter(node.how["function"]["name"] for node in nodes if "function" in node.how)
    return [("" if i else "your own", f"{name}: {n:,}") for i, (name, n) in enumerate(names.items())]


def _engines(engines: Mapping[str, str]) -> list[tuple[str, str]]:
    """One line each where networks differ, with the name of the network."""
    lines = [f"{name}: {text}" if name else text for name, text in engines.items()]
    return [("engine" if i == 0 else "", line) for i, line in enumerate(lines)]
