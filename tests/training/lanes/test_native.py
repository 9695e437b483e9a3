import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pomona.core.errors import InputError
from pomona.training.lanes import native

built = pytest.mark.skipif(native.missing() is not None, reason="the kernels cannot run here")
LINEAR = [("linear", [0], {"out": 3, "bias": 1, "relu": 0})]


@pytest.fixture(autouse=True)
def no_forced_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native.FORCED, raising=False)


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for a build, empty at first."""
    monkeypatch.setenv(native.FOLDER, str(tmp_path))
    return tmp_path


def processor(build: Path, *instruction_sets: str) -> None:
    (build / "_processor.py").write_text(f"def instruction_sets(): return {list(instruction_sets)}\n")


@built
def test_kernels_of_every_instruction_set_make_a_network() -> None:
    sets = native.kernels().instruction_sets()
    assert sets == [name for name in native.INSTRUCTION_SETS if name in sets]
    for name in sets:
        network = native.kernels().Network(name, (1, 2, 2), LINEAR)
        weight = np.arange(12, dtype=np.float32).reshape(3, 4)
        network.set_weight(0, weight)
        np.testing.assert_array_equal(network.weight(0), weight)


@built
def test_kernels_refuse_an_instruction_set_that_the_processor_lacks() -> None:
    with pytest.raises(InputError, match="unknown instruction set 'neon'"):
        native.kernels().Network("neon", (1, 2, 2), LINEAR)


@built
def test_instruction_set_is_the_best() -> None:
    assert native.instruction_set() == native.kernels().instruction_sets()[0]


def test_instruction_set_can_be_forced(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(build, "avx512", "avx2")
    assert native.instruction_set() == "avx512"
    monkeypatch.setenv(native.FORCED, "avx2")
    assert native.instruction_set() == "avx2"


def test_instruction_set_unknown_names_the_nearest(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(build, "avx512", "avx2")
    monkeypatch.setenv(native.FORCED, "avx3")
    with pytest.raises(InputError) as error:
        native.instruction_set()
    assert str(error.value) == (
        "POMONA_INSTRUCTION_SET: unknown instruction set 'avx3'; did you mean 'avx2'? Known: avx512, avx2"
    )


def test_instruction_set_that_the_processor_lacks(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(build, "avx2")
    monkeypatch.setenv(native.FORCED, "avx512")
    with pytest.raises(InputError) as error:
        native.instruction_set()
    assert str(error.value) == "POMONA_INSTRUCTION_SET: this processor cannot run 'avx512'. It runs: avx2"


def test_missing_without_a_build_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native.FOLDER, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setitem(sys.modules, "pomona.training.lanes._processor", None)
    assert native.missing() == (
        "Pomona was installed without the kernels of the lane engine, which are compiled at installation by "
        "g++ 12 or clang 14 or later: install a compiler, then Pomona again, or use `engine: torch`"
    )


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
def test_missing_on_another_processor_says_so(
    build: Path, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert native.missing() == (
        f"the lane engine needs an x86-64 processor with AVX2, and this one is {machine}: use `engine: torch`"
    )


def test_missing_on_an_old_processor_says_so(build: Path) -> None:
    processor(build)
    assert (
        native.missing()
        == "the lane engine needs a processor with AVX2, which this one lacks: use `engine: torch`"
    )


def test_missing_in_a_folder_names_it(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert native.missing() == (
        f"POMONA_KERNELS: no kernels for this Python in '{build}': unset it, or use `engine: torch`"
    )


def test_missing_where_the_build_cannot_be_loaded_gives_the_cause(build: Path) -> None:
    (build / "_processor.py").write_text("raise ImportError('libstdc++.so.6: no such file')\n")
    assert native.missing() == (
        "the kernels of the lane engine cannot be loaded (libstdc++.so.6: no such file): "
        "install Pomona again, or use `engine: torch`"
    )


@pytest.mark.parametrize("ask", [native.kernels, native.instruction_set])
def test_missing_kernels_are_an_error_for_who_needs_them(build: Path, ask: object) -> None:
    assert callable(ask)
    with pytest.raises(InputError, match="use `engine: torch`"):
        ask()


def test_asking_imports_neither_torch_nor_numpy() -> None:
    program = (
        "import sys; from pomona.training.lanes import native; native.missing(); "
        "print(sorted({'torch', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
