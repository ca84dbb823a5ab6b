"""What an exchange did, and what of it went wrong: one thing's trouble stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from windlass.domain.clock import SECOND, Clock
from windlass.domain.errors import Denied, Failure, Unavailable
from windlass.exchange.content import Experiment, Flaw

T = TypeVar("T")
Say = Callable[[str], None]

SAID_EVERY = 2 * SECOND
WHOLE_STOP = (Unavailable, Denied)  # nothing more can come


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something about one thing: why it was not copied, or not as it was."""

    subject: str
    what: str


@dataclass(slots=True, kw_only=True)
class Tally:
    """What an import did. ``unchanged``: runs that were here already."""

    experiments: int = 0
    runs: int = 0
    unchanged: int = 0
    points: int = 0
    files: int = 0
    size: int = 0
    logged_models: int = 0
    registered_models: int = 0
    versions: int = 0
    names: dict[str, str] = field(default_factory=dict)  # experiments that have another name here
    problems: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)
    said: int = 0  # when it was last told how far it is

    def failed(self, subject: str, failure: Failure) -> None:
        hint = f" ({failure.hint})" if failure.hint else ""
        self.problems.append(Remark(subject=subject, what=f"{failure.message}{hint}"))


def sound(found: Iterable[T | Flaw], tally: Tally) -> Iterator[T]:
    """What can be read; the rest is told."""
    for each in found:
        if isinstance(each, Flaw):
            tally.failed(each.subject, each.failure)
        else:
            yield each


class told:  # noqa: N801 - reads as a statement
    """What fails inside is a problem of its subject, and of nothing else."""

    def __init__(self, tally: Tally, subject: str) -> None:
        self._tally, self._subject = tally, subject

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Failure) and not isinstance(error, WHOLE_STOP):
            self._tally.failed(self._subject, error)
            return True
        return False


def pace(now: Clock, say: Say, of: Experiment, done: Tally) -> None:
    """Say now and then how far it is."""
    at = now()
    if at - done.said < SAID_EVERY:
        return
    if done.said:
        unchanged = f", {done.unchanged} were there already" if done.unchanged else ""
        say(
            f"experiment '{of.name}': {done.runs} runs{unchanged}, {done.points} points,"
            f" {done.files} files ({done.size / 1e6:.1f} MB)"
        )
    done.said = at
