"""JSON bodies: decoded in one go when all is well; once more, and slowly, only to say what is wrong and where."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from windlass.domain.errors import Invalid

# Where in a body something is: the names and the positions on the way to it.
Path = tuple[str | int, ...]
# A place in a protocol's own words: the body as plain values, and the path.
Place = Callable[[Any, Path], str]

T = TypeVar("T")

_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_NUMBER = 40  # digits
# To say where in a body a fault is takes a hundred times as long as to see that there is one, and everybody waits
# meanwhile: of a longer body (in bytes) it is said in the decoder's words.
MOST_EXPLAINED = 128 << 10


def decoded(decoder: msgspec.json.Decoder[T], body: bytes, place: Place, fault: Callable[[Any], str], hint: str) -> T:
    """The body, by ``decoder``.

    ``fault`` says of a body that is well-formed JSON, and refused, what it should have been; empty: it does not know.

    Raises:
        Invalid: it is no JSON, or not of the decoder's shape.
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(_why(body, place, fault, str(error)), hint=hint) from None


def require_once(body: bytes, names: int, rows: Sequence[Mapping[str, object]], place: Place) -> None:
    """Refuse an object that has a name twice: which of the two is meant, nobody knows.

    ``names`` is how many names were decoded, and ``rows`` what came of them. A colon follows each name: with as many
    colons none was twice. More may stand in text, be counted there, or (escaped) cost another look at the body.

    Raises:
        Invalid: names the place and the name.
    """
    colons = body.count(b":")
    if colons == names or (b"\\" not in body and colons == names + sum(map(_colons, rows))):
        return
    if len(body) > MOST_EXPLAINED:
        try:
            json.loads(body, object_pairs_hook=_only_once)
        except (ValueError, RecursionError) as error:
            raise Invalid(f"the body is not JSON: {shown(error)}") from None
        return
    plain = _plain(body)
    odd = _first_odd(plain, ())
    if odd is not None:
        raise Invalid(_said(plain, odd, place))


def _colons(row: Mapping[str, object]) -> int:
    return "".join(row).count(":") + "".join([each for each in row.values() if type(each) is str]).count(":")


def shown(name: object) -> str:
    """A name or value as errors show it: short, and text that can be encoded."""
    text = str(name).encode("utf-8", "replace").decode()
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(frozen=True, slots=True)
class _Odd:
    """What is no value of a request, and why."""

    why: str


def _why(body: bytes, place: Place, fault: Callable[[Any], str], said: str) -> str:
    if len(body) > MOST_EXPLAINED:
        return f"the body is not of a known form: {shown(said)}"
    plain = _plain(body)
    odd = _first_odd(plain, ())
    if odd is not None:
        return _said(plain, odd, place)
    return fault(plain) or f"the body is not of a known form: {shown(said)}"


def _said(plain: Any, odd: tuple[Path, str], place: Place) -> str:
    where = place(plain, odd[0])
    return f"{where}: {odd[1]}" if where else odd[1]


def _plain(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8", "surrogateescape"),
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_integer,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise Invalid("the body is nested too deeply for a request") from None
    except ValueError as error:
        raise Invalid(f"the body is not JSON: {shown(error)}") from None


def _constant(token: str) -> _Odd:
    return _Odd(f"{token} is no JSON and no value; send null where the column may be missing")


def _float(text: str) -> float | _Odd:
    value = float(text)
    return value if math.isfinite(value) else _Odd(f"{shown(text)} is outside of 64 bits")


def _integer(text: str) -> int | _Odd:
    if len(text) > _LONGEST_NUMBER or not -(1 << 63) <= int(text) < 1 << 64:
        return _Odd(f"{shown(text)} is outside of 64 bits")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Odd:
    twice = _twice(pairs)
    return dict(pairs) if twice is None else _Odd(f"'{shown(twice)}' is there twice")


def _only_once(pairs: list[tuple[str, Any]]) -> None:
    if (twice := _twice(pairs)) is not None:
        raise Invalid(f"'{shown(twice)}' is there twice in one object")


def _twice(pairs: list[tuple[str, Any]]) -> str | None:
    """The first name that is there more than once."""
    seen: set[str] = set()
    if len(pairs) == len(dict(pairs)):
        return None
    return next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]


def _first_odd(value: Any, path: Path) -> tuple[Path, str] | None:
    # As deep as the body is nested, and so as json itself, which has refused what is too deep.
    try:
        return _odd(value, path)
    except RecursionError:
        raise Invalid("the body is nested too deeply for a request") from None


def _odd(value: Any, path: Path) -> tuple[Path, str] | None:
    if isinstance(value, _Odd):
        return path, value.why
    if isinstance(value, str) and _SURROGATE.search(value):
        return path, "this is no text: it is not UTF-8"
    if isinstance(value, dict):
        for name, each in value.items():
            if _SURROGATE.search(name):
                return path, f"the name '{shown(name)}' is no text: it is not UTF-8"
            if (found := _odd(each, (*path, name))) is not None:
                return found
    elif isinstance(value, list):
        for number, each in enumerate(value):
            if (found := _odd(each, (*path, number))) is not None:
                return found
    return None
