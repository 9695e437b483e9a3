"""What a run was computed with: provenance beside the keys, never in them."""

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

_PACKAGES = ("pomona", "torch", "numpy", "scipy", "pandas", "safetensors", "pydantic", "scikit-learn")
_SIMD = ("sse4_2", "avx2", "fma", "avx512f", "avx512vl", "avx512_bf16", "asimd", "sve")


def environment(kernels: str | None = None) -> tuple[str, str]:
    """The environment as a digest and a JSON document. Nothing is imported to find a version.

    Args:
        kernels: The instruction set that native kernels compute with here; None where there are none.
    """
    document = json.dumps({**_describe(), "kernels": kernels}, sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest(), document


def _describe() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


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


def _commit() -> str | None:
    """The commit of the folder the user works in, marked where it has changes."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        head = _git("rev-parse", "HEAD")
        return head + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")
    return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()
