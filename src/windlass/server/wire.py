"""JSON in and out: strict decoding into a request's dataclass, and one way to encode what goes back."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response

from windlass.domain.errors import Failure, Invalid
from windlass.server.errors import body_of, headers_of, status_of

T = TypeVar("T")


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=_plain)


def answered(value: Any, *, status: int = 200) -> Response:
    return Response(encoded(value), status_code=status, media_type="application/json")


def failed(error: Failure, *, status: int | None = None, headers: Mapping[str, str] | None = None) -> Response:
    code = status or status_of(error)
    given = {**headers_of(error), **(headers or {})}
    return Response(encoded(body_of(error)), status_code=code, media_type="application/json", headers=given)


def decoded(body: bytes, into: type[T]) -> T:
    """A JSON body as ``into``; an empty one is an empty object.

    Raises:
        Invalid: malformed, a wrong type, a missing or an unknown field (the message names it).
    """
    try:
        plain = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}", hint="send one JSON object") from None
    if not isinstance(plain, dict):
        raise Invalid("the body is not a JSON object", hint='send the fields of the request as {"name": value}')
    return converted(plain, into, strict=True)


def queried(items: Sequence[tuple[str, str]], into: type[T]) -> T:
    """Query parameters as ``into``: a field that holds several values takes a repeated parameter.

    Raises:
        Invalid: as ``decoded``.
    """
    hints = typing.get_type_hints(into)
    plain: dict[str, Any] = {}
    for name, value in items:
        if _holds_several(hints.get(name)):
            plain.setdefault(name, []).append(value)
        elif name in plain:
            raise Invalid(f"'{name}' is given twice", hint="give it once")
        else:
            plain[name] = value
    return converted(plain, into, strict=False)


def converted(plain: dict[str, Any], into: type[T], *, strict: bool) -> T:
    known = {field.name for field in fields(into)}  # type: ignore[arg-type]
    unknown = sorted(set(plain) - known)
    if unknown:
        raise Invalid(
            f"unknown field '{unknown[0]}'", hint=f"the fields are: {', '.join(sorted(known)) or 'none at all'}"
        )
    try:
        return msgspec.convert(plain, into, strict=strict, dec_hook=_typed)
    except msgspec.ValidationError as error:
        raise Invalid(f"{error}".replace("`", "'"), hint="/docs shows the fields and their types") from None


def _holds_several(hint: Any) -> bool:
    if hint is None or isinstance(hint, str) or hint is str:
        return False
    origin = typing.get_origin(hint) or hint
    if isinstance(origin, type):
        return issubclass(origin, Sequence) and origin is not str
    return any(_holds_several(part) for part in typing.get_args(hint))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _typed(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"{kind.__name__} cannot be received")
