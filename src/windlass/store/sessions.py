"""Writers at work: while one is, garbage collection deletes nothing that it may have counted on.

A session is a file with the time of its start in its name, locked for as long as its process holds it open: however a
process ends, its lock ends with it.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = re.compile(r"(\d+)-[0-9a-f]+")


@contextmanager
def session(folder: Path, at: int) -> Iterator[None]:
    """Be a writer since ``at`` (us)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{at}-{secrets.token_hex(8)}"
    # Locked before it has a name that counts: nobody can take it for one of the dead.
    hidden = path.with_name(f".{path.name}")
    handle = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        hidden.rename(path)
        yield
    finally:
        hidden.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        os.close(handle)


def oldest(folder: Path) -> int | None:
    """Since when the longest of those at work is (us); None if nobody is. What the dead left is removed."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            found.append(int(match.group(1)))
        finally:
            os.close(handle)
    return min(found, default=None)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is there; one of somebody else's is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
