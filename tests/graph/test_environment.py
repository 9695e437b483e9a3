from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pomona.graph.environment import environment


def test_environment_is_a_document_and_its_digest() -> None:
    digest, document = environment()
    assert hashlib.sha256(document.encode()).hexdigest() == digest
    found = json.loads(document)
    assert found["python"] == platform.python_version()
    assert found["packages"]["numpy"] == np.__version__
    assert found["cores"] >= 1
    assert environment() == (digest, document)


def test_environment_imports_nothing_to_find_a_version() -> None:
    code = (
        "import sys, pomona.graph.environment as e; e.environment(); "
        "print([m for m in ('torch', 'scipy', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_environment_marks_a_commit_with_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert json.loads(environment()[1])["commit"] is None
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    (tmp_path / "a").write_text("1")
    for arguments in (["init", "-q"], ["add", "a"], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", *arguments], check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert json.loads(environment()[1])["commit"] == head
    (tmp_path / "a").write_text("2")
    assert json.loads(environment()[1])["commit"] == f"{head}-dirty"


def test_environment_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert json.loads(environment()[1])["commit"] is None
