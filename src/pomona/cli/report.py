"""``pomona report``: write the report of what a store holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pomona.cli.options import (
    DEFAULT_STORE,
    DeviceOption,
    PresetOption,
    SetOption,
    StoreOption,
    StudyArgument,
)

OutputOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--output", "-o", help="Folder for the page and its figures.", metavar="DIR"),
]


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="report", epilog="Example: pomona report iterative-pruning --preset quick")(report)


def report(
    study: StudyArgument,
    preset: PresetOption = None,
    store: StoreOption = DEFAULT_STORE,
    changes: SetOption = None,
    device: DeviceOption = "cpu",
    output: OutputOption = None,
) -> None:
    """Write the report: one HTML file, its figures as SVG and PNG, their data as CSV."""
    from pomona.report.write import write_report
    from pomona.studies.blinding.blind import banner
    from pomona.studies.results import load_results

    results = load_results(study, preset, store, changes or (), device)
    if results.blind is not None:
        typer.echo(banner(results.blind), err=True)
    typer.echo(write_report(results, output))
