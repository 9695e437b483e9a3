"""``pomona show``: one state, where it comes from and what is known of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.cli.options import DEFAULT_STORE, StoreOption

if TYPE_CHECKING:
    from pomona.graph.store import Store


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="show", epilog="Example: pomona show 3fa1 --store pomona-store")(show)


def show(
    key: Annotated[str, typer.Argument(help="Key of a state; its beginning is enough.", metavar="KEY")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show one state: recipe, parameters, lineage, files, masks, measurements and attempts."""
    from pomona.cli.wording import duration, moment
    from pomona.graph.nodes import from_json
    from pomona.graph.store import Store
    from pomona.studies.document import dump

    with Store(store, create=False) as opened:
        full = opened.find(key)
        row = opened.ledger.rows("SELECT * FROM states WHERE key = ?", [full])[0]
        typer.echo(f"state {full}\n{row['recipe']} version {row['version']}, {row['status']}")
        _section("parameters", dump(_plain(from_json(row["params"]))).rstrip().splitlines())
        _section("lineage", _lineage(opened, full))
        _section("stands for", _labels(opened, full))
        _section("files", _files(opened, full))
        _section("masks (kept of all weights)", _masks(from_json(row["facts"])))
        _section("measurements", _measurements(opened, full))
        _section("environment", _environment(opened, full))
        attempts = opened.ledger.rows("SELECT * FROM attempts WHERE node = ? ORDER BY id", [full])
        lines = [
            f"{moment(a['started_at'])}, {duration(a['seconds'])}, run {a['run']}: {a['status']}"
            + (f" ({a['kind']}: {a['reason']})" if a["kind"] else "")
            for a in attempts
        ]
        if attempts and attempts[-1]["traceback"]:
            lines += attempts[-1]["traceback"].rstrip().splitlines()
        _section("attempts", lines)


def _environment(store: Store, key: str) -> list[str]:
    """Of the run that computed the state last."""
    rows = store.ledger.rows(
        "SELECT e.document FROM attempts a JOIN runs r ON r.id = a.run"
        " JOIN environments e ON e.digest = r.environment WHERE a.node = ? ORDER BY a.id DESC LIMIT 1",
        [key],
    )
    if not rows:
        return []
    found = json.loads(rows[0]["document"])
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items() if version)
    processor = found["processor"]
    return [
        f"Python {found['python']}, {found['system']}, commit {found['commit'] or 'none'}",
        f"{processor['model']} ({', '.join(processor['simd'])})",
        packages,
    ]


def _section(title: str, lines: list[str]) -> None:
    if lines:
        typer.echo(f"\n{title}")
        typer.echo("\n".join(f"  {line}" for line in lines))


def _lineage(store: Store, key: str) -> list[str]:
    """The line of first parents up to the start, and the other parents beside it."""
    lines: list[str] = []
    current = key
    while True:
        parents = store.ledger.rows(
            "SELECT s.key, s.recipe, s.status FROM parents p JOIN states s ON s.key = p.parent"
            " WHERE p.child = ? ORDER BY p.position",
            [current],
        )
        if not parents:
            return lines
        shown = [f"{parent['key'][:12]} {parent['recipe']}" for parent in parents]
        lines.append("from " + ", with ".join(shown))
        current = parents[0]["key"]


def _labels(store: Store, key: str) -> list[str]:
    rows = store.ledger.rows("SELECT * FROM labels WHERE state = ? ORDER BY study, step, level", [key])
    return [
        f"{row['study']}: {row['step']} {' '.join(json.loads(row['arm']).values())} "
        f"replicate {row['replicate']} level {row['level']}"
        for row in rows
    ]


def _files(store: Store, key: str) -> list[str]:
    from pomona.cli.wording import size

    outputs = store.ledger.outputs([key]).get(key, {}).values()
    return [f"{o.name}: {o.digest[:12]}, {size(o.size_bytes)}, {len(o.tensors)} tensors" for o in outputs]


def _masks(facts: dict[str, Any]) -> list[str]:
    kept: dict[str, list[int]] = facts.get("kept", {})
    if not kept:
        return []
    lines = [f"{name}: {k:,} of {n:,} ({k / n:.2%})" for name, (k, n) in kept.items()]
    total, all_ = sum(k for k, _ in kept.values()), sum(n for _, n in kept.values())
    return [*lines, f"total: {total:,} of {all_:,} ({total / all_:.2%})"]


def _measurements(store: Store, key: str) -> list[str]:
    rows = store.ledger.rows(
        "SELECT p.name, p.params, m.quantity, m.value FROM probe_states s JOIN probes p ON p.key = s.probe"
        " JOIN measurements m ON m.probe = p.key"
        " WHERE s.state = ? AND m.layer = '' AND m.class = -1 AND p.name != 'mask-distance'",
        [key],
    )
    lines = []
    for row in rows:
        part = json.loads(row["params"]).get("part", "")
        value = "none" if row["value"] is None else f"{row['value']:.6g}"
        lines.append(f"{row['quantity']}{f' ({part})' if part else ''}: {value}")
    return lines


def _plain(value: Any) -> Any:
    """Parameters with steps as they are written."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
