"""Rehearsing a policy: thousands of rollouts on simulated users, judged by the code that judges real ones.

Users are either stated (how many a second, how many fail, how long answers take) or drawn again from a prediction
log. An innocent candidate answers as the stable release does; faults are added to it. Nothing here knows what the
analysis does: it folds, judges and enters phases as the controller does, only that an interval has more users than a
look has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from statistics import median
from typing import TYPE_CHECKING, Any

from windlass.delivery import analysis
from windlass.delivery.analysis import Decision, Evidence, Interval, Judgement, Labelled
from windlass.delivery.observations import BAD_ROWS
from windlass.delivery.strategy import Phase, PhaseKind, RolloutPolicy
from windlass.domain.errors import Invalid
from windlass.domain.routing import Arm
from windlass.serving.record import Prediction, Record
from windlass.stats.intervals import wilson

if TYPE_CHECKING:
    import numpy as np

FEWEST = 100
FAULTS = ("errors", "latency", "quality", "answers")
# An interval has about so many candidate users, but never fewer or more users than these: as a look on a busy endpoint.
_CANDIDATES, _LEAST, _MOST = 20, 100, 1000
_CLOCK = 1_000_000  # us, where the simulated clock begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The users of an endpoint as its stable release answers them.

    ``rate``: new users a second; ``errors``: the share that fails; ``latency_ms`` and ``spread``: the median of the
    latencies, and the standard deviation of their logarithm; ``bursts``: how often in an hour, and for how many
    seconds, all answers take ``burst_factor`` times as long, whoever gives them. ``share``: of the answers that are
    positive; ``right``: of the answers that are right, and ``labels`` the share of answers that a label comes for,
    after ``label_seconds``. ``disagree``: the share of answers of an innocent candidate that are others than the
    stable release's, right as often as those. ``failed``, ``latencies_us`` and ``answers`` are those of a prediction
    log, a user each, to draw from instead."""

    rate: float = 50.0
    errors: float = 0.01
    latency_ms: float = 20.0
    spread: float = 0.4
    bursts: float = 6.0
    burst_seconds: float = 5.0
    burst_factor: float = 5.0
    share: float = 0.25
    right: float = 0.9
    labels: float = 0.0
    label_seconds: float = 0.0
    disagree: float = 0.0
    failed: Any = ()
    latencies_us: Any = ()
    answers: Any = ()

    def __post_init__(self) -> None:
        for name in ("errors", "share", "right", "labels", "disagree"):
            if not 0 <= getattr(self, name) <= 1:
                raise Invalid(f"{name} is {getattr(self, name)}", hint="use a share from 0 to 1")
        if not (0 < self.rate < 1e7):
            raise Invalid(f"the rate is {self.rate}", hint="say how many new users come in a second, such as 50/s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with the candidate. ``errors``: its whole rate of failures; ``latency``: how many times as long
    it takes; ``quality``: by how much its share of right answers differs, such as -0.02; ``answers``: by how much its
    share of positive answers differs."""

    name: str = "innocent"
    errors: float | None = None
    latency: float = 1.0
    quality: float = 0.0
    answers: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A time in which both arms fail, as a share of requests; ``after``: so many users from the beginning."""

    errors: float
    after: int
    users: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How one simulated rollout went: the ``decision`` it ended by (hold: it did not end), in which phase, by which
    signal, after how many ``requests`` of the candidate, ``labels`` and ``seconds``."""

    decision: Decision
    phase: int
    signal: str
    requests: int
    labels: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTold:
    """Of the simulated rollouts: how many ended in a phase by a rollback, and how long those that left it were in
    it."""

    kind: str
    weight: float
    entered: int
    rolled_back: int
    stuck: int
    median_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of ``runs`` rollouts of candidates with a fault. ``low`` and ``high`` bound the share that is
    rolled back, at 95 %; the medians are of those that were rolled back, and ``promoted_seconds`` of those that were
    promoted."""

    fault: str
    runs: int
    rolled_back: int
    promoted: int
    share: float
    low: float
    high: float
    median_requests: float | None
    median_labels: float | None
    median_seconds: float | None
    promoted_seconds: float | None
    by_signal: Mapping[str, int]
    phases: tuple[PhaseTold, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """``limits``: the evidence of harm that rolls back, by signal."""

    traffic: str
    runs: int
    seed: int
    alpha: float
    limits: Mapping[str, float]
    innocent: Outcome
    faults: tuple[Outcome, ...]


@dataclass(slots=True)
class _Run:
    """What a simulated rollout carries on from interval to interval: the clock (s), and labels that are on their
    way."""

    clock: float = 0.0
    users: int = 0
    requests: int = 0
    labels: int = 0
    coming: list[tuple[float, Labelled]] = field(default_factory=list)


def simulate(
    policy: RolloutPolicy,
    phases: Sequence[Phase],
    traffic: Traffic,
    faults: Sequence[Fault],
    *,
    runs: int,
    seed: int,
    told: str,
    most_users: int = 400_000,
    progress: Callable[[str, int, int], None] = lambda _name, _done, _of: None,
) -> Simulation:
    """Roll ``runs`` innocent candidates out, and as many with each fault; ``told`` says what the traffic is.

    Raises:
        Invalid: nothing in the phases is decided by evidence, or there are no runs.
    """
    if runs < 1:
        raise Invalid(f"runs is {runs}", hint="use 1 or more; 500 give an answer to about 2 %")
    if not any(phase.by_evidence for phase in phases):
        raise Invalid("these phases are no matter of evidence", hint="simulate a policy with a shadow or a canary")
    outcomes = [
        outcome(
            policy, phases, traffic, fault, runs=runs, seed=seed, most_users=most_users,
            progress=lambda done, name=fault.name: progress(name, done, runs),  # type: ignore[misc]
        )
        for fault in (Fault(), *faults)
    ]  # fmt: skip
    split = analysis.begin(policy, phases).split
    return Simulation(
        traffic=told,
        runs=runs,
        seed=seed,
        alpha=policy.alpha,
        limits={name: 1 / part for name, part in split.items()},
        innocent=outcomes[0],
        faults=tuple(outcomes[1:]),
    )


def outcome(
    policy: RolloutPolicy,
    phases: Sequence[Phase],
    traffic: Traffic,
    fault: Fault,
    *,
    runs: int,
    seed: int,
    most_users: int = 400_000,
    incident: Incident | None = None,
    progress: Callable[[int], None] = lambda _done: None,
) -> Outcome:
    """Roll candidates with a fault out, so many of them."""
    import numpy as np  # noqa: PLC0415 - the command line shows its help without

    ended: list[Ended] = []
    spent: dict[int, list[float]] = {}
    for number in range(runs):
        # Each rollout has a stream of its own: it is the same whatever else is simulated.
        rng = np.random.default_rng((seed, number))
        done = roll_out(policy, phases, traffic, fault, rng, most_users=most_users, incident=incident, spent=spent)
        ended.append(done)
        progress(number + 1)
    back = [each for each in ended if each.decision is Decision.ROLL_BACK]
    promoted = [each for each in ended if each.decision is Decision.PROMOTE]
    low, high = wilson(len(back), runs)
    return Outcome(
        fault=fault.name,
        runs=runs,
        rolled_back=len(back),
        promoted=len(promoted),
        share=len(back) / runs,
        low=low,
        high=high,
        median_requests=_median([each.requests for each in back]),
        median_labels=_median([each.labels for each in back]),
        median_seconds=_median([each.seconds for each in back]),
        promoted_seconds=_median([each.seconds for each in promoted]),
        by_signal={name: sum(each.signal == name for each in back) for name in sorted({each.signal for each in back})},
        phases=tuple(
            PhaseTold(
                kind=phase.kind,
                weight=phase.share,
                entered=sum(each.phase >= index for each in ended),
                rolled_back=sum(each.phase == index for each in back),
                stuck=sum(each.phase == index and each.decision is Decision.HOLD for each in ended),
                median_seconds=_median(spent.get(index, [])),
            )
            for index, phase in enumerate(phases)
        ),
    )


def roll_out(
    policy: RolloutPolicy,
    phases: Sequence[Phase],
    traffic: Traffic,
    fault: Fault,
    rng: np.random.Generator,
    *,
    most_users: int,
    incident: Incident | None = None,
    spent: dict[int, list[float]] | None = None,
) -> Ended:
    """One rollout, until it ends or ``most_users`` have come; ``spent`` gets the seconds of each phase that was
    left."""
    evidence = analysis.begin(policy, phases)
    run, begun = _Run(), 0.0
    while True:
        phase = phases[evidence.phase]
        if phase.kind is PhaseKind.BLUE_GREEN:
            judged = analysis.judge(evidence, policy, phases)
        else:
            new = _interval(phase, traffic, fault, rng, run, incident)
            evidence = analysis.fold(evidence, new, policy, phases)
            judged = analysis.judge(evidence, policy, phases, forecast=False)
            if judged.decision is not Decision.ROLL_BACK and run.clock - begun < phase.seconds:
                judged = analysis.held(judged)
        if judged.decision in (Decision.ADVANCE, Decision.PROMOTE) and spent is not None:
            spent.setdefault(evidence.phase, []).append(run.clock - begun)
        if judged.decision is Decision.ADVANCE:
            evidence, begun = analysis.enter(evidence, phases, evidence.phase + 1), run.clock
        elif judged.decision is not Decision.HOLD or run.users >= most_users:
            return _ended(judged, evidence, run)


def _ended(judged: Judgement, evidence: Evidence, run: _Run) -> Ended:
    return Ended(
        decision=judged.decision,
        phase=evidence.phase,
        signal=judged.verdict.partition(":")[0],
        requests=run.requests,
        labels=run.labels,
        seconds=run.clock,
    )


def _interval(
    phase: Phase, traffic: Traffic, fault: Fault, rng: np.random.Generator, run: _Run, incident: Incident | None
) -> Interval:
    """The next users of a phase."""
    import numpy as np  # noqa: PLC0415

    shadow = phase.kind is PhaseKind.SHADOW
    count = _LEAST if shadow else min(_MOST, max(_LEAST, round(_CANDIDATES / phase.share)))
    times = run.clock + rng.exponential(1 / traffic.rate, count).cumsum()
    if incident is not None:
        order = run.users + np.arange(count)
        hit = (order >= incident.after) & (order < incident.after + incident.users)
    else:
        hit = np.zeros(count, dtype=bool)
    stable = _arm(count, traffic, Fault(), rng, times, hit, incident)
    candidate = _arm(count, traffic, fault, rng, times, hit, incident, beside=stable if shadow else None)
    at = _CLOCK + (times * 1e6).astype(np.int64)
    run.clock = float(times[-1])
    run.users += count
    if shadow:
        new, labelled = _shadow(stable, candidate, at)
    else:
        new, labelled = _canary(stable, candidate, at, rng.random(count) < phase.share)
    run.requests += new.requests
    return replace(new, labelled=_labels(labelled, traffic, rng, run))


@dataclass(frozen=True, slots=True)
class _Arm:
    """What an arm would do with each user's request."""

    failed: Any
    latency_us: Any
    answers: Any
    right: Any


def _arm(
    count: int,
    traffic: Traffic,
    fault: Fault,
    rng: np.random.Generator,
    times: Any,
    hit: Any,
    incident: Incident | None,
    *,
    beside: _Arm | None = None,
) -> _Arm:
    """An arm's answers; ``beside``: of a shadow, the stable release's answers to the same requests."""
    import numpy as np  # noqa: PLC0415

    drawn = rng.integers(len(traffic.failed), size=count) if len(traffic.failed) else None
    rate = traffic.errors if drawn is None else float(np.mean(traffic.failed))
    failing = max(fault.errors, 0.0) if fault.errors is not None else rate
    if drawn is None or fault.errors is not None:
        failed = rng.random(count) < failing
    else:
        failed = np.asarray(traffic.failed)[drawn]
    if incident is not None:
        failed = failed | (hit & (rng.random(count) < incident.errors))
    if drawn is None:
        latency = rng.lognormal(np.log(traffic.latency_ms * 1000), traffic.spread, count)
        # Bursts come at the same times to both arms: their beginnings are a matter of the clock alone.
        every = 3600 / traffic.bursts if traffic.bursts else np.inf
        latency = np.where((times % every) > every - traffic.burst_seconds, latency * traffic.burst_factor, latency)
    else:
        latency = np.asarray(traffic.latencies_us)[drawn]
    latency = np.maximum(latency * fault.latency, 1).astype(np.int64)
    answers, right = _answers(count, traffic, fault, rng, drawn, beside)
    return _Arm(failed, latency, answers, right)


def _answers(
    count: int, traffic: Traffic, fault: Fault, rng: np.random.Generator, drawn: Any, beside: _Arm | None
) -> tuple[Any, Any]:
    """Answers, and whether each is right.

    A candidate of less quality is the stable release with some answers turned over at random, as many as make the
    difference: such a fault is what pairs show best.
    """
    import numpy as np  # noqa: PLC0415

    if beside is not None:
        answers, right = beside.answers.copy(), beside.right.copy()
        other = rng.random(count) < traffic.disagree
        # An innocent candidate's own answers: right as often as the stable release's, and of the same distribution.
        fresh, fresh_right = _answers(count, traffic, Fault(), rng, None, None)
        if drawn is not None:
            fresh = np.asarray(traffic.answers)[rng.integers(len(traffic.answers), size=count)]
        answers[other], right[other] = fresh[other], fresh_right[other]
    elif drawn is not None:
        answers = np.asarray(traffic.answers)[drawn]
        right = rng.random(count) < traffic.right
    else:
        answers = (rng.random(count) < traffic.share).astype(int)
        right = rng.random(count) < traffic.right
    if fault.quality:
        turned = rng.random(count) < -fault.quality / (2 * traffic.right - 1)
        right = right ^ turned
    if fault.answers:
        answers = _shifted(answers, fault.answers, rng)
    return answers, right


def _shifted(answers: Any, shift: float, rng: np.random.Generator) -> Any:
    """The answers with so much more of the most frequent other one, or with so much of it less."""
    import numpy as np  # noqa: PLC0415

    kinds, counts = np.unique(answers.astype(str), return_counts=True)
    order = np.argsort(-counts)
    if len(kinds) > 12 or len(kinds) < 2:
        # Numbers: that share of them moves beyond all others, up or down.
        numbers = answers.astype(float)
        moved = rng.random(len(answers)) < abs(shift)
        return np.where(moved, (numbers.max() + 1) if shift > 0 else (numbers.min() - 1), numbers)
    first, second = kinds[order[0]], kinds[order[1]]
    gains, loses = (second, first) if shift > 0 else (first, second)
    text = answers.astype(str)
    there = float((text == loses).mean())
    moved = (text == loses) & (rng.random(len(answers)) < min(1.0, abs(shift) / there if there else 0.0))
    value = answers[int(np.argmax(text == gains))]
    made = answers.copy()
    made[moved] = value
    return made


def _shadow(stable: _Arm, candidate: _Arm, at: Any) -> tuple[Interval, Labelled]:
    """Each stable user, and then the candidate's answer to the same request where the stable release answered."""
    import numpy as np  # noqa: PLC0415

    count = len(at)
    asked = ~stable.failed
    rows = np.repeat(np.arange(count), 2)
    arm = np.tile([False, True], count)
    there = ~arm | asked[rows]
    rows, arm = rows[there], arm[there]
    pairs = asked & ~candidate.failed
    new = Interval(
        requests=int(asked.sum()),
        paired=True,
        candidate=arm,
        failed=np.where(arm, candidate.failed[rows], stable.failed[rows]),
        latency_us=np.where(arm, candidate.latency_us[rows], stable.latency_us[rows]),
        at=at[rows],
        answers=np.where(arm, candidate.answers[rows], stable.answers[rows]),
        partners=stable.answers[rows],
    )
    worse = stable.right[pairs].astype(int) - candidate.right[pairs].astype(int)
    return new, Labelled(worse=worse)


def _canary(stable: _Arm, candidate: _Arm, at: Any, chosen: Any) -> tuple[Interval, Labelled]:
    import numpy as np  # noqa: PLC0415

    failed = np.where(chosen, candidate.failed, stable.failed)
    new = Interval(
        requests=int(chosen.sum()),
        candidate=chosen,
        failed=failed,
        latency_us=np.where(chosen, candidate.latency_us, stable.latency_us),
        at=at,
        answers=np.where(chosen, candidate.answers, stable.answers),
    )
    return new, Labelled(candidate=chosen[~failed], right=np.where(chosen, candidate.right, stable.right)[~failed])


def _labels(made: Labelled, traffic: Traffic, rng: np.random.Generator, run: _Run) -> Labelled:
    """The labels that have come by now; each answer has one with the chance of ``traffic.labels``."""
    import numpy as np  # noqa: PLC0415

    if not traffic.labels:
        return Labelled()
    pairs, single = (rng.random(len(each)) < traffic.labels for each in (made.worse, made.candidate))
    run.coming.append(
        (
            run.clock + traffic.label_seconds,
            Labelled(
                worse=np.asarray(made.worse)[pairs],
                candidate=np.asarray(made.candidate)[single],
                right=np.asarray(made.right)[single],
            ),
        )
    )
    there = [each for when, each in run.coming if when <= run.clock]
    run.coming = [(when, each) for when, each in run.coming if when > run.clock]
    if not there:
        return Labelled()
    worse, candidate, right = (
        np.concatenate([np.asarray(getattr(each, name)) for each in there]) for name in ("worse", "candidate", "right")
    )
    run.labels += len(worse) + len(candidate)
    return Labelled(worse=worse, candidate=candidate.astype(bool), right=right)


def parse_fault(text: str) -> Fault:
    """``errors=0.02``, ``latency=2x``, ``quality=-0.02`` or ``answers=+0.2``; several with a comma are one candidate.

    Raises:
        Invalid: it is none of these.
    """
    values: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        try:
            number = float(value.removesuffix("x") if name == "latency" else value)
        except ValueError:
            number = float("nan")
        if not equals or name not in FAULTS or not isfinite(number) or not _possible(name, number):
            raise Invalid(
                f"'{text[:80]}' is no fault", hint="such as errors=0.02, latency=2x, quality=-0.02 or answers=+0.2"
            )
        values[name] = number
    return replace(Fault(name=text), **values)  # type: ignore[arg-type]


def _possible(name: str, value: float) -> bool:
    low, high = {"errors": (0, 1), "latency": (0.01, 1000), "quality": (-0.5, 0), "answers": (-1, 1)}[name]
    return low <= value <= high


def parse_rate(text: str) -> float:
    """Users a second: ``50/s``, ``600/min``, ``5000/h`` or a number.

    Raises:
        Invalid: it is none of these.
    """
    number, slash, unit = text.strip().partition("/")
    try:
        value = float(number) / {"s": 1, "min": 60, "h": 3600}[unit if slash else "s"]
    except (ValueError, KeyError):
        raise Invalid(f"'{text[:40]}' is no rate", hint="such as 50/s, 600/min or 5000/h") from None
    return value


def _median(values: Sequence[float]) -> float | None:
    return float(median(values)) if values else None


def recorded(records: Sequence[Record], **stated: Any) -> Traffic:
    """The users of a prediction log: of each the first request that the release in charge was asked.
    ``stated`` is what no log says, such as ``labels``.

    Raises:
        Invalid: there are too few of them to draw from.
    """
    import numpy as np  # noqa: PLC0415

    first: dict[str, Prediction] = {}
    for record in records:
        if isinstance(record, Prediction) and record.arm is Arm.STABLE and record.status != BAD_ROWS:
            first.setdefault(record.user, record)
    if len(first) < FEWEST:
        raise Invalid(
            f"the log has {len(first):,} users that the release in charge answered",
            hint=f"from {FEWEST} on there is something to draw from; or state the traffic: --rate 50/s --errors 0.01",
        )
    users = list(first.values())
    times = [each.at for each in users]
    answered = [each for each in users if each.status == 200 and each.answers]
    if not answered:
        raise Invalid("the log has no answers", hint="state the traffic instead: --rate 50/s --errors 0.01")
    answers = [each.answers[0].get("prediction") if each.answers else None for each in users]
    usual = answered[0].answers[0].get("prediction") if answered[0].answers else None
    return Traffic(
        rate=(len(users) - 1) * 1e6 / max(1, max(times) - min(times)),
        failed=np.array([each.status != 200 for each in users]),
        latencies_us=np.array([each.latency_us for each in users], dtype=np.int64),
        answers=_column([usual if each is None else each for each in answers]),
        **stated,
    )


def _column(answers: list[Any]) -> Any:
    """Answers of one type as numbers or texts, which is quick; others as they are."""
    import numpy as np  # noqa: PLC0415

    if len({type(each) for each in answers}) == 1 and isinstance(answers[0], str | int | float):
        return np.array(answers)
    column = np.empty(len(answers), dtype=object)
    column[:] = answers
    return column


def figures(*, canaries: int = 2000, found: int = 200, seed: int = 1) -> dict[str, float]:
    """The figures that the analysis promises, as measured here and now: shares, and medians of candidate requests and
    labels. ``canaries`` innocent rollouts and as many with an incident; ``found`` candidates of each fault."""
    policy = RolloutPolicy()
    traffic = Traffic()
    # In the canary's phases, where both arms have users.
    incident = Incident(errors=0.3, after=3000, users=3000)
    innocent = outcome(policy, policy.phases, traffic, Fault(), runs=canaries, seed=seed)
    both = outcome(policy, policy.phases, traffic, Fault(), runs=canaries, seed=seed + 1, incident=incident)
    canary = (Phase(kind=PhaseKind.CANARY, weight=0.05, users=10**9),)
    doubled = outcome(policy, canary, traffic, Fault(errors=0.02), runs=found, seed=seed)
    shadow = (Phase(kind=PhaseKind.SHADOW, users=10**9),)
    labelled = Traffic(labels=1.0)
    worse = outcome(policy, shadow, labelled, Fault(quality=-0.02), runs=found, seed=seed, most_users=20_000)
    slower = outcome(policy, shadow, traffic, Fault(latency=2.0), runs=found, seed=seed, most_users=50_000)
    return {
        "false_rollbacks": innocent.share,
        "false_rollbacks_high": innocent.high,
        "false_rollbacks_incident": both.share,
        "false_rollbacks_incident_high": both.high,
        "innocent_promoted": innocent.promoted / canaries,
        "innocent_seconds": innocent.promoted_seconds or float("nan"),
        "errors_1_to_2_found": doubled.share,
        "errors_1_to_2_requests": doubled.median_requests or float("nan"),
        "quality_90_to_88_found": worse.share,
        "quality_90_to_88_labels": worse.median_labels or float("nan"),
        "latency_2x_found": slower.share,
        "latency_2x_requests": slower.median_requests or float("nan"),
    }
