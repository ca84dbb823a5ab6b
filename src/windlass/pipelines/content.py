"""What is in two models whose bytes differ: ``python -m windlass.pipelines.content OLD NEW``, two packages.

Bytes may differ where nothing does that matters (an archive's times, the order of a set). This compares what a model
computes with: trees and weights, attribute by attribute, and prints as JSON the paths at which they differ.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_DEEPEST = 40
_MOST = 10


def main(old: str, new: str) -> int:
    """Print the paths, at most a few; an empty list says that the content is equal."""
    models = []
    for folder in (old, new):
        sys.path.insert(0, str(Path(folder) / "code"))
        with (Path(folder) / "model.pkl").open("rb") as file:
            models.append(pickle.load(file))  # noqa: S301 - made by steps of this project, fetched by digest
    found = []
    for path in differences(*models):
        found.append(path)
        if len(found) == _MOST:
            break
    sys.stdout.write(json.dumps(found))
    return 0


def differences(old: Any, new: Any, path: str = "model", depth: int = 0) -> Iterator[str]:
    """The paths at which two values differ in content."""
    if old is new:
        return
    if type(old) is not type(new) or depth > _DEEPEST:
        yield f"{path}: {type(old).__name__} -> {type(new).__name__}"
    elif isinstance(old, dict):
        for key in sorted(old.keys() | new.keys(), key=str):
            if key in old and key in new:
                yield from differences(old[key], new[key], f"{path}[{key!r}]", depth + 1)
            else:
                yield f"{path}[{key!r}]: only in the {'old' if key in old else 'new'} one"
    elif isinstance(old, list | tuple):
        if len(old) != len(new):
            yield f"{path}: {len(old)} items -> {len(new)}"
        for at, (before, after) in enumerate(zip(old, new, strict=False)):
            yield from differences(before, after, f"{path}[{at}]", depth + 1)
    elif isinstance(old, set | frozenset | str | bytes | int | float | complex | bool | None):
        # By their text: what is not a number is equal to itself here.
        if old != new and repr(old) != repr(new):
            yield f"{path}: {_short(old)} -> {_short(new)}"
    elif hasattr(old, "dtype") and hasattr(old, "shape"):
        yield from _arrays(old, new, path)
    else:
        yield from differences(_state(old), _state(new), path, depth + 1)


def _arrays(old: Any, new: Any, path: str) -> Iterator[str]:
    import numpy as np  # noqa: PLC0415 - there is an array, so there is numpy

    if old.dtype != new.dtype or old.shape != new.shape:
        yield f"{path}: {old.dtype}{list(old.shape)} -> {new.dtype}{list(new.shape)}"
    elif old.dtype == object:
        yield from differences(old.tolist(), new.tolist(), path)
    elif old.dtype.names:
        for name in old.dtype.names:
            yield from _arrays(old[name], new[name], f"{path}.{name}")
    elif not np.array_equal(old, new, equal_nan=old.dtype.kind in "fc"):
        differing = np.flatnonzero(~np.isclose(old, new, rtol=0, atol=0, equal_nan=True).ravel())
        largest = f", by {np.nanmax(np.abs(old - new)):.3g} at most" if old.dtype.kind in "fc" else ""
        yield f"{path}: {len(differing)} of {old.size} numbers differ{largest}"


def _state(value: Any) -> Any:
    """What determines an object: for boosters their model as text, else what pickle would keep."""
    if hasattr(value, "save_raw"):
        return json.loads(bytes(value.save_raw("json")))
    if hasattr(value, "model_to_string"):
        return value.model_to_string().splitlines()
    reduced = value.__reduce_ex__(4) if not isinstance(value, type) else value.__qualname__
    if isinstance(reduced, str):
        return reduced
    _, arguments, *rest = reduced
    state = rest[0] if rest else None
    return {"arguments": [each for each in arguments if not isinstance(each, type)], "state": state}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
