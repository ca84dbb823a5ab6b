from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from windlass.domain.errors import NotFound
from windlass.domain.names import Reference
from windlass.domain.ports import Database
from windlass.registry import lineage, models
from windlass.registry.lineage import Direction
from windlass.registry.models import Origin, Version
from windlass.store.objects import PackedObjects

ORIGIN = Origin(data={"acs@1": "b3:d1"}, code="b3:c1", environment="b3:e1", config={"share": 0.2}, seed=1)


def version(semver: str, signature: str = "s1", origin: Origin = ORIGIN) -> Version:
    return Version(
        model="m", number=1, semver=semver, package="p", signature=signature, origin=origin, run="r", commit="c",
        metrics={}, why="", at=0, actor="ada",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("previous", "signature", "change", "expected"),
    [
        (None, "s1", {}, "1.0.0"),
        ("1.4.2", "s2", {}, "2.0.0"),
        ("1.4.2", "s2", {"seed": 2}, "2.0.0"),
        ("1.4.2", "s1", {"data": {"acs@2": "b3:d2"}}, "1.5.0"),
        ("1.4.2", "s1", {"code": "b3:c2"}, "1.5.0"),
        ("1.4.2", "s1", {"config": {"share": 0.3}}, "1.5.0"),
        ("1.4.2", "s1", {"seed": 2}, "1.5.0"),
        ("1.4.2", "s1", {"environment": "b3:e2"}, "1.5.0"),
        ("1.4.2", "s1", {}, "1.4.3"),
        ("1.4.2", "s1", {"data": {"renamed@9": "b3:d1"}}, "1.4.3"),
    ],
)
def test_the_number_says_what_changed(
    previous: str | None, signature: str, change: dict[str, Any], expected: str
) -> None:
    last = version(previous) if previous else None
    semver, why = models.numbered(last, signature=signature, origin=replace(ORIGIN, **change))
    assert str(semver) == expected
    assert why


def register(db: Database, objects: PackedObjects, run: str, origin: Origin = ORIGIN) -> tuple[Version, bool]:
    tick = count(1)
    return models.register(
        db, objects, model="m", package="b3:p", signature="s1", origin=origin, run=run, commit="c0ffee",
        metrics={"accuracy": 0.83}, actor="ada", now=lambda: next(tick),
    )  # fmt: skip


def test_registering_a_run_twice_gives_the_version_it_made(database: Database, objects: PackedObjects) -> None:
    first, created = register(database, objects, "run1")
    again, created_again = register(database, objects, "run1")
    assert (created, created_again) == (True, False)
    assert again == first
    rebuilt, _ = register(database, objects, "run2")
    assert (rebuilt.semver, rebuilt.number) == ("1.0.1", 2)


def test_a_version_is_found_by_semver_by_number_and_as_the_latest(database: Database, objects: PackedObjects) -> None:
    first, _ = register(database, objects, "run1")
    second, _ = register(database, objects, "run2", replace(ORIGIN, seed=7))
    with database.read() as tx:
        assert models.find(tx, objects, Reference("m", "1.0.0")) == first
        assert models.find(tx, objects, Reference("m", "1")) == first
        assert models.find(tx, objects, Reference("m", None)) == second
        assert models.ls(tx, objects) == [first, second]
        with pytest.raises(NotFound) as raised:
            models.find(tx, objects, Reference("m", "9.9.9"))
    assert "1.0.0, 1.1.0" in raised.value.hint


def test_lineage_is_walked_both_ways(database: Database, objects: PackedObjects) -> None:
    register(database, objects, "run1")
    with database.read() as tx:
        up = {edge.parent for edge in lineage.walk(tx, "version/m@1.0.0", Direction.UP)}
        down = {edge.child for edge in lineage.walk(tx, "snapshot/acs@1", Direction.DOWN)}
    assert {"run/run1", "snapshot/acs@1", "environment/b3:e1", "commit/c0ffee", "object/b3:p"} == up
    assert down == {"run/run1", "version/m@1.0.0"}


def edges(db: Database, *links: tuple[str, str]) -> None:
    with db.write() as tx:
        for child, parent in links:
            lineage.link(tx, child, parent, "of")


def walked(
    db: Database, node: str, direction: Direction, derived: list[tuple[str, str, str]] | None = None
) -> list[tuple[str, str, int]]:
    with db.read() as tx:
        return [(e.child, e.parent, e.depth) for e in lineage.walk(tx, node, direction, derived or [])]


def test_where_ways_meet_each_edge_is_given_once_and_nearest_first(database: Database) -> None:
    edges(database, ("d", "b"), ("d", "c"), ("b", "a"), ("c", "a"), ("d", "a"), ("other", "c"))
    assert walked(database, "d", Direction.UP) == [
        ("d", "a", 0), ("d", "b", 0), ("d", "c", 0), ("b", "a", 1), ("c", "a", 1),
    ]  # fmt: skip
    assert walked(database, "c", Direction.DOWN) == [("d", "c", 0), ("other", "c", 0)]


def test_a_circle_ends(database: Database) -> None:
    edges(database, ("a", "b"), ("b", "c"), ("c", "a"), ("c", "c"))
    for direction in Direction:
        assert sorted((child, parent) for child, parent, _ in walked(database, "a", direction)) == [
            ("a", "b"), ("b", "c"), ("c", "a"), ("c", "c"),
        ]  # fmt: skip


def test_edges_that_tables_say_are_walked_with_those_that_are_written(database: Database) -> None:
    edges(database, ("b", "a"), ("d", "c"), ("f", "e"))
    derived = [("c", "from", "b"), ("e", "from", "d"), ("a", "from", "f"), ("x", "from", "y")]
    assert [depth for _, _, depth in walked(database, "f", Direction.UP, derived)] == [0, 1, 2, 3, 4, 5]
    assert len(walked(database, "f", Direction.DOWN, derived)) == 6


def test_ten_thousand_edges_are_walked_whole(database: Database) -> None:
    chain = [(f"c{number + 1}", f"c{number}") for number in range(2000)]
    wide = [(f"w{number}", "c2000") for number in range(4000)] + [("end", f"w{number}") for number in range(4000)]
    with database.write() as tx:
        tx.many("INSERT INTO lineage (child, parent, relation) VALUES (?, ?, 'of')", [*chain, *wide])
    down = walked(database, "c0", Direction.DOWN)
    assert (len(down), down[-1][2]) == (10_000, 2001)
    assert len(walked(database, "end", Direction.UP)) == 10_000
    assert walked(database, "c1", Direction.UP) == [("c1", "c0", 0)]
