"""The commits a person would make in the demo's project."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit(folder: Path, message: str) -> None:
    """Commit all that changed."""
    identity = ["-c", "user.name=dana", "-c", "user.email=dana@example.org"]
    for command in (["add", "--all"], ["commit", "--quiet", "--message", message]):
        subprocess.run(["git", "-C", str(folder), *identity, *command], check=True, capture_output=True)
