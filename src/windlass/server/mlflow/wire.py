"""JSON in and out, in proto3's mapping: an int64 may be text, null is absent, NaN and infinities are numbers."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from windlass.domain.errors import Invalid
from windlass.registry.tracking.names import LONG

T = TypeVar("T")

MAX_DEPTH = 32
_DOCS = " See the API docs for more information about request parameters."
_encode = msgspec.json.Encoder().encode
encoded = _encode


def decoded(body: bytes, into: type[T]) -> T:
    """A body as a request.

    Raises:
        Invalid: it is not a JSON object, or a field has a value of another type; the message names it.
    """
    try:
        found: T = _decoder(cast(Hashable, into)).decode(body or b"{}")
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        # Bare NaN, a null, or wrong: the slow way tells which.
        return converted(_plain(body), into)
    return found


@cache
def _decoder(into: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(into, strict=False)


def _plain(body: bytes) -> dict[str, Any]:
    try:
        plain = json.loads(body)
        # A lone surrogate is legal JSON and no text.
        json.dumps(plain, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {str(error)[:200]}") from None
    if not isinstance(plain, dict):
        raise Invalid("the body is not a JSON object")
    return plain


def queried(items: Iterable[tuple[str, str]], into: type[T]) -> T:
    """Query parameters as a request. Raises as ``decoded``."""
    several = _several(cast(Hashable, into))
    plain: dict[str, Any] = {}
    for name, value in items:
        if name in several:
            plain.setdefault(name, []).append(value)
        else:
            plain.setdefault(name, value)
    return converted(plain, into)


@cache
def _several(into: Any) -> frozenset[str]:
    described = msgspec.inspect.type_info(into)
    assert isinstance(described, msgspec.inspect.StructType)
    return frozenset(each.name for each in described.fields if isinstance(each.type, msgspec.inspect.ListType))


def converted(plain: Mapping[str, Any], into: type[T]) -> T:
    """Plain values as a request. Raises as ``decoded``."""
    given = _without_nulls(plain)
    try:
        return msgspec.convert(given, into, strict=False)
    except msgspec.ValidationError as error:
        _, _, at = str(error).partition(" - at `$")
        path = at.rstrip("`").lstrip(".")
        value = _at(given, path)
        shown = json.dumps(value, separators=(",", ":"))[:200]
        raise Invalid(
            f"Invalid value {shown} for parameter '{path}' supplied:  Hint: Value was of type"
            f" '{type(value).__name__}'." + _DOCS
        ) from None


def required(asked: Any, *names: str) -> None:
    """Raises:
    Invalid: a field has no value.
    """
    for name in names:
        if getattr(asked, name) in (None, "", []):
            raise Invalid(f"Missing value for required parameter '{name}'." + _DOCS)


def _without_nulls(value: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise Invalid("the body is nested too deeply")
    if isinstance(value, dict):
        return {key: _without_nulls(inner, depth + 1) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner, depth + 1) for inner in value if inner is not None]
    return value


def _at(value: Any, path: str) -> Any:
    for part in re.findall(r"[^.\[\]]+", path):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return value


def number(value: float) -> float | str:
    """A float as proto3's JSON has it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def real(value: float | str | None, where: str) -> float:
    """A float from proto3's JSON.

    Raises:
        Invalid: it is none.
    """
    if isinstance(value, float):
        return value
    try:
        return float(value) if value is not None else math.nan
    except ValueError:
        raise Invalid(
            f"Invalid value {json.dumps(value)[:200]} for parameter '{where}' supplied:  Hint: Value was of type"
            " 'str'." + _DOCS
        ) from None


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def start_of(token: str) -> int:
    """Where a page starts.

    Raises:
        Invalid: the token is none of ours.
    """
    if not token:
        return 0
    try:
        start = json.loads(base64.b64decode(token, validate=True))["offset"]
    except (ValueError, TypeError, KeyError):
        start = -1
    if not isinstance(start, int) or not 0 <= start <= LONG:
        raise Invalid(
            "Invalid page token, could not base64-decode", hint="send back the next_page_token of the page before"
        )
    return start


def paged(found: Sequence[T], start: int, most: int) -> tuple[Sequence[T], dict[str, str]]:
    """A page from ``most`` + 1 items, and what tells of the next one."""
    following = {}
    if len(found) > most:
        following["next_page_token"] = base64.b64encode(b'{"offset": %d}' % (start + most)).decode()
    return found[:most], following


def checked_most(most: int, limit: int) -> int:
    """``most`` results if that many may be asked for. Raises Invalid."""
    if most > limit or most < 1 or most > LONG:
        raise Invalid(
            f"Invalid value {most} for parameter 'max_results' supplied: It must be at most {limit}"
            if most > limit
            else f"Invalid value for parameter 'max_results' supplied: It must be at least 1, but got value {most}"
        )
    return most
