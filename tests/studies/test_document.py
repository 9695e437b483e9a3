from __future__ import annotations

from pathlib import Path

import pytest

from pomona.core.errors import InputError, ProblemsError
from pomona.studies.document import library, parse_document, read_document, with_preset

HERE = Path()


def test_yaml_is_read_as_version_1_2() -> None:
    content = parse_document("a: 1e-3\nb: off\nc: 020\nd: no", "t.yaml", HERE).content
    assert content == {"a": 0.001, "b": "off", "c": 20, "d": "no"}


def test_duplicate_key_is_refused_with_its_line() -> None:
    with pytest.raises(InputError, match=r't\.yaml line 3: duplicate key "a"'):
        parse_document("a: 1\nb: 2\na: 3\n", "t.yaml", HERE)


def test_duplicate_key_in_an_inner_mapping_is_refused() -> None:
    with pytest.raises(InputError, match=r'line 2: duplicate key "lr"'):
        parse_document("a:\n  {lr: 1, lr: 2}\n", "t.yaml", HERE)


def test_broken_yaml_names_line_and_column() -> None:
    with pytest.raises(InputError, match=r"t\.yaml line 2, column 1: not valid YAML"):
        parse_document("a: [1\n", "t.yaml", HERE)


def test_a_list_is_not_a_study() -> None:
    with pytest.raises(InputError, match="expected a mapping"):
        parse_document("- 1", "t.yaml", HERE)


def test_places_carry_the_line() -> None:
    document = parse_document("study: x\nlet:\n  d: [1, {e: 2}]\n", "t.yaml", HERE)
    assert document.where(("let", "d", 1, "e")) == "t.yaml line 3, let.d.1.e"
    assert document.where(("let", "missing")) == "t.yaml line 2, let.missing"


def test_preset_and_changes_are_applied_in_this_order() -> None:
    text = "study: x\nlet: {a: 1, b: [1, {c: 2}]}\npresets: {q: {let.a: 5, new: 7}}"
    found = with_preset(parse_document(text, "t.yaml", HERE), "q", ["let.b.1.c=[x, 20%]", "let.a=1e-3"])
    assert found.content == {"study": "x", "let": {"a": 0.001, "b": [1, {"c": ["x", "20%"]}]}, "new": 7}
    assert found.preset == "q"


def test_unknown_preset_names_the_nearest() -> None:
    document = parse_document("study: x\npresets: {quick: {}, full: {}}", "t.yaml", HERE)
    with pytest.raises(InputError, match="unknown preset 'quik'; did you mean 'quick'"):
        with_preset(document, "quik")


def test_changes_without_a_place_are_reported_together() -> None:
    document = parse_document("study: x\nlet: {train: {}}", "t.yaml", HERE)
    with pytest.raises(ProblemsError) as caught:
        with_preset(document, None, ["lat.train.x=1", "replicates", "study.y=2"])
    assert len(caught.value.problems) == 3
    assert "there is no 'lat' in the study; did you mean 'let'?" in caught.value.problems[0]
    assert "expected path=value" in caught.value.problems[1]
    assert "study is 'x', which has no 'y' in it" in caught.value.problems[2]


def test_change_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(InputError, match=r"--set 'study=\[1': not a YAML value"):
        with_preset(parse_document("study: x", "t.yaml", HERE), None, ["study=[1"])


def test_missing_study_names_the_nearest_of_library_and_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("study: x")
    with pytest.raises(InputError, match="did you mean 'iterative-pruning'"):
        read_document("iterative-prunin")
    with pytest.raises(InputError, match=r"did you mean 'mine\.yaml'"):
        read_document(tmp_path / "mien.yaml")


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_document(tmp_path / "x.yaml")


def test_every_library_study_reads() -> None:
    assert "iterative-pruning" in library()
    for name in library():
        assert read_document(name).content["study"] == name
