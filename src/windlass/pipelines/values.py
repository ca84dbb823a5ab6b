"""What steps return, as files: the one form in which a value leaves a step's process and enters the next.

A value is described by a plain dict: its ``kind`` and, for everything but a mapping, the ``file`` (relative to the
folder that it was written to). Bytes are deterministic: the same value gives the same file.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windlass.domain.errors import Invalid

TABLE, MODEL, JSON, BYTES, FILES, MAPPING = "table", "model", "json", "bytes", "files", "mapping"


def write(value: Any, folder: Path, name: str, root: Path) -> dict[str, Any]:
    """Write a value below ``folder`` under ``name``; returns its description. ``root`` is the project's folder.

    Raises:
        Invalid: a value of a type that has no form.
    """
    if _is_table(value):
        import pyarrow.parquet as pq  # noqa: PLC0415 - it is there: the value is one of its

        path = folder / f"{name}.parquet"
        # One thread, no statistics of the writer's own: nothing but the rows decides the bytes.
        pq.write_table(value.replace_schema_metadata(None), path, compression="zstd", store_schema=False)
        return {"kind": TABLE, "file": path.name}
    if _is_model(value):
        from windlass.pipelines import package  # noqa: PLC0415

        package.write(value, folder / name, root)
        return {"kind": MODEL, "file": name}
    if isinstance(value, bytes):
        (folder / name).write_bytes(value)
        return {"kind": BYTES, "file": name}
    if isinstance(value, Path):
        if value.is_dir():
            shutil.copytree(value, folder / name)
            return {"kind": FILES, "file": name}
        shutil.copyfile(value, folder / name)
        return {"kind": BYTES, "file": name}
    if isinstance(value, Mapping) and any(_is_file(each) for each in value.values()):
        items = {str(key): write(each, folder, f"{name}-{key}", root) for key, each in value.items()}
        return {"kind": MAPPING, "items": items}
    plain = _plain(value, name)
    (folder / f"{name}.json").write_text(json.dumps(plain, sort_keys=True))
    return {"kind": JSON, "file": f"{name}.json"}


def read(described: Mapping[str, Any], folder: Path) -> Any:
    """The value again, as a step gets it; what was a file or a folder is a ``Path``."""
    kind = described["kind"]
    if kind == MAPPING:
        return {key: read(each, folder) for key, each in described["items"].items()}
    path = folder / described["file"]
    if kind == TABLE:
        import pyarrow.parquet as pq  # noqa: PLC0415 - steps without tables do not wait for it

        return pq.read_table(path)
    if kind == MODEL:
        from windlass.pipelines import package  # noqa: PLC0415

        return package.read(path)
    if kind == JSON:
        return json.loads(path.read_text())
    return path.read_bytes() if kind == BYTES else path


def _is_table(value: Any) -> bool:
    # A value can only be of a class whose module is imported.
    arrow = sys.modules.get("pyarrow")
    return arrow is not None and isinstance(value, arrow.Table)


def _is_model(value: Any) -> bool:
    model = sys.modules.get("windlass.pipelines.model")
    return model is not None and isinstance(value, model.Model)


def _is_file(value: Any) -> bool:
    return isinstance(value, bytes | Path) or _is_table(value) or _is_model(value)


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each, f"{name}.{key}") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, name) for each in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()  # a numpy scalar
    if isinstance(value, float) and not math.isfinite(value):
        raise Invalid(f"step result '{name}' is {value}", hint="a metric has to be a finite number")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise Invalid(
        f"step result '{name}' is a {type(value).__name__}",
        hint="return pyarrow tables, windlass.Model, numbers, text, lists, dicts of these, bytes or a Path",
    )
