"""What the log keeps of a record: the endpoint's policy, applied in the writer's thread before anything is on disk."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

from windlass.domain.errors import Unavailable
from windlass.domain.routing import LogPolicy
from windlass.domain.schema import Scalar
from windlass.serving.record import Record, Row, Shadow

KEY_BYTES = 32
_SPACE = 1 << 64
_PLAIN = msgspec.json.Encoder()


def changes_nothing(policy: LogPolicy) -> bool:
    return policy.sample >= 1 and not policy.drop and not policy.hash


def redacted(record: Record, policy: LogPolicy, key: bytes) -> Record:
    """The record as it is kept.

    Which requests are sampled follows from their id: a shadow's answer is kept where the user's is. With columns to
    withhold, the rows of a request that nobody answered are not kept either: what is in them may have any name.
    """
    names = (*policy.drop, *policy.hash)
    sampled = is_sampled(record.id, policy.sample)
    error = record.error.partition(":")[0] if names else record.error  # a value may be quoted behind it
    if isinstance(record, Shadow):
        return msgspec.structs.replace(record, answers=record.answers if sampled else None, error=error)
    kept = sampled and not (names and record.answers is None)
    return msgspec.structs.replace(
        record,
        rows=rows_without(record.rows, policy, key) if kept else [],
        answers=record.answers if kept else None,
        error=error,
        withheld=names,
        kept=kept,
    )


def rows_without(rows: Sequence[Row], policy: LogPolicy, key: bytes) -> list[Row]:
    """The rows without what is dropped, and with hashes for what is hashed."""
    dropped, hashed = frozenset(policy.drop), frozenset(policy.hash)
    return [
        {
            name: hash_of(name, value, key) if name in hashed else value
            for name, value in row.items()
            if name not in dropped
        }
        for row in rows
    ]


def hash_of(column: str, value: Scalar, key: bytes) -> str | None:
    """A value's keyed hash: the same for the same value of a column, and of no use without the key. Null stays null."""
    if value is None:
        return None
    return blake2b(_PLAIN.encode([column, value]), key=key, digest_size=16).hexdigest()


def is_sampled(identity: str, share: float) -> bool:
    if share >= 1:
        return True
    return (
        int.from_bytes(blake2b(identity.encode(), digest_size=8, person=b"windlass-sample").digest()) < share * _SPACE
    )


def key_at(path: Path) -> bytes:
    """The project's key for hashes; made where there is none, for its owner's eyes only.

    Raises:
        Unavailable: it can be neither read nor made.
    """
    try:
        with suppress(FileExistsError):
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise Unavailable(
            f"cannot read {path}: {error.strerror}", hint="no rows with columns to be hashed are logged without it"
        ) from None
    if len(key) != KEY_BYTES:
        raise Unavailable(f"{path} is no key of {KEY_BYTES} bytes", hint="restore it from a copy")
    return key


def _make(path: Path) -> None:
    """Whole or not at all, and only one of several that try at the same time."""
    if path.exists():
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, secrets.token_bytes(KEY_BYTES))
        os.fsync(handle)
        os.link(partial, path)
    finally:
        os.close(handle)
        partial.unlink()
