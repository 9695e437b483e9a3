"""``pomona import``: somebody's checkpoint as a state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pomona.cli.options import DEFAULT_STORE, DeviceOption, StoreOption
from pomona.core.errors import InputError

if TYPE_CHECKING:
    from pomona.studies.imported import Imported

FileArgument = Annotated[
    Path, typer.Argument(help="Weights as .safetensors, .pt or .pth: a state_dict.", metavar="FILE")
]
ModelOption = Annotated[
    str, typer.Option("--model", help="The network: lenet, or mine.py:net.", metavar="NAME")
]
OptionsOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--option", help="An option of the network: hidden=300-100. May be repeated."),
]
DataOption = Annotated[
    Optional[str],  # noqa: UP045 - typer reads this at run time
    typer.Option("--data", help="What it is for; it is measured on the test images.", metavar="NAME"),
]
ShapeOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--shape", help="Without --data: channels, height, width as 1x28x28.", metavar="CxHxW"),
]
ClassesOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--classes", help="Without --data: how many classes.", metavar="N", min=1),
]
MaskOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--mask", help="Masks of zeros and ones by parameter name.", metavar="FILE"),
]
ZerosOption = Annotated[bool, typer.Option("--zeros", help="Take weights that are exactly zero as pruned.")]
DigestOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--sha256", help="Digest of FILE; a torch file is opened only with it.", metavar="HEX"),
]
MaskDigestOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--mask-sha256", help="Digest of the file of masks.", metavar="HEX"),
]
ParentOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--parent", help="Key of the state that it descends from.", metavar="KEY"),
]
TagOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--tag", help="A name for the state.", metavar="NAME"),
]


def add(app: typer.Typer) -> None:
    """Add the command."""
    epilog = "Example: pomona import theirs.safetensors --model lenet --data mnist --tag theirs"
    app.command(name="import", epilog=epilog)(import_)


def import_(
    file: FileArgument,
    model: ModelOption,
    option: OptionsOption = None,
    data: DataOption = None,
    shape: ShapeOption = None,
    classes: ClassesOption = None,
    mask: MaskOption = None,
    zeros: ZerosOption = False,
    sha256: DigestOption = None,
    mask_sha256: MaskDigestOption = None,
    parent: ParentOption = None,
    tag: TagOption = None,
    store: StoreOption = DEFAULT_STORE,
    device: DeviceOption = "cpu",
) -> None:
    """Bring a checkpoint of others into the store as a state, with its masks, and measure it.

    Masks are read from the checkpoint (torch.nn.utils.prune, or NAME_mask beside NAME), from --mask, or with
    --zeros from what is zero. The same contents are the same state.
    """
    from pomona.studies.imported import import_checkpoint

    found = import_checkpoint(
        file,
        {"name": model, "options": dict(map(_option, option or ()))},
        data,
        mask=mask,
        zeros=zeros,
        sha256=sha256,
        mask_sha256=mask_sha256,
        input_shape=None if shape is None else _shape(shape),
        classes=classes,
        parent=parent,
        tag=tag,
        store=store,
        device=device,
    )
    typer.echo("\n".join(_lines(found)))
    for failure in found.failures:
        typer.echo(f"not measured: {failure}", err=True)
    where = "" if store == DEFAULT_STORE else f" --store {store}"
    typer.echo(f"pomona show {found.state.key[:12]}{where}")
    if found.failures:
        raise typer.Exit(1)


def _option(written: str) -> tuple[str, Any]:
    from pomona.studies.yamltext import UnreadableError, load_yaml

    name, equals, value = written.partition("=")
    if not equals or not name or not value:
        raise InputError(f"--option: expected NAME=VALUE as hidden=300-100, got {written!r}")
    try:
        return name.strip(), load_yaml(value)[0]
    except UnreadableError as error:
        raise InputError(f"--option {written!r}: not a YAML value: {error.reason}") from None


def _shape(written: str) -> tuple[int, int, int]:
    sides = written.split("x")
    if len(sides) != 3 or not all(side.isascii() and side.isdigit() and int(side) > 0 for side in sides):
        raise InputError(f"--shape: expected channels, height and width as 1x28x28, got {written!r}")
    channels, height, width = map(int, sides)
    return channels, height, width


def _lines(found: Imported) -> list[str]:
    from pomona.studies.checkpoints import TORCH_PRUNE

    contents = found.contents
    kept = {name: (int(mask.sum()), mask.numel()) for name, mask in contents.masks.items()}
    total, all_ = sum(k for k, _ in kept.values()), sum(n for _, n in kept.values())
    lines = [f"state {found.state.key}", f"masks from {contents.masks_from}"]
    lines += [f"  {name}: {k:,} of {n:,} kept ({k / n:.2%})" for name, (k, n) in kept.items()]
    lines.append(f"  total: {total:,} of {all_:,} kept ({total / all_:.2%})")
    # torch keeps the values of what it prunes; of anybody else they are a surprise.
    word = "note" if contents.masks_from == TORCH_PRUNE else "warning"
    lines += [
        f"{word}: {count:,} weights of {name} were not zero under its mask; they are zero now"
        for name, count in contents.zeroed.items()
    ]
    lines += [f"note: {text}" for text in contents.notes]
    shown = ("accuracy", "loss", "effective-density")
    lines += [f"{name}: {_number(found.measured[name])}" for name in shown if name in found.measured]
    return lines


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
