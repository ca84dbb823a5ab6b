"""The host, as far as it may matter to the last bit of a result. Facts explain a difference; they cannot be rebuilt."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

# Of a processor's many features those by which numeric libraries choose their code.
_FEATURES = frozenset({"sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "asimd", "sve"})
_SECONDS = 5.0


def facts() -> dict[str, Any]:
    """Operating system, kernel, processor and graphics. Nothing is imported for it, nothing asked of a network."""
    processor = _processor()
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "kernel": platform.release(),
        "cpu": processor.get("model name", ""),
        "cpu_features": sorted(_FEATURES & set(processor.get("flags", processor.get("Features", "")).split())),
        "cores": os.cpu_count(),
        "libc": " ".join(platform.libc_ver()),
        "executable": Path(sys.executable).name,
    }
    return found | _graphics()


def libraries() -> list[dict[str, Any]]:
    """The numeric libraries that this process has loaded, each with its version, its threads, and the code that it
    chose for this processor ("Haswell"); empty without threadpoolctl, which comes with scikit-learn.
    """
    if "numpy" not in sys.modules:
        return []
    try:
        from threadpoolctl import threadpool_info  # noqa: PLC0415 - only where numbers were computed
    except ImportError:
        return []
    return sorted(
        (
            {
                "library": each.get("internal_api", ""),
                "version": each.get("version") or "",
                "kernel": each.get("architecture", ""),
                "threads": each.get("num_threads", 0),
            }
            for each in threadpool_info()
        ),
        key=str,
    )


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Which facts differ, one line each."""
    return [
        f"{name}: {_said(old.get(name))} -> {_said(new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _said(value: Any) -> str:
    return "not known" if value in (None, "", []) else str(value)


def _processor() -> dict[str, str]:
    """What Linux says of the first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {"model name": platform.processor()}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _graphics() -> dict[str, Any]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    asked = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    cuda = os.environ.get("CUDA_VERSION")
    return {"gpu": found, **({"cuda": cuda} if cuda else {})} if done.returncode == 0 else {}
