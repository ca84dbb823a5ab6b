"""The whole graph, from sources of data to logs of predictions, as people ask for it."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner

from windlass.capture import data
from windlass.cli import lineage as face
from windlass.delivery import releases
from windlass.delivery.releases import Clearance
from windlass.delivery.strategy import RolloutPolicy
from windlass.domain.errors import NotFound
from windlass.domain.evidence import Verdict
from windlass.domain.release import Release
from windlass.governance import approvals
from windlass.governance.approvals import Asked
from windlass.registry import models
from windlass.registry.lineage import Edge
from windlass.registry.models import Origin, Version
from windlass.workspace.operations.lineage import ShowLineage, show_lineage
from windlass.workspace.operations.registry import MoveAlias, MoveStage, alias, stage
from windlass.workspace.tracing import Lineage, Node, sources_of
from windlass.workspace.workspace import Workspace


@pytest.fixture
def world(project: Workspace, gated: Callable[[Version], str]) -> str:
    """Rows queried from a file, split; a run on a part, its version, gated, approved, in staging, released."""
    rows = project.layout.root / "rows"
    rows.mkdir()

    def snapshot(name: str, source: dict[str, object]) -> None:
        (rows / "data.bin").write_text(name)
        data.add(project.database, project.objects, name=name, path=rows, source=source, actor="ada", now=project.now)

    snapshot("acs", {"kind": "sql", "query": "SELECT 1", "sources": {}, "inputs": {"people.csv": "b3:1"}})
    snapshot("acs-train", {"kind": "split", "of": "acs@1", "tree": "b3:2", "part": "train"})
    package = project.objects.put(b"package")
    version, _ = models.register(
        project.database, project.objects, model="churn", package=package, signature="b3:s",
        origin=Origin(data={"acs-train@1": "b3:2"}, code="b3:c", environment="b3:e", config={}, seed=1),
        run="7f" * 16, commit="c0ffee" * 6, metrics={}, actor="ada", now=project.now,
    )  # fmt: skip
    report = gated(version)
    approvals.approve(
        project.database, reference=version.reference, report=report, verdict=Verdict.PASS, author="ada",
        asked=Asked(needed=1), actor="alex", reason="", now=project.now,
    )  # fmt: skip
    stage(project, MoveStage(reference="churn@1", stage="staging"))
    alias(project, MoveAlias(reference="churn@1", alias="champion"))
    bundle = Release(
        endpoint="web",
        model="churn",
        version="1.0.0",
        package=package,
        environment="b3:e",
        gate_report=report,
        serving={},
    )
    releases.release(
        project.database, project.objects, release=bundle,
        clearance=Clearance(reference="churn@1.0.0", package=package, gate_report=report, approvals=("alex",)),
        policy=RolloutPolicy(), actor="ada", reason="", now=project.now, socket=project.layout.worker_socket,
        position="", new_id=lambda: "r1",
    )  # fmt: skip
    with project.database.write() as tx:  # as the controller does when the release is warm
        tx.execute("UPDATE rollouts SET state = 'running'")
        tx.execute("UPDATE endpoints SET release = ?", (bundle.id,))
    return bundle.id


def asked(ws: Workspace, thing: str) -> Lineage:
    return show_lineage(ws, ShowLineage(thing=thing))


def kinds(found: Lineage) -> set[str]:
    return {each.kind for each in found.nodes}


def test_from_the_source_everything_down_to_the_predictions_is_found(project: Workspace, world: str) -> None:
    found = asked(project, "source/people.csv")
    assert found.up == []
    assert kinds(found) == {
        "source", "snapshot", "run", "model version", "gate report", "approval", "alias", "stage", "release",
        "endpoint", "prediction log",
    }  # fmt: skip
    assert found.models == ["churn@1.0.0"]
    reached = {edge.child for edge in found.down}
    assert {f"predictions/web/{world}", "endpoint/web", "alias/churn/champion", "stage/churn/Staging"} <= reached


def test_from_the_predictions_everything_up_to_the_source_is_found(project: Workspace, world: str) -> None:
    found = asked(project, f"predictions/web/{world}")
    assert found.down == []
    assert kinds(found) == {
        "prediction log", "release", "gate report", "approval", "model version", "package", "run", "environment",
        "commit", "snapshot", "source",
    }  # fmt: skip
    relations = {(edge.child.partition("/")[0], edge.relation, edge.parent.partition("/")[0]) for edge in found.up}
    assert {
        ("release", "approved by", "approval"), ("approval", "approves", "object"), ("object", "checked", "version"),
        ("snapshot", "split from", "snapshot"), ("snapshot", "queried from", "source"),
    } <= relations  # fmt: skip


@pytest.mark.parametrize(
    ("thing", "node"),
    [
        ("churn@champion", "version/churn@1.0.0"),
        ("churn", "version/churn@1.0.0"),
        ("acs@1", "snapshot/acs@1"),
        ("acs", "snapshot/acs@1"),
        ("endpoint/web", "endpoint/web"),
    ],
)
def test_a_thing_is_named_as_people_do(project: Workspace, world: str, thing: str, node: str) -> None:
    assert asked(project, thing).node == node


@pytest.mark.parametrize("thing", ["nothing@1", "churn@9.9.9", "endpoint/none", "planet/mars", "endpoint/", "acs@7"])
def test_what_is_not_known_is_said(project: Workspace, world: str, thing: str) -> None:
    with pytest.raises(NotFound) as missing:
        asked(project, thing)
    assert missing.value.hint


def test_the_answer_to_which_models_comes_first_and_kinds_are_spelt_out(
    project: Workspace, world: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face, "call", lambda _, request: show_lineage(project, request))

    def said(*args: str) -> list[str]:
        done = CliRunner().invoke(face.lineage, list(args))
        assert done.exit_code == 0, done.output
        return done.output.splitlines()

    lines = said("acs@1")
    assert lines[:2] == ["snapshot acs@1", "models trained on it: churn@1.0.0"]
    assert lines[2:4] == ["came from:", "└─ queried from: source people.csv"]
    assert said("acs@1", "--models") == ["churn@1.0.0"]
    assert said("acs@1", "--models", "--json") == ["[", '  "churn@1.0.0"', "]"]
    told = "\n".join(said("churn@1.0.0"))
    assert "gate report of churn@1.0.0: pass" in told
    assert "object/b3:" not in told
    assert "commit c0ffeec0ffee" in told


def test_a_tree_names_what_it_reaches_again_and_ends() -> None:
    def edge(child: str, parent: str) -> Edge:
        return Edge(child=child, relation="of", parent=parent, depth=0)

    diamond = [edge("d", "b"), edge("d", "c"), edge("b", "a"), edge("c", "a"), edge("a", "z"), edge("z", "d")]
    nodes = {name: Node(id=name, kind="thing", label=name) for name in "abcdz"}
    assert [click.unstyle(line) for line in face.drawn("d", diamond, nodes, upwards=True)] == [
        "├─ of: thing b",
        "│  └─ of: thing a",
        "│     └─ of: thing z",
        "│        └─ of: thing d (see above)",
        "└─ of: thing c",
        "   └─ of: thing a (see above)",
    ]
    long = [edge(f"n{number}", f"n{number + 1}") for number in range(5000)]
    named = {f"n{number}": Node(id="", kind="thing", label=str(number)) for number in range(5001)}
    assert sum(1 for _ in face.drawn("n0", long, named, upwards=True)) == 5000


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, []),
        ({"kind": "s3", "url": "s3://b/p"}, [("downloaded from", "source/s3://b/p")]),
        (
            {"kind": "sql", "query": "q", "sources": {"shop": "postgresql://shop"}, "inputs": {"a.csv": "b3:1"}},
            [("queried from", "source/postgresql://shop"), ("queried from", "source/a.csv")],
        ),
        ({"kind": "feast", "inputs": {"events.csv": "b3:1"}}, [("queried from", "source/events.csv")]),
        ({"kind": "transform", "of": "acs@2"}, [("derived from", "snapshot/acs@2")]),
        ({"kind": "of another day"}, []),
    ],
)
def test_what_a_snapshot_says_of_its_source(said: dict[str, object], found: list[tuple[str, str]]) -> None:
    assert sources_of(said) == found
