"""The frames between a worker and those who ask it, over a Unix socket: docs/internals/wire.md.

A frame is a u32 length (little-endian) and that many bytes of msgpack: an array of the message's kind, its id and
its fields. Ids are the asker's; answers may come in any order.
"""

from __future__ import annotations

import struct
from typing import Any, TypeVar

import msgspec

from windlass.domain.errors import Corrupt, Invalid
from windlass.domain.schema import Scalar, Signature
from windlass.serving.record import Answer, Row

MAX_FRAME = 16 << 20

_LENGTH = struct.Struct("<I")
_ENCODER = msgspec.msgpack.Encoder()

T = TypeVar("T")


class Ask(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="ask"):
    """Answer these rows. ``deadline`` is on the machine's monotonic clock, in us: after it nobody listens; 0: none."""

    id: int
    rows: list[Row]
    deadline: int = 0


class Packed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="ask"):
    """An ``Ask`` as its worker reads it: the rows wait for who knows their signature."""

    id: int
    rows: msgspec.Raw
    deadline: int = 0


class Ping(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="ping"):
    id: int


class Describe(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="describe"):
    """What does your model take and give? Answered at once, also while the model is busy."""

    id: int


class Answers(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="answers"):
    """One prediction a row; for a classifier the probability of the positive class too."""

    id: int
    predictions: list[Scalar]
    probabilities: list[float] | None = None

    def rows(self) -> list[Answer]:
        """The answers row by row, as packages and the prediction log write them."""
        if self.probabilities is None:
            return [{"prediction": prediction} for prediction in self.predictions]
        return [
            {"prediction": prediction, "probability": probability}
            for prediction, probability in zip(self.predictions, self.probabilities, strict=True)
        ]


class Refusal(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="refusal"):
    """No answer. ``kind`` is an error's: invalid (the rows), failure (the model), unavailable (too late)."""

    id: int
    kind: str
    message: str
    hint: str = ""


class Pong(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="pong"):
    """``stuck_us``: for how long the model has been in one call while the deadline of somebody who waits has passed."""

    id: int
    stuck_us: int = 0


class Description(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="description"):
    """A worker's model: its columns, and what made it (``windlass``, or MLflow's flavor: ``mlflow_sklearn``)."""

    id: int
    signature: Signature
    platform: str
    format: int  # of its package


Request = Ask | Ping | Describe
Reply = Answers | Refusal | Pong | Description

REQUESTS: msgspec.msgpack.Decoder[Packed | Ping | Describe] = msgspec.msgpack.Decoder(Packed | Ping | Describe)
REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def count_of(rows: msgspec.Raw) -> int:
    """How many rows there are, by the head of their list; 0 if they are none."""
    head = bytes(memoryview(rows)[:5])
    if not head:
        return 0
    if head[0] & 0xF0 == 0x90:
        return head[0] & 0x0F
    if head[0] in (0xDC, 0xDD):
        return int.from_bytes(head[1 : 3 if head[0] == 0xDC else 5], "big")
    return 0


def frame(message: Request | Reply) -> bytes:
    """The message's bytes on the wire.

    Raises:
        Invalid: it does not fit into a frame.
    """
    try:
        payload = _ENCODER.encode(message)
    except OverflowError:
        raise Invalid(f"{_outside(message)} is outside of 64 bits") from None
    if len(payload) > MAX_FRAME:
        raise Invalid(f"{len(payload)} bytes in one request, more than {MAX_FRAME}", hint="send fewer rows at a time")
    return _LENGTH.pack(len(payload)) + payload


def _outside(message: Request | Reply) -> str:
    """Which number does not fit into a frame."""
    for number, row in enumerate(message.rows if isinstance(message, Ask) else (), start=1):
        for name, value in row.items():
            if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
                return f"row {number}: column '{name[:80]}'"
    return "a number"


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[Any]) -> None:
        self._decoder = decoder
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The messages that ``data`` completes.

        Raises:
            Corrupt: the stream holds a frame that is too long or is no message; nothing after it can be read.
        """
        if self._rest:
            self._rest += data
            data = bytes(self._rest)
        messages, at, end = [], 0, len(data)
        while at + 4 <= end:
            (length,) = _LENGTH.unpack_from(data, at)
            if length > MAX_FRAME:
                raise Corrupt(f"a frame of {length} bytes, more than {MAX_FRAME}")
            if at + 4 + length > end:
                break
            try:
                messages.append(self._decoder.decode(memoryview(data)[at + 4 : at + 4 + length]))
            except msgspec.MsgspecError as error:
                raise Corrupt(f"a frame that is no message: {error}") from None
            at += 4 + length
        self._rest = bytearray(data[at:])
        return messages
