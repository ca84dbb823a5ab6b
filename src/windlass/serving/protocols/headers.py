"""What travels in the headers of a request and of its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

from windlass.domain.errors import Invalid

Headers = Mapping[bytes, bytes]  # names in lower case

DEADLINE = b"windlass-deadline-ms"
ENDPOINT = b"windlass-endpoint"
REQUEST_ID = b"x-request-id"
TRACE = (b"traceparent", b"tracestate")
BINARY = b"inference-header-content-length"
MOST_ID = 128
_NUMBER = re.compile(rb"[0-9]{1,9}")
_PRINTABLE = re.compile(rb"[\x20-\x7e]{1,%d}" % MOST_ID)


class Form(Enum):
    """How a body is written."""

    JSON = "application/json"
    CSV = "text/csv"


ACCEPTED = " or ".join(form.value for form in Form)


def deadline_ms(headers: Headers, most: int) -> int:
    """How long the sender waits for its answer, in ms from when the request is read; ``most`` is the endpoint's own
    limit, and holds where the sender names none or a longer one.

    Raises:
        Invalid: it is no whole number from 1 on.
    """
    sent = headers.get(DEADLINE)
    if sent is None:
        return most
    if _NUMBER.fullmatch(sent) is None or int(sent) == 0:
        raise Invalid(
            f"Windlass-Deadline-Ms is '{_shown(sent)}'", hint="send whole milliseconds: 1 to 999999999, or leave it out"
        )
    return min(int(sent), most)


def request_id(headers: Headers) -> str:
    """The sender's own id of the request; empty: it sent none.

    Raises:
        Invalid: it is no id that a log could hold.
    """
    sent = headers.get(REQUEST_ID)
    if sent is None:
        return ""
    if _PRINTABLE.fullmatch(sent) is None:
        raise Invalid(
            f"X-Request-Id is '{_shown(sent)}'", hint=f"send 1 to {MOST_ID} printable ASCII characters, or leave it out"
        )
    return sent.decode("ascii")


def passed_on(headers: Headers, identity: str) -> dict[str, str]:
    """The headers of an answer that belong to the request: its id, and its trace's context as it came."""
    found = {"x-request-id": identity} if identity else {}
    for name in TRACE:
        sent = headers.get(name)
        if sent is not None:
            found[name.decode()] = sent.decode("latin-1")
    return found


def form_of(headers: Headers) -> Form | None:
    """How the body is written, by its content type; without one it is JSON. None: in a way that is not known here."""
    sent = headers.get(b"content-type")
    if sent is None or sent == b"application/json":
        return Form.JSON
    kind, *parameters = (part.strip().lower() for part in sent.decode("latin-1").split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8", "us-ascii"):
            return None
    return next((form for form in Form if form.value == kind), None)


def unsupported(headers: Headers, accepted: str = ACCEPTED) -> Invalid:
    """What to say to a body in a way that is not known here (status 415)."""
    sent = headers.get(b"content-type", b"")
    return Invalid(f"a body of content type '{_shown(sent)}' is not read here", hint=f"send {accepted}, in UTF-8")


def _shown(value: bytes) -> str:
    return value[:60].decode("ascii", "backslashreplace")
