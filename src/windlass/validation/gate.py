"""The gate: every check of a policy, on a version's package in a real worker, and the report of it."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from windlass.domain import digest
from windlass.domain.clock import Clock
from windlass.domain.errors import Failure, Invalid, Unavailable
from windlass.domain.evidence import CheckResult, Verdict, decide
from windlass.domain.schema import Scalar, Signature
from windlass.domain.version import VERSION
from windlass.serving.client import WorkerClient, worker_process
from windlass.validation import corner_cases, drift, fairness, latency, metrics
from windlass.validation.corner_cases import Asked, Case, Outcome
from windlass.validation.policy import GatePolicy

FORMAT = 1
FAMILY = "package"

BATCH = 1000
BATCH_SECONDS = 60.0
CASE_SECONDS = 10.0
LATENCY_SECONDS = 30.0  # a model so slow gets fewer requests, and what they cannot show is inconclusive

_FAMILIES = (FAMILY, metrics.FAMILY, fairness.FAMILY, drift.FAMILY, latency.FAMILY, corner_cases.FAMILY)

Row = dict[str, Scalar]
Answer = dict[str, Scalar]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """What the gate found. It never changes; a second run makes a second report.

    ``policy`` is the digest of ``rules``, the policy in force. ``environment`` says where it ran: latencies mean
    something only with it.
    """

    reference: str
    package: str
    policy: str
    rules: Mapping[str, Any]
    verdict: Verdict
    results: tuple[CheckResult, ...]
    rows: int
    at: int
    seconds: float
    environment: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class _Package:
    """The part of a package that the checks need; its golden rows too."""

    signature: Signature
    target: str = ""
    task: str = "classification"
    positive: Scalar = None
    golden: tuple[Row, ...] = ()


def run(
    *,
    reference: str,
    package: str,
    folder: Path,
    evaluation: pa.Table,
    training: pa.Table,
    policy: GatePolicy,
    python: str = sys.executable,
    socket: Path,
    log: Path | None = None,
    now: Clock,
    progress: Progress = lambda _: None,
) -> GateReport:
    """Run every check of ``policy``; ``folder`` is the package laid out, ``socket`` where its worker shall listen.

    What goes wrong in a family of checks is a result of that family (``Verdict.ERROR``): a report is always made.

    Raises:
        Invalid: the folder holds no package.
    """
    started = now()
    described = _described(folder)
    described = replace(
        described,
        target=policy.target or described.target,
        positive=described.positive if policy.positive is None else policy.positive,
    )
    inputs = [column.name for column in described.signature.inputs]

    progress(f"drift: {evaluation.num_rows} evaluation rows against {training.num_rows} training rows")
    compared = [*inputs, *([described.target] if described.target else [])]
    results = _guarded(drift.FAMILY, partial(drift.check, policy.drift, training, evaluation, compared))
    with ExitStack() as stack:
        progress("package: starting a worker")
        try:
            stack.enter_context(worker_process(folder, socket, python=python, log=log))
        except Failure as error:
            results += _not_started(error)
        else:
            results.append(_started(len(described.golden)))
            client = stack.enter_context(WorkerClient(socket))
            results += _answers_and_scores(client, described, evaluation, policy, progress)
            progress(f"latency: one row at a time, {_requests(policy)} times")
            results += _guarded(latency.FAMILY, partial(_latency, client, described, policy))
            progress("corner cases: one column at a time")
            results += _guarded(corner_cases.FAMILY, partial(_corner_cases, client, described, training, policy))
    results.sort(key=lambda result: _FAMILIES.index(result.family))
    verdict = decide(results)
    progress(f"{reference}: {verdict.value}")
    rules = msgspec.to_builtins(policy)
    return GateReport(
        reference=reference,
        package=package,
        policy=digest.of(rules),
        rules=rules,
        verdict=verdict,
        results=tuple(results),
        rows=evaluation.num_rows,
        at=started,
        seconds=(now() - started) / 1e6,
        environment=_environment(),
    )


def _answers_and_scores(
    client: WorkerClient, described: _Package, evaluation: pa.Table, policy: GatePolicy, progress: Progress
) -> list[CheckResult]:
    """The packaged model's answers to the evaluation rows, and the families that judge them."""
    try:
        answers = _answers(client, _rows(evaluation, described.signature), progress)
    except Failure as error:
        because = "the model did not answer every evaluation row"
        return [
            CheckResult(
                name="answers every evaluation row",
                family=FAMILY,
                verdict=Verdict.ERROR if isinstance(error, Unavailable) else Verdict.FAIL,
                summary=error.message[:500],
                n=evaluation.num_rows,
            ),
            *_unmeasured((metrics.FAMILY, fairness.FAMILY), because),
        ]
    complete = CheckResult(
        name="answers every evaluation row",
        family=FAMILY,
        verdict=Verdict.PASS if answers else Verdict.INCONCLUSIVE,
        summary=f"{len(answers)} rows in batches of {BATCH}" if answers else "there is no evaluation row",
        n=len(answers),
    )
    predicted = [answer["prediction"] for answer in answers]

    def scored() -> list[CheckResult]:
        probability = [float(answer["probability"] or 0) for answer in answers if "probability" in answer]
        truth = _truth(described, evaluation) if policy.metrics else []
        given = probability if len(probability) == len(answers) else None
        return metrics.check(policy.metrics, truth, predicted, given, described.positive)

    def compared() -> list[CheckResult]:
        if not policy.fairness.columns:
            return []
        truth = _truth(described, evaluation)
        groups = {name: _column(evaluation, name) for name in policy.fairness.columns}
        return fairness.check(policy.fairness, groups, truth, predicted, described.positive)

    progress(f"metrics and fairness: {len(answers)} answers")
    return [complete, *_guarded(metrics.FAMILY, scored), *_guarded(fairness.FAMILY, compared)]


def _answers(client: WorkerClient, rows: Sequence[Row], progress: Progress) -> list[Answer]:
    answers: list[Answer] = []
    for start in range(0, len(rows), BATCH):
        if start % (20 * BATCH) == 0:
            progress(f"predictions: {start} of {len(rows)} evaluation rows")
        answers += client.answer(list(rows[start : start + BATCH]), timeout=BATCH_SECONDS)
    return answers


def _latency(client: WorkerClient, described: _Package, policy: GatePolicy) -> list[CheckResult]:
    """Time golden row 0 over the worker's socket, the first answer left out: it warms up."""
    if not described.golden:
        raise Invalid("the package has no golden row to ask", hint="`windlass run` packages the model with some")
    row, milliseconds = described.golden[0], list[float]()
    client.answer([row])
    stop = time.perf_counter() + LATENCY_SECONDS
    for _ in range(_requests(policy)):
        before = time.perf_counter()
        client.answer([row])
        after = time.perf_counter()
        milliseconds.append((after - before) * 1e3)
        if after > stop:
            break
    return latency.check(policy.latency, milliseconds)


def _requests(policy: GatePolicy) -> int:
    return max(policy.latency.requests, latency.enough(0.99))


def _corner_cases(
    client: WorkerClient, described: _Package, training: pa.Table, policy: GatePolicy
) -> list[CheckResult]:
    planned, asked, died = corner_cases.cases(described.signature, training), list[Asked](), ""
    for case in planned:
        each = _ask(client, case)
        asked.append(each)
        if each.outcome is Outcome.FAILED and not client.ready():
            died = f"at {case.column or 'the typical row'}, {case.change}"
            break
    return corner_cases.check(policy.corner_cases, asked, len(planned), died)


def _ask(client: WorkerClient, case: Case) -> Asked:
    try:
        (answer,) = client.answer([case.row], timeout=CASE_SECONDS)
    except Invalid as error:
        return Asked(case=case, outcome=Outcome.REJECTED, said=error.message)
    except Failure as error:
        return Asked(case=case, outcome=Outcome.FAILED, said=error.message)
    outcome = Outcome.ANSWERED if corner_cases.is_answer(answer) else Outcome.FAILED
    return Asked(case=case, outcome=outcome, said=str(answer))


def _guarded(family: str, measure: Callable[[], list[CheckResult]]) -> list[CheckResult]:
    """What a family finds, or the error that kept it from finding anything."""
    try:
        return measure()
    except Exception as error:  # noqa: BLE001 - user data and numerics fail in many ways; each becomes evidence
        said = error.message if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
        return [_error(family, said[:500], getattr(error, "hint", ""))]


def _error(family: str, said: str, hint: str = "") -> CheckResult:
    return CheckResult(
        name=family.replace("_", " "),
        family=family,
        verdict=Verdict.ERROR,
        summary=f"not measured: {said}",
        details={"hint": hint} if hint else {},
    )


def _unmeasured(families: Sequence[str], because: str) -> list[CheckResult]:
    return [_error(family, because) for family in families]


def _started(golden: int) -> CheckResult:
    return CheckResult(
        name="starts and answers as packaged",
        family=FAMILY,
        verdict=Verdict.PASS,
        summary=f"a worker started and gave the packaged answers to {golden} golden rows",
        n=golden,
    )


def _not_started(error: Failure) -> list[CheckResult]:
    # Not in time says nothing about the model; anything else it said itself.
    verdict = Verdict.ERROR if isinstance(error, Unavailable) else Verdict.FAIL
    failed = CheckResult(
        name="starts and answers as packaged", family=FAMILY, verdict=verdict, summary=error.message[:500]
    )
    rest = (metrics.FAMILY, fairness.FAMILY, latency.FAMILY, corner_cases.FAMILY)
    return [failed, *_unmeasured(rest, "the packaged model did not start")]


def _described(folder: Path) -> _Package:
    try:
        plain = json.loads((folder / "windlass.json").read_bytes())
        golden = json.loads((folder / "golden.json").read_bytes())
        return msgspec.convert({**plain, "golden": golden["rows"]}, _Package)
    except (OSError, ValueError, TypeError, KeyError, msgspec.ValidationError) as error:
        raise Invalid(f"{folder} holds no packaged model: {error}", hint="`windlass run` makes one") from None


def _rows(table: pa.Table, signature: Signature) -> list[Row]:
    names = [column.name for column in signature.inputs]
    for name in names:
        _column(table, name)
    rows: list[Row] = table.select(names).to_pylist()
    return rows


def _truth(described: _Package, evaluation: pa.Table) -> list[Scalar]:
    if described.task != "classification":
        raise Invalid(f"metric floors and fairness are for classifiers; this model's task is {described.task}")
    truth = _column(evaluation, described.target)
    if unknown := sum(label is None for label in truth):
        raise Invalid(
            f"{unknown} evaluation rows have no {described.target}", hint="leave them out where the rows are prepared"
        )
    return truth


def _column(table: pa.Table, name: str) -> list[Scalar]:
    if name not in table.column_names:
        raise Invalid(
            f"the evaluation rows lack the column {name or 'of the target'}",
            hint="gates.evaluation in windlass.toml must name rows with the inputs, the target and the groups",
        )
    values: list[Scalar] = table[name].to_pylist()
    return values


def _environment() -> dict[str, str]:
    return {
        "windlass": VERSION,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": str(os.cpu_count() or 1),
    }
