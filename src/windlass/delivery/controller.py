"""The controller: moves every rollout as far as the evidence allows, and no further.

It holds nothing that matters. ``tick`` reads the tables and the prediction log, decides, and writes each decision with
its rows, its routes and its ledger entry in one transaction; then it pushes the routes. Killed between any two
instructions, the next one reads the same tables and goes on. One controller is active at a time, by a lease; every
transaction checks that it still holds it, in the same generation, and that the rollout is where it was read to be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from windlass.delivery import (
    analysis,
    labelling,
    leases,
    observations,
    phases,
    replay,
    resources,
    rollouts,
    routing,
    workers,
)
from windlass.delivery.analysis import Decision, Evidence, Judgement
from windlass.delivery.labelling import Labels, Taken
from windlass.delivery.leases import Lease
from windlass.delivery.observations import Memory
from windlass.delivery.phases import By
from windlass.delivery.rollouts import Live
from windlass.domain.clock import SECOND, Clock
from windlass.domain.errors import Conflict, Failure, Unavailable
from windlass.domain.ports import Database, Transaction
from windlass.domain.routing import Arm
from windlass.domain.states import RolloutEvent, RolloutState
from windlass.serving import log
from windlass.serving.log import Position
from windlass.serving.record import Prediction

ACTOR = "windlass"
BUSY_SECONDS, IDLE_SECONDS = 0.02, 0.25
LEASE = 3 * SECOND
PUSH_EVERY = 2 * SECOND
AT_ONCE = 5000  # records in a look: who is killed again and again gets on all the same
SETTLE = SECOND // 2  # the gateway's log is on disk well before


class Controller:
    """One contender for the lease. What it remembers is only what it need not read again."""

    def __init__(
        self,
        db: Database,
        *,
        gateway_socket: Path,
        predictions: Path,
        holder: str,
        now: Clock,
        lease_now: leases.InstantOf = leases.by_database,
    ) -> None:
        self._db, self._gateway, self._predictions = db, gateway_socket, predictions
        self._holder, self._now, self._lease_now = holder, now, lease_now
        self._lease: Lease | None = None
        self._pushed_at = 0
        self._seen: dict[str, tuple[int, str, Memory | None]] = {}
        self._labels = Labels()
        self._resources = resources.Watch()
        self._taken: tuple[str, Taken] = ("", [])  # the labels of the interval that is being decided on

    def tick(self) -> float:
        """One look at everything; returns how many seconds to wait for the next."""
        if not self._lead():
            return IDLE_SECONDS
        self._push()
        with self._db.read() as tx:
            live = rollouts.live(tx)
        for rollout in live:
            with suppress(Conflict):  # somebody moved it meanwhile, or took the lease: look again
                self._advance(rollout)
        settling = False
        with suppress(Conflict):
            settling = self._settle()
        return BUSY_SECONDS if live or settling else IDLE_SECONDS

    def _lead(self) -> bool:
        self._lease = leases.take(self._db, "rollouts", holder=self._holder, length=LEASE, now=self._lease_now)
        return self._lease is not None

    def _push(self, *, at_once: bool = False) -> None:
        """Bring the newest table to the gateway; now and then also one that it has, in case it lost it."""
        with self._db.read() as tx:
            published = routing.current(tx)
        now = self._now()
        if at_once or not published.settled or now - self._pushed_at > PUSH_EVERY:
            with suppress(Unavailable, Conflict):
                routing.push(self._db, self._gateway, self._now)
                self._pushed_at = now

    def _advance(self, rollout: Live) -> None:
        with self._db.read() as tx:
            state, error = workers.state(tx, rollout.candidate)
            excess = self._resources.excess(tx, rollout, self._now())
        if rollout.state is RolloutState.PLANNED:
            self._start(rollout)
        elif rollout.state is RolloutState.WARMING:
            if state == workers.READY:
                self._ready(rollout)
            elif state == workers.FAILED:
                self._fail(rollout, f"the worker does not start: {error}")
        elif state == workers.FAILED:
            self._give_up(rollout, RolloutEvent.CRASH, f"the candidate's worker crashes again and again: {error}")
        elif rollout.unreadable or excess:
            self._give_up(rollout, RolloutEvent.VERDICT, rollout.unreadable or excess)
        else:
            self._look(rollout)
            with self._db.read() as tx:
                after = rollouts.require(tx, rollout.id)
            if (after.state, after.phase) == (RolloutState.RUNNING, rollout.phase):
                self._due(after)

    def _by(self) -> By:
        assert self._lease is not None
        return By(actor=ACTOR, at=self._now(), fence={"generation": self._lease.generation})

    @contextmanager
    def _deciding(self, rollout: Live) -> Iterator[Transaction]:
        """A transaction of who holds the lease, on a rollout that stands as it was read."""
        assert self._lease is not None
        with self._db.write() as tx:
            leases.require(tx, self._lease)
            rollouts.require_unmoved(tx, rollout)
            yield tx

    def _start(self, rollout: Live) -> None:
        by = self._by()
        with self._deciding(rollout) as tx:
            reason = "its worker is being started"
            rollouts.move(tx, rollout, RolloutEvent.START, actor=by.actor, reason=reason, at=by.at, evidence=by.fence)

    def _ready(self, rollout: Live) -> None:
        """The worker answered its golden rows: give it its first phase, if nobody has to agree to that."""
        by = self._by()
        if phases.lacks_approval(rollout, 0):
            if rollout.awaiting != 0:
                with self._deciding(rollout) as tx:
                    phases.ask(tx, rollout, 0, by, {})
            return
        with self._deciding(rollout) as tx:
            phases.begin(tx, rollout, by)
        self._push(at_once=True)

    def _fail(self, rollout: Live, verdict: str) -> None:
        by = self._by()
        with self._deciding(rollout) as tx:
            rollouts.move(tx, rollout, RolloutEvent.CRASH, actor=by.actor, reason=verdict, at=by.at, evidence=by.fence)
            tx.execute("UPDATE rollouts SET verdict = ? WHERE id = ?", (verdict, rollout.id))
            rollouts.let_go(tx, rollout.candidate)

    def _give_up(self, rollout: Live, event: RolloutEvent, verdict: str) -> None:
        """Roll back for a reason that is not in the log."""
        judged = analysis.judge(rollout.evidence, rollout.policy, rollout.phases)
        judged = replace(judged, decision=Decision.ROLL_BACK, verdict=verdict, needed="")
        self._roll_back(rollout, event, rollout.evidence, judged, rollout.position)

    def _look(self, rollout: Live) -> None:
        """Read what was logged since the last look, fold it in, and decide."""
        folder = self._predictions / rollout.endpoint
        position = Position.parse(rollout.position)
        records, after = log.read(folder, position, AT_ONCE) if folder.is_dir() else ([], position)
        if after == position:
            return
        phase = rollout.phases[rollout.phase]
        memory = self._users(rollout, folder)
        taken = self._labels.due(self._db, rollout, memory, self._now())
        new = observations.observed(
            records, rollout=rollout.id, revision=rollout.revision, phase=phase, signals=rollout.policy.signals,
            memory=memory, labels=taken,
        )  # fmt: skip
        self._taken = (rollout.id, taken)
        evidence = analysis.fold(rollout.evidence, new, rollout.policy, rollout.phases)
        judged = phases.withheld(rollout, analysis.judge(evidence, rollout.policy, rollout.phases), self._now())
        if rollout.state is RolloutState.PAUSED and judged.decision is not Decision.ROLL_BACK:
            judged = analysis.held(judged)
        if judged.decision is Decision.ROLL_BACK:
            self._roll_back(rollout, RolloutEvent.VERDICT, evidence, judged, str(after))
        elif judged.decision is Decision.HOLD:
            with self._deciding(rollout) as tx:
                self._record(tx, rollout, evidence, judged, str(after))
        else:
            by = self._by()
            with self._deciding(rollout) as tx:
                self._record(tx, rollout, evidence, judged, str(after))
                why = phases.why(evidence, judged)
                phases.advance(tx, rollout, evidence, judged, position=str(after), why=why, by=by)
            self._push(at_once=True)
        self._seen[rollout.id] = (rollout.phase, str(after), memory)

    def _users(self, rollout: Live, folder: Path) -> Memory:
        """The users counted in the phase so far, and the answers that wait for labels; read from the log again if this
        controller did not see them. Whoever takes the memory puts it back once what it added is written down."""
        phase, position, memory = self._seen.pop(rollout.id, (0, "", None))
        if memory is None or position != rollout.position or not memory.complete:
            with self._db.read() as tx:
                whole = labelling.come(tx, rollout)
                if memory is None or position != rollout.position or whole:
                    return replay.remembered(tx, rollout, folder, whole=whole)
        if phase != rollout.phase:
            memory.enter()
        return memory

    def _record(self, tx: Transaction, rollout: Live, evidence: Evidence, judged: Judgement, after: str) -> None:
        """The interval, the evidence after it and how far the log is read: one thing."""
        at = self._now()
        row = tx.row("SELECT position FROM rollouts WHERE id = ?", (rollout.id,))
        if row is None or row["position"] != rollout.position:
            raise Conflict("the log was read further meanwhile")
        tx.execute(
            "UPDATE rollouts SET position = ?, evidence = ? WHERE id = ?",
            (after, routing.plain(analysis.to_plain(evidence)), rollout.id),
        )
        last = tx.row("SELECT MAX(seq) AS seq FROM rollout_intervals WHERE rollout = ?", (rollout.id,))
        seq = (last["seq"] if last and last["seq"] else 0) + 1
        tx.execute(
            "INSERT INTO rollout_intervals (rollout, seq, phase, revision, after, until, at, decision)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                rollout.id, seq, rollout.phase, rollout.revision, rollout.position, after, at, judged.decision,
            ),
        )  # fmt: skip
        of, taken = self._taken
        if of == rollout.id:
            labelling.keep(tx, rollout.id, seq, taken)
        rollouts.put_step(tx, rollout, evidence, judged, at)

    def _roll_back(self, rollout: Live, event: RolloutEvent, evidence: Evidence, judged: Judgement, after: str) -> None:
        """Every user back to the stable release, first of all; the rest can wait."""
        by = self._by()
        with self._deciding(rollout) as tx:
            if after != rollout.position:
                self._record(tx, rollout, evidence, judged, after)
            else:
                rollouts.put_step(tx, rollout, evidence, judged, by.at)
            phases.roll_back(tx, rollout, event, evidence, judged, by)
        self._push(at_once=True)

    def _due(self, rollout: Live) -> None:
        """Go on where only time or an approval was lacking; there may be no traffic that would bring a look."""
        by = self._by()
        judged = analysis.judge(rollout.evidence, rollout.policy, rollout.phases)
        allowed = phases.withheld(rollout, judged, by.at)
        if allowed.decision in (Decision.ADVANCE, Decision.PROMOTE):
            with self._deciding(rollout) as tx:
                rollouts.put_step(tx, rollout, rollout.evidence, allowed, by.at)
                phases.advance(
                    tx, rollout, rollout.evidence, allowed, position=rollout.position,
                    why=phases.why(rollout.evidence, allowed), by=by,
                )  # fmt: skip
            self._push(at_once=True)
        elif allowed.withheld == phases.APPROVAL and rollout.awaiting != rollout.phase + 1:
            with self._deciding(rollout) as tx:
                rollouts.put_step(tx, rollout, rollout.evidence, allowed, by.at)
                phases.ask(tx, rollout, rollout.phase + 1, by, phases.numbers(rollout.evidence, judged))

    def _settle(self) -> bool:
        """Once the gateway acknowledged a rollback or an abort: how long the candidate answered users after it."""
        with self._db.read() as tx:
            rows = tx.rows(
                "SELECT * FROM rollouts WHERE state IN (?, ?) AND rollback_us IS NULL",
                (RolloutState.ROLLED_BACK, RolloutState.ABORTED),
            )
            published = routing.current(tx)
        for row in rows:
            if published.acknowledged < row["revision"] or self._now() < published.acknowledged_at + SETTLE:
                continue
            last = self._last_answer(row["endpoint"], row["candidate"], row["position"])
            took = max(published.acknowledged_at, last) - row["ended_at"]
            assert self._lease is not None
            with self._db.write() as tx:
                leases.require(tx, self._lease)
                tx.execute("UPDATE rollouts SET rollback_us = ? WHERE id = ?", (max(0, took), row["id"]))
                rollouts.let_go(tx, row["candidate"])
        return bool(rows)

    def _last_answer(self, endpoint: str, candidate: str, position: str) -> int:
        folder, last = self._predictions / endpoint, 0
        if not folder.is_dir():
            return last
        with suppress(Failure):
            records, _ = log.read(folder, Position.parse(position))
            for record in records:
                if isinstance(record, Prediction) and record.arm is Arm.CANDIDATE and record.release == candidate:
                    last = max(last, record.at + record.latency_us)
        return last
