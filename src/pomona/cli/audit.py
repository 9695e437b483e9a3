"""``pomona audit``: what the masks of a state keep, and what of it is alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.cli.options import DEFAULT_STORE, StoreOption
from pomona.cli.sections import section

if TYPE_CHECKING:
    from pomona.studies.audits import AuditedLayer, StateAudit

_HEAD = (
    "layer", "unit", "requested", "achieved", "ties cut", "kept", "density", "effective", "no live input",
    "no live output", "unchanged", "revived", "collapsed",
)  # fmt: skip
# Columns that say nothing where none of the layers has such a thing.
_RARE = ("unit", "requested", "achieved", "ties cut", "effective", "no live input", "no live output",
         "unchanged", "revived", "collapsed")  # fmt: skip


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="audit", epilog="Example: pomona audit 3fa1 --store pomona-store")(audit)


def audit(
    key: Annotated[
        str,
        typer.Argument(help="Key of a state, its beginning, or a tag that only it has.", metavar="KEY"),
    ],
    store: StoreOption = DEFAULT_STORE,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Audit the masks of a state: what was asked and done per layer, what is kept, and what of it is alive.

    A unit has a live input where a kept weight connects it to what may be other than zero, and a live output
    where kept weights connect it to an output of the network. Effective weights have both.
    """
    from pomona.studies.audit_findings import findings
    from pomona.studies.audits import audit as audited

    found = audited(key, store)
    if json:
        typer.echo(_json(found, findings(found)))
        return
    typer.echo(f"state {found.key}\n{_made(found)}\n")
    typer.echo(_table(found))
    section("totals", _totals(found))
    section("control", _control(found))
    section("findings", findings(found) or ["nothing out of the ordinary"])
    section("notes", found.notes)


def _made(found: StateAudit) -> str:
    """What made the state, its masks, and the first values of its weights, where these are others."""
    parts = [found.recipe]
    if found.maker != found.key:
        parts.append(f"masks made by {found.maker[:12]} {found.maker_recipe}")
    if found.origin not in (None, found.key):
        parts.append(f"first values of {str(found.origin)[:12]} {found.origin_recipe}")
    return "; ".join(parts)


def _table(found: StateAudit) -> str:
    from pomona.cli.wording import rows

    cells = [_cells(layer) for layer in found.layers]
    kept = [
        name
        for index, name in enumerate(_HEAD)
        if name not in _RARE or any(row[index] not in ("-", "") for row in cells)
    ]
    shown = [i for i, name in enumerate(_HEAD) if name in kept]
    return rows([tuple(row[i] for i in shown) for row in cells], tuple(_HEAD[i] for i in shown))


def _cells(layer: AuditedLayer) -> tuple[str, ...]:
    from pomona.studies.audit_findings import layer_name

    mask, wiring = layer.mask, layer.mask.wiring
    return (
        layer_name(mask.parameter),
        layer.unit or "-",
        "pool" if layer.pooled else _count(layer.requested),
        _count(layer.achieved),
        _count(layer.ties_cut),
        f"{mask.kept:,} of {mask.total:,}",
        f"{mask.density:.2%}",
        "-" if wiring is None else f"{wiring.effective / mask.total:.2%}",
        "-" if wiring is None else _count(wiring.without_input, mask.outputs),
        "-" if wiring is None else _count(wiring.without_output, mask.outputs),
        _count(mask.unchanged),
        f"{mask.revived:,}" if mask.revived else "",
        "yes" if mask.collapsed else "",
    )


def _count(count: int | None, total: int | None = None) -> str:
    if count is None:
        return "-"
    return f"{count:,}" if total is None else f"{count:,} of {total:,}"


def _totals(found: StateAudit) -> list[str]:
    masks = found.masks
    lines = [f"explicit density: {masks.density:.4%} ({masks.kept:,} of {masks.total:,} weights)"]
    if masks.changed_density is not None:
        lines.append(f"changed since the first values: {masks.changed_density:.4%}")
    if masks.effective_density is not None:
        lines.append(f"effective density: {masks.effective_density:.4%}")
    if found.requested is not None:
        lines.append(f"requested {found.requested:,} units, achieved {found.achieved:,}")
    return lines


def _control(found: StateAudit) -> list[str]:
    if found.control is None:
        return []
    layers: list[dict[str, Any]] = found.control["layers"]
    moved = [f"{one['parameter']}: {one['changed']:,} places" for one in layers]
    return [f"{found.control['control']} changed the masks at", *moved]


def _json(found: StateAudit, sentences: list[str]) -> str:
    import json
    from dataclasses import asdict

    masks = found.masks
    totals = {
        "kept": masks.kept,
        "total": masks.total,
        "density": masks.density,
        "changed_density": masks.changed_density,
        "effective_density": masks.effective_density,
    }
    layers = []
    for layer in found.layers:
        record = asdict(layer)
        mask = record.pop("mask")
        layers.append({**mask, "density": layer.mask.density, "collapsed": layer.mask.collapsed, **record})
    record = asdict(found)
    record |= {"masks": totals, "layers": layers, "findings": sentences}
    return json.dumps(record, indent=1, allow_nan=False)
