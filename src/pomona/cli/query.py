"""``pomona query``: the states of a store that a condition holds for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pomona.cli.options import DEFAULT_STORE, StoreOption
from pomona.core.errors import InputError

if TYPE_CHECKING:
    from pomona.graph.states import States

_IN_TABLE = 100

QueryArgument = Annotated[
    Optional[str],  # noqa: UP045 - typer reads this at run time
    typer.Argument(
        help='Such as "recipe == train and accuracy > 0.9"; all states by default.', metavar="QUERY"
    ),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="As CSV, with all columns.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, one object a state.")]
LimitOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--limit", "-n", help=f"How many states; default: {_IN_TABLE} in a table, else all.", min=1),
]


def add(app: typer.Typer) -> None:
    """Add the command."""
    epilog = 'Example: pomona query "method == l1-structured and level >= 3 and accuracy > 0.9"'
    app.command(name="query", epilog=epilog)(query)


def query(
    text: QueryArgument = None,
    store: StoreOption = DEFAULT_STORE,
    as_csv: CsvOption = False,
    as_json: JsonOption = False,
    limit: LimitOption = None,
) -> None:
    """List the states that a query finds; docs/provenance.md has the language."""
    from pomona.cli import wording
    from pomona.graph.states import States
    from pomona.graph.store import Store
    from pomona.studies.blinding.closed import Closed

    if as_csv and as_json:
        raise InputError("--csv and --json: give one of them")
    with Store(store, create=False) as opened:
        closed = Closed(opened)
        found = closed.seen(States(opened, text))
        if closed.note:
            typer.echo(closed.note, err=True)
        if not (as_csv or as_json):
            typer.echo(_table(found, limit or _IN_TABLE))
            return
        table = found[:limit].frame()
        if as_csv:
            sys.stdout.write(table.to_csv(index=False))
        else:
            typer.echo(wording.as_json(table))


def _table(found: States, limit: int) -> str:
    from pomona.cli.wording import rows

    shown = found[:limit]
    totals = shown.totals()
    lines = [
        (
            state.key[:12],
            state.recipe,
            state.status,
            " ".join([state.what, *(f"#{tag}" for tag in state.tags)]).strip(),
            _percent(totals.get(state.key, {}).get("accuracy")),
        )
        for state in shown
    ]
    count = f"{len(found):,} state{'' if len(found) == 1 else 's'}"
    if len(shown) < len(found):
        count += f", the first {len(shown):,} shown; see --limit"
    if not lines:
        return count
    return rows(lines, ("state", "recipe", "status", "what it is", "accuracy %")) + f"\n\n{count}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"
