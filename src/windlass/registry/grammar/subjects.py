"""What a name in a filter or an order stands for."""

from __future__ import annotations

from windlass.domain.errors import Invalid
from windlass.registry.grammar.tables import Grammar
from windlass.registry.grammar.words import bare, shown

# Text beyond this is refused unread: long enough for a list of three thousand run ids.
MAX_TEXT = 100_000


def split(name: str, of: Grammar) -> tuple[str, str]:
    """The kind a written name is of, and its key: ``metrics."my loss"`` is the metric ``my loss``.

    Raises:
        Invalid: what stands before the first dot is no kind.
    """
    before, dot, after = name.partition(".")
    if not dot:
        return "attribute", bare(name)
    prefix = before[1:-1] if before[0] == "`" and before[-1] == "`" else before
    kind = of.prefixes.get(prefix)
    if kind is None:
        raise Invalid(
            f"Invalid entity type '{shown(prefix)}'. Valid entity types are {tuple(of.prefixes)}",
            hint=f"a {of.of} is searched by {', '.join(sorted({*of.fixed, *of.free}))}, as in tags.team = 'a'",
        )
    return kind, bare(after)


def unknown(kind: str, key: str, valid: list[str]) -> Invalid:
    return Invalid(
        f"Invalid {kind} key '{shown(key)}' specified. Valid keys are {valid}",
        hint="quotes belong around values only" if key[:1] in "'\"" else f"one of {', '.join(valid)}",
    )


def bounded(text: str, what: str) -> None:
    """Raises:
    Invalid: the text is longer than anything asked in earnest.
    """
    if len(text) > MAX_TEXT:
        raise Invalid(
            f"Invalid {what}: {len(text)} characters, and at most {MAX_TEXT} are read", hint="ask in several searches"
        )
