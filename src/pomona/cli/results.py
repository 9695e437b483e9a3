"""``pomona results``: every number of a study as a tidy table."""

from __future__ import annotations

import sys
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
from pomona.core.errors import InputError, StoreError

CsvOption = Annotated[bool, typer.Option("--csv", help="As CSV.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, one object a row.")]
ParquetOption = Annotated[bool, typer.Option("--parquet", help="As Parquet; needs --output or a pipe.")]
OutputOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--output", "-o", help="File to write instead of standard output.", metavar="FILE"),
]


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        name="results", epilog="Example: pomona results iterative-pruning --preset quick --csv > results.csv"
    )(results)


def results(
    study: StudyArgument,
    preset: PresetOption = None,
    store: StoreOption = DEFAULT_STORE,
    changes: SetOption = None,
    device: DeviceOption = "cpu",
    as_csv: CsvOption = False,
    as_json: JsonOption = False,
    as_parquet: ParquetOption = False,
    output: OutputOption = None,
) -> None:
    """Print the tidy table of a study: one number a row, with what it is a number of."""
    from pomona.cli import wording
    from pomona.report.text import summary_table
    from pomona.studies.blinding.blind import banner
    from pomona.studies.results import load_results

    if as_csv + as_json + as_parquet > 1:
        raise InputError("--csv, --json and --parquet: give one of them")
    if as_parquet and output is None and sys.stdout.isatty():
        raise InputError("--parquet is not text: name a file with --output")
    found = load_results(study, preset, store, changes or (), device)
    if found.blind is not None:
        typer.echo(banner(found.blind), err=True)
    if not (as_csv or as_json or as_parquet):
        if output is not None:
            raise InputError("--output: say in which form, with --csv, --json or --parquet")
        typer.echo(summary_table(found))
        return
    table = found.frame()
    if as_csv:
        content = table.to_csv(index=False).encode()
    elif as_json:
        content = f"{wording.as_json(table)}\n".encode()
    else:
        content = table.to_parquet(index=False)
    _write(content, output)


def _write(content: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise StoreError(f"{output} could not be written: {error.strerror or error}") from None
    typer.echo(output)
