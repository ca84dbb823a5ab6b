"""``windlass://name@version/path``: snapshots as an fsspec file system (the extra ``fsspec``).

pandas, pyarrow and DuckDB read from it without a checkout; of a large file only the parts that are read leave the
store. The project is the one in WINDLASS_PROJECT, or the one of the working directory.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from fsspec.spec import AbstractFileSystem

from windlass.capture import data, trees
from windlass.capture.data import Snapshot
from windlass.capture.trees import Entry
from windlass.domain.errors import Denied, NotFound
from windlass.domain.names import Reference
from windlass.workspace.workspace import Workspace, open_workspace


class WindlassFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Read-only. ``fetched`` is how many bytes were taken from the store, over all files."""

    protocol = "windlass"
    root_marker = ""
    cachable = True

    def __init__(self, project: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        start = project or os.environ.get("WINDLASS_PROJECT") or "."
        self._workspace: Workspace = open_workspace(Path(start))
        self._listed = lru_cache(maxsize=16)(self._files)
        self.fetched = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(path).removeprefix("windlass://").strip("/")

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What is directly in a folder; of a file, itself.

        Raises:
            FileNotFoundError: no such dataset, snapshot or path.
        """
        found = self._children(self._strip_protocol(path))
        return found if detail else [each["name"] for each in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and kind of a path. Raises FileNotFoundError."""
        path = self._strip_protocol(path)
        reference, _slash, inside = path.partition("/")
        if not path:
            return {"name": "", "size": 0, "type": "directory"}
        files = self._of(reference)
        if inside in files:
            return self._described(reference, files[inside])
        if not inside or any(each.startswith(f"{inside}/") for each in files):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        if mode != "rb":
            raise Denied("windlass:// is read-only", hint="write a file, then `windlass data add` it")
        reference, _slash, inside = self._strip_protocol(path).partition("/")
        files = self._of(reference)
        if inside not in files:
            raise FileNotFoundError(path)
        entry = files[inside]
        return cast(BinaryIO, _Counting(self._workspace.objects.open(entry.digest), entry.size, self._count))

    def modified(self, path: str) -> Any:
        """When the snapshot was made: nothing in it changes afterwards."""
        from datetime import UTC, datetime  # noqa: PLC0415

        reference = self._strip_protocol(path).partition("/")[0]
        return datetime.fromtimestamp(self._snapshot(reference).at / 1e6, UTC)

    def _count(self, size: int) -> None:
        self.fetched += size

    def _children(self, path: str) -> list[dict[str, Any]]:
        if not path:
            with self._workspace.database.read() as tx:
                latest = data.ls(tx, self._workspace.objects)
            return [{"name": each.reference, "size": 0, "type": "directory"} for each in latest]
        reference, _, inside = path.partition("/")
        files = self._of(reference)
        if inside in files:
            return [self._described(reference, files[inside])]
        prefix = f"{inside}/" if inside else ""
        found: dict[str, dict[str, Any]] = {}
        for name, entry in files.items():
            if name.startswith(prefix):
                first, slash, _ = name.removeprefix(prefix).partition("/")
                full = f"{reference}/{prefix}{first}"
                folder = {"name": full, "size": 0, "type": "directory"}
                found[full] = folder if slash else self._described(reference, entry)
        if not found and inside:
            raise FileNotFoundError(path)
        return list(found.values())

    def _described(self, reference: str, entry: Entry) -> dict[str, Any]:
        return {"name": f"{reference}/{entry.path}", "size": entry.size, "type": "file", "digest": entry.digest}

    def _snapshot(self, reference: str) -> Snapshot:
        try:
            with self._workspace.database.read() as tx:
                return data.find(tx, self._workspace.objects, Reference.parse(reference))
        except NotFound as error:
            raise FileNotFoundError(f"{reference}: {error.message}") from error

    def _of(self, reference: str) -> dict[str, Entry]:
        return self._listed(self._snapshot(reference).tree)

    def _files(self, tree: str) -> dict[str, Entry]:
        return {entry.path: entry for entry in trees.manifest(self._workspace.objects, tree).files}


class _Counting(io.RawIOBase):
    """A file of the store that tells how much of it was fetched.

    Threads may share it, as DuckDB's do: what a thread reads next is where it has sought, whoever sought since. Without
    a seek of its own it reads on from where the last read ended.
    """

    def __init__(self, file: BinaryIO, size: int, count: Callable[[int], None]) -> None:
        super().__init__()
        self._file = file
        self._count = count
        self._known = 0
        self._lock = threading.Lock()
        self._sought = threading.local()
        self._position = 0
        self.size = size
        # An object that is not in chunks comes whole.
        self._advance(getattr(file, "fetched", size))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        sought: int | None = getattr(self._sought, "position", None)
        return self._position if sought is None else sought

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning of a file")
        self._sought.position = self._position = base + offset
        return base + offset

    def readinto(self, into: Any) -> int:
        target = memoryview(into).cast("B")
        with self._lock:
            self._file.seek(self.tell())
            part = self._file.read(len(target))
            self._position = self._file.tell()
            self._sought.position = None
            self._advance(getattr(self._file, "fetched", self._known))
        target[: len(part)] = part
        return len(part)

    def _advance(self, fetched: int) -> None:
        self._count(fetched - self._known)
        self._known = fetched
