"""``pomona show``: one state or probe, where it comes from and what is known of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.cli.options import DEFAULT_STORE, StoreOption
from pomona.cli.sections import section

if TYPE_CHECKING:
    from pomona.graph.store import Store

# Of all that was installed, what numbers come from.
_PACKAGES = ("pomona", "torch", "numpy", "scipy", "pandas", "safetensors", "scikit-learn")


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="show", epilog="Example: pomona show 3fa1 --store pomona-store")(show)


def show(
    key: Annotated[str, typer.Argument(help="Key of a state or a probe; its beginning is enough.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show one state: recipe, parameters, lineage, files, masks, measurements and attempts. Or one probe."""
    from pomona.core.errors import InputError
    from pomona.graph.store import Store
    from pomona.studies.blinding.closed import Closed

    with Store(store, create=False) as opened:
        try:
            full = opened.find(key)
        except InputError:
            probe = _probe(opened, key)
            if probe is None:
                raise
            _show_probe(opened, Closed(opened).refuse(probe))
        else:
            _show_state(opened, Closed(opened).refuse(full))


def _show_state(store: Store, key: str) -> None:
    from pomona.cli.wording import moment
    from pomona.graph.states import States
    from pomona.graph.tags import notes

    state = States.of(store, [key])[0]
    typer.echo(f"state {key}\n{state.recipe} version {state.version}, {state.status}")
    section("tags", [" ".join(state.tags)] if state.tags else [])
    section("notes", [f"{moment(n.written_at)}: {n.text}" for n in notes(store.ledger, key)])
    section("parameters", _written(state.params))
    section("lineage", _lineage(store, key))
    section("stands for", [f"{place.study}: {place}" for place in state.places])
    section("files", _files(store, key))
    joined = state.recipe == "ensemble"
    section(
        "weights of its members, of one network's" if joined else "masks (kept of all weights)",
        _masks(state.facts),
    )
    section("measurements", _measurements(store, key))
    _show_work(store, key)


def _show_probe(store: Store, key: str) -> None:
    from pomona.graph.reading import read

    row = store.ledger.rows("SELECT * FROM probes WHERE key = ?", [key])[0]
    typer.echo(f"probe {key}\n{row['name']} version {row['version']}, {row['status']}")
    section("parameters", _written(read(store.ledger, row["params"], f"parameters of {key[:12]}")))
    section("states", [_named(store, state) for state in _states_of(store, key)])
    numbers = store.ledger.rows(
        "SELECT * FROM measurements WHERE probe = ? ORDER BY quantity, layer, class", [key]
    )
    section("numbers", [f"{_place(n)}: {_number(n['value'])}" for n in numbers])
    _show_work(store, key)


def _show_work(store: Store, node: str) -> None:
    """What was done for a node, by whom and in what environment."""
    from pomona.cli.wording import duration, moment
    from pomona.graph.working import work_on

    section("environment", _environment(store, node))
    events = store.ledger.rows("SELECT * FROM events WHERE node = ? ORDER BY id", [node])
    section("events", [f"{moment(e['at'])}: {e['kind']}: {e['text']}" for e in events])
    now = work_on(store, node)
    section("now", [now] if now else [])
    attempts = store.ledger.rows("SELECT * FROM attempts WHERE node = ? ORDER BY id", [node])
    lines = [
        f"{moment(a['started_at'])}, {duration(a['seconds'])}, run {a['run']}: {a['status']}"
        + (f" ({a['kind']}: {a['reason']})" if a["kind"] else "")
        for a in attempts
    ]
    if attempts and attempts[-1]["traceback"]:
        lines += attempts[-1]["traceback"].rstrip().splitlines()
    section("attempts", lines)


def _probe(store: Store, prefix: str) -> str | None:
    """The key of the one probe that begins with a prefix; None where none does.

    Raises:
        InputError: Several do.
    """
    from pomona.core.errors import InputError

    low = prefix.lower()
    rows = store.ledger.rows(
        "SELECT key, name FROM probes WHERE key >= ? AND key < ? ORDER BY key LIMIT 4", [low, low + "g"]
    )
    states = store.ledger.rows("SELECT 1 FROM states WHERE key >= ? AND key < ? LIMIT 1", [low, low + "g"])
    if states or not rows:
        return None
    if len(rows) > 1:
        shown = ", ".join(f"{row['key'][: max(12, len(prefix) + 4)]} ({row['name']})" for row in rows)
        raise InputError(f"several probes have a key that begins with {prefix!r}: {shown}; give more of it")
    return str(rows[0]["key"])


def _environment(store: Store, key: str) -> list[str]:
    """Of the run that computed the node last."""
    from pomona.graph.differences import environment_of

    found = environment_of(store, key)
    if found is None or "packages" not in found:
        return []
    packages = found["packages"]
    processor = found["processor"]
    lines = [
        f"Python {found['python']}, {found['system']}, commit {found['commit'] or 'none'}",
        f"{processor['model']} ({', '.join(processor['simd'])}), workers: {found['workers']}",
        ", ".join(f"{name} {packages[name]}" for name in _PACKAGES if packages.get(name)),
    ]
    threads = ", ".join(f"{name}={value}" for name, value in found.get("threads", {}).items())
    return [*lines, *([threads] if threads else [])]


def _lineage(store: Store, key: str) -> list[str]:
    """The line of first parents up to the start, and the other parents beside it."""
    lines: list[str] = []
    current = key
    while True:
        parents = store.ledger.rows("SELECT parent FROM parents WHERE child = ? ORDER BY position", [current])
        if not parents:
            return lines
        lines.append("from " + ", with ".join(_named(store, parent["parent"]) for parent in parents))
        current = parents[0]["parent"]


def _named(store: Store, key: str) -> str:
    rows = store.ledger.rows("SELECT recipe, status FROM states WHERE key = ?", [key])
    if not rows:
        return f"{key[:12]}, which is not here"
    status = "" if rows[0]["status"] == "done" else f" ({rows[0]['status']})"
    return f"{key[:12]} {rows[0]['recipe']}{status}"


def _states_of(store: Store, probe: str) -> list[str]:
    rows = store.ledger.rows("SELECT state FROM probe_states WHERE probe = ? ORDER BY position", [probe])
    return [row["state"] for row in rows]


def _files(store: Store, key: str) -> list[str]:
    from pomona.cli.wording import size

    outputs = store.ledger.outputs([key]).get(key, {}).values()
    return [
        f"{o.name}: {o.digest[:12]}, {size(o.size_bytes)}, {len(o.tensors)} tensors"
        + (", let go: the digests are kept" if o.dropped else "")
        for o in outputs
    ]


def _masks(facts: dict[str, Any]) -> list[str]:
    kept: dict[str, list[int]] = facts.get("kept", {})
    if not kept:
        return []
    lines = [f"{name}: {k:,} of {n:,} ({k / n:.2%})" for name, (k, n) in kept.items()]
    total, all_ = sum(k for k, _ in kept.values()), sum(n for _, n in kept.values())
    return [*lines, f"total: {total:,} of {all_:,} ({total / all_:.2%})"]


def _measurements(store: Store, key: str) -> list[str]:
    """Totals of the probes of this state, and a line for each probe that has others too."""
    rows = store.ledger.rows(
        "SELECT p.key, p.name, p.params, p.status,"
        " (SELECT COUNT(*) FROM probe_states o WHERE o.probe = p.key) AS states"
        " FROM probe_states s JOIN probes p ON p.key = s.probe WHERE s.state = ?"
        " ORDER BY states, p.name, p.key",
        [key],
    )
    lines = []
    for row in rows:
        if row["states"] > 1:
            continue
        found = _numbers_of(store, row["key"])
        part = json.loads(row["params"]).get("part", "")
        shown = f" ({part})" if part else ""
        lines += [f"{_place(one)}{shown}: {_number(one['value'])}" for one in found]
        if row["status"] != "done":
            lines.append(f"{row['name']}{shown}: {row['status']}")
    return lines + [_with_others(store, key, row["key"], row["name"]) for row in rows if row["states"] > 1]


def _numbers_of(store: Store, probe: str) -> list[Any]:
    """Totals first, then those of layers and classes; how many images of a class there were is no finding."""
    return store.ledger.rows(
        "SELECT * FROM measurements WHERE probe = ? AND quantity != 'class-count'"
        " ORDER BY layer != '' OR class >= 0, quantity, layer, class",
        [probe],
    )


def _with_others(store: Store, key: str, probe: str, name: str) -> str:
    others = [state[:12] for state in _states_of(store, probe) if state != key]
    found = _numbers_of(store, probe)
    numbers = ", ".join(f"{_place(one)} {_number(one['value'])}" for one in found)
    return f"{name} {probe[:12]} with {', '.join(others)}{f': {numbers}' if numbers else ''}"


def _place(row: Any) -> str:
    """A quantity as a query writes it."""
    layer = f"[{row['layer']}]" if row["layer"] else ""
    return f"{row['quantity']}{layer}" + (f"[{row['class']}]" if row["class"] >= 0 else "")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _written(params: dict[str, Any]) -> list[str]:
    from pomona.studies.document import dump

    return dump(_plain(params)).rstrip().splitlines() if params else []


def _plain(value: Any) -> Any:
    """Parameters with steps as they are written."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
