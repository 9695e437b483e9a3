"""``pomona run``: compute what a study still needs, and write its report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

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

FailFastOption = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")]
RetryOption = Annotated[
    bool, typer.Option("--retry-failed", help="Try again also what diverged or lost a layer.")
]


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
    fail_fast: FailFastOption = False,
    retry_failed: RetryOption = False,
) -> None:
    """Run a study: train what the store lacks, measure it, write the report.

    Ctrl-C stops within two seconds; the same command goes on from there. Other processes may run on the same
    store: each state is computed by one of them.
    """
    from pomona.cli.progress import Display
    from pomona.graph.scheduler import LASTING
    from pomona.graph.store import Store
    from pomona.report.text import summary_table
    from pomona.report.write import is_current, report_path, write_report
    from pomona.studies.blinding.blind import banner
    from pomona.studies.run import Run
    from pomona.studies.study import load_study

    checked = load_study(study, preset, changes or ())
    with Store(store) as opened:
        prepared = Run(checked, opened, device)
        missing = prepared.missing()
        graph = prepared.population.graph
        name = f"{checked.name}{f', preset {checked.preset}' if checked.preset else ''}"
        title = f"{name}: {len(graph.states)} states, {len(graph.probes)} measurements"
        display = Display(title, missing)
        if prepared.results.blind is not None:
            display.say(banner(prepared.results.blind))
        if opened.ledger.migrated:
            display.say(
                f"the store is of an earlier format; its ledger as it was: {_short(opened.ledger.migrated)}"
            )
        try:
            with display:
                results = prepared.execute(
                    workers, display.update, display.say, fail_fast=fail_fast, retry_failed=retry_failed
                )
        except KeyboardInterrupt:
            _say_stopped(prepared.tally.done, prepared.tally.cached, prepared.tally.states)
            raise
        display.finish(prepared.tally)
        _say_repairs([results.shown_text(text) for text in prepared.repairs])
        typer.echo(summary_table(results))
        page = report_path(results)
        if missing or not is_current(page, results):
            page = write_report(results)
        typer.echo(f"report: {_short(page)}")
        for failure in prepared.failures[:10]:
            blocked = f", and {failure.blocked} descending from it" if failure.blocked else ""
            what = "stopped by its rule" if failure.kind == "stopped" else f"failed ({failure.kind})"
            reason = results.shown_text(failure.reason)
            typer.echo(f"{what}: {failure.label}{blocked}: {reason}", err=True)
        stopped = [failure for failure in prepared.failures if failure.kind == "stopped"]
        if stopped and len(stopped) == len(prepared.failures):
            typer.echo(f"{len(stopped)} lineages stopped where their rule says so", err=True)
        elif prepared.failures:
            if any(failure.kind in LASTING for failure in prepared.failures):
                typer.echo("what diverged or lost a layer is tried again with --retry-failed only", err=True)
            count = len(prepared.failures)
            typer.echo(
                f"{count} failed{', the first 10 are shown' if count > 10 else ''}; "
                f"see 'pomona log --store {store}'",
                err=True,
            )
            raise typer.Exit(1)


def _say_repairs(repairs: list[str]) -> None:
    for text in repairs[:10]:
        typer.echo(f"repaired: {text}", err=True)
    if len(repairs) > 10:
        typer.echo(f"repaired: {len(repairs) - 10} more; see 'pomona log'", err=True)


def _say_stopped(done: int, cached: int, states: int) -> None:
    how_far = f"{cached + done} of {states} states are done and kept." if states else "What was done is kept."
    command = shlex.join(["pomona", *sys.argv[1:]])
    typer.echo(
        f"\nStopped. {how_far} To go on from here:\n  {command}",
        err=True,
    )


def _short(path: Path) -> str:
    """A path as a user would type it from where they are."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
