"""The smallest pieces of MLflow's search texts: names, numbers, quoted texts, lists.

Every pattern here takes time in proportion to what it reads, whatever it is given.
"""

from __future__ import annotations

import re

from windlass.domain.errors import Invalid

# A quote within quotes is written twice or after a backslash; a backslash before the last quote is just a backslash.
_SINGLE = r"'[^'\\]*+(?:(?:''|\\'|\\)[^'\\]*+)*'"
_DOUBLE = r'"[^"\\]*+(?:(?:""|\\"|\\)[^"\\]*+)*"'
_BACKTICKS = r"`[^`]*+(?:``[^`]*+)*`"
_NUMBER = r"-?(?:[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]+|[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?!\w)"


def _word(plain: str) -> re.Pattern[str]:
    name = rf"(?:{plain}|{_BACKTICKS}|{_DOUBLE})(?:\.(?:{plain}|{_BACKTICKS}|{_DOUBLE}|{_SINGLE}))*"
    return re.compile(
        rf"\s*+(?:(?P<number>{_NUMBER})|(?P<name>{name})|(?P<text>{_SINGLE})|(?P<operator>[<>=~!]+)|(?P<mark>[(),])"
        r"|(?P<end>\Z))"
    )


# What comes next, after any space: its group is the name of the one that matched.
WORD = _word(r"\w+")
# The same where names are also plain with - or / between words.
LOOSE_WORD = _word(r"\w+(?:[-/]\w+)*")

# Lists are read as Python reads a tuple of strings, for that is what MLflow does with them.
_PIECE = re.compile(
    r"""\s*+(?:'(?P<single>(?:[^'\\\r\n]|\\.)*+)'|"(?P<double>(?:[^"\\\r\n]|\\.)*+)"|(?P<mark>[,)]))""", re.DOTALL
)
_ESCAPE = re.compile(
    r"\\(?:(?P<octal>[0-7]{1,3})|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<one>.))",
    re.DOTALL,
)
_ONE = {
    "\\": "\\", "'": "'", '"': '"', "\n": "",
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip


def shown(text: str, most: int = 80) -> str:
    """As much of a text as a message can carry."""
    text = text.strip()
    return text if len(text) <= most else f"{text[:most]}..."


def bare(name: str) -> str:
    """A key without the quotes around it, then without the backticks; what stands between them stays as it is."""
    if len(name) >= 2 and name[0] in "'\"" and name[-1] == name[0]:
        name = name[1:-1]
    if len(name) >= 2 and name[0] == "`" and name[-1] == "`":
        name = name[1:-1]
    return name


def read_list(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """The quoted strings of a list whose bracket opened just before ``at``, and where the text goes on.

    Raises:
        Invalid: the list is empty, not closed, or has something else in it.
    """
    values: list[str] = []
    pieces: list[str] = []
    while True:
        match = _PIECE.match(text, at)
        if match is None:
            raise _ill_formed(text, at)
        at = match.end()
        group = match.lastgroup
        if group != "mark":
            # Strings side by side are one string, as in Python.
            pieces.append(_unescaped(match[group or 0]))
            continue
        if pieces:
            values.append("".join(pieces))
            pieces = []
        elif match["mark"] == ",":
            raise _ill_formed(text, match.start())
        if match["mark"] == ")":
            break
        after = _PIECE.match(text, at)
        if after is not None and after["mark"] == ")":
            at = after.end()
            break
    if not values:
        raise Invalid(
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list",
            hint="write IN ('a', 'b')",
        )
    return tuple(values), at


def _ill_formed(text: str, at: int) -> Invalid:
    rest = text[at : at + 200].lstrip()
    found = "but got ill-formed list" if not rest or rest[0] in "'\"," else "but got different type in list"
    return Invalid(
        f"While parsing a list in the query, expected a non-empty list of string values, {found} at '{shown(rest)}'",
        hint="write IN ('a', 'b'): every value in quotes, with commas between them",
    )


def _unescaped(written: str) -> str:
    return _ESCAPE.sub(_meant, written) if "\\" in written else written


def _meant(match: re.Match[str]) -> str:
    one = match["one"]
    if one is not None:
        if one in "xuUN":
            raise Invalid(
                f"While parsing a list in the query, a string has an ill-formed escape '{match[0]}'",
                hint="write a backslash as two",
            )
        return _ONE.get(one, match[0])
    code = int(match["octal"], 8) if match["octal"] else int(match["x"] or match["u"] or match["U"], 16)
    if code > 0x10FFFF:
        raise Invalid(
            f"While parsing a list in the query, a string has an ill-formed escape '{match[0]}'",
            hint="there is no such character",
        )
    return chr(code)
