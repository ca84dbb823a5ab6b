"""An import: what it is done with, and what is wanted of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from windlass.domain.clock import Clock
from windlass.domain.errors import Invalid
from windlass.domain.ports import Database, ObjectStore
from windlass.domain.progress import Meter
from windlass.exchange.content import Experiment, ModelVersion, Source
from windlass.exchange.tallying import Say, Tally, sound


class Registrar(Protocol):
    """By whom versions are registered and moved: policy decides there."""

    def register(self, of: ModelVersion, *, model: str, source: str, tags: Mapping[str, str]) -> int:
        """Raises Failure."""

    def move_stage(self, model: str, number: int, stage: str) -> None: ...

    def move_alias(self, model: str, number: int, alias: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to import: ``only`` experiments of these names, all if empty; ``prefix``: put before the names of
    experiments and registered models; ``again``: what is complete and did not change, too.
    """

    only: frozenset[str] = frozenset()
    prefix: str = ""
    again: bool = False

    def takes(self, of: Experiment) -> bool:
        return not self.only or of.name in self.only


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    db: Database
    objects: ObjectStore
    source: Source
    registrar: Registrar
    now: Clock
    new_id: Callable[[], str]
    say: Say
    meter: Meter

    def milliseconds(self) -> int:
        return self.now() // 1000


def experiments_of(source: Source, wanted: Wanted, tally: Tally) -> list[Experiment]:
    """The experiments that are wanted.

    Raises:
        Invalid: the source has not one that is asked for by its name.
    """
    found = [each for each in sound(source.experiments(), tally) if wanted.takes(each)]
    missing = sorted(wanted.only - {each.name for each in found})
    if missing:
        raise Invalid(f"the source has no experiment '{missing[0][:200]}'", hint="names are exact; see --dry-run")
    return found
