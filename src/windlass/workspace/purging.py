"""`windlass purge`: rows by the retention, then the space of what they named."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial

from windlass.domain import digest
from windlass.domain.clock import SECOND
from windlass.domain.errors import Invalid
from windlass.governance.retention import purging
from windlass.governance.retention.deciding import Kept
from windlass.store import collect
from windlass.store.collect import Collected
from windlass.workspace import collecting
from windlass.workspace.workspace import Workspace

# What else is garbage waits as long as it does for `windlass data gc`.
_GRACE = 24 * 3600 * SECOND
MOST_LISTED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """``counts`` and ``expired`` by kind. Of ``things``, and of ``kept`` (what stays although its time is over), the
    first MOST_LISTED. After a dry run, all of it is what would have been.
    """

    dry_run: bool
    days: int
    counts: dict[str, int]
    expired: dict[str, int]
    things: list[str]
    kept_count: int
    kept: list[Kept]
    collected: Collected


def purge(ws: Workspace, *, dry_run: bool, older_than: int | None) -> Purged:
    """Purge what was deleted long enough ago, and free what only that needed.

    Raises:
        Invalid: a negative number of days.
        Unavailable: another process collects garbage; the rows are gone, the space is freed by the next purge or gc.
    """
    config = ws.config.retention
    days = config.deleted_days if older_than is None else older_than
    if days < 0:
        raise Invalid(f"--older-than is {days}", hint="give 0 days or more")
    ws.progress("looking for what is to be purged")
    if dry_run:
        found = purging.foresee(ws.database, config, days=days, at=ws.now())
    else:
        found = purging.purge(
            ws.database, ws.objects, config, days=days, actor=ws.actor, now=ws.now, progress=ws.progress
        )
    ws.progress("looking for what nothing needs any more")
    collected = collect.collect(
        ws.store,
        partial(collecting.referred, ws.database, ws.store, found.given_up.cells),
        grace=_GRACE,
        dry_run=dry_run,
        at_once=frozenset(collecting.reached(ws.store, found.given_up.names, found.given_up.files)),
        meter=ws.meter,
    )
    if not dry_run:
        _clear_caches(ws, found.given_up.names | found.given_up.files)
    return Purged(
        dry_run=dry_run,
        days=days,
        counts=dict(found.counts),
        expired=dict(found.expired),
        things=found.things[:MOST_LISTED],
        kept_count=len(found.kept),
        kept=found.kept[:MOST_LISTED],
        collected=collected,
    )


def _clear_caches(ws: Workspace, names: set[str]) -> None:
    """Remove what is laid out of packages and files that the store no longer has."""
    for name in names:
        key = name.removeprefix(digest.PREFIX)
        cached = (ws.layout.packages / key, *(ws.layout.files / key[:2] / f"{key[2:]}{mode}" for mode in ("", "x")))
        if any(path.exists() for path in cached) and not ws.objects.has(name):
            for path in cached:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
