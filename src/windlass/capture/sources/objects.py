"""Objects of an S3-compatible store as files: everything below ``s3://bucket/prefix``, each as it was when listed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from windlass.capture.sources.attached import shown
from windlass.domain import digest
from windlass.domain.errors import Failure, Invalid, NotFound, Unavailable

_MOST_NAMED = 1000  # objects that a record names one by one


def is_url(text: str) -> bool:
    return text.startswith("s3://")


def materialise(
    url: str, folder: Path, *, environment: Mapping[str, str], progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Download what lies at or below an ``s3://`` URL into ``folder``; returns the provenance.

    Credentials, region and endpoint are those of the usual ``AWS_*`` variables of ``environment``, and are looked for
    nowhere else. The provenance has
    each object's ETag, its version where the bucket keeps versions, and its size; of more than a thousand objects it
    has their number and the digest of that listing.

    Raises:
        Invalid: it is no URL of a bucket, or an object's name is no path.
        NotFound: nothing is there.
        Unavailable: there are no credentials, the store does not answer, or not to these credentials, or an object
            changed after it was listed.
    """
    if find_spec("obstore") is None:
        raise Unavailable("reading from S3 needs obstore", hint="install the extra: windlass[s3]")
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or parts.query:
        raise Invalid(f"'{shown(url)[:200]}' is not the URL of objects", hint="write it as s3://bucket/prefix")
    prefix = parts.path.strip("/")
    store = _store(parts.netloc, environment)
    # As in a folder, names that begin with a dot do not count; one that ends with a slash stands for a folder.
    listed = [each for each in _listed(store, prefix, url) if not re.search(r"(^|/)\.(?!\.?(/|$))|/$", each["path"])]
    found: dict[str, dict[str, Any]] = {}
    for number, each in enumerate(listed, start=1):
        name = _below(each["path"], prefix)
        progress(f"downloading {name} ({number} of {len(listed)}, {each['size']:,} bytes)")
        version = _download(store, each, folder / name)
        found[name] = {"etag": each["e_tag"], "version": version or each["version"], "size": each["size"]}
    if not found:
        raise NotFound(f"there are no objects at {url}", hint="check the bucket and the prefix")
    return {
        "kind": "s3",
        "url": url,
        "count": len(found),
        "listing": digest.of(found),
        "objects": found if len(found) <= _MOST_NAMED else {},
    }


def _store(bucket: str, environment: Mapping[str, str]) -> Any:
    from obstore.store import S3Store  # noqa: PLC0415 - heavy, and an extra

    given = {name.lower(): value for name, value in environment.items() if name.startswith("AWS_") and value}
    given.setdefault("aws_region", given.get("aws_default_region", "us-east-1"))
    endpoint = given.get("aws_endpoint_url_s3") or given.get("aws_endpoint_url") or given.get("aws_endpoint") or ""
    known = {
        name: given[f"aws_{name}"]
        for name in ("access_key_id", "secret_access_key", "session_token", "region")
        if f"aws_{name}" in given
    }
    if endpoint:
        known |= {"endpoint": endpoint, "virtual_hosted_style_request": "false"}
    if given.get("aws_skip_signature", "").lower() == "true":
        known |= {"skip_signature": "true"}
    elif not {"access_key_id", "secret_access_key"} <= known.keys():
        # Left to itself, obstore would go and ask the machine's metadata service for some.
        raise Unavailable(
            f"there are no credentials for s3://{bucket}",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket",
        )
    return S3Store(
        bucket,
        config=known,
        client_options={"allow_http": endpoint.startswith("http://"), "connect_timeout": "10s"},
        retry_config={"max_retries": 3},
    )


def _listed(store: Any, prefix: str, url: str) -> list[Any]:
    import obstore  # noqa: PLC0415

    try:
        # A prefix is a folder to obstore; the URL may also be of one object.
        below = [each for page in obstore.list(store, prefix=prefix or None) for each in page]
        return sorted(below or [obstore.head(store, prefix)], key=lambda each: each["path"]) if prefix else below
    except FileNotFoundError:
        return []
    except Exception as error:  # noqa: BLE001 - obstore's errors have no parent of their own
        raise _failure(error, url) from None


def _below(path: str, prefix: str) -> str:
    name = PurePosixPath(path).name if path == prefix else path.removeprefix(f"{prefix}/" if prefix else "")
    parts = name.split("/")
    if "" in parts or "." in parts or ".." in parts or "\0" in name or "\\" in name:
        raise Invalid(f"the object {path[:200]!r} has a name that is no path", hint="rename it, or name another prefix")
    return name


def _download(store: Any, listed: Any, destination: Path) -> str | None:
    """Write one object, if it still is the one that was listed; returns its version, where it has one."""
    import obstore  # noqa: PLC0415

    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        got = obstore.get(store, listed["path"], options={"if_match": listed["e_tag"]} if listed["e_tag"] else None)
        with destination.open("xb") as file:
            for block in got.stream(min_chunk_size=1 << 20):
                file.write(block)
        if destination.stat().st_size != listed["size"]:
            raise Unavailable(f"the object {listed['path']} came short", hint="try again")
    except Failure:
        raise
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise Unavailable(f"the object {listed['path']} went away after it was listed", hint="try again") from None
        raise Unavailable(
            f"cannot write {destination.name}: {error.strerror or error}", hint="an object cannot be a folder too"
        ) from None
    except Exception as error:  # noqa: BLE001
        raise _failure(error, listed["path"]) from None
    version: str | None = got.meta["version"]
    return version


def _failure(error: Exception, where: str) -> Failure:
    kind = type(error).__name__
    if kind == "PreconditionError":
        return Unavailable(
            f"the object {where} changed while it was read", hint="try again when its writer has finished"
        )
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        return Unavailable(
            f"the store does not let these credentials read {where}",
            hint="check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL",
        )
    said = " ".join(str(error).partition("Debug source:")[0].split())[:300]
    if "NoSuchBucket" in said:
        return NotFound(f"there is no bucket for {where}", hint="check its name, and AWS_ENDPOINT_URL")
    return Unavailable(f"cannot read {where}: {said}", hint="check AWS_ENDPOINT_URL, AWS_REGION and the bucket's name")
