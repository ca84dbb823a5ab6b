"""Object stores: where the blobs lie, plugged into the store that keeps objects in them."""

from __future__ import annotations

from pathlib import Path

from blake3 import blake3

from windlass.adapters.files import FileBlobs
from windlass.domain.errors import NotFound
from windlass.store.objects import PackedObjects


def local_store(root: Path) -> PackedObjects:
    """The store in a folder of this machine."""
    return PackedObjects(FileBlobs(root), root)


def open_remote(url: str, root: Path, cache: Path, *, create: bool) -> PackedObjects:
    """The store at a URL (``s3://BUCKET/PREFIX``) or in a folder (relative to ``root``), which ``create`` makes.

    Raises:
        NotFound: there is no such folder.
        Unavailable: it does not answer, or the extra ``s3`` is not installed.
        Invalid: it is no such URL.
    """
    if "://" not in url:
        folder = (root / url).resolve()
        if not create and not folder.is_dir():
            raise NotFound(f"no store at {folder}", hint="check the path; `windlass data push` makes one")
        return local_store(folder)
    from windlass.adapters.buckets import open_bucket  # noqa: PLC0415 - an extra, which few need

    return PackedObjects(open_bucket(url), cache / blake3(url.encode()).hexdigest(16))
