"""Pages of a list that a server gives, one token after the other, without trusting that it ever ends."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from blake3 import blake3

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
    seen: set[Hashable] = set()

    def fresh(page: Sequence[T]) -> list[T]:
        found = []
        for item in page:
            known = identity(item)
            if known not in seen:
                seen.add(known)
                found.append(item)
        return found

    return _walked(what, fetch, fresh)


def whole_pages(what: str, fetch: Callable[[str], tuple[Sequence[T], str]]) -> Iterator[list[T]]:
    """As ``pages``, for more items than can be remembered: a page comes once, an item maybe twice. Raises Corrupt."""
    seen: set[bytes] = set()

    def fresh(page: Sequence[T]) -> list[T]:
        known = blake3(repr(page).encode()).digest()
        if not page or known in seen:
            return []
        seen.add(known)
        return list(page)

    return _walked(what, fetch, fresh)


def _walked(
    what: str, fetch: Callable[[str], tuple[Sequence[T], str]], fresh: Callable[[Sequence[T]], list[T]]
) -> Iterator[list[T]]:
    """The pages with what is new in them.

    Raises:
        Corrupt: a token comes again, or nothing new comes for many pages: the list would never end.
    """
    tokens: set[str] = set()
    token, stalled = "", 0
    while True:
        page, token = fetch(token)
        found = fresh(page)
        stalled = 0 if found else stalled + 1
        if found:
            yield found
        if not token:
            return
        if token in tokens or stalled >= MOST_STALLED:
            raise Corrupt(f"the server's pages of {what} never end: it gives the same again and again")
        tokens.add(token)
