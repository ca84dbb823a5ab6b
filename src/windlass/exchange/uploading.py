"""Files on their way to a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from typing import BinaryIO, cast

from blake3 import blake3

from windlass.domain.errors import Denied, Failure, Unavailable
from windlass.domain.progress import Meter
from windlass.exchange import comparing
from windlass.exchange.content import File, LoggedModel, Run
from windlass.exchange.tallying import Tally
from windlass.exchange.twins import Exporter


class Known(Enum):
    """What tells whether a file is there already: nothing is; by its size, where an export was broken off, which
    uploads whole files; or by its bytes, where an earlier export was complete, and files here may have changed.
    """

    NOTHING, SIZES, BYTES = range(3)


def upload(
    job: Exporter, of: Run | LoggedModel, files: list[File], twin: Run | LoggedModel, tally: Tally, *, known: Known
) -> None:
    subject = f"{'run' if isinstance(of, Run) else 'logged model'} {of.id}"
    there = {} if known is Known.NOTHING else {each.path: each for each in job.there.files(twin)}
    for file in files:
        copy = there.get(file.path)
        if (
            copy is not None
            and copy.size == file.size
            and (known is Known.SIZES or comparing.digest_of(job.there, twin, copy, job.meter) == file.digest)
        ):
            continue
        try:
            job.writer.upload(twin.artifact_uri, file.path, partial(_opened, job, of, file), file.size or 0)
        except (Unavailable, Denied):
            raise
        except Failure as failure:
            tally.failed(f"{subject}: {file.path[:200]}", failure)
            continue
        tally.files += 1
        tally.size += file.size or 0


@contextmanager
def _opened(job: Exporter, of: Run | LoggedModel, file: File) -> Iterator[BinaryIO]:
    with job.here.open(of, file) as opened:
        yield cast(BinaryIO, _Metered(cast(BinaryIO, opened), job.meter, file))


class _Metered:
    def __init__(self, file: BinaryIO, meter: Meter, of: File) -> None:
        self._file, self._meter, self._of, self._done = file, meter, of, 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._done += len(data)
        if self._of.size:
            self._meter(self._of.path, self._done, self._of.size)
        return data


def state_of_files(files: list[File]) -> str:
    hasher = blake3()
    for file in files:
        hasher.update(f"{file.path}\n{file.digest}\n".encode())
    return hasher.hexdigest()[:32]
