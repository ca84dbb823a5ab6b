"""The blobs port on S3-compatible storage, Google's and Azure's, by obstore (the extra ``s3``).

Nothing here needs more of a bucket than whole puts and range reads: an object is there when its put has ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from windlass.domain.errors import Invalid, NotFound, Unavailable

_SCHEMES = ("s3://", "gs://", "az://")
_PART = 16 << 20
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip


def open_bucket(url: str) -> Buckets:
    """The blobs below a URL; credentials and endpoint come from the environment (``AWS_*`` and the like).

    Raises:
        Invalid: the URL has another form.
        Unavailable: the extra is not installed.
    """
    if not url.startswith(_SCHEMES):
        raise Invalid(f"'{url[:80]}' is not the URL of a store", hint="write it as s3://BUCKET/PREFIX, or as a folder")
    try:
        from obstore import store  # noqa: PLC0415 - an extra
    except ImportError:
        raise Unavailable(
            "object storage needs the extra s3", hint="pip install 'windlass[s3]'", retryable=False
        ) from None
    if url.startswith("s3://") and not any(os.environ.get(name) for name in _CREDENTIALS):
        # obstore would ask the machine's metadata service by itself: nobody is asked who was not named.
        raise Unavailable(
            f"there are no credentials for {url}",
            hint=f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or one of {', '.join(_CREDENTIALS[1:])})",
            retryable=False,
        )
    options: dict[str, Any] = {}
    if os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["client_options"] = {"allow_http": True}
    return Buckets(store.from_url(url, **options), url)


class Buckets:
    """Blobs in a bucket."""

    def __init__(self, store: Any, url: str) -> None:
        self._store = store
        self._url = url

    def put(self, name: str, data: bytes) -> None:
        with self._clear_errors(name):
            self._store.put(name, data)

    def adopt(self, name: str, file: Path) -> None:
        with self._clear_errors(name):
            self._store.put(name, file, chunk_size=_PART)
        file.unlink()

    def get(self, name: str) -> bytes:
        with self._clear_errors(name):
            return bytes(self._store.get(name).bytes())

    def read(self, name: str, start: int, length: int) -> bytes:
        if length == 0:
            return b""
        with self._clear_errors(name):
            return bytes(self._store.get_range(name, start=start, length=length))

    def size(self, name: str) -> int | None:
        try:
            with self._clear_errors(name):
                return int(self._store.head(name)["size"])
        except NotFound:
            return None

    def ls(self, prefix: str) -> Iterator[tuple[str, int]]:
        with self._clear_errors(prefix):
            for page in self._store.list(f"{prefix}/" if prefix else None):
                yield from ((each["path"], each["size"]) for each in page)

    def delete(self, name: str) -> None:
        try:
            with self._clear_errors(name):
                self._store.delete(name)
        except NotFound:
            return

    def _clear_errors(self, name: str) -> _ClearErrors:
        return _ClearErrors(self._url, name)


class _ClearErrors:
    """Turns what obstore raises into errors of ours: it may quote requests, which are not for everybody's eyes."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is None or (not kind.__module__.startswith("obstore") and not issubclass(kind, OSError)):
            return
        if kind.__name__ == "NotFoundError" or issubclass(kind, FileNotFoundError):
            raise NotFound(f"there is no {self._name} in {self._url}") from None
        raise Unavailable(
            f"{self._url} does not answer as it should ({kind.__name__})",
            hint="check the bucket's name, AWS_ENDPOINT_URL, and the credentials in AWS_ACCESS_KEY_ID and its like",
        ) from None
