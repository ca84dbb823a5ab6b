"""A folder for what is being made: gone when it is done, and swept up by the next one if its process was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from windlass.domain.errors import Unavailable


@contextmanager
def scratch(home: Path) -> Iterator[Path]:
    """A new empty folder in ``home``, for as long as the block runs.

    Raises:
        Unavailable: it cannot be made.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _held(home):  # nobody sweeps between the making of a folder and its lock
            _sweep(home)
            place = Path(tempfile.mkdtemp(dir=home))
            lock = os.open(place, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise Unavailable(f"cannot write {home}: {error.strerror}", hint="check the disk") from None
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _sweep(home: Path) -> None:
    for place in home.iterdir():
        try:
            lock = os.open(place, os.O_RDONLY)
        except FileNotFoundError:
            continue  # its process is done with it just now
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(place, ignore_errors=True)
        except BlockingIOError:
            continue  # in use
        finally:
            os.close(lock)
