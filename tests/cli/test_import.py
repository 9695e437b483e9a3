"""``pomona import`` as a user meets it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.utils import prune as torch_prune

from pomona.models.build import build, initial_weights
from pomona.models.choice import ModelChoice
from tests.cli.test_commands import ok, pomona

MODEL = ("--model", "fc", "--option", "hidden=30-20", "--data", "digits")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("import")
    choice = ModelChoice(name="fc", options={"hidden": "30-20"})
    module = build(choice, (1, 8, 8), 10)
    module.load_state_dict(initial_weights(choice, (1, 8, 8), 10, 0))
    save_file(module.state_dict(), folder / "dense.safetensors")
    torch_prune.l1_unstructured(module.fc1, "weight", 0.5)
    torch.save(module.state_dict(), folder / "pruned.pth")
    save_file({"fc1.weight": module.fc1.weight_mask}, folder / "mask.safetensors")
    return folder


def test_import_says_what_it_found_and_show_shows_it(place: Path) -> None:
    said = ok(
        "import", "dense.safetensors", *MODEL, "--mask", "mask.safetensors", "--tag", "theirs", cwd=place
    )
    for text in (
        "masks from a file",
        "fc1.weight: 960 of 1,920 kept (50.00%)",
        "total: 1,760 of 2,720 kept (64.71%)",
        "warning: 960 weights of fc1.weight were not zero under its mask; they are zero now",
        "note: no mask for fc2.weight, fc3.weight: dense",
    ):
        assert text in said
    accuracy = re.search(r"^accuracy: (\S+)$", said, re.MULTILINE)
    assert accuracy is not None
    command = said.strip().splitlines()[-1]
    shown = ok(*command.split()[1:], cwd=place)
    assert "import version 1, done" in shown
    assert f"accuracy (test): {accuracy[1]}" in shown
    assert "imported from" in shown
    assert "total: 1,760 of 2,720 (64.71%)" in shown
    assert "#theirs" in ok("query", "recipe == import", cwd=place)


def test_import_of_a_pickle_gives_the_option_that_opens_it(place: Path) -> None:
    refused = pomona("import", "pruned.pth", *MODEL, cwd=place)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    option = re.search(r"add (--sha256 [0-9a-f]{64})", refused.stderr)
    assert option is not None
    assert option[1].split()[1] == hashlib.sha256((place / "pruned.pth").read_bytes()).hexdigest()
    said = ok("import", "pruned.pth", *MODEL, *option[1].split(), cwd=place)
    assert "masks from torch.nn.utils.prune" in said
    # torch keeps what it prunes: that is no surprise.
    assert "note: 960 weights of fc1.weight were not zero" in said
    assert "warning" not in said


def test_import_into_another_store_without_data(place: Path) -> None:
    said = ok(
        *("import", "dense.safetensors", "--model", "fc", "--option", "hidden=30-20"),
        *("--shape", "1x8x8", "--classes", "10", "--store", "other"),
        cwd=place,
    )
    assert "accuracy" not in said
    assert said.strip().endswith("--store other")
    assert "import" in ok(*said.strip().splitlines()[-1].split()[1:], cwd=place)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "fc", "--shape", "1x8", "--classes", "10"],
            "--shape: expected channels, height and width",
        ),
        (["--model", "fc", "--data", "digits", "--option", "hidden"], "--option: expected NAME=VALUE"),
        (
            ["--model", "fc", "--data", "digits", "--option", "hidden=["],
            "--option 'hidden=[': not a YAML value",
        ),
        (
            ["--model", "fc", "--data", "digits", "--option", "hiden=30"],
            "unknown option 'hiden'; did you mean 'hidden'",
        ),
        (["--model", "fc", "--data", "digits"], "fc1.weight: shape 30x64, the network has 300x64"),
    ],
)
def test_import_says_what_is_wrong_without_a_traceback(
    arguments: list[str], message: str, place: Path
) -> None:
    done = pomona("import", "dense.safetensors", *arguments, cwd=place)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_of_import_has_an_example() -> None:
    said = ok("import", "--help")
    assert "Example: pomona import theirs.safetensors --model lenet" in re.sub(r"\s+", " ", said)


def test_export_writes_what_import_reads(place: Path) -> None:
    said = ok("import", "dense.safetensors", *MODEL, "--mask", "mask.safetensors", cwd=place)
    key = said.splitlines()[0].split()[1]
    written = ok("export", key[:12], "again.safetensors", "--form", "torch-prune", cwd=place)
    assert written.strip().endswith("again.safetensors")
    again = ok("import", "again.safetensors", *MODEL, cwd=place)
    assert again.splitlines()[0] == f"state {key}"
    refused = pomona("export", key[:12], "again.safetensors", cwd=place)
    assert (refused.returncode, "is there already" in refused.stderr) == (2, True)
