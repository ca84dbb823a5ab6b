"""One tree of errors.

Failure                  something went wrong that the caller could not foresee
├── NotFound             the named thing does not exist
├── Conflict             the thing moved since it was read, or exists already
├── Invalid              the input is malformed or means nothing
├── WrongState           the thing is not in a state in which that can be done
├── Denied               the actor may not do this
├── Refused              a gate or a policy says no; carries the evidence
├── Corrupt              bytes are not what their digest says
└── Unavailable          something needed is not there now; retrying may help

The domain knows no HTTP and no exit codes: the faces map a type to theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass
class Failure(Exception):
    """What is wrong (``message``), where (in the message), and what to do next (``hint``)."""

    message: str
    hint: str = ""

    kind: ClassVar[str] = "failure"

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle by ``args``, which a dataclass does not fill.
        return (type(self), tuple(getattr(self, name) for name in self.__dataclass_fields__))


@dataclass
class NotFound(Failure):
    kind: ClassVar[str] = "not_found"


@dataclass
class Conflict(Failure):
    kind: ClassVar[str] = "conflict"


@dataclass
class Invalid(Failure):
    kind: ClassVar[str] = "invalid"


@dataclass
class WrongState(Failure):
    kind: ClassVar[str] = "wrong_state"


@dataclass
class Denied(Failure):
    kind: ClassVar[str] = "denied"


@dataclass
class Refused(Failure):
    """``evidence`` names what was found missing or failing, one line each."""

    evidence: Sequence[str] = ()
    kind: ClassVar[str] = "refused"


@dataclass
class Corrupt(Failure):
    expected: str = ""
    actual: str = ""
    kind: ClassVar[str] = "corrupt"


@dataclass
class Unavailable(Failure):
    retryable: bool = True
    kind: ClassVar[str] = "unavailable"


KINDS: dict[str, type[Failure]] = {
    error.kind: error
    for error in (Failure, NotFound, Conflict, Invalid, WrongState, Denied, Refused, Corrupt, Unavailable)
}
