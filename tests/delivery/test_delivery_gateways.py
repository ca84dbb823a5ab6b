"""Routes given to several gateways: who has them, who has not, and when that is settled."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.delivery import gateways, routing
from windlass.domain.errors import Conflict, Failure, Unavailable
from windlass.domain.ports import Database
from windlass.domain.routing import Route, RouteTable
from windlass.serving import admin


@pytest.fixture
def now() -> Callable[[], int]:
    return iter(range(1000, 10_000)).__next__


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as short:
        yield Path(short)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Failure | int | None]:
    """What each gateway says to a push, by the name of its socket; None: that it serves what was pushed."""
    said: dict[str, Failure | int | None] = {}

    def push(path: Path, table: RouteTable, _: float = 0) -> int:
        answer = said[path.name]
        if isinstance(answer, Failure):
            raise answer
        return table.revision if answer is None else answer

    monkeypatch.setattr(admin, "push", push)
    return said


def known(db: Database, *names: str) -> None:
    with db.write() as tx:
        gateways.keep(tx, names)
        for name in names:
            gateways.report(tx, name, f"/run/{name}", state="ready", pid=1, restarts=0, error="", at=1)


def route(db: Database) -> int:
    with db.write() as tx:
        return routing.set_route(tx, "e", Route(stable="b3:r"))


def acknowledged(db: Database) -> dict[str, int]:
    with db.read() as tx:
        return {each.name: each.acknowledged for each in gateways.standing(tx)}


NOBODY = Path("/run/nobody")


def test_routes_are_settled_once_every_gateway_serves_by_them(
    database: Database, answers: dict[str, Failure | int | None], now: Callable[[], int]
) -> None:
    known(database, "a", "b", "c")
    revision = route(database)
    answers |= {"a": None, "b": Unavailable("it does not answer"), "c": None}
    with pytest.raises(Unavailable, match="does not answer"):
        routing.push(database, NOBODY, now)
    assert acknowledged(database) == {"a": revision, "b": 0, "c": revision}
    with database.read() as tx:
        assert not routing.current(tx).settled
    answers["b"] = None
    assert routing.push(database, NOBODY, now).settled
    assert acknowledged(database)["b"] == revision


def test_a_gateway_that_does_not_run_holds_nothing_up(
    database: Database, answers: dict[str, Failure | int | None], now: Callable[[], int]
) -> None:
    known(database, "a", "b")
    revision = route(database)
    answers |= {"a": None, "b": admin.Down("nobody there")}
    assert routing.push(database, NOBODY, now).settled
    assert acknowledged(database) == {"a": revision, "b": 0}


def test_without_any_gateway_nothing_is_settled(
    database: Database, answers: dict[str, Failure | int | None], now: Callable[[], int]
) -> None:
    known(database, "a", "b")
    route(database)
    answers |= {"a": admin.Down("nobody there"), "b": admin.Down("nobody there")}
    with pytest.raises(Unavailable, match="nobody there"):
        routing.push(database, NOBODY, now)
    with database.read() as tx:
        assert not routing.current(tx).settled


def test_one_that_serves_something_newer_is_told_and_the_others_are_noted(
    database: Database, answers: dict[str, Failure | int | None], now: Callable[[], int]
) -> None:
    known(database, "a", "b")
    revision = route(database)
    answers |= {"a": None, "b": Conflict("newer")}
    with pytest.raises(Conflict):
        routing.push(database, NOBODY, now)
    assert acknowledged(database) == {"a": revision, "b": 0}


def test_one_that_was_just_starting_is_asked_again_once_the_others_have_written_the_file(
    database: Database, monkeypatch: pytest.MonkeyPatch, now: Callable[[], int]
) -> None:
    known(database, "a", "b")
    revision = route(database)
    asked: list[str] = []

    def push(path: Path, table: RouteTable, _: float = 0) -> int:
        asked.append(path.name)
        if path.name == "b" and asked.count("b") == 1:
            raise admin.Down("not yet")
        return table.revision

    monkeypatch.setattr(admin, "push", push)
    assert routing.push(database, NOBODY, now).settled
    assert sorted(asked) == ["a", "b", "b"]
    assert acknowledged(database) == {"a": revision, "b": revision}


@given(st.lists(st.sampled_from(["serves", "down", "silent"]), min_size=1, max_size=6))
def test_settled_means_that_all_who_run_serve_by_it(outcomes: list[str]) -> None:
    said: dict[Path, int | Failure] = {}
    for number, outcome in enumerate(outcomes):
        said[Path(f"/{number}")] = {"serves": 7, "down": admin.Down("down"), "silent": Unavailable("silent")}[outcome]
    assert routing.settled_by(said, 6) == ("serves" in outcomes and "silent" not in outcomes)
    assert not routing.settled_by(said, 7)  # it was already


def test_a_gateway_that_is_no_longer_kept_is_forgotten(database: Database) -> None:
    known(database, "a", "b")
    known(database, "a")
    assert list(acknowledged(database)) == ["a"]


def test_nobody_listens_and_does_not_answer_are_told_apart(folder: Path) -> None:
    table = RouteTable(revision=1)
    with pytest.raises(admin.Down):
        admin.push(folder / "nobody", table)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "silent"))
        with pytest.raises(admin.Down):  # its process ended without tidying up
            admin.push(folder / "silent", table)
        listener.listen()
        with pytest.raises(Unavailable) as silent:
            admin.push(folder / "silent", table, timeout=0.1)
        assert not isinstance(silent.value, admin.Down)
