from __future__ import annotations

from pathlib import Path

import numpy as np
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: \x07", r"t\.yaml line 2: not valid YAML: the character U\+0007 may not stand in YAML"),
        ("a: \x00", r"line 1: not valid YAML: the character U\+0000"),
        ("a: 1\n? {b: c}\n: 2", "line 2: a mapping or a list cannot be a key"),
        ("a: 1\nb: {[c, d]: 2}", "line 2: a mapping or a list cannot be a key"),
        ("a: 1\nb: !foo 3", "line 2: tags such as !foo are not read"),
        ("a: !foo {b: 1}", "tags such as !foo are not read"),
        ("a: !!set {b, c}", "tags such as !!set are not read"),
        ("a: &x {b: *x}", "x stands inside of what it names"),
        ("a: 2001-02-30", "day is out of range for month"),
        ("[" * 3000 + "]" * 3000, "nested too deeply"),
        ("1: a\n'1': b", 'duplicate key "1"; a key may stand once'),
    ],
)
def test_yaml_that_a_study_cannot_use_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_document(text, "t.yaml", HERE)


def test_keys_are_text_and_values_stay_what_they_are() -> None:
    document = parse_document("{0.1: 10%, true: &x false, null: *x, 2: 2001-01-01}", "t.yaml", HERE)
    assert document.content == {"0.1": "10%", "true": False, "null": False, "2": "2001-01-01"}
    assert document.content["true"] is False
    assert document.where(("0.1",)) == "t.yaml line 1, 0.1"


def test_merged_keys_are_read() -> None:
    document = parse_document("a: &x {b: 1}\nc: {<<: *x, d: 2}", "t.yaml", HERE)
    assert document.content["c"] == {"b": 1, "d": 2}
    assert document.where(("c", "b")) == "t.yaml line 2, c.b"


def test_set_value_that_is_not_yaml_is_refused_with_the_change() -> None:
    document = parse_document("study: x", "t.yaml", HERE)
    for change, message in [
        ("study=a\x00", r"--set 'study=a\\x00': not a YAML value: the character U\+0000"),
        ("study=!foo 3", "not a YAML value: tags such as !foo"),
    ]:
        with pytest.raises(InputError, match=message):
            with_preset(document, None, [change])


def test_path_takes_the_longest_key_with_dots() -> None:
    document = parse_document("f: {lr: {v0.1: 1, v0: {2: 3}}}", "t.yaml", HERE)
    assert with_preset(document, None, ["f.lr.v0.1=5"]).content == {"f": {"lr": {"v0.1": 5, "v0": {"2": 3}}}}
    assert with_preset(document, None, ["f.lr.v0.2=5"]).content["f"]["lr"] == {"v0.1": 1, "v0": {"2": 5}}
    with pytest.raises(ProblemsError, match=r"there is no 'v1' in f\.lr"):
        with_preset(document, None, ["f.lr.v1.1=5"])


def test_changes_from_python_are_taken_as_they_are() -> None:
    document = parse_document("study: x\nlet: {data: {d: 1}}", "t.yaml", HERE)
    changes = {
        "let.data.d": {"name": "digits", "validation": np.int64(5)},
        "replicates": np.int32(3),
        "lr": np.float64(0.1),
        "where": ("a == 1e-3", "20%"),
        "text": "1e-3",
    }
    content = with_preset(document, None, changes).content
    assert content["let"] == {"data": {"d": {"name": "digits", "validation": 5}}}
    assert (content["replicates"], content["lr"], content["text"]) == (3, 0.1, "1e-3")
    assert type(content["replicates"]) is int
    assert content["where"] == ["a == 1e-3", "20%"]
    with pytest.raises(ProblemsError, match="changes, 'replicates': expected text, a number"):
        with_preset(document, None, {"replicates": object()})


def test_values_of_a_preset_carry_its_line_and_changes_none_of_their_own() -> None:
    text = "study: x\nlet: {a: {b: 1}}\npresets:\n  q:\n    let.a: {b: 2}\n"
    document = parse_document(text, "t.yaml", HERE)
    assert document.where(("let", "a", "b")) == "t.yaml line 2, let.a.b"
    assert with_preset(document, "q").where(("let", "a", "b")) == "t.yaml line 5, let.a.b"
    assert with_preset(document, None, ["replicates=3"]).where(("replicates",)) == "t.yaml, replicates"


@pytest.mark.parametrize("presets", ["{q: 3}", "{q: null}", "{q: [a]}"])
def test_preset_that_is_no_mapping_is_refused(presets: str) -> None:
    document = parse_document(f"study: x\npresets: {presets}", "t.yaml", HERE)
    with pytest.raises(
        ProblemsError, match=r"t\.yaml line 2, presets\.q: expected changes as \{replicates: 3"
    ):
        with_preset(document, "q")


@pytest.mark.parametrize("presets", ["3", "[q]", "0"])
def test_presets_that_are_no_mapping_are_refused(presets: str) -> None:
    document = parse_document(f"study: x\npresets: {presets}", "t.yaml", HERE)
    with pytest.raises(ProblemsError, match="line 2, presets: expected names with their changes"):
        with_preset(document, "q")


def test_folder_is_called_a_folder(tmp_path: Path) -> None:
    (tmp_path / "dir.yaml").mkdir()
    with pytest.raises(InputError, match=r"dir\.yaml' is a folder; expected the file of a study$"):
        read_document(tmp_path / "dir.yaml")
    (tmp_path / "dir.yaml" / "in.yaml").write_text("study: x")
    with pytest.raises(InputError, match=r"is a folder; .*did you mean '.*in\.yaml'"):
        read_document(tmp_path / "dir.yaml")
    with pytest.raises(InputError) as caught:
        read_document(tmp_path / "dirr.yaml")
    assert "did you mean" not in str(caught.value)
