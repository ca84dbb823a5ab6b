"""MLflow's filter texts: comparisons joined by AND."""

from __future__ import annotations

import re
from dataclasses import dataclass

from windlass.domain.errors import Invalid
from windlass.registry.grammar.subjects import bounded, split, unknown
from windlass.registry.grammar.tables import Field, Grammar, Holds
from windlass.registry.grammar.words import LOOSE_WORD, WORD, read_list, shown

Value = str | float | int | tuple[str, ...] | None

_LONG = 2**63
_WHOLE = re.compile(r"\s*+-?[0-9]{1,19}\s*+")
_LIKE = frozenset({"LIKE", "ILIKE", "RLIKE"})
_EXPECTED = {
    "param": "Expected a quoted string value for parameter (e.g. 'my-value').",
    "tag": "Expected a quoted string value for tag (e.g. 'my-value').",
    "attribute": "Expected a quoted string value for attributes.",
    "dataset": "Expected a quoted string value for dataset attributes.",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition.

    Attributes:
        kind: ``attribute``, ``metric``, ``param``, ``tag`` or ``dataset``.
        key: the canonical name of an attribute (``start_time`` for ``Created``), else the name as given.
        operator: ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``LIKE``, ``ILIKE``, ``IN``, ``NOT IN``, ``IS NULL``
            or ``IS NOT NULL``.
        value: a float for metrics, an int (a float where written as one) for attributes that are numbers, a tuple for
            lists, ``None`` for the last two operators, else a text.
    """

    kind: str
    key: str
    operator: str
    value: Value


def parse_filter(text: str | None, of: Grammar) -> tuple[Comparison, ...]:
    """The comparisons that must all hold; none for an empty filter.

    Every AND may be left out, as MLflow has it.

    Raises:
        Invalid: the text is not in the grammar, compares what this kind of thing has not, or is too long.
    """
    if not text:
        return ()
    bounded(text, "filter string")
    if text.isspace():
        raise Invalid(f"Invalid filter '{shown(text)}'. Could not be parsed.", hint="leave the filter out instead")
    found: list[Comparison] = []
    read = (LOOSE_WORD if of.loose else WORD).match
    at = 0
    while True:
        match = read(text, at)
        if match is None or match.lastgroup not in ("name", "end"):
            raise _odd(text, at)
        if match.lastgroup == "end":
            return tuple(found)
        start, at = at, match.end()
        name = match["name"]
        if name in ("AND", "and") or (len(name) == 3 and name.upper() == "AND"):
            continue
        match = read(text, at)
        if match is None:
            raise _odd(text, start)
        at = match.end()
        operator: str | None = match["operator"]
        if operator is None:
            operator, at = _word_operator(match, text, start)
        if operator in ("IN", "NOT IN"):
            listed, at = _list(text, at, start)
            found.append(_listed(name, operator, listed, of))
        elif operator in ("IS NULL", "IS NOT NULL"):
            found.append(_null(name, operator, of))
        else:
            match = read(text, at)
            if match is None or match.lastgroup == "end":
                raise _odd(text, start)
            at = match.end()
            found.append(_compared(name, operator, match, of))


def _word_operator(match: re.Match[str], text: str, start: int) -> tuple[str, int]:
    """An operator of letters, of which the first word is read already."""
    words = [(match["name"] or "").upper()]
    at = match.end()
    # The longest is IS NOT NULL.
    while words[-1] in ("NOT", "IS") and len(words) < 3:
        following = WORD.match(text, at)
        if following is None or following.lastgroup != "name":
            break
        words.append(following["name"].upper())
        at = following.end()
    operator = " ".join(words)
    if operator in ("IN", "NOT IN", "IS NULL", "IS NOT NULL") or words[-1] in _LIKE:
        return operator, at
    raise _odd(text, start)


def _list(text: str, at: int, start: int) -> tuple[tuple[str, ...], int]:
    match = WORD.match(text, at)
    if match is None or match["mark"] != "(":
        raise _odd(text, start)
    return read_list(text, match.end())


def _subject(name: str, of: Grammar) -> tuple[str, str, Field]:
    kind, key = split(name, of)
    field = of.free.get(kind)
    if field is not None:
        return kind, key, field
    field = of.fixed[kind].get(key)
    if field is None:
        raise unknown(kind, key, sorted(of.fixed[kind]))
    return kind, field.key, field


def _listed(name: str, operator: str, values: tuple[str, ...], of: Grammar) -> Comparison:
    kind, key, field = _subject(name, of)
    if operator not in field.operators:
        supported = sorted({each.key for each in of.fixed["attribute"].values() if operator in each.operators})
        if field.holds not in (Holds.TEXT, Holds.ID):
            what = f"Expected numeric value type for {kind}. Found a list."
        else:
            what = f"{_EXPECTED[kind]} Got a list."
        raise Invalid(
            f"{what} Only {supported} attributes support comparison with a list of quoted string values.",
            hint=f"compare '{shown(key)}' by {_choice(field)}",
        )
    if field.holds is Holds.ID:
        values = tuple(_id(value, key) for value in values)
    return Comparison(kind, key, operator, values)


def _null(name: str, operator: str, of: Grammar) -> Comparison:
    kind, key, field = _subject(name, of)
    if operator not in field.operators:
        having = [f"{each}s" for each, free in of.free.items() if operator in free.operators]
        only = f"only supported for {' and '.join(having)}" if having else f"not supported for {of.of}s"
        raise Invalid(
            f"Invalid comparison clause. IS NULL / IS NOT NULL is {only}, not for {kind} '{shown(key)}'",
            hint=f"compare it by {_choice(field)}",
        )
    return Comparison(kind, key, operator, None)


def _compared(name: str, operator: str, match: re.Match[str], of: Grammar) -> Comparison:
    kind, key, field = _subject(name, of)
    if operator not in field.operators:
        raise Invalid(
            f"{of.wrong_operator} '{shown(operator)}' for {kind} '{shown(key)}', not one of {_choice(field)}",
            hint="equal is written as =" if operator == "==" else "",
        )
    raw = match[match.lastgroup or 0]
    holds = field.holds
    if holds is Holds.TEXT:
        return Comparison(kind, key, operator, _text(raw, match.lastgroup, kind, of))
    if holds is Holds.REAL:
        return Comparison(kind, key, operator, _real(raw, match.lastgroup, kind, of))
    if holds is Holds.ID:
        return Comparison(kind, key, operator, _id(_text(raw, match.lastgroup, kind, of), key))
    return Comparison(kind, key, operator, _number(raw, match.lastgroup, key, holds, of))


def _text(raw: str, group: str | None, kind: str, of: Grammar) -> str:
    # Double quotes make a name, of which the value is what stands between the first and the last of them.
    if group == "text" or (group == "name" and len(raw) > 1 and raw[0] == raw[-1] == '"'):
        return raw[1:-1]
    if of.loose and group in ("name", "number"):
        return raw
    if group == "name":
        what = (
            "Parameter value is either not quoted or unidentified quote types used for string value "
            f"{shown(raw)}. Use either single or double quotes."
        )
    else:
        what = f"{_EXPECTED[kind]} Got value {shown(raw)}"
    raise Invalid(what, hint=f"write '{shown(raw)}', in quotes" if group in ("name", "number") else "")


def _real(raw: str, group: str | None, what: str, of: Grammar) -> float:
    if group == "number" or (of.loose and group == "name"):
        try:
            return float(raw)
        except ValueError:
            pass
    raise Invalid(
        f"Expected numeric value type for {what}. Found {shown(raw)}", hint="write a number, as in metrics.loss < 0.5"
    )


def _number(raw: str, group: str | None, key: str, holds: Holds, of: Grammar) -> float | int:
    if holds is Holds.WHOLE_OR_QUOTED and (group == "text" or (group == "name" and raw[0] == raw[-1] == '"')):
        raw = raw[1:-1]
    elif group != "number":
        if holds is Holds.NUMBER and of.loose:
            return _real(raw, group, f"numeric attribute: {key}", of)
        raise Invalid(
            f"Expected numeric value type for numeric attribute: {key}. Found {shown(raw)}",
            hint="write a whole number; times are milliseconds since 1970",
        )
    if _WHOLE.fullmatch(raw):
        value = int(raw)
        if -_LONG <= value < _LONG:
            return value
    elif holds is Holds.NUMBER and not raw.removeprefix("-").isdigit():
        return float(raw)
    raise Invalid(
        f"Invalid value for numeric attribute '{key}': '{shown(raw)}'", hint="write a whole number of at most 64 bits"
    )


def _id(value: str, key: str) -> str:
    if not _WHOLE.fullmatch(value):
        raise Invalid(f"Invalid {key} '{shown(value)}'. Expected a whole number in quotes", hint=f"as in {key} = '1'")
    return str(int(value))


def _choice(field: Field) -> str:
    return ", ".join(sorted(field.operators))


def _odd(text: str, at: int) -> Invalid:
    rest = text[at : at + 200].lstrip()
    first = rest.split(None, 1)[0].upper() if rest else ""
    hints = {
        "OR": "only AND joins clauses; ask for each side of OR in its own search",
        "(": "only AND joins clauses; there are no brackets around them",
        "NOT": "write != instead, or NOT IN",
    }
    hint = hints.get(first if first in hints else first[:1])
    return Invalid(
        f"Invalid clause(s) in filter string: '{shown(rest)}'",
        hint=hint or "clauses like metrics.loss < 0.5 or params.model = 'tree', joined by AND",
    )
