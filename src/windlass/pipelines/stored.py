"""A step's output in the store: the value's description with digests in the place of files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from windlass.capture import folders, trees
from windlass.domain.ports import Batch, ObjectStore

Stored = Mapping[str, Any]
_FOLDERS = ("model", "files")


def put(objects: Batch, described: Mapping[str, Any], folder: Path) -> Stored:
    """Store what ``values.write`` left in ``folder``; returns it with digests."""
    if described["kind"] == "mapping":
        return {
            "kind": "mapping",
            "items": {key: put(objects, each, folder) for key, each in described["items"].items()},
        }
    path = folder / described["file"]
    if described["kind"] in _FOLDERS:
        # A command may leave nothing: what it did is then in what it logged.
        made = folders.store_in(objects, path) if any(path.iterdir()) else trees.store_files(objects, {})
        return {"kind": described["kind"], "digest": made}
    return {"kind": described["kind"], "digest": objects.put_file(path)}


def lay_out(objects: ObjectStore, output: Stored, folder: Path, name: str = "value") -> dict[str, Any]:
    """Write an output's files to ``folder``, if they are not there; returns what ``values.read`` takes."""
    if output["kind"] == "mapping":
        # By number: a key may be what no file can be called.
        items = {
            key: lay_out(objects, each, folder, f"{name}-{at}")
            for at, (key, each) in enumerate(output["items"].items())
        }
        return {"kind": "mapping", "items": items}
    suffix = {"table": ".parquet", "json": ".json"}.get(output["kind"], "")
    path = folder / f"{name}{suffix}"
    if not path.exists():
        if output["kind"] in _FOLDERS:
            folders.checkout(objects, output["digest"], path)
        else:
            objects.fetch(output["digest"], path)
    return {"kind": output["kind"], "file": path.name}


def flat(name: str, output: Stored) -> dict[str, str]:
    """Artifact -> digest: STEP, or STEP/KEY."""
    if output["kind"] != "mapping":
        return {name: str(output["digest"])}
    found: dict[str, str] = {}
    for key, each in output["items"].items():
        found |= flat(f"{name}/{key}", each)
    return found


def whole(objects: ObjectStore, output: Stored) -> bool:
    """Whether the store still has all of an output."""
    if output["kind"] == "mapping":
        return all(whole(objects, each) for each in output["items"].values())
    if not objects.has(output["digest"]):
        return False
    if output["kind"] in _FOLDERS:
        return all(objects.has(entry.digest) for entry in trees.manifest(objects, output["digest"]).entries)
    return True


def numbers(objects: ObjectStore, output: Stored | None) -> dict[str, float]:
    """The metrics in an output that is an object of numbers; none otherwise."""
    if output is None or output["kind"] != "json":
        return {}
    plain = json.loads(objects.get(output["digest"]))
    if not isinstance(plain, dict):
        return {}
    return {
        str(name): float(value)
        for name, value in plain.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def files(objects: ObjectStore, name: str, output: Stored) -> Iterator[tuple[str, str, int]]:
    """Every file of an output: path, digest, size."""
    if output["kind"] == "mapping":
        for key, each in output["items"].items():
            yield from files(objects, f"{name}/{key}", each)
    elif output["kind"] in _FOLDERS:
        for entry in trees.manifest(objects, output["digest"]).entries:
            yield f"{name}/{entry.path}", entry.digest, entry.size
    else:
        suffix = {"table": ".parquet", "json": ".json"}.get(output["kind"], "")
        yield f"{name}{suffix}", output["digest"], objects.size(output["digest"])
