"""Schedules: when the pipeline runs by itself. Which fire is due is decided here; each is a row, so it happens once.

A schedule that nobody looked at for a while (the machine was off) fires once when somebody does, for the latest time
that it missed. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from windlass.domain.clock import SECOND
from windlass.domain.errors import Conflict, Invalid, NotFound
from windlass.domain.ports import Row, Transaction

# Whoever runs a fire renews this: when it is over, another may take it.
LEASE_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """``cron``: minute, hour, day of month, month, day of week, in UTC; ``fresh``: run every step each time."""

    cron: str
    fresh: bool = False

    def __post_init__(self) -> None:
        fires_after(self.cron, 0)


class FireState(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as it stands. ``last`` is the latest fire, if there was one; ``next`` when it is due again (us)."""

    name: str
    cron: str
    paused: bool
    next: int | None
    last: int | None
    last_state: str
    last_run: str
    last_error: str


def fires_after(cron: str, instant: int) -> int | None:
    """The first time after an instant (us) that an expression means; None if there is none any more.

    Raises:
        Invalid: it is no cron expression.
    """
    return _fire(cron, instant, reverse=False)


def latest(cron: str, instant: int) -> int | None:
    """The last time at or before an instant (us)."""
    return _fire(cron, instant + 1, reverse=True)


def due(tx: Transaction, configured: Mapping[str, ScheduleConfig], now: int) -> list[tuple[str, int]]:
    """Every schedule that has to fire, with the time that it is due for. New schedules begin now."""
    known = {row["name"]: row for row in tx.rows("SELECT * FROM schedules")}
    found = []
    for name, config in configured.items():
        row = known.get(name)
        if row is None or row["cron"] != config.cron:
            tx.execute(
                "INSERT INTO schedules (name, cron, since, paused) VALUES (?, ?, ?, 0)"
                " ON CONFLICT (name) DO UPDATE SET cron = excluded.cron, since = excluded.since",
                (name, config.cron, now),
            )
            continue
        last = _last(tx, name)
        abandoned = last is not None and last["state"] == FireState.RUNNING and last["until"] < now
        if abandoned and last is not None:
            found.append((name, int(last["due"])))
        elif not row["paused"] and (last is None or last["state"] != FireState.RUNNING):
            at = latest(config.cron, now)
            if at is not None and at > max(row["since"], last["due"] if last else 0):
                found.append((name, at))
    return found


def take(tx: Transaction, name: str, at: int, *, holder: str, now: int) -> bool:
    """Take a fire, or one whose holder has gone; returns whether it is ours now."""
    until = now + LEASE_SECONDS * SECOND
    taken = tx.execute(
        "INSERT INTO schedule_fires (schedule, due, state, run, error, holder, until, at)"
        " VALUES (?, ?, ?, '', '', ?, ?, ?) ON CONFLICT DO NOTHING",
        (name, at, FireState.RUNNING, holder, until, now),
    )
    if taken:
        return True
    return bool(
        tx.execute(
            "UPDATE schedule_fires SET holder = ?, until = ?"
            " WHERE schedule = ? AND due = ? AND state = ? AND until < ?",
            (holder, until, name, at, FireState.RUNNING, now),
        )
    )


def renew(tx: Transaction, name: str, at: int, *, holder: str, now: int) -> None:
    """Go on holding a fire.

    Raises:
        Conflict: somebody else has taken it meanwhile.
    """
    until = now + LEASE_SECONDS * SECOND
    if not tx.execute(
        "UPDATE schedule_fires SET until = ? WHERE schedule = ? AND due = ? AND holder = ?", (until, name, at, holder)
    ):
        raise Conflict(f"schedule '{name}' is run by another process")


def end(tx: Transaction, name: str, at: int, *, holder: str, run: str, error: str) -> None:
    """Note how a fire ended, if it is still ours."""
    state = FireState.FAILED if error else FireState.FINISHED
    tx.execute(
        "UPDATE schedule_fires SET state = ?, run = ?, error = ? WHERE schedule = ? AND due = ? AND holder = ?",
        (state, run, error, name, at, holder),
    )


def pause(tx: Transaction, name: str, *, paused: bool) -> None:
    """Let a schedule rest, or go on. What it missed while it rested it does not catch up with.

    Raises:
        NotFound: there is no such schedule.
    """
    if not tx.execute("UPDATE schedules SET paused = ? WHERE name = ?", (int(paused), name)):
        raise NotFound(f"no schedule '{name}'", hint="`windlass schedule ls` lists them")


def restart(tx: Transaction, name: str, now: int) -> None:
    """Count from now on."""
    tx.execute("UPDATE schedules SET since = ? WHERE name = ?", (now, name))


def ls(tx: Transaction, configured: Mapping[str, ScheduleConfig], now: int) -> list[Schedule]:
    """Every schedule of the configuration, by name."""
    paused = {row["name"]: bool(row["paused"]) for row in tx.rows("SELECT name, paused FROM schedules")}
    found = []
    for name, config in sorted(configured.items()):
        last = _last(tx, name) or {}
        found.append(
            Schedule(
                name=name,
                cron=config.cron,
                paused=paused.get(name, False),
                next=None if paused.get(name) else fires_after(config.cron, now),
                last=last.get("due"),
                last_state=last.get("state", ""),
                last_run=last.get("run", ""),
                last_error=last.get("error", ""),
            )
        )
    return found


def _last(tx: Transaction, name: str) -> Row | None:
    return tx.row("SELECT * FROM schedule_fires WHERE schedule = ? ORDER BY due DESC LIMIT 1", (name,))


def _fire(cron: str, instant: int, *, reverse: bool) -> int | None:
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - most projects have no schedule

    try:
        # Whole seconds, away from the direction of the search: a fire at the very instant is found, or is not.
        whole = -(-instant // SECOND) if reverse else instant // SECOND
        found = next(CronSim(cron, datetime.fromtimestamp(whole, UTC), reverse=reverse), None)
    except CronSimError as error:
        raise Invalid(f"'{cron[:80]}' is no cron expression: {error}", hint="write it as '0 2 * * *'") from None
    return None if found is None else int(found.timestamp()) * SECOND
