"""The files of a log: which there are, and what is in one."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from windlass.domain.errors import Corrupt
from windlass.serving.log.position import WRITER
from windlass.serving.record import Record

FORMAT = 1
HEADER = struct.Struct("<8sII")  # magic, format, zero
MAGIC = b"WNDLLOG\n"
FRAME = struct.Struct("<II")  # length and crc32 of the payload

_NAME = re.compile(r"(\d{6,})\.log")
_DECODER: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One file of one writer. Its successor, once there is one, shows that it is finished."""

    number: int
    path: Path


def writers(folder: Path) -> dict[str, Path]:
    """The writers of an endpoint's log by name, with their folders; "" wrote to the endpoint's folder itself."""
    try:
        entries = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = {path.name: path for path in entries if WRITER.fullmatch(path.name) and path.is_dir()}
    if any(_NAME.fullmatch(path.name) for path in entries):
        found[""] = folder
    return dict(sorted(found.items()))


def segments(folder: Path) -> list[Segment]:
    """The segments in a writer's folder, in order."""
    try:
        entries = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(Segment(int(match[1]), path) for path in entries if (match := _NAME.fullmatch(path.name)))


def records(path: Path, offset: int, limit: int | None, last: int | None) -> tuple[list[Record], list[int]]:
    """The whole records of a segment after ``offset``, and after how many bytes each ends. Nothing after ``last`` is
    looked at.

    A torn tail is left alone: of the newest segment it may be a write under way, of an older one a crash.

    Raises:
        Corrupt: the segment is of no known format, or a whole record in it is damaged.
        FileNotFoundError: it is gone.
    """
    found: list[Record] = []
    ends: list[int] = []
    with path.open("rb") as file:
        header = file.read(HEADER.size)
        if len(header) < HEADER.size:
            return found, ends
        if HEADER.unpack(header)[:2] != (MAGIC, FORMAT):
            raise Corrupt(
                f"{path} is no prediction log of format {FORMAT}",
                hint="move it out of the folder, or read it with the Windlass that wrote it",
            )
        offset = max(offset, HEADER.size)
        file.seek(offset)
        data = memoryview(file.read() if last is None else file.read(max(0, last - offset)))
    at, size = 0, len(data)
    while at + FRAME.size <= size and (limit is None or len(found) < limit):
        length, crc = FRAME.unpack_from(data, at)
        start, stop = at + FRAME.size, at + FRAME.size + length
        if stop > size:
            break
        payload = data[start:stop]
        if zlib.crc32(payload) != crc:
            if stop == size or not any(data[start:]):
                break  # written in part, or the file grew and its bytes did not arrive: torn
            raise _damaged(path, offset + at)
        try:
            found.append(_DECODER.decode(payload))
        except msgspec.MsgspecError:
            if not any(data[at:]):
                break  # the file grew and nothing arrived: no bytes have the checksum 0
            raise _damaged(path, offset + at) from None
        at = stop
        ends.append(offset + at)
    return found, ends


def whole_until(path: Path) -> int:
    """After how many bytes the last whole record of a segment ends; 0 where there is not even a header."""
    try:
        data = memoryview(path.read_bytes())
    except FileNotFoundError:
        return 0
    if len(data) < HEADER.size:
        return 0
    at = HEADER.size
    while at + FRAME.size <= len(data):
        length, crc = FRAME.unpack_from(data, at)
        payload = data[at + FRAME.size : at + FRAME.size + length]
        if len(payload) < length or zlib.crc32(payload) != crc or not length:
            break
        at += FRAME.size + length
    return at


def _damaged(path: Path, offset: int) -> Corrupt:
    return Corrupt(
        f"{path}: the record at byte {offset} is damaged",
        hint="the records before it are whole; restore the segment from a copy, or move it away to go on without it",
    )
