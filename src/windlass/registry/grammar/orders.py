"""MLflow's ``order_by``: names, each with ASC or DESC or neither, made a total order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from windlass.domain.errors import Invalid
from windlass.registry.grammar.subjects import bounded, split, unknown
from windlass.registry.grammar.tables import Grammar, Order
from windlass.registry.grammar.words import WORD, shown

_WAYS = {"ASC": True, "DESC": False}


def parse_order(texts: Sequence[str], of: Grammar) -> tuple[Order, ...]:
    """What was asked for, in that order, then what decides between equals: the default order if nothing was asked.

    Raises:
        Invalid: a text names nothing this kind of thing is ordered by, names it twice, or is not in the grammar.
    """
    return _total([_order(text, of) for text in texts], of)


def parse_fields(fields: Iterable[tuple[str, bool]], of: Grammar) -> tuple[Order, ...]:
    """The same for names given bare, with whether they ascend: how searches for logged models send them.

    The name of a metric is all that follows ``metrics.``, with no quotes about it.

    Raises:
        Invalid: a name is nothing this kind of thing is ordered by.
    """
    asked = []
    for name, ascending in fields:
        bounded(name, "order by field name")
        before, dot, after = name.partition(".")
        kind = of.prefixes.get(before, before) if dot else "attribute"
        asked.append(_named(kind, after if dot else name, ascending, of))
    return _total(asked, of)


def _total(asked: list[Order], of: Grammar) -> tuple[Order, ...]:
    if not asked:
        return of.default
    seen = {(order.kind, order.key) for order in asked}
    if len(seen) < len(asked) and not of.repeats:
        named = [f"{order.kind}.{order.key}" for order in asked]
        raise Invalid(
            f"`order_by` contains duplicate fields: {shown(', '.join(named), 300)}", hint="name each field once"
        )
    return (*asked, *(tie for tie in of.ties if (tie.kind, tie.key) not in seen))


def _order(text: str, of: Grammar) -> Order:
    bounded(text, "order_by clause")
    match = WORD.match(text)
    if match is None or match.lastgroup != "name":
        raise _unreadable(text)
    name = match["name"]
    following = WORD.match(text, match.end())
    ascending = True
    if following is not None and following.lastgroup == "name":
        way = _WAYS.get(following["name"].upper())
        if way is None:
            raise Invalid(
                f"Invalid ordering key in order_by clause '{shown(text, 200)}'.", hint="a name, then ASC or DESC"
            )
        ascending = way
        following = WORD.match(text, following.end())
    if following is None or following.lastgroup != "end":
        raise _unreadable(text)
    kind, key = split(name, of)
    return _named(kind, key, ascending, of)


def _named(kind: str, key: str, ascending: bool, of: Grammar) -> Order:
    if kind == "attribute":
        canonical = of.orders.get(key)
        if canonical is None:
            raise unknown(kind, key, sorted(of.orders))
        return Order(kind, canonical, ascending)
    if kind not in of.free_orders:
        raise Invalid(
            f"Invalid order_by entity: '{shown(kind)}'",
            hint=f"a {of.of} is ordered by {', '.join(['attribute', *sorted(of.free_orders)])}",
        )
    return Order(kind, key, ascending)


def _unreadable(text: str) -> Invalid:
    return Invalid(
        f"Invalid order_by clause '{shown(text, 200)}'. Could not be parsed.",
        hint="a name, then ASC or DESC, as in metrics.accuracy DESC",
    )
