"""``pomona log``: what was run and computed in a store."""

from __future__ import annotations

import json
import sqlite3
from typing import Annotated

import typer

from pomona.cli.options import DEFAULT_STORE, StoreOption

LimitOption = Annotated[int, typer.Option("--limit", "-n", help="How many states, newest first.", min=1)]


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="log", epilog="Example: pomona log --store pomona-store --limit 50")(log)


def log(store: StoreOption = DEFAULT_STORE, limit: LimitOption = 20) -> None:
    """List the runs of a store and its latest states, newest first, with what failed and why."""
    from pomona.cli.wording import duration, moment, rows
    from pomona.graph.store import Store

    with Store(store, create=False) as opened:
        ledger = opened.ledger
        counts = ledger.rows("SELECT status, COUNT(*) AS n FROM states GROUP BY status ORDER BY status")
        runs = ledger.rows("SELECT * FROM runs ORDER BY id DESC LIMIT 10")
        states = ledger.rows(
            "SELECT s.key, s.recipe, s.status, a.ended, a.seconds, a.kind, a.reason,"
            " l.step, l.replicate, l.level, l.arm"
            " FROM (SELECT node, MAX(started_at + seconds) AS ended, seconds, kind, reason"
            "       FROM attempts GROUP BY node) a"
            " JOIN states s ON s.key = a.node"
            " LEFT JOIN (SELECT state, step, replicate, MAX(level) AS level, arm"
            "            FROM labels GROUP BY state) l ON l.state = s.key"
            " ORDER BY a.ended DESC LIMIT ?",
            [limit],
        )
    typer.echo(
        f"{opened.folder}: " + (", ".join(f"{row['n']:,} {row['status']}" for row in counts) or "empty")
    )
    table = [
        (
            str(row["id"]),
            row["study"],
            moment(row["started_at"]),
            duration(row["ended_at"] - row["started_at"]) if row["ended_at"] else "-",
            row["outcome"] or "not ended",
            str(row["workers"]),
        )
        for row in runs
    ]
    typer.echo("\n" + rows(table, ("run", "study", "started", "took", "outcome", "workers")))
    found = [
        (
            row["key"][:12],
            row["recipe"],
            row["status"],
            moment(row["ended"]),
            duration(row["seconds"]),
            _label(row) if row["status"] != "failed" else f"{row['kind']}: {row['reason']}",
        )
        for row in states
    ]
    typer.echo("\n" + rows(found, ("state", "recipe", "status", "ended", "took", "what it is")))


def _label(row: sqlite3.Row) -> str:
    if row["step"] is None:
        return ""
    arm = " ".join(json.loads(str(row["arm"])).values())
    return f"{row['step']}{f' {arm}' if arm else ''} replicate {row['replicate']} level {row['level']}"
