"""The frames between a worker and those who ask it, over a Unix socket: docs/internals/wire.md.

A frame is a u32 length (little-endian) and that many bytes of msgpack: an array of the message's kind, its id and
its fields. Ids are the asker's; answers may come in any order.
"""

from __future__ import annotations

import struct
from typing import Any, TypeVar

import msgspec

from windlass.domain.errors import Corrupt, Invalid
from windlass.domain.schema import Scalar
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


class Ping(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="ping"):
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


Request = Ask | Ping
Reply = Answers | Refusal | Pong

REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def frame(message: Request | Reply) -> bytes:
    """The message's bytes on the wire.

    Raises:
        Invalid: it does not fit into a frame.
    """
    try:
        payload = _ENCODER.encode(message)
    except OverflowError:
        raise Invalid("a number is outside of 64 bits") from None
    if len(payload) > MAX_FRAME:
        raise Invalid(f"{len(payload)} bytes in one request, more than {MAX_FRAME}", hint="send fewer rows at a time")
    return _LENGTH.pack(len(payload)) + payload


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
