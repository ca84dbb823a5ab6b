"""Object stores: where the blobs lie, plugged into the store that keeps objects in them."""

from __future__ import annotations

from pathlib import Path

from windlass.adapters.files import FileBlobs
from windlass.store.objects import PackedObjects


def local_store(root: Path) -> PackedObjects:
    """The store in a folder of this machine."""
    return PackedObjects(FileBlobs(root), root)
