"""The story of the demo: a model goes from data to production and back, stage by stage.

Every stage is an ordinary command on real data with real processes; nothing here knows how they do it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from windlass.demo.git import commit
from windlass.demo.tour import APPROVER, ON_CALL, Tour
from windlass.domain import clock
from windlass.domain.clock import text_of
from windlass.domain.digest import short
from windlass.domain.errors import Failure
from windlass.workspace.project import example_data

ENDPOINT = MODEL = "employment"
USERS_2016, USERS_2017 = 4_000, 6_000
ROLLOUT_SECONDS, RETRAINING_SECONDS = 90.0, 90.0

# A bug that only single-row requests can meet: the reference group is taken from the request itself, and is empty for
# a foreign-born person without a diploma. Batches, and so all offline gates, always have somebody in it.
HEALTHY = "def transform(rows: pa.Table) -> np.ndarray:"
BROKEN = '''def transform(rows: pa.Table) -> np.ndarray:
    """Put ages in relation to the oldest of a reference group of the rows."""
    native = rows["NATIVITY"].to_numpy() == 1
    schooled = rows["SCHL"].to_numpy() >= 16
    oldest = rows["AGEP"].to_numpy()[native | schooled].max()
    return np.column_stack([columns(rows), rows["AGEP"].to_numpy() / max(oldest, 1)])


def columns(rows: pa.Table) -> np.ndarray:'''


@dataclass
class Facts:
    """What the story proved; ``summary`` is the document that ``--json`` prints."""

    versions: list[dict[str, Any]] = field(default_factory=list)
    gates: dict[str, str] = field(default_factory=dict)
    rollouts: list[dict[str, Any]] = field(default_factory=list)
    rollback_seconds: float | None = None
    drifted_columns: list[str] = field(default_factory=list)
    accuracy: dict[str, float | None] = field(default_factory=dict)
    retraining: dict[str, Any] = field(default_factory=dict)
    rolled_back_by_hand: dict[str, Any] = field(default_factory=dict)
    reproduced: bool = False
    digests: dict[str, str] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    ledger_verified: bool = False
    verified: dict[str, int] = field(default_factory=dict)


def tell(tour: Tour) -> dict[str, Any]:
    """Tell the whole story; returns its summary.

    Raises:
        Failure: a stage did not go as it must.
    """
    facts = Facts()
    timeline = tour.timeline
    with timeline.stage("project", "a Git project with windlass.toml and a pipeline of plain functions"):
        _project(tour)
    with timeline.stage("snapshot", "the census records of 2015 become an immutable snapshot"):
        _snapshot(tour)
    with timeline.stage("run", "prepare → train → evaluate, cached by recipe"):
        _run(tour)
    with timeline.stage("register", "the model becomes a version that names all it came from"):
        _register(tour, facts, "1.0.0")
    with timeline.stage("gate", "floors, drift, fairness, corner cases, latency: in a real worker"):
        _gate(tour, facts, "1.0.0")
    with timeline.stage("release", "refused until a second person approves; then gateway, worker, traffic"):
        _first_release(tour, facts)
    with timeline.stage("traffic", f"{USERS_2016:,} people of 2016 ask, one request each; the truth arrives later"):
        _traffic(tour)
    then = clock.now()
    with timeline.stage("improve", "2016 joins the data → 1.1.0 → shadow → canary 1 → 5 → 25 → 100 %, on evidence"):
        _improve(tour, facts)
    with timeline.stage("harm", "1.2.0 passes its gates and fails live: the canary is rolled back by itself"):
        _harm(tour, facts)
    with timeline.stage("drift", "the feed of 2017 switches to the codes of 2019 for RELP (injected)"):
        _drift(tour, facts)
    with timeline.stage("rollback", "one command; golden rows first"):
        _rollback(tour, facts)
    with timeline.stage("reproduce", "code, data, environment, config and seed again, in an empty folder"):
        _reproduce(tour, facts)
    with timeline.stage("history", "what served then, who put it there, and is every byte still the same?"):
        _history(tour, facts, then)
    return summary(facts, tour)


def summary(facts: Facts, tour: Tour) -> dict[str, Any]:
    return {
        "versions": facts.versions,
        "gates": facts.gates,
        "rollouts": facts.rollouts,
        "requests": sum(each["sent"] for each in tour.traffic),
        "failed_user_requests": sum(each["failed"] for each in tour.traffic),
        "rollback_seconds": facts.rollback_seconds,
        "drifted_columns": facts.drifted_columns,
        "accuracy": facts.accuracy,
        "retraining": facts.retraining,
        "rolled_back_by_hand": facts.rolled_back_by_hand,
        "reproduced": facts.reproduced,
        "digests": facts.digests,
        "history": facts.history,
        "ledger_verified": facts.ledger_verified,
        "verified": facts.verified,
        "traffic": tour.traffic,
        "folder": str(tour.folder),
        "seconds": round(tour.timeline.seconds, 1),
    }


def _project(tour: Tour) -> None:
    tour.windlass("init", str(tour.folder), "--example")
    tour.timeline.good("windlass.toml, pipeline.py, features.py, data/acs; first commit made")


def _snapshot(tour: Tour) -> None:
    first = tour.windlass("data", "add", "--name", "acs")["snapshot"]
    again = tour.windlass("data", "add", "--name", "acs")
    _must(not again["created"] and again["snapshot"]["tree"] == first["tree"], "unchanged data keeps its digest")
    tour.timeline.good(f"acs@1 {short(first['tree'])}, {first['rows']:,} rows; added again: the same digest")


def _run(tour: Tour) -> None:
    done = tour.windlass("run")
    again = tour.windlass("run")
    _must(all(step["state"] == "cached" for step in again["steps"]), "a second run does nothing")
    steps = ", ".join(f"{step['name']} {step['seconds']:.1f} s" for step in done["steps"])
    tour.timeline.good(f"{steps}; accuracy {done['metrics']['accuracy']:.3f} on held-out rows")
    tour.timeline.good(f"run again: {again['seconds']:.2f} s, nothing to do ({again['steps'][0]['cause']})")


def _register(tour: Tour, facts: Facts, expected: str) -> None:
    version = tour.windlass("register")["version"]
    _note_version(tour, facts, version)
    _must(version["semver"] == expected, f"what changed makes it {expected}, not {version['semver']}")


def _note_version(tour: Tour, facts: Facts, version: dict[str, Any]) -> None:
    data = version["origin"]["data"]
    facts.versions.append(
        {
            "name": version["model"],
            "semver": version["semver"],
            "model_digest": version["package"],
            "data_digest": next(iter(data.values())),
            "data": next(iter(data)),
            "why": version["why"],
        }
    )
    tour.timeline.good(
        f"{version['model']}@{version['semver']} ({version['why']}): model {short(version['package'])}, data"
        f" {next(iter(data))} {short(next(iter(data.values())))}"
    )


def _gate(tour: Tour, facts: Facts, semver: str) -> None:
    report = tour.windlass("gate", f"{MODEL}@{semver}")
    facts.gates[semver] = report["verdict"]
    tiny = [result["name"] for result in report["results"] if not result["blocking"]]
    if tiny:
        tour.timeline.say(f"· inconclusive, too few rows to call them fair or unfair: {', '.join(tiny)}", "yellow")
    blocking = [result for result in report["results"] if result["blocking"]]
    tour.timeline.good(
        f"{report['verdict']}: {len(blocking)} checks in {report['seconds']:.1f} s, report {short(report['report'])}"
    )


def _first_release(tour: Tour, facts: Facts) -> None:
    refused = tour.windlass("release", f"{MODEL}@1.0.0", "--to", ENDPOINT, expect=3)
    tour.timeline.bad(refused.strip().splitlines()[0])
    _approve(tour, "1.0.0", "reviewed: two tiny groups stay inconclusive")
    tour.up()
    rollout = _roll_out(tour, facts, "1.0.0", "promoted", traffic=None)
    tour.timeline.good(f"{rollout['candidate_reference']} answers on {tour.gateway_url}/endpoints/{ENDPOINT}")


def _approve(tour: Tour, semver: str, reason: str) -> None:
    tour.windlass("approve", f"{MODEL}@{semver}", "--reason", reason, actor=APPROVER)
    tour.timeline.good(f"{APPROVER} approves {MODEL}@{semver}")


def _traffic(tour: Tour) -> None:
    with tour.users("2016", 2016, count=USERS_2016) as labels:
        pass
    seen = tour.traffic[-1]
    tour.timeline.good(
        f"{seen['sent']:,} answered, {seen['failed']} failed, median {seen['p50_ms']} ms, p99 {seen['p99_ms']} ms"
    )
    _labels(tour, labels)
    status = tour.wait(
        "monitor.show",
        lambda found: any(window["realised_accuracy"] is not None for window in found["windows"]),
        seconds=30,
        what="a window of predictions with labels",
        endpoint=ENDPOINT,
    )
    _tell_accuracy(tour, status)


def _labels(tour: Tour, labels: Path) -> None:
    added = tour.windlass("labels", "add", str(labels))
    tour.timeline.good(f"{added['added']:,} labels joined to their predictions")


def _tell_accuracy(tour: Tour, status: dict[str, Any]) -> dict[str, float | None]:
    window = [each for each in status["windows"] if each["realised_accuracy"] is not None][-1]
    tour.timeline.good(
        f"accuracy: {window['estimated_accuracy']:.3f} estimated before the labels,"
        f" {window['realised_accuracy']:.3f} realised on {window['labels']:,}"
    )
    return {"estimated": window["estimated_accuracy"], "realised": window["realised_accuracy"]}


def _improve(tour: Tour, facts: Facts) -> None:
    shutil.copyfile(example_data(2016), tour.folder / "data" / "acs" / example_data(2016).name)
    tour.windlass("data", "add", "--name", "acs", "--reason", "the year 2016")
    done = tour.windlass("run")
    tour.timeline.good(f"run: {done['steps'][0]['cause']}; accuracy {done['metrics']['accuracy']:.3f}")
    _register(tour, facts, "1.1.0")
    _gate(tour, facts, "1.1.0")
    _approve(tour, "1.1.0", "twice the data")
    _roll_out(tour, facts, "1.1.0", "promoted", traffic=("2016-on", 2016, USERS_2016))


def _harm(tour: Tour, facts: Facts) -> None:
    features = tour.folder / "features.py"
    text = features.read_text()
    _must(HEALTHY in text, "the example's features.py is as the story knows it")
    features.write_text(text.replace(HEALTHY, BROKEN))
    commit(tour.folder, "Put ages in relation to a reference group")
    tour.timeline.say("· features.py now takes a reference group from the request itself", "yellow")
    tour.windlass("run")
    _register(tour, facts, "1.2.0")
    _gate(tour, facts, "1.2.0")
    _approve(tour, "1.2.0", "better on paper")
    rollout = _roll_out(tour, facts, "1.2.0", "rolled_back", traffic=("2016-later", 2016, 20_000), strategy="canary")
    facts.rollback_seconds = rollout["rollback_seconds"]
    tour.timeline.good(
        f"rolled back by itself ({rollout['verdict']});"
        f" {1000 * (rollout['rollback_seconds'] or 0):.0f} ms from the verdict to the last candidate answer"
    )
    failed = sum(each["failed"] for each in tour.traffic)
    tour.timeline.good(f"failed user requests so far: {failed}; every failed candidate answer fell back to 1.1.0")
    features.write_text(text)
    commit(tour.folder, "Take the reference group back")


def _roll_out(
    tour: Tour,
    facts: Facts,
    semver: str,
    expected: str,
    *,
    traffic: tuple[str, int, int] | None,
    strategy: str | None = None,
) -> dict[str, Any]:
    """Release a version while users go on asking, until the rollout has ended; it must end as expected."""
    options = ["--strategy", strategy] if strategy else []
    with _asking(tour, traffic):
        started = tour.windlass("release", f"{MODEL}@{semver}", "--to", ENDPOINT, *options)
        told = _Phases(tour)
        ended: dict[str, Any] = tour.wait(
            "rollout.show",
            lambda found: told.see(found) and found["ended_at"] is not None and _settled(found),
            seconds=ROLLOUT_SECONDS,
            what=f"the rollout of {semver} to end",
            rollout=started["id"],
        )
    facts.rollouts.append(
        {
            "candidate": ended["candidate_reference"],
            "stable": ended["stable_reference"],
            "strategy": ended["strategy"],
            "steps": [
                {
                    "kind": step["kind"],
                    "share": step["weight"],
                    "requests": step["requests"],
                    "users": step["users"],
                    "e_value": step["e_value"],
                    "promotion_e_value": step["promote_e"],
                    "decision": step["decision"],
                }
                for step in ended["steps"]
            ],
            "end_state": ended["state"],
            "verdict": ended["verdict"],
        }
    )
    _must(ended["state"] == expected, f"the rollout of {semver} must end {expected}, not {ended['state']}")
    return ended


def _settled(rollout: dict[str, Any]) -> bool:
    return rollout["state"] != "rolled_back" or rollout["rollback_seconds"] is not None


@contextmanager
def _asking(tour: Tour, traffic: tuple[str, int, int] | None) -> Iterator[None]:
    users = tour.users(traffic[0], traffic[1], start=traffic[2]) if traffic else nullcontext()
    with users:
        yield


class _Phases:
    """Says each phase of a rollout once it is decided."""

    def __init__(self, tour: Tour) -> None:
        self._tour, self._told = tour, 0

    def see(self, rollout: dict[str, Any]) -> bool:
        for step in rollout["steps"][self._told :]:
            if step["decision"] == "hold":
                self._tour.timeline.watch(
                    f"{step['kind']} {step['weight']:.0%}: {step['requests']:,} candidate requests, {step['needed']}"
                )
                break
            if step["kind"] == "blue-green":
                self._tour.timeline.good("blue-green: its worker is up and answers its golden rows → flip")
                self._told += 1
                continue
            say = self._tour.timeline.bad if step["decision"] == "roll_back" else self._tour.timeline.good
            say(
                f"{step['kind']} {step['weight']:.0%}: {step['requests']:,} candidate requests,"
                f" E harm {step['e_value']:.3g}, E safe {step['promote_e']:.3g} → {step['decision'].replace('_', ' ')}"
            )
            self._told += 1
        return True


def _drift(tour: Tour, facts: Facts) -> None:
    with tour.users("2017-recoded", 2017, count=USERS_2017, recode=True) as labels:
        pass
    firing = tour.wait(
        "monitor.show",
        lambda found: any(alert["state"] == "firing" for alert in found["alerts"]),
        seconds=30,
        what="an alert",
        endpoint=ENDPOINT,
    )
    facts.drifted_columns = sorted(alert["column"] for alert in firing["alerts"])
    tour.timeline.bad(f"alert: drift of {', '.join(facts.drifted_columns)}, and of no other input")
    _labels(tour, labels)

    def retrained(found: dict[str, Any]) -> bool:
        return any(each["state"] in ("held", "released", "failed") for each in found["retrainings"])

    tour.timeline.watch("retraining by policy, with the code in charge and the labelled live rows")
    status = tour.wait(
        "monitor.show", retrained, seconds=RETRAINING_SECONDS, what="the retraining to end", endpoint=ENDPOINT
    )
    facts.drifted_columns = sorted(alert["column"] for alert in status["alerts"])
    facts.accuracy = _tell_accuracy(tour, status)
    retraining = next(each for each in status["retrainings"] if each["state"] in ("held", "released", "failed"))
    facts.retraining = {key: retraining[key] for key in ("state", "cause", "reference", "detail")}
    _must(retraining["state"] != "failed", f"the retraining must end: {retraining['detail']}")
    version = tour.windlass("models", retraining["reference"], quiet=True)
    _note_version(tour, facts, version)
    facts.gates[version["semver"]] = tour.windlass("gate", retraining["reference"], "--show", quiet=True)["verdict"]
    tour.timeline.good(
        f"retrained by policy → {retraining['reference']}: {retraining['state']} ({retraining['detail']})"
    )


def _rollback(tour: Tour, facts: Facts) -> None:
    with tour.users("2017", 2017):
        result = tour.windlass("rollback", ENDPOINT, "--reason", "while the feed is repaired", actor=ON_CALL)
    facts.rolled_back_by_hand = {
        "from": result["from_reference"], "to": result["to_reference"],
        "revalidated": result["revalidated"], "seconds": result["seconds"],
    }  # fmt: skip
    tour.timeline.good(
        f"{result['from_reference']} → {result['to_reference']} in {1000 * result['seconds']:.0f} ms,"
        f" golden rows checked, {tour.traffic[-1]['failed']} of {tour.traffic[-1]['sent']:,} requests failed meanwhile"
    )


def _reproduce(tour: Tour, facts: Facts) -> None:
    result = tour.windlass("reproduce", f"{MODEL}@1.1.0")
    facts.reproduced = result["identical"]
    facts.digests = {"recorded": result["expected"], "rebuilt": result["actual"]}
    tour.timeline.good(f"identical: {short(result['expected'])} = {short(result['actual'])}")


def _history(tour: Tour, facts: Facts, then: int) -> None:
    (served,) = tour.windlass("history", ENDPOINT, "--at", text_of(then))
    tour.timeline.good(f"then {served['reference']} served, put there by {served['actor']} ({served['reason']})")
    facts.history = [
        {"since": text_of(each["since"]), "version": each["reference"], "actor": each["actor"], "how": each["action"]}
        for each in tour.windlass("history", ENDPOINT)
    ]
    proof = tour.windlass("verify")
    facts.ledger_verified = not proof["problems"]
    facts.verified = {name: proof[name] for name in ("ledger_entries", "objects", "lineage_edges", "predictions")}
    tour.timeline.good(
        f"verified: {proof['ledger_entries']:,} ledger entries, {proof['objects']:,} objects,"
        f" {proof['lineage_edges']:,} lineage edges, {proof['predictions']:,} logged predictions; all intact"
    )


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise Failure(f"the demo did not go as it must: {what}")
