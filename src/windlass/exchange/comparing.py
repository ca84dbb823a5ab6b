"""Whether a copy is what it is a copy of: every field, every point of every metric, every byte of every file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from windlass.domain import digest
from windlass.domain.errors import Failure
from windlass.domain.progress import Meter
from windlass.exchange.content import Experiment, File, LoggedModel, ModelVersion, Point, Run, Source
from windlass.exchange.watching import Watched

_LONGEST = 200
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of one thing, what is not the same on both sides."""

    subject: str
    what: str
    source: str
    copy: str


@dataclass(frozen=True, slots=True)
class Side:
    """A source, and a value of a metric as it can be there."""

    source: Source
    value: Callable[[float], float] = float


def experiments(expected: Experiment, copy: Experiment) -> Iterator[Difference]:
    yield from _fields(f"experiment '{expected.name}'", expected, copy, ("deleted",))
    yield from _mappings(f"experiment '{expected.name}'", "tag", expected.tags, copy.tags)


def runs(expected: Run, copy: Run) -> Iterator[Difference]:
    """All of two runs but the points of their metrics and their files."""
    subject = f"run {expected.id}"
    yield from _fields(subject, expected, copy, ("name", "user", "status", "started_at", "ended_at", "deleted"))
    yield from _mappings(subject, "param", expected.params, copy.params)
    yield from _mappings(subject, "tag", expected.tags, copy.tags)
    for what in ("datasets", "model_inputs", "model_outputs"):
        yield from _sets(subject, what.replace("_", " "), getattr(expected, what), getattr(copy, what))


def histories(expected: Run, source: Side, copy: Run, other: Side) -> Iterator[Difference]:
    """The points of two runs' metrics."""
    subject = f"run {expected.id}"
    for key in sorted(expected.metrics.keys() | copy.metrics.keys()):
        what = f"metric '{key}'"
        if key not in expected.metrics or key not in copy.metrics:
            yield Difference(
                subject=subject, what=what, source=_present(key in expected.metrics), copy=_present(key in copy.metrics)
            )
            continue
        one, two = (_history(side, run, key) for side, run in ((source, expected), (other, copy)))
        if one != two:
            yield Difference(subject=subject, what=what, source=one, copy=two)


def _history(side: Side, run: Run, key: str) -> str:
    """How many points a metric has, and a digest of them; a point that is written twice is one."""
    points = {_point(each, side.value) for page in side.source.history(run, key) for each in page}
    hasher = blake3()
    for at, step, value in sorted(points):
        hasher.update(f"{at} {step} {value}\n".encode())
    return f"{len(points)} points {hasher.hexdigest()[:16]}"


def _point(of: Point, value: Callable[[float], float]) -> tuple[int, int, str]:
    # By its text, which is equal to itself even if it is NaN; minus nothing is nothing.
    return of.at, of.step, repr(value(of.value) + 0.0)


def logged_models(expected: LoggedModel, copy: LoggedModel) -> Iterator[Difference]:
    subject = f"logged model {expected.id}"
    names = ("name", "model_type", "status", "source_run_id")
    yield from _fields(subject, expected, copy, names)
    yield from _mappings(subject, "param", expected.params, copy.params)
    yield from _mappings(subject, "tag", expected.tags, copy.tags)
    yield from _sets(subject, "metrics", *(
        [(m.key, repr(m.value), m.step, m.at, m.run_id, m.dataset_name, m.dataset_digest) for m in side.metrics]
        for side in (expected, copy)
    ))  # fmt: skip


def files(
    expected: Run | LoggedModel, source: Source, copy: Run | LoggedModel, other: Source, meter: Meter
) -> Iterator[Difference]:
    subject = f"{'run' if isinstance(expected, Run) else 'logged model'} {expected.id}"
    there = {each.path: each for each in other.files(copy)}
    for each in source.files(expected):
        what, twin = f"file '{each.path}'", there.pop(each.path, None)
        if twin is None:
            yield Difference(subject=subject, what=what, source="there", copy="missing")
            continue
        one, two = digest_of(source, expected, each, meter), digest_of(other, copy, twin, meter)
        if one != two:
            yield Difference(subject=subject, what=what, source=one, copy=two)
    for path in there:
        yield Difference(subject=subject, what=f"file '{path}'", source="missing", copy="there")


def digest_of(source: Source, owner: Run | LoggedModel, file: File, meter: Meter) -> str:
    """A file's digest, from its bytes."""
    hasher = blake3()
    buffer = memoryview(bytearray(_BLOCK))
    try:
        with source.open(owner, file) as opened:
            watched = Watched(opened, meter, file)
            while count := watched.readinto(buffer):
                hasher.update(buffer[:count])
    except Failure as failure:
        if getattr(failure, "retryable", False):
            raise
        return f"unreadable: {failure.message}"
    return digest.PREFIX + hasher.hexdigest()


def versions(expected: ModelVersion, copy: ModelVersion) -> Iterator[Difference]:
    subject = f"version {expected.number} of '{expected.name}'"
    yield from _fields(subject, expected, copy, ("description", "stage", "run_id"))
    yield from _mappings(subject, "tag", expected.tags, copy.tags)


def mappings(subject: str, what: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Difference]:
    yield from _mappings(subject, what, one, two)


def missing(subject: str) -> Difference:
    return Difference(subject=subject, what="", source="there", copy="missing")


def _fields(subject: str, one: object, two: object, names: Iterable[str]) -> Iterator[Difference]:
    for name in names:
        left, right = getattr(one, name), getattr(two, name)
        if left != right:
            yield Difference(subject=subject, what=name.replace("_", " "), source=_short(left), copy=_short(right))


def _mappings(subject: str, what: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[Difference]:
    for key in sorted(one.keys() | two.keys()):
        if one.get(key) != two.get(key):
            yield Difference(
                subject=subject, what=f"{what} '{key}'", source=_short(one.get(key)), copy=_short(two.get(key))
            )


def _sets(subject: str, what: str, one: Iterable[Any], two: Iterable[Any]) -> Iterator[Difference]:
    left, right = {repr(each) for each in one}, {repr(each) for each in two}
    if left != right:
        only, other = "; ".join(sorted(left - right)), "; ".join(sorted(right - left))
        yield Difference(subject=subject, what=what, source=_short(only), copy=_short(other))


def _present(there: bool) -> str:
    return "there" if there else "missing"


def _short(value: object) -> str:
    text = "missing" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
