"""The README's Python is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def test_readme_python_runs_in_under_ten_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(r"```python\n(import pomona.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    code = block[1]
    assert len([line for line in code.splitlines() if line.strip()]) < 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    network = names["network"]
    share = float((network.fc1.weight != 0).float().mean())  # type: ignore[attr-defined]
    assert share == pytest.approx(0.8**4, abs=0.001)
    assert (tmp_path / "pomona-store" / "ledger.sqlite").is_file()


def test_readme_criterion_runs(tmp_path: Path) -> None:
    from pomona.studies.document import parse_document
    from pomona.studies.run import run
    from pomona.studies.study import check_study

    source = re.search(r"```python\n(# mine\.py.*?)```", README.read_text(), re.DOTALL)
    written = re.search(r"```yaml\n(study:.*?)```", README.read_text(), re.DOTALL)
    assert source is not None
    assert written is not None
    (tmp_path / "mine.py").write_text(source[1])
    study = check_study(parse_document(written[1], "mine.yaml", tmp_path))
    results = run(study, store=tmp_path / "store", workers=0)
    assert not results.lost()
    assert results.density(results.point(2)) == pytest.approx(0.64, abs=0.001)


def test_readme_commands_exist() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}" in README.read_text()
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
