"""Named parameters of a query: bound by the engine, never written into its text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from windlass.capture.config import Parameter
from windlass.domain.errors import Invalid

# What must not be looked into: strings, quoted names, comments, dollar quotes. Then ``:name``, where no name, string,
# bracket or colon stands right before it: those make it a cast (x::int), a slice (x[1:n]) or a field ({'a':n}).
_TOKENS = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | (\$\w*\$).*?\1
        | (?<![\w'"\]):}]):(?P<name>[A-Za-z_]\w*)""",
    re.VERBOSE | re.DOTALL,
)


def with_dollars(query: str, known: Mapping[str, Parameter]) -> str:
    """``:name`` as ``$name``, the engine's own way, for every parameter that is known."""

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        return f"${name}" if name in known else match[0]

    return _TOKENS.sub(replaced, query)


def parsed(text: str) -> tuple[str, Parameter]:
    """``name=value`` as a command line has it; a value that reads as a number, true or false is one.

    Raises:
        Invalid: it has another form.
    """
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise Invalid(f"'{text[:80]}' is not a parameter", hint="write it as name=value")
    if value in ("true", "false"):
        return name, value == "true"
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", value):
        return name, int(value)
    if re.fullmatch(r"-?[0-9]+\.[0-9]+(e[+-]?[0-9]+)?", value):
        return name, float(value)
    return name, value
