"""The program uv, by its command line."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from windlass.domain.errors import Unavailable

_SECONDS = 300.0


def run(args: Sequence[str], *, stdin: str | None = None) -> str:
    """What uv prints.

    Raises:
        Unavailable: there is no uv, it fails, or it does not end.
    """
    # Started in an empty folder: the settings of the project this runs in must not change a lock; the user's may.
    with tempfile.TemporaryDirectory() as empty:
        try:
            done = subprocess.run(
                [_find_uv(), *args], input=stdin, capture_output=True, text=True, check=False, timeout=_SECONDS,
                cwd=empty,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Unavailable(f"uv {args[0]} did not end within {_SECONDS:.0f} s") from None
    if done.returncode != 0:
        said = " ".join(line.strip() for line in done.stderr.strip().splitlines()[:3])
        raise Unavailable(f"uv {args[0]} failed: {anonymous(said)}", hint="check that a package index can be reached")
    return done.stdout


def _find_uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    found = shutil.which("uv") or (str(beside) if beside.exists() else os.environ.get("UV"))
    if found:
        return found
    try:
        return str(importlib.import_module("uv").find_uv_bin())
    except (ImportError, AttributeError, OSError):
        raise Unavailable("there is no uv on this machine", hint="pip install uv", retryable=False) from None


def anonymous(text: str) -> str:
    """Records outlive the machine: they name no host."""
    return re.sub(r"[a-z+]+://\S+", "(a URL)", text)
