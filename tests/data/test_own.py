from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pomona.core.errors import InputError
from pomona.data.dataset import describe, load
from pomona.data.fetching import fetch, is_cached
from pomona.data.own import _mean_sd

TOP = "import numpy as np\nopen('imported', 'a').write('x')\n"
GOOD = """
def images(count):
    return (np.arange(count * {size}) % 251).astype(np.uint8).reshape(count, {shape})

def load():
    "Docstring."
    return images(30), np.arange(30) % 3, images(6), [0, 1, 2, 0, 1, 2]
"""


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def mine(tmp_path: Path, body: str) -> None:
    (tmp_path / "mine.py").write_text(TOP + body)


def good(shape: str, size: int) -> str:
    return GOOD.format(shape=shape, size=size)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ("2, 4, 5", 40, (2, 4, 5)),
        ("4, 5", 20, (1, 4, 5)),
        ("7", 7, (7, 1, 1)),
    ],
)
def test_images_of_each_form_are_taken(
    shape: str, size: int, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    mine(tmp_path, good(shape, size))
    info = describe("mine.py:load")
    assert (info.name, info.shape, info.classes) == ("mine.py:load", expected, 3)
    assert (info.train_count, info.test_count) == (30, 6)
    found = load("mine.py:load", tmp_path)
    assert found.info == info
    raw = (np.arange(30 * size) % 251).astype(np.uint8).reshape(30, *expected)
    assert np.array_equal(found.train_images, raw)
    assert found.train_labels.dtype == found.test_labels.dtype == np.uint8
    assert found.test_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert np.allclose(info.mean, (raw / 255).mean(axis=(0, 2, 3)))
    assert np.allclose(info.sd, (raw / 255).std(axis=(0, 2, 3)))


def test_file_is_imported_once_for_each_source(tmp_path: Path) -> None:
    def imports() -> int:
        return len((tmp_path / "imported").read_text())

    mine(tmp_path, good("4, 5", 20))
    assert not is_cached("mine.py:load")
    first = describe("mine.py:load")
    assert is_cached("mine.py:load")
    assert load("mine.py:load").info == first
    mine(tmp_path, good("4, 5", 20).replace("Docstring.", "Another docstring."))
    assert describe("mine.py:load") == first
    assert imports() == 1
    # A helper changed: other data.
    mine(tmp_path, good("4, 5", 20).replace("251", "241"))
    assert describe("mine.py:load").fingerprint != first.fingerprint
    assert imports() == 2


def test_force_runs_the_function_again(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((4, 3, 3), np.uint8))
    mine(
        tmp_path,
        "from pathlib import Path\ndef load():\n"
        "    x = np.load(Path(__file__).parent / 'images.npy')\n"
        "    return x, [0, 1, 0, 1], x, [0, 1, 0, 1]\n",
    )
    before = describe("mine.py:load")
    np.save(tmp_path / "images.npy", np.ones((4, 3, 3), np.uint8))
    assert describe("mine.py:load") == before
    fetch("mine.py:load", force=True)
    assert describe("mine.py:load").fingerprint != before.fingerprint


def test_same_source_in_another_folder_is_another_set(tmp_path: Path) -> None:
    body = (
        "from pathlib import Path\ndef load():\n"
        "    x = np.full((2, 3, 3), len(Path(__file__).parent.name), np.uint8)\n"
        "    return x, [0, 1], x, [0, 1]\n"
    )
    for name in ("a", "bb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text("import numpy as np\n" + body)
    first, second = (load("mine.py:load", tmp_path / name) for name in ("a", "bb"))
    assert (first.train_images[0, 0, 0, 0], second.train_images[0, 0, 0, 0]) == (1, 2)


def test_damaged_cache_of_a_users_set_is_made_again(tmp_path: Path) -> None:
    mine(tmp_path, good("4, 5", 20))
    path = fetch("mine.py:load")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\xff")
    lines: list[str] = []
    assert load("mine.py:load", report=lines.append).test_labels[-1] == 2
    assert "damaged" in lines[0]
    assert path.read_bytes() == content


X = "np.zeros((4, 3, 3), np.uint8)"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", "expected train_images, train_labels, test_images, test_labels; it returned NoneType"),
        (f"{X}, [0, 1, 0, 1]", "it returned 2 values"),
        (f"{X} / 255, [0, 1, 0, 1], {X}, [0] * 4", r"train_images: expected uint8, got float64; give pixels"),
        (f"{X}, [0, 1, 0, 1], {X}.astype(np.int32), [0] * 4", "test_images: expected uint8, got int32$"),
        (f"{X}[0, 0], [0, 1, 0], {X}, [0] * 4", r"train_images: expected N x C x H x W.*the shape \(3,\)"),
        (f"{X}[:0], [], {X}, [0] * 4", r"none of them 0; got the shape \(0, 3, 3\)"),
        (f"np.zeros((4, 32, 32, 3), np.uint8), [0, 1] * 2, {X}, [0] * 4", "looks like N x H x W x C"),
        (f"{X}, [0, 1, 0, 1], {X}[:, :2], [0] * 4", "shape 1 x 3 x 3 and test images of shape 1 x 2 x 3"),
        (f"{X}, [0, 1, 0], {X}, [0] * 4", r"train_labels: expected one label for each of 4 images.*\(3,\)"),
        (f"{X}, [0, 1, 0, 1], {X}, [0.0] * 4", "test_labels: expected whole numbers, got float64"),
        (f"{X}, [-1, 1, 0, 1], {X}, [0] * 4", "got labels -1 to 1"),
        (f"{X}, [0, 256, 0, 1], {X}, [0] * 4", "2 to 256 classes, got labels 0 to 256"),
        (f"{X}, [0, 0, 0, 0], {X}, [0] * 4", "got labels 0 to 0"),
        (f"{X}, [1, 2, 1, 2], {X}, [1] * 4", "no training image has the label 0"),
        (f"{X}, [0, 1, 0, 1], {X}, [2] * 4", "labels go up to 2, but no training image has the label 2"),
    ],
)
def test_wrong_return_is_said(returned: str, message: str, tmp_path: Path) -> None:
    mine(tmp_path, f"def load():\n    return {returned}\n")
    with pytest.raises(InputError, match=rf"^mine.py:load: .*{message}"):
        describe("mine.py:load")
    assert not is_cached("mine.py:load")


def test_all_256_classes_fit(tmp_path: Path) -> None:
    mine(
        tmp_path,
        "def load():\n    x = np.zeros((256, 2), np.uint8)\n    y = np.arange(256).astype(np.uint8)\n"
        "    return x, y, x, y\n",
    )
    assert describe("mine.py:load").classes == 256


def test_exception_names_file_and_line(tmp_path: Path) -> None:
    mine(tmp_path, "def load():\n    return helper()\n\ndef helper():\n    raise RuntimeError('no disk')\n")
    with pytest.raises(InputError, match=r"^mine.py:7: in helper: RuntimeError: no disk$"):
        describe("mine.py:load")


def test_file_that_fails_on_import_names_the_line(tmp_path: Path) -> None:
    mine(tmp_path, "import no_such_module\ndef load():\n    pass\n")
    with pytest.raises(InputError, match=r"mine.py:3.*no_such_module"):
        describe("mine.py:load")


def test_missing_function_says_the_nearest(tmp_path: Path) -> None:
    mine(tmp_path, good("4, 5", 20))
    with pytest.raises(InputError, match=r"unknown name 'laod'; did you mean 'load'\?"):
        describe("mine.py:laod")


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)))
)
def test_statistics_are_numpys(images: np.ndarray) -> None:
    mean, sd = _mean_sd(images)
    spread = (images / 255).std(axis=(0, 2, 3))
    constant = images.min(axis=(0, 2, 3)) == images.max(axis=(0, 2, 3))
    assert np.allclose(mean, (images / 255).mean(axis=(0, 2, 3)))
    assert np.allclose(sd, np.where(constant, 1.0, spread))
