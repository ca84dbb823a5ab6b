"""What an interpreter has installed. Only the standard library: any interpreter can run this file, to be compared.

Run as a file it prints ``inventory()`` as JSON.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

OURS = "windlass"  # it runs from wherever it is now, in every environment


def inventory() -> dict[str, object]:
    """Interpreter, platform and distributions: those that an index has, and those that it has not with their kind."""
    indexed: dict[str, str] = {}
    local: dict[str, str] = {}
    for found in metadata.distributions(path=_places()):
        name = _normal(found.metadata["Name"] or "")
        if not name or name == OURS or name in indexed or name in local:
            continue  # the first on the path is the one that is imported
        origin = _origin(found)
        if origin is None:
            indexed[name] = found.version
        else:
            local[name] = f"{found.version} ({origin})"
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation().lower(),
        "platform": f"{platform.system()}-{platform.machine()}".lower(),
        "distributions": sorted(indexed.items()),
        "local": sorted(local.items()),
    }


def _places() -> list[str]:
    """Where distributions are looked for: not in the folder that Python happens to be started in."""
    here = str(Path.cwd())
    return [place for place in sys.path if place not in ("", here)]


def _origin(found: metadata.Distribution) -> str | None:
    """Why no index has it; None if one has. Where it lies on this machine says nothing elsewhere, so it is left out."""
    try:
        said = json.loads(found.read_text("direct_url.json") or "null")
    except ValueError:
        return "unknown"
    if not isinstance(said, dict):
        return None
    if "vcs_info" in said:
        return f"{said['vcs_info'].get('vcs', 'vcs')} {said['vcs_info'].get('commit_id', '')}".strip()
    if "dir_info" in said:
        return "editable" if said["dir_info"].get("editable") else "folder"
    return "file"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(inventory()))
