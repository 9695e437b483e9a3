"""``pomona why``: why a state is there, waits, failed or is computed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from pomona.cli.options import DEFAULT_STORE, KeyArgument, StoreOption

if TYPE_CHECKING:
    from pomona.graph.lineage import Code, Parting
    from pomona.graph.why import Other


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="why", epilog="Example: pomona why 3fa1")(why)


def why(key: KeyArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """Explain a state: its status, its identity, and what changed since another stood at its place."""
    from pomona.cli.sections import section
    from pomona.graph.store import Store
    from pomona.graph.why import explain
    from pomona.studies.blinding.closed import Closed

    with Store(store, create=False) as opened:
        closed = Closed(opened)
        found = explain(opened, closed.refuse(opened.find(key)))
        seen = [other for other in found.others if other.state.key not in closed.states]
    state = found.state
    typer.echo(f"state {state.key}\n{state.recipe}, {state.status}  {state.what}".rstrip())
    section("status", list(found.reasons))
    section("identity", [f"{path}: {value}" for path, value in found.identity.items()])
    for other in seen:
        _other(other)
    if found.left_out:
        typer.echo(f"\n{found.left_out} more states stand at the same place")
    if all(other.place is None for other in seen):
        nowhere = "no study names its place" if not state.places else "no other state stands at its place"
        typer.echo(f"\n{nowhere}; the identity above is all that its key is made of")


def _other(other: Other) -> None:
    from pomona.cli.sections import section
    from pomona.graph.why import same_causes

    lines = [f"{other.state.key[:12]} {other.state.recipe}, {other.state.status}"]
    counts = same_causes(other.partings)
    for n, (i, count) in enumerate(counts):
        parting, code = other.partings[i], other.code[i]
        title = "first cause" if n == 0 else "then"
        also = f", and in {count - 1} later state{'' if count == 2 else 's'}" if count > 1 else ""
        lines.append(f"{title}: {_pair(parting)}{also}")
        lines += [f"  {line}" for line in _changes(parting, code, other.earlier)]
    title = "the state most like it of those planned earlier"
    if other.place is not None:
        when = "earlier" if other.earlier else "later"
        place = f"{other.place.study}: {other.place}"
        title = f"another state stands at the same place, planned {when} ({place})"
    section(title, lines)
    if other.state.status == "done":
        wanted = [
            f"{field.path} = {field.a}"
            for i, _ in counts
            for field in other.partings[i].fields
            if field.path not in {code.path for code in other.code[i]}
        ]
        wanted += [f"the source of {code.name} as it was" for codes in other.code for code in codes]
        section("to reuse that one, these would have to be the same", list(dict.fromkeys(wanted)))


def _pair(parting: Parting) -> str:
    if parting.a.recipe == parting.b.recipe:
        return f"{parting.b.recipe} {parting.a.key[:12]} -> {parting.b.key[:12]}"
    return f"{parting.a.recipe} {parting.a.key[:12]} -> {parting.b.recipe} {parting.b.key[:12]}"


def _changes(parting: Parting, codes: tuple[Code, ...], earlier: bool) -> list[str]:
    known = {code.path: code for code in codes}
    lines = []
    for field in parting.fields:
        code = known.get(field.path)
        if code is None:
            lines.append(f"{field.path} {'was' if earlier else 'is there'} {field.a}, is {field.b}")
        elif code.lines:
            lines += [f"source of {code.name} changed:", *(f"  {line}" for line in code.lines)]
        else:
            lines.append(f"source of {code.name} changed; not both of its texts are on record")
    return lines
