"""The controller: moves every rollout as far as the evidence allows, and no further.

It holds nothing that matters. ``tick`` reads the tables and the prediction log, decides, and writes each decision with
its rows, its routes and its ledger entry in one transaction; then it pushes the routes. Killed between any two
instructions, the next one reads the same tables and goes on. One controller is active at a time, by a lease; every
transaction checks that it still holds it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from windlass.delivery import analysis, labelling, observations, releases, replay, rollouts, routing, workers
from windlass.delivery.analysis import Decision, Evidence, Judgement
from windlass.delivery.labelling import Labels, Taken
from windlass.delivery.observations import Memory
from windlass.delivery.rollouts import Live
from windlass.delivery.strategy import PhaseKind
from windlass.domain import ledger
from windlass.domain.clock import SECOND, Clock
from windlass.domain.errors import Conflict, Failure, Unavailable
from windlass.domain.ports import Database, Transaction
from windlass.domain.routing import Arm, Route
from windlass.domain.states import RolloutEvent, RolloutState
from windlass.serving import log
from windlass.serving.log import Position
from windlass.serving.record import Prediction

ACTOR = "windlass"
BUSY_SECONDS, IDLE_SECONDS = 0.02, 0.25
LEASE = 3 * SECOND
PUSH_EVERY = 2 * SECOND
SETTLE = SECOND // 2  # the gateway's log is on disk well before


class Controller:
    """One contender for the lease. What it remembers is only what it need not read again."""

    def __init__(self, db: Database, *, gateway_socket: Path, predictions: Path, holder: str, now: Clock) -> None:
        self._db, self._gateway, self._predictions = db, gateway_socket, predictions
        self._holder, self._now = holder, now
        self._pushed_at = 0
        self._seen: dict[str, tuple[int, str, Memory]] = {}
        self._labels = Labels()
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
        settling = self._settle()
        return BUSY_SECONDS if live or settling else IDLE_SECONDS

    def _lead(self) -> bool:
        now = self._now()
        with self._db.read() as tx:
            row = tx.row("SELECT holder, until FROM leases WHERE name = 'rollouts'")
        if row and row["holder"] == self._holder and row["until"] - now > LEASE // 2:
            return True
        if row and row["holder"] != self._holder and row["until"] > now:
            return False
        with self._db.write() as tx:
            tx.execute(
                "INSERT INTO leases (name, holder, until) VALUES ('rollouts', ?, ?) ON CONFLICT (name) DO UPDATE"
                " SET holder = excluded.holder, until = excluded.until WHERE leases.holder = ? OR leases.until <= ?",
                (self._holder, now + LEASE, self._holder, now),
            )
            row = tx.row("SELECT holder FROM leases WHERE name = 'rollouts'")
        return bool(row and row["holder"] == self._holder)

    def _require_lead(self, tx: Transaction) -> None:
        row = tx.row("SELECT holder FROM leases WHERE name = 'rollouts'")
        if row is None or row["holder"] != self._holder:
            raise Conflict("another controller has the lease")

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
        if rollout.state is RolloutState.PLANNED:
            self._event(rollout, RolloutEvent.START, "its worker is being started")
        elif rollout.state is RolloutState.WARMING:
            if state == workers.READY:
                self._ready(rollout)
            elif state == workers.FAILED:
                self._fail(rollout, f"the worker does not start: {error}")
        elif state == workers.FAILED:
            judged = Judgement(
                decision=Decision.ROLL_BACK, e_value=0.0, limit=0.0, promote_e=0.0, needed="",
                verdict=f"the candidate's worker crashes again and again: {error}",
            )  # fmt: skip
            self._roll_back(rollout, RolloutEvent.CRASH, rollout.evidence, judged, rollout.position)
        else:
            self._look(rollout)

    def _event(self, rollout: Live, event: RolloutEvent, reason: str) -> None:
        with self._db.write() as tx:
            self._require_lead(tx)
            rollouts.move(tx, rollouts.require(tx, rollout.id), event, actor=ACTOR, reason=reason, at=self._now())

    def _ready(self, rollout: Live) -> None:
        """The worker answered its golden rows: give it its first phase."""
        at = self._now()
        with self._db.write() as tx:
            self._require_lead(tx)
            rollouts.move(tx, rollout, RolloutEvent.READY, actor=ACTOR, reason="its worker is ready", at=at)
            rollout = rollouts.require(tx, rollout.id)
            if rollout.phases[0].kind is PhaseKind.BLUE_GREEN:
                judged = analysis.judge(rollout.evidence, rollout.policy, rollout.phases)
                self._complete(tx, rollout, rollout.evidence, judged, rollout.position, at)
            else:
                self._route(tx, rollout, 0, rollout.position)
                held = analysis.judge(rollout.evidence, rollout.policy, rollout.phases)
                rollouts.put_step(tx, rollout, rollout.evidence, held, at)
        self._push(at_once=True)

    def _route(self, tx: Transaction, rollout: Live, phase: int, position: str) -> None:
        assert rollout.stable is not None
        route = routing.of_phase(
            stable=rollout.stable,
            candidate=rollout.candidate,
            phase=rollout.phases[phase],
            salt=rollout.salt,
            rollout=rollout.id,
            timeout_ms=rollout.timeout_ms,
        )
        revision = routing.set_route(tx, rollout.endpoint, route)
        tx.execute(
            "UPDATE rollouts SET revision = ?, phase_position = ? WHERE id = ?", (revision, position, rollout.id)
        )

    def _fail(self, rollout: Live, verdict: str) -> None:
        with self._db.write() as tx:
            self._require_lead(tx)
            at = self._now()
            rollouts.move(tx, rollout, RolloutEvent.CRASH, actor=ACTOR, reason=verdict, at=at)
            tx.execute("UPDATE rollouts SET verdict = ? WHERE id = ?", (verdict, rollout.id))
            workers.unwant(tx, rollout.candidate)

    def _look(self, rollout: Live) -> None:
        """Read what was logged since the last look, fold it in, and decide."""
        folder = self._predictions / rollout.endpoint
        position = Position.parse(rollout.position)
        records, after = log.read(folder, position) if folder.is_dir() else ([], position)
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
        judged = analysis.judge(evidence, rollout.policy, rollout.phases)
        if rollout.state is RolloutState.PAUSED and judged.decision is not Decision.ROLL_BACK:
            judged = analysis.held(judged)
        if judged.decision is Decision.ROLL_BACK:
            self._roll_back(rollout, RolloutEvent.VERDICT, evidence, judged, str(after))
        elif judged.decision is Decision.HOLD:
            with self._db.write() as tx:
                self._require_lead(tx)
                self._record(tx, rollout, evidence, judged, str(after))
        else:
            at = self._now()
            with self._db.write() as tx:
                self._require_lead(tx)
                if judged.decision is Decision.PROMOTE:
                    self._complete(tx, rollout, evidence, judged, str(after), at)
                else:
                    self._next_phase(tx, rollout, evidence, judged, str(after), at)
            self._push(at_once=True)
        self._seen[rollout.id] = (rollout.phase, str(after), memory)

    def _users(self, rollout: Live, folder: Path) -> Memory:
        """The users counted in the phase so far, and the answers that wait for labels; read from the log again if this
        controller did not see them. Whoever takes the memory puts it back once what it added is written down."""
        phase, position, memory = self._seen.pop(rollout.id, (0, "", Memory()))
        if position != rollout.position:
            with self._db.read() as tx:
                return replay.remembered(tx, rollout, folder)
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

    def _next_phase(
        self, tx: Transaction, rollout: Live, evidence: Evidence, judged: Judgement, after: str, at: int
    ) -> None:
        self._record(tx, rollout, evidence, judged, after)
        following = rollout.phase + 1
        entered = analysis.enter(evidence, rollout.phases, following)
        rollouts.move(
            tx, rollout, RolloutEvent.ADVANCE, actor=ACTOR, reason=_why(evidence, judged), at=at, phase=following,
            evidence=_numbers(evidence, judged),
        )  # fmt: skip
        tx.execute(
            "UPDATE rollouts SET evidence = ? WHERE id = ?", (routing.plain(analysis.to_plain(entered)), rollout.id)
        )
        if rollout.phases[following].kind is PhaseKind.BLUE_GREEN:
            again = rollouts.require(tx, rollout.id)
            flip = analysis.judge(entered, rollout.policy, rollout.phases)
            self._complete(tx, again, entered, flip, after, at)
        else:
            self._route(tx, rollout, following, after)
            held = analysis.judge(entered, rollout.policy, rollout.phases)
            rollouts.put_step(tx, rollout, entered, analysis.held(held), at)

    def _complete(
        self, tx: Transaction, rollout: Live, evidence: Evidence, judged: Judgement, after: str, at: int
    ) -> None:
        """The candidate becomes the stable release; the one before stays warm."""
        if after != rollout.position:
            self._record(tx, rollout, evidence, judged, after)
        else:
            rollouts.put_step(tx, rollout, evidence, judged, at)
        numbers = _numbers(evidence, judged)
        why = _why(evidence, judged)
        rollouts.move(tx, rollout, RolloutEvent.COMPLETE, actor=ACTOR, reason=why, at=at, evidence=numbers)
        row = tx.row("SELECT release, previous FROM endpoints WHERE name = ?", (rollout.endpoint,))
        assert row is not None
        previous = json.loads(row["previous"])
        for old in previous:
            workers.unwant(tx, old)
        stack = [row["release"], *previous] if row["release"] else previous
        stack = [each for each in dict.fromkeys(stack) if each != rollout.candidate]
        tx.execute(
            "UPDATE endpoints SET release = ?, previous = ? WHERE name = ?",
            (rollout.candidate, json.dumps(stack), rollout.endpoint),
        )
        routing.set_route(tx, rollout.endpoint, Route(stable=rollout.candidate, timeout_ms=rollout.timeout_ms))
        planned = ledger.entries(tx, subject=f"rollout/{rollout.id}")[0]
        ledger.transition(
            tx,
            subject=f"endpoint/{rollout.endpoint}",
            action="promote",
            before=row["release"],
            after=rollout.candidate,
            actor=planned.actor,
            reason=planned.reason,
            at=at,
            evidence={"rollout": rollout.id, **numbers},
        )

    def _roll_back(self, rollout: Live, event: RolloutEvent, evidence: Evidence, judged: Judgement, after: str) -> None:
        """Every user back to the stable release, first of all; the rest can wait."""
        at = self._now()
        with self._db.write() as tx:
            self._require_lead(tx)
            if after != rollout.position:
                self._record(tx, rollout, evidence, judged, after)
            else:
                rollouts.put_step(tx, rollout, evidence, judged, at)
            rollouts.move(
                tx, rollout, event, actor=ACTOR, reason=judged.verdict, at=at, evidence=_numbers(evidence, judged)
            )
            revision = rollouts.end_candidate(tx, rollout)
            tx.execute(
                "UPDATE rollouts SET verdict = ?, revision = ?, phase_position = ? WHERE id = ?",
                (judged.verdict, revision, rollout.phase_position, rollout.id),
            )
            releases.quarantine(tx, rollout.endpoint, rollout.candidate, judged.verdict, at)
        self._push(at_once=True)

    def _settle(self) -> bool:
        """Once the gateway acknowledged a rollback: how long the candidate answered users after the verdict."""
        with self._db.read() as tx:
            rows = tx.rows(
                "SELECT * FROM rollouts WHERE state = ? AND rollback_us IS NULL", (RolloutState.ROLLED_BACK,)
            )
            published = routing.current(tx)
        for row in rows:
            if published.acknowledged < row["revision"] or self._now() < published.acknowledged_at + SETTLE:
                continue
            last = self._last_answer(row["endpoint"], row["candidate"], row["position"])
            took = max(published.acknowledged_at, last) - row["ended_at"]
            with self._db.write() as tx:
                self._require_lead(tx)
                tx.execute("UPDATE rollouts SET rollback_us = ? WHERE id = ?", (max(0, took), row["id"]))
                workers.unwant(tx, row["candidate"])
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


def _why(evidence: Evidence, judged: Judgement) -> str:
    if judged.decision is Decision.PROMOTE and not evidence.users:
        return "both releases are up: the flip"
    return f"{evidence.errors} of {evidence.users:,} candidate users failed (E = {judged.promote_e:.3g})"


def _numbers(evidence: Evidence, judged: Judgement) -> dict[str, object]:
    return {
        "phase": evidence.phase,
        "requests": evidence.requests,
        "users": evidence.users,
        "errors": evidence.errors,
        "stable_users": evidence.stable_users,
        "stable_errors": evidence.stable_errors,
        "e_harm": judged.e_value,
        "e_safe": judged.promote_e,
        "limit": judged.limit,
    }
