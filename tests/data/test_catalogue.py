from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from pomona.core.canonical import digest
from pomona.data.catalogue import DATASETS


@pytest.mark.parametrize("name", DATASETS)
def test_entry_is_consistent(name: str) -> None:
    info = DATASETS[name]
    assert info.name == name
    assert len(info.shape) == 3
    assert len(info.mean) == len(info.sd) == info.shape[0]
    assert all(0 < value < 1 for value in info.mean + info.sd)
    assert len(set(info.digests)) == 4
    assert all(len(bytes.fromhex(part)) == 32 for part in info.digests)
    assert info.train_count > info.test_count > 0


def test_fingerprints_never_change() -> None:
    """They are in the keys of every stored state: a change here makes all of them unreachable."""
    assert {name: info.fingerprint for name, info in DATASETS.items()} == {
        "mnist": "f3d2b9fc4109061bffe8da0ddf10d5d1e7944d698481081d3f9fce886f11d96a",
        "fashion-mnist": "56d039df4f8f18519b88e612b24167e7739382544863adb58a5eb543afe7b430",
        "cifar-10": "e334bf21098a3461cd7c11ad3c7f3ce9bd927a75b0e049902a7cf053c1a37492",
        "digits": "1e531814f4ec5b69e0b6303b891a9d83e6f10adf1b017628a299417826d542dc",
    }


def test_fingerprint_is_the_digest_of_the_part_digests() -> None:
    info = DATASETS["digits"]
    assert info.fingerprint == digest(list(info.digests))


def test_info_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        DATASETS["mnist"].classes = 11  # type: ignore[misc]


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("pomona.data.catalogue", ["numpy", "pydantic", "sklearn", "torch"]),
        ("pomona.data.dataset", ["sklearn", "scipy", "PIL", "pooch", "pandas", "torch"]),
    ],
)
def test_import_is_light(module: str, heavy: list[str]) -> None:
    program = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
