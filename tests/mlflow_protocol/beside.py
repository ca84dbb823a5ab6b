"""One call sent to two servers, and the two answers compared field by field.

What may differ by nature is normalised: ids (each side has its own, paired as they are made), generated names, page
tokens (opaque), the order of lists that are maps, and times (equal when they may have been written by the same call of
the sequence). Every other difference has to be a row of `differences.py`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from servers import API, Answer, Wire

ID = re.compile(r"\b(?:m-)?[0-9a-f]{32}\b")
ROOT = re.compile(r"(mlflow-artifacts:/)(\d+)(?=/|$)")
GENERATED = re.compile(r"^([a-z]+-[a-z]+-\d{1,3}|model-[0-9a-f]{8})$")
TIMES = {
    "creation_time", "last_update_time", "creation_timestamp", "last_updated_timestamp", "creation_timestamp_ms",
    "last_updated_timestamp_ms",
}  # fmt: skip
MAPS = {"tags", "params", "metrics", "aliases", "dataset_inputs", "model_inputs", "model_outputs", "dataset_summaries"}
"""Lists that are maps or sets in the protocol: MLflow writes them in its database's order."""
SLACK_MS = 3
"""Two clocks are one clock here, but a millisecond is rounded up on one side and down on the other."""


class Ref(msgspec.Struct, frozen=True):
    """Something that each server has its own id for."""

    kind: str
    name: str
    theirs: str
    ours: str


class Text(msgspec.Struct, frozen=True):
    """A text with ids in it: a filter, a source, a path."""

    parts: tuple[str | Ref, ...]


def text(*parts: str | Ref) -> Text:
    return Text(parts)


class Exchange(msgspec.Struct):
    """A call, and both answers as they are compared: a status, and a value with no ids of its own in it."""

    method: str
    call: str
    fields: dict[str, Any]
    statuses: tuple[int, int]
    theirs: Any
    ours: Any
    raw: tuple[Answer, Answer]


class Difference(msgspec.Struct, frozen=True):
    """One intended difference: ``bridge`` gives both answers as they would be without it (or as they are)."""

    name: str
    calls: str
    what: str
    reason: str
    bridge: Callable[[Exchange], tuple[tuple[int, Any], tuple[int, Any]] | None]
    example: Callable[[Both], None]


class Mismatch(AssertionError):
    pass


class Both:
    def __init__(self, theirs: Wire, ours: Wire, differences: tuple[Difference, ...] = ()) -> None:
        self.wires = (theirs, ours)
        self.differences = differences
        self.met: set[str] = set()
        self.known: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self.experiments: tuple[dict[str, str], dict[str, str]] = ({"0": "experiment 0"}, {"0": "experiment 0"})
        # When each call was under way, on each side, in milliseconds; the first holds all that was before.
        self.windows: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
        for windows in self.windows:
            windows.append((0, time.time() * 1000))
        self.log: list[str] = []
        self.collected: list[str] | None = None
        """Where mismatches go, when they shall not end the sequence."""

    # Asking

    def post(self, call: str, /, **fields: Any) -> Exchange:
        return self.ask("POST", call, **fields)

    def get(self, call: str, /, **fields: Any) -> Exchange:
        return self.ask("GET", call, **fields)

    def patch(self, call: str, /, **fields: Any) -> Exchange:
        return self.ask("PATCH", call, **fields)

    def delete(self, call: str, /, **fields: Any) -> Exchange:
        return self.ask("DELETE", call, **fields)

    def ask(self, method: str, call: str | Text, /, **fields: Any) -> Exchange:
        """A call of the protocol, compared; fields go in the body, for GET in the query.

        Raises:
            Mismatch: the answers differ, and no row of the table of differences says that they may.
        """

        def request(side: int) -> tuple[str, bytes | None]:
            path = self._given(call, side)
            path = path if path.startswith("/") else API + path
            given = {name: self._given(value, side) for name, value in fields.items()}
            if method == "GET":
                return (f"{path}?{urlencode(given, doseq=True)}" if given else path), None
            return path, json.dumps(given).encode()

        return self._exchange(method, call, fields, request)

    def send(self, method: str, path: str | Text, body: bytes | None = None, **headers: str) -> Exchange:
        """Bytes, as they are."""
        return self._exchange(method, path, {"body": body}, lambda side: (self._given(path, side), body), headers)

    def _exchange(
        self, method: str, call: str | Text, fields: dict[str, Any],
        request: Callable[[int], tuple[str, bytes | None]], headers: dict[str, str] | None = None,
    ) -> Exchange:  # fmt: skip
        answers = []
        for side, wire in enumerate(self.wires):
            path, body = request(side)
            began = time.time() * 1000
            answers.append(wire.send(method, path, body, headers))
            self.windows[side].append((began - SLACK_MS, time.time() * 1000 + SLACK_MS))
        self._learn(answers)
        said = [self._normal(answer, side) for side, answer in enumerate(answers)]
        shown = self._shown(call)
        exchange = Exchange(
            method, shown, fields, (answers[0].status, answers[1].status), said[0], said[1], (answers[0], answers[1])
        )
        self.log.append(f"{method} {shown} {self._shown(fields)} -> {exchange.statuses}")
        self._judge(exchange)
        return exchange

    def _given(self, value: Any, side: int) -> Any:
        match value:
            case Ref():
                return value.ours if side else value.theirs
            case Text(parts):
                return "".join(self._given(part, side) for part in parts)
            case dict():
                return {name: self._given(each, side) for name, each in value.items()}
            case list() | tuple():
                return [self._given(each, side) for each in value]
            case _:
                return value

    def _shown(self, value: Any) -> Any:
        match value:
            case Ref(name=name):
                return name
            case Text(parts):
                return "".join(part if isinstance(part, str) else part.name for part in parts)
            case dict():
                return {name: self._shown(each) for name, each in value.items()}
            case list() | tuple():
                return [self._shown(each) for each in value]
            case str() if len(value) > 80:
                return f"{value[:30]}...({len(value)})"
            case _:
                return value

    # Ids

    def made(self, kind: str, exchange: Exchange, *path: str) -> Ref | None:
        """The ids at ``path`` of both answers, as one thing; None if it was not made on both sides."""
        ids = []
        for answer in exchange.raw:
            value: Any = answer.json() if answer.status == 200 else None
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            ids.append(value)
        if not all(isinstance(each, str) for each in ids):
            return None
        known = self.experiments if kind == "experiment" else self.known
        name = known[0].get(ids[0], f"{kind} {len(known[0])}")
        for side, each in enumerate(ids):
            known[side][each] = name
        return Ref(kind, name, ids[0], ids[1])

    def _learn(self, answers: list[Answer]) -> None:
        """Ids of one kind that stand in the same place for the first time are the same thing's."""
        found = []
        for answer in answers:
            try:
                found.append(answer.json() if answer.status == 200 else None)
            except ValueError:
                return
        for (kind, theirs), (_, ours) in zip(_made(found[0]), _made(found[1]), strict=False):
            known = self.experiments if kind == "experiment" else self.known
            if theirs not in known[0] and ours not in known[1]:
                name = f"{kind} {len(known[0])}"
                known[0][theirs] = name
                known[1][ours] = name

    # Comparing

    def _normal(self, answer: Answer, side: int) -> Any:
        try:
            said = answer.json()
        except ValueError:
            return {"bytes": "" if answer.status >= 400 else answer.body.decode(errors="replace")}
        if answer.status >= 400 and isinstance(said, dict):
            # What is told is for people: only the code is for programs.
            return {"error_code": said.get("error_code")}
        return self._leaf("", said, side)

    def _leaf(self, key: str, value: Any, side: int) -> Any:
        match value:
            case dict():
                return {name: self._leaf(name, each, side) for name, each in value.items() if name != "workspace"}
            case list():
                kept = [self._leaf(key, each, side) for each in value]
                if key not in MAPS or (key == "metrics" and _history(value)):
                    return kept
                return sorted(kept, key=lambda each: json.dumps(each, sort_keys=True, default=str))
            case str() if key in ("page_token", "next_page_token"):
                return "a token" if value else ""
            case str() if key == "experiment_id":
                return self.experiments[side].get(value, value)
            case str() if GENERATED.match(value):
                return "a generated name"
            case str():
                named = ID.sub(lambda found: self.known[side].get(found[0], "an unknown id"), value)
                return ROOT.sub(lambda found: found[1] + self.experiments[side].get(found[2], found[2]), named)
            case int() if key in TIMES:
                return Moment(value, self._calls(value, side))
            case _:
                return value

    def _calls(self, moment: int, side: int) -> frozenset[int]:
        return frozenset(number for number, (began, ended) in enumerate(self.windows[side]) if began <= moment <= ended)

    def _judge(self, exchange: Exchange) -> None:
        pair = ((exchange.statuses[0], exchange.theirs), (exchange.statuses[1], exchange.ours))
        if same(*pair):
            return
        used = []
        for row in self.differences:
            if re.search(row.calls, f"{exchange.method} {exchange.call}"):
                bridged = row.bridge(msgspec.structs.replace(
                    exchange, statuses=(pair[0][0], pair[1][0]), theirs=pair[0][1], ours=pair[1][1]
                ))  # fmt: skip
                if bridged is not None and bridged != pair:
                    used.append(row.name)
                    pair = bridged
        if used and same(*pair):
            self.met.update(used)
            return
        lines = "\n".join(self.log[-12:])
        self._mismatch(
            f"{exchange.method} {exchange.call} {json.dumps(self._shown(exchange.fields), default=str)[:600]}\n"
            f"theirs: {exchange.statuses[0]} {_told(exchange.raw[0])}\nours:   {exchange.statuses[1]} "
            f"{_told(exchange.raw[1])}\ndiffer: {'; '.join(differing(pair[0], pair[1]))[:1500]}\nafter:\n{lines}"
        )

    def _mismatch(self, told: str) -> None:
        if self.collected is None:
            raise Mismatch(told)
        self.collected.append(told.partition("\nafter:")[0])


class Moment(msgspec.Struct, frozen=True):
    """A time, as the calls of the sequence that may have written it."""

    milliseconds: int
    calls: frozenset[int]


def _history(points: list[Any]) -> bool:
    """A metric's history has an order; the latest of each metric of a run have none."""
    keys = [point.get("key") for point in points if isinstance(point, dict)]
    return len(keys) != len(set(keys))


def same(one: Any, other: Any) -> bool:
    match one, other:
        case Moment(), Moment():
            return bool(one.calls & other.calls)
        case dict(), dict():
            return one.keys() == other.keys() and all(same(each, other[key]) for key, each in one.items())
        case (list(), list()) | (tuple(), tuple()):
            return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
        case _:
            return type(one) is type(other) and bool(one == other)


def differing(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where they differ, for people."""
    if same(one, other):
        return
    match one, other:
        case dict(), dict():
            for key in sorted(one.keys() | other.keys()):
                if key not in one or key not in other:
                    yield f"{path}.{key} only in {'theirs' if key in one else 'ours'}"
                else:
                    yield from differing(one[key], other[key], f"{path}.{key}")
        case (list(), list()) | (tuple(), tuple()) if len(one) == len(other):
            for number, (a, b) in enumerate(zip(one, other, strict=True)):
                yield from differing(a, b, f"{path}[{number}]")
        case (list(), list()):
            yield f"{path}: {len(one)} in theirs, {len(other)} in ours"
        case _:
            yield f"{path}: {one!r} in theirs, {other!r} in ours"


def _told(answer: Answer) -> str:
    try:
        told = json.dumps(answer.json(), ensure_ascii=False)
    except ValueError:
        told = answer.body.decode(errors="replace")
    return told if len(told) < 700 else f"{told[:700]}...({len(told)})"


def _made(value: Any) -> Iterator[tuple[str, str]]:
    """What an answer gives ids to: the run, experiment, model it is about, or those it lists."""
    if not isinstance(value, dict):
        return
    for name, kind in (("experiment_id", "experiment"),):
        if set(value) == {name}:
            yield kind, value[name]
    run = value.get("run")
    if isinstance(run, dict):
        yield "run", run["info"]["run_id"]
    model = value.get("model")
    if isinstance(model, dict):
        yield "model", model["info"]["model_id"]


def escaped(part: str) -> str:
    return quote(part, safe="")
