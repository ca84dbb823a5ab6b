"""The purge: what was deleted longer ago than the retention, and nothing has to keep, goes for good.

It goes in rounds of a bounded number of things. A round is one transaction: holds and versions are looked at as they
are now, the things go, and the ledger tells which (a list in the store, by its digest). Killed anywhere, the next purge
goes on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from windlass.domain import digest, ledger
from windlass.domain.clock import SECOND, Clock
from windlass.domain.ports import Database, ObjectStore, Transaction
from windlass.governance.retention import deciding, removing, standing
from windlass.governance.retention.config import RetentionConfig
from windlass.governance.retention.deciding import Kept
from windlass.governance.retention.removing import GivenUp
from windlass.governance.retention.standing import Going

ROUND = 500
DAY = 24 * 3600 * SECOND
SUBJECT = "purge"

Progress = Callable[[str], None]


@dataclass(slots=True)
class Purge:
    """What went, or would go: counts by kind; names, and what stays although its time is over, each with the reason."""

    counts: Counter[str] = field(default_factory=Counter)
    expired: Counter[str] = field(default_factory=Counter)
    things: list[str] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    given_up: GivenUp = field(default_factory=GivenUp)


def foresee(db: Database, config: RetentionConfig, *, days: int, at: int) -> Purge:
    """What a purge would do now; nothing is changed."""
    found = Purge(given_up=GivenUp(with_cells=True))
    members: Counter[int] = Counter()
    versions: set[str] = set()
    with db.read() as tx:
        for kind, find in standing.KINDS.items():
            known = standing.protection(tx, versions)
            place = standing.START
            going = Going(members=members)
            while page := find(tx, at - days * DAY, place, ROUND, going):
                place = (page[-1].group, page[-1].number)
                chosen, kept = deciding.decide(page, known)
                removing.foresee(tx, kind, chosen, found.given_up)
                for each in chosen:
                    members.update(_experiments(each.within))
                versions.update(each.thing for each in chosen if kind == "version")
                _add(found, kind, [each.thing for each in chosen], kept)
        for expiry in _expiries(config, at):
            for row in tx.tuples(
                f"SELECT {expiry.key}, {expiry.objects} FROM {expiry.table} WHERE {expiry.where}", expiry.params
            ):
                found.expired[expiry.name] += 1
                for cell, column in zip(row, (expiry.key, expiry.objects), strict=True):
                    found.given_up.add(expiry.table, column, cell, row[0])
                if expiry.table == "uploads":
                    for (name,) in tx.tuples("SELECT digest FROM upload_parts WHERE upload = ?", (row[0],)):
                        found.given_up.add("upload_parts", "digest", name, row[0] + name)
    return found


def purge(
    db: Database,
    objects: ObjectStore,
    config: RetentionConfig,
    *,
    days: int,
    actor: str,
    now: Clock,
    progress: Progress,
    step: Callable[[], None] = lambda: None,
) -> Purge:
    """Purge what was deleted at least ``days`` ago; ``step`` is called after each transaction."""
    done = Purge()
    before = now() - days * DAY
    _finish(db, done, progress, step)
    for kind, find in standing.KINDS.items():
        place = standing.START
        while True:
            with objects.batch(), db.write() as tx:
                page = find(tx, before, place, ROUND, Going())
                if not page:
                    break
                place = (page[-1].group, page[-1].number)
                chosen, kept = deciding.decide(page, standing.protection(tx))
                if chosen:
                    at = now()
                    removing.remove(tx, kind, chosen, done.given_up, at=at)
                    _tell(tx, objects, [each.thing for each in chosen], days=days, actor=actor, at=at)
            _add(done, kind, [each.thing for each in chosen], kept)
            step()
            if done.counts[kind] >= ROUND:
                progress(f"purged {done.counts[kind]:,} {kind}s")
        _finish(db, done, progress, step)
    for expiry in _expiries(config, now()):
        _expire(db, expiry, done, step)
    if done.expired:
        with db.write() as tx:
            _record(tx, "expire", None, "kept for as long as [retention] says", dict(done.expired), actor, now())
    return done


def gone(tx: Transaction, objects: ObjectStore, beginning: str) -> tuple[str, ledger.Entry] | None:
    """The first thing whose name begins so of those that were purged, with the ledger's entry of it; the latest."""
    for entry in reversed(ledger.entries(tx, subject=SUBJECT)):
        things = json.loads(objects.get(str(entry.evidence["list"]))) if entry.action == "purge" else ()
        if found := next((thing for thing in things if thing.startswith(beginning)), None):
            return found, entry
    return None


def _add(found: Purge, kind: str, chosen: list[str], kept: list[Kept]) -> None:
    if chosen:
        found.counts[kind] += len(chosen)
    found.things += chosen
    found.kept += kept


def _tell(tx: Transaction, objects: ObjectStore, things: list[str], *, days: int, actor: str, at: int) -> None:
    counts = Counter(thing.partition("/")[0] for thing in things)
    name = objects.put(digest.canonical(sorted(things)))
    _record(tx, "purge", name, f"deleted {days} days ago or before", {**counts, "list": name}, actor, at)


def _record(
    tx: Transaction, action: str, after: str | None, reason: str, evidence: Mapping[str, object], actor: str, at: int
) -> None:
    before = ledger.head(tx, SUBJECT)
    ledger.transition(
        tx, subject=SUBJECT, action=action, before=before, after=after or before, actor=actor, reason=reason, at=at,
        evidence=evidence,
    )  # fmt: skip


def _finish(db: Database, done: Purge, progress: Progress, step: Callable[[], None]) -> None:
    rows = 0
    for count in removing.finish(db, done.given_up):
        rows += count
        step()
        if rows > removing.PIECE:
            progress(f"removed {rows:,} rows")


def _experiments(within: tuple[str, ...]) -> Iterator[int]:
    return (int(name.partition("/")[2]) for name in within if name.startswith("experiment/"))


# ---- what expires without having been deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expiry:
    name: str
    table: str
    key: str
    objects: str  # a column that names objects, or the key again
    where: str
    params: tuple[object, ...]


def _expiries(config: RetentionConfig, at: int) -> list[_Expiry]:
    found = []
    if config.uploads_days:
        until = (at - config.uploads_days * DAY) // 1000
        found.append(_Expiry(name="uploads", table="uploads", key="id", objects="id", where="at <= ?", params=(until,)))
    if config.step_cache_days:
        until = at - config.step_cache_days * DAY
        found.append(
            _Expiry(name="steps", table="step_cache", key="recipe", objects="output", where="at <= ?", params=(until,))
        )
    if config.webhook_days:
        until = at - config.webhook_days * DAY
        found.append(
            _Expiry(
                name="deliveries", table="webhook_deliveries", key="id", objects="id",
                where="state <> 'pending' AND ended_at <= ?", params=(until,),
            )
        )  # fmt: skip
    return found


def _expire(db: Database, expiry: _Expiry, done: Purge, step: Callable[[], None]) -> None:
    while True:
        with db.write() as tx:
            rows = tx.tuples(
                f"SELECT {expiry.key}, {expiry.objects} FROM {expiry.table} WHERE {expiry.where}"
                f" ORDER BY {expiry.key} LIMIT {ROUND}",
                expiry.params,
            )
            for key, cell in rows:
                if expiry.table == "uploads":
                    removing.remove_upload(tx, key, done.given_up)
                    continue
                if expiry.table == "webhook_deliveries":
                    tx.execute("DELETE FROM webhook_attempts WHERE delivery = ?", (key,))
                done.given_up.add(expiry.table, expiry.objects, cell)
                tx.execute(f"DELETE FROM {expiry.table} WHERE {expiry.key} = ?", (key,))
        if not rows:
            return
        done.expired[expiry.name] += len(rows)
        step()
