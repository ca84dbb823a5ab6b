"""Pages of a list that a server gives, one token after the other, without trusting that it ever ends."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from windlass.domain.errors import Corrupt

T = TypeVar("T")

MOST_STALLED = 10  # pages in a row with nothing new in them


def pages(
    what: str, fetch: Callable[[str], tuple[Sequence[T], str]], identity: Callable[[T], Hashable]
) -> Iterator[list[T]]:
    """The pages that ``fetch`` gives for a token ("" is the first), each item once by its ``identity``.

    Raises:
        Corrupt: a token comes again, or nothing new comes for many pages: the list would never end.
    """
    tokens: set[str] = set()
    seen: set[Hashable] = set()
    token, stalled = "", 0
    while True:
        page, token = fetch(token)
        fresh = []
        for item in page:
            known = identity(item)
            if known not in seen:
                seen.add(known)
                fresh.append(item)
        stalled = 0 if fresh else stalled + 1
        if fresh:
            yield fresh
        if not token:
            return
        if token in tokens or stalled >= MOST_STALLED:
            raise Corrupt(f"the server's pages of {what} never end: it gives the same again and again")
        tokens.add(token)
