"""``pomona run``: compute what a study still needs, and write its report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

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


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        name="run",
        epilog="Example: pomona run iterative-pruning --preset quick --set replicates=5",
    )(run)


def run(
    study: StudyArgument,
    preset: PresetOption = None,
    store: StoreOption = DEFAULT_STORE,
    workers: WorkersOption = None,
    device: DeviceOption = "cpu",
    changes: SetOption = None,
) -> None:
    """Run a study: train what the store lacks, measure it, write the report.

    Ctrl-C stops within two seconds; the same command goes on from there.
    """
    from pomona.cli.progress import Display
    from pomona.graph.store import Store
    from pomona.report.text import summary_table
    from pomona.report.write import report_path, write_report
    from pomona.studies.run import Run
    from pomona.studies.study import load_study

    checked = load_study(study, preset, changes or ())
    with Store(store) as opened:
        prepared = Run(checked, opened, device)
        missing = prepared.missing()
        display = Display(checked.name, checked.preset, prepared.population, missing)
        try:
            with display:
                results = prepared.execute(workers, display.update, display.say)
        except KeyboardInterrupt:
            _say_stopped(prepared.tally.done, prepared.tally.cached, prepared.tally.states)
            raise
        display.finish(prepared.tally)
        typer.echo(summary_table(results))
        page = report_path(results)
        if missing or not page.is_file() or checked.digest() not in page.read_text(encoding="utf-8"):
            page = write_report(results)
        typer.echo(f"report: {_short(page)}")
        for failure in prepared.failures[:10]:
            blocked = f", and {failure.blocked} descending from it" if failure.blocked else ""
            typer.echo(f"failed ({failure.kind}): {failure.label}{blocked}: {failure.reason}", err=True)
        if prepared.failures:
            count = len(prepared.failures)
            typer.echo(
                f"{count} failed{', the first 10 are shown' if count > 10 else ''}; "
                f"see 'pomona log --store {store}'",
                err=True,
            )
            raise typer.Exit(1)


def _say_stopped(done: int, cached: int, states: int) -> None:
    command = shlex.join(["pomona", *sys.argv[1:]])
    typer.echo(
        f"\nStopped. {cached + done} of {states} states are done and kept. To go on from here:\n  {command}",
        err=True,
    )


def _short(path: Path) -> str:
    """A path as a user would type it from where they are."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
