"""``pomona log``: what was run and computed in a store."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pomona.cli.options import DEFAULT_STORE, StoreOption, WhereOption

if TYPE_CHECKING:
    from pomona.graph.store import Store
    from pomona.studies.blinding.closed import Closed

LimitOption = Annotated[int, typer.Option("--limit", "-n", help="How many states, newest first.", min=1)]
GraphOption = Annotated[bool, typer.Option("--graph", help="Draw what descends from what beside the states.")]


def add(app: typer.Typer) -> None:
    """Add the command."""
    epilog = 'Example: pomona log --graph --where "recipe == train" --limit 50'
    app.command(name="log", epilog=epilog)(log)


def log(
    store: StoreOption = DEFAULT_STORE,
    limit: LimitOption = 20,
    graph: GraphOption = False,
    where: WhereOption = None,
) -> None:
    """List the runs of a store and its latest states, newest first, with what failed and why."""
    from pomona.graph.store import Store
    from pomona.studies.blinding.closed import Closed

    with Store(store, create=False) as opened:
        closed = Closed(opened)
        if graph:
            _graph(opened, closed, where, limit)
            return
        counts = opened.ledger.rows(
            "SELECT status, COUNT(*) AS n FROM states GROUP BY status ORDER BY status"
        )
        said = ", ".join(f"{row['n']:,} {row['status']}" for row in counts) or "empty"
        lost = opened.ledger.rows("SELECT COUNT(*) AS n FROM probes WHERE status = 'failed'")[0]["n"]
        said += f"; {lost:,} measurement{'s' if lost > 1 else ''} failed" if lost else ""
        typer.echo(f"{opened.folder}: {said}")
        _runs(opened)
        _events(opened, closed)
        _states(opened, closed, where, limit)
        _failed_probes(opened, closed)
        if closed.note:
            typer.echo(f"\n{closed.note}")


def _runs(store: Store) -> None:
    from pomona.cli.wording import duration, moment, rows

    table = [
        (
            str(row["id"]),
            row["study"],
            moment(row["started_at"]),
            duration(row["ended_at"] - row["started_at"]) if row["ended_at"] else "-",
            row["outcome"] or "not ended",
            str(row["workers"]),
        )
        for row in store.ledger.rows("SELECT * FROM runs ORDER BY id DESC LIMIT 10")
    ]
    typer.echo("\n" + rows(table, ("run", "study", "started", "took", "outcome", "workers")))


def _events(store: Store, closed: Closed) -> None:
    """What happened to the store, the last few."""
    from pomona.cli.wording import moment, rows

    table = [
        (moment(row["at"]), row["kind"], (row["node"] or "")[:12], row["text"])
        for row in store.ledger.rows("SELECT * FROM events ORDER BY id DESC LIMIT 10")
        if row["node"] not in closed.nodes
    ]
    if table:
        typer.echo("\n" + rows(table, ("when", "event", "state", "what happened")))


def _states(store: Store, closed: Closed, where: str | None, limit: int) -> None:
    import json

    from pomona.cli.wording import duration, moment, rows
    from pomona.graph.states import States

    among = ""
    values: list[object] = [limit]
    if where is not None or closed.states:
        among = " WHERE s.key IN (SELECT value FROM json_each(?))"
        values.insert(0, json.dumps(closed.seen(States(store, where)).keys()))
    found = store.ledger.rows(
        "SELECT s.key, s.recipe, s.status, a.ended, a.seconds, a.kind, a.reason"
        " FROM (SELECT node, MAX(started_at + seconds) AS ended, seconds, kind, reason"
        f"       FROM attempts GROUP BY node) a JOIN states s ON s.key = a.node{among}"
        " ORDER BY a.ended DESC LIMIT ?",
        values,
    )
    records = {state.key: state for state in States.of(store, [row["key"] for row in found])}
    table = [
        (
            row["key"][:12],
            row["recipe"],
            row["status"],
            moment(row["ended"]),
            duration(row["seconds"]),
            records[row["key"]].what if row["status"] != "failed" else f"{row['kind']}: {row['reason']}",
        )
        for row in found
    ]
    typer.echo("\n" + rows(table, ("state", "recipe", "status", "ended", "took", "what it is")))


def _failed_probes(store: Store, closed: Closed) -> None:
    from pomona.cli.wording import moment, rows

    found = store.ledger.rows(
        "SELECT p.key, p.name, MAX(a.started_at + a.seconds) AS ended, a.kind, a.reason"
        " FROM probes p JOIN attempts a ON a.node = p.key WHERE p.status = 'failed'"
        " GROUP BY p.key ORDER BY ended DESC LIMIT 10"
    )
    table = [
        (row["key"][:12], row["name"], moment(row["ended"]), f"{row['kind']}: {row['reason']}")
        for row in found
        if row["key"] not in closed.nodes
    ]
    if table:
        typer.echo("\n" + rows(table, ("measurement", "what", "ended", "why it failed")))


def _graph(store: Store, closed: Closed, where: str | None, limit: int) -> None:
    from itertools import islice

    from pomona.cli.wording import rows
    from pomona.graph.rails import rails
    from pomona.graph.states import States
    from pomona.graph.subgraph import subgraph

    part = subgraph(store, closed.seen(States(store, where)))
    plain = not _can_print("●├─╮┤")
    table = []
    for drawn, key in islice(rails(part, plain), limit):
        state = part.states[key]
        status = "" if state.status == "done" else state.status
        tags = " ".join(f"#{tag}" for tag in state.tags)
        table.append((drawn, key[:12], state.recipe, " ".join(filter(None, [status, state.what, tags]))))
    typer.echo(rows(table) or "no state to draw")
    if len(part.states) > limit:
        typer.echo(f"{len(part.states) - limit:,} more states; see --limit")
    if closed.note:
        typer.echo(closed.note)


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
