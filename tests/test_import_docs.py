"""The page on modules and checkpoints of others is run as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.users import own_modules

PAGE = (Path(__file__).parent.parent / "docs" / "import.md").read_text()


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with own_modules():
        yield
    sys.modules.pop("mine", None)


def block(language: str, first: str) -> str:
    found = re.search(rf"```{language}\n({re.escape(first)}.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_lines_that_prune_a_module_keep_it_pruned() -> None:
    names: dict[str, object] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(compile(block("python", "import torch\n"), "import.md", "exec"), names)
    model, masks = names["model"], names["pruned"].masks  # type: ignore[attr-defined]
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.2 * (72 + 2880))
    for name, mask in masks.items():
        assert torch.equal(model.get_parameter(name) != 0, mask)  # type: ignore[attr-defined]


def test_the_lines_that_import_a_checkpoint_run_and_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("theirs.py", "mine.py"):
        Path(name).write_text(block("python", f"# {name}"))
    subprocess.run([sys.executable, "theirs.py"], check=True)
    command = f"{shlex.quote(sys.executable)} -c 'from pomona.cli import main; main()'"
    lines = block("sh", "pomona import").replace("pomona ", f"{command} ")
    said = subprocess.run(["bash", "-ec", lines], capture_output=True, text=True, check=True).stdout
    assert "fc1.weight: 410 of 2,048 kept (20.02%)" in said
    exec(compile(block("python", "import hashlib"), "import.md", "exec"), {})
    key, accuracy, density = capsys.readouterr().out.split()
    assert f"state {key}" in said
    assert f"accuracy: {float(accuracy):.6g}" in said
    assert float(density) == 410 / 2048
    assert f"{key[:12]}  import  done" in said
    assert "#theirs" in said
