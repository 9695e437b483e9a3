"""What a run was computed with: provenance beside the keys, never in them. Captured once a run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_SIMD = ("sse4_2", "avx2", "fma", "avx512f", "avx512vl", "avx512_bf16", "amx_tile", "asimd", "sve")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POMONA_INSTRUCTION_SET")
_DIFF_CHARACTERS = 200_000


def environment(kernels: str | None = None, workers: int | None = None) -> tuple[str, str]:
    """The environment as a digest and a JSON document. Nothing is imported to find a version.

    Args:
        kernels: The instruction set that native kernels compute with here; None where there are none.
        workers: How many jobs run at once, each with one thread.
    """
    document = json.dumps({**_describe(), "kernels": kernels, "workers": workers}, sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest(), document


def _describe() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": {name: os.environ[name] for name in _THREADS if name in os.environ},
        "gpus": _gpus(),
        "packages": _packages(),
        **_commit(),
    }


def _packages() -> dict[str, str]:
    """Every installed package, as ``pip freeze`` would name it."""
    found: dict[str, str] = {}
    for package in metadata.distributions():
        with contextlib.suppress(Exception):  # what is half installed has no name
            found.setdefault(package.metadata["Name"].lower(), package.version)
    return dict(sorted(found.items()))


def _processor() -> dict[str, Any]:
    found: dict[str, Any] = {"model": platform.processor() or "unknown", "simd": []}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                found["model"] = value.strip()
            elif name.strip() in ("flags", "Features"):
                found["simd"] = [flag for flag in _SIMD if flag in value.split()]
                break
    return found


def _gpus() -> list[str]:
    """Model, driver and memory of each; none where NVIDIA's tool is not there."""
    fields = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(fields, capture_output=True, text=True, timeout=10, check=True)
        return [line.strip() for line in done.stdout.splitlines()]
    return []


def _commit() -> dict[str, str | None]:
    """The commit of the folder the user works in, marked where it has changes, and these."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        head = _git("rev-parse", "HEAD").strip()
        diff = _git("diff", "HEAD")
        if len(diff) > _DIFF_CHARACTERS:
            digest = hashlib.sha256(diff.encode()).hexdigest()
            diff = f"{diff[:_DIFF_CHARACTERS]}\n... cut: {len(diff)} characters, SHA-256 {digest}\n"
        return {"commit": head + ("-dirty" if diff else ""), "changes": diff}
    return {"commit": None, "changes": None}


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, errors="replace", timeout=10, check=True
    )
    return done.stdout
