"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

StudyArgument = Annotated[
    str, typer.Argument(help="A study of the library (iterative-pruning) or a YAML file.", metavar="STUDY")
]
PresetOption = Annotated[
    Optional[str],  # noqa: UP045 - typer reads this at run time
    typer.Option("--preset", "-p", help="One of the study's presets, such as quick.", metavar="NAME"),
]
StoreOption = Annotated[
    Path, typer.Option("--store", "-s", help="Folder of the store.", metavar="DIR", show_default=True)
]
SetOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", help="Change one value: replicates=5. May be repeated.", metavar="PATH=VALUE"),
]
WorkersOption = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--workers", "-w", help="Jobs at once; default: one per core. 0: in this thread.", metavar="N", min=0
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu or cuda.", metavar="DEVICE")]
KeyArgument = Annotated[str, typer.Argument(help="Key of a state; its beginning is enough.", metavar="KEY")]
WhereOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--where", help='Only the states that a query finds: "level >= 3".', metavar="QUERY"),
]

DEFAULT_STORE = Path("pomona-store")
