"""What may be purged, and why the rest may not: decided on rows alone, without any I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Something that was deleted at least as long ago as the retention.

    ``within``: things a hold on which holds it too. ``needed_by``: why it has to stay whatever the rest is, or "".
    """

    thing: str
    number: int
    group: str = ""  # within which the number counts: a version's model
    within: tuple[str, ...] = ()
    needed_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A model version that was not purged, and whether this purge does so."""

    thing: str
    model: str
    parents: tuple[str, ...]
    is_going: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """Why things have to stay: because of a hold, or because a version that stays came from them."""

    held: Mapping[str, str]
    needed: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    thing: str
    why: str


def protection(
    versions: Iterable[Version], parents: Mapping[str, Sequence[str]], holds: Mapping[str, str]
) -> Protection:
    """What holds and versions protect. ``parents``: the lineage, from what was made to what it was made of; ``holds``:
    each held thing with the reason.

    A hold on a model holds its versions; what is held holds everything that it came from.
    """
    versions = list(versions)
    above = {**parents, **{each.thing: (*parents.get(each.thing, ()), *each.parents) for each in versions}}
    held = {thing: f"held: {reason}" for thing, reason in holds.items()}
    for each in versions:
        if (model := f"model/{each.model}") in holds:
            held.setdefault(each.thing, f"held with {model}: {holds[model]}")
    for thing in list(held):
        for each_above in _above(thing, above):
            held.setdefault(each_above, f"held with {thing}: {held[thing].partition(': ')[2]}")
    needed: dict[str, str] = {}
    for each in versions:
        if not each.is_going:
            for each_above in _above(each.thing, above):
                needed.setdefault(each_above, f"{each.thing.partition('/')[2]} came from it")
    return Protection(held=held, needed=needed)


def decide(candidates: Iterable[Candidate], known: Protection) -> tuple[list[Candidate], list[Kept]]:
    """Those that may go, and why each of the others stays."""
    going, kept = list[Candidate](), list[Kept]()
    for each in candidates:
        why = next((known.held[name] for name in (each.thing, *each.within) if name in known.held), "")
        why = why or each.needed_by or known.needed.get(each.thing, "")
        if why:
            kept.append(Kept(thing=each.thing, why=why))
        else:
            going.append(each)
    return going, kept


def _above(thing: str, parents: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    pending = list(parents.get(thing, ()))
    while pending:
        if (name := pending.pop()) not in found:
            found.add(name)
            pending += parents.get(name, ())
    return found - {thing}
