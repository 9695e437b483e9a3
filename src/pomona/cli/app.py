"""The command line: all commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from pomona.cli import (
    audit,
    data,
    diff,
    export,
    gc,
    graph,
    import_,
    log,
    methods,
    models,
    note,
    plan,
    query,
    register,
    report,
    restore,
    results,
    run,
    show,
    tag,
    unblind,
    verdicts,
    verify,
    why,
)
from pomona.core.errors import InputError, PomonaError

app = typer.Typer(
    name="pomona",
    help="The experimental science of neural-network pruning: declare a study, train the population, "
    "read the report.",
    epilog="First: pomona run iterative-pruning --preset quick",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    *(run, plan, register, unblind, report, verdicts, results, query, log, show, audit, diff, why, graph),
    *(tag, note),
    *(import_, export, verify, restore, gc, models, methods),
):
    module.add(app)
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        from pomona import __version__

        typer.echo(f"pomona {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry of the ``pomona`` command.

    Exit codes: 0 done, 1 something failed, 2 the input cannot be used, 130 interrupted.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except InputError as error:
        _say(error)
        sys.exit(2)
    except PomonaError as error:
        _say(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe has seen enough, as `pomona results ... | head` does.
        sys.stderr.close()
        sys.exit(0)


def _say(error: PomonaError) -> None:
    typer.echo(f"error: {error}", err=True)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
