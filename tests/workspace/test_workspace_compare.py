"""`windlass compare`: versions and runs side by side, from what a project really holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from windlass.capture import environment, trees
from windlass.capture.environment import Environment
from windlass.cli import compare as face
from windlass.domain import digest
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.evidence import Verdict
from windlass.governance import approvals
from windlass.governance.approvals import Asked
from windlass.registry import models
from windlass.registry.comparing import Comparison
from windlass.registry.models import Origin, Version
from windlass.workspace.operations.registry import Compare, MoveAlias, Tag, alias, compare, tag
from windlass.workspace.workspace import Workspace

Adopted = Callable[..., Version]


def asked(ws: Workspace, *things: str, everything: bool = False) -> Comparison:
    return compare(ws, Compare(things=things, everything=everything))


def said(found: Comparison) -> dict[tuple[str, str], tuple[Any, ...]]:
    return {(line.section, line.name): line.values for line in found.lines}


def test_of_logged_versions_everything_that_differs(
    project: Workspace, adopted: Adopted, gated: Callable[..., str]
) -> None:
    pins = b"numpy==1.26.0\nold==1\n"
    first = adopted(params={"depth": "3", "kind": "tree"}, metrics={"acc": 0.9}, files={"requirements.txt": pins})
    second = adopted(
        params={"depth": "4", "kind": "tree"}, metrics={"acc": 0.95},
        tags={"mlflow.source.git.commit": "c0ffee"},
        files={"requirements.txt": b"numpy==2.0.0  # newer\nnew>=1\n", "extra.txt": b"x"},
    )  # fmt: skip
    gated(first, value=0.8)
    report = gated(second, value=0.9)
    approvals.approve(
        project.database, reference=second.reference, report=report, verdict=Verdict.PASS, author="ada",
        asked=Asked(needed=1), actor="alex", reason="", now=project.now,
    )  # fmt: skip
    alias(project, MoveAlias(reference="churn@2", alias="champion"))
    tag(project, Tag(thing="churn@1", tags={"team": "a"}))

    found = asked(project, "churn@1.0.0", "churn@champion")
    assert found.subjects == ("churn@1.0.0", "churn@1.1.0")
    differs = said(found)
    assert differs["params", "depth"] == ("3", "4")
    assert ("params", "kind") not in differs
    assert differs["metrics", "acc"] == (0.9, 0.95)
    [metric] = [line for line in found.lines if line.name == "acc"]
    assert metric.differences[1] == pytest.approx(0.05)
    assert differs["tags", "team"] == ("a", None)
    assert differs["code", "commit"] == (None, "c0ffee")
    assert differs["packages", "numpy"] == ("1.26.0", "2.0.0")
    assert differs["packages", "old"] == ("1", None)
    assert differs["gate", "metrics: accuracy"] == ("pass 0.8", "pass 0.9")
    assert differs["approvals", "alex"] == (None, "approved")
    assert differs["standing", "aliases"] == (None, "champion")
    assert {name for section, name in differs if section == "files"} == {
        "extra.txt", "model.pkl", "requirements.txt",
    }  # fmt: skip
    before, after = differs["package", "files"]
    assert after == before + 1
    assert {line.name for line in found.lines if line.same} == set()
    assert ("params", "kind") in said(asked(project, "churn@1", "churn@2", everything=True))
    same = asked(project, "churn@1", "churn@1.0.0")
    assert same.lines == () and same.equal > 10


def test_runs_side_by_side(project: Workspace, logged: Callable[..., str]) -> None:
    runs = [logged(params={"depth": str(n)}, metrics={"acc": n / 10, "nan": float("nan")}) for n in (1, 2, 3)]
    found = asked(project, *runs)
    assert said(found)["params", "depth"] == ("1", "2", "3")
    assert said(found)["metrics", "acc"] == (0.1, 0.2, 0.3)
    assert ("metrics", "nan") not in said(found)
    assert said(found)["files", "model/model.pkl"]


def pipeline_version(ws: Workspace, run: str, **changes: Any) -> Version:
    """As a pipeline registers: a package with its description, an environment that is known."""
    known = Environment(
        python="3.11.7", implementation="CPython", platform="linux", distributions=changes.get("distributions", ())
    )
    signature = {"inputs": changes.get("inputs", []), "outputs": []}
    package = trees.store_files(
        ws.objects, {"windlass.json": json.dumps({"signature": signature}).encode(), "model.pkl": run.encode()}
    )
    name = ws.objects.put(digest.canonical(known))
    assert environment.load(ws.objects, name) == known
    version, _ = models.register(
        ws.database, ws.objects, model="churn", package=package, signature=digest.of(signature),
        origin=Origin(
            data={f"acs@{changes.get('data', 1)}": f"b3:{changes.get('data', 1):064x}"}, code="b3:c", environment=name,
            config={"train": {"depth": changes.get("depth", 3), "kinds": ["a"]}}, seed=1,
        ),
        run=run, commit="c0ffee", metrics={}, actor="ada", now=ws.now,
    )  # fmt: skip
    return version


def test_of_a_pipelines_versions_packages_data_and_columns(project: Workspace) -> None:
    age = {"name": "age", "kind": "integer"}
    pipeline_version(project, "run1", distributions=(("numpy", "1.26.0"), ("six", "1.0")), inputs=[age])
    pipeline_version(
        project, "run2", distributions=(("numpy", "2.0.0"),), data=2, depth=4,
        inputs=[{**age, "nullable": True}, {"name": "sex", "kind": "string"}],
    )  # fmt: skip
    differs = said(asked(project, "churn@1", "churn@2"))
    assert differs["params", "train.depth"] == (3, 4)
    assert ("params", "train.kinds") not in differs
    assert differs["data", "acs"] == (f"acs@1 b3:{1:064x}", f"acs@2 b3:{2:064x}")
    assert differs["packages", "numpy"] == ("1.26.0", "2.0.0")
    assert differs["packages", "six"] == ("1.0", None)
    assert differs["signature", "input age"] == ("integer", "integer, may be null")
    assert differs["signature", "input sex"] == (None, "string")


def test_packages_are_compared_only_where_both_are_known(project: Workspace, adopted: Adopted) -> None:
    pipeline_version(project, "run1", distributions=(("numpy", "1.26.0"),))
    adopted()
    assert "packages" not in {line.section for line in asked(project, "churn@1", "churn@2", everything=True).lines}


def test_a_description_that_somebody_uploaded_breaks_nothing(project: Workspace, adopted: Adopted) -> None:
    adopted(files={"windlass.json": b"[1, 2"})
    adopted(files={"windlass.json": b'{"signature": {"inputs": [5]}}'})
    assert asked(project, "churn@1", "churn@2").lines


def test_what_cannot_be_compared_is_said(project: Workspace, logged: Callable[..., str]) -> None:
    with pytest.raises(Invalid, match="1 to compare"):
        asked(project, "churn")
    with pytest.raises(NotFound, match="no model version churn@7"):
        asked(project, "churn@7", "churn@8")
    logged()
    logged()
    with pytest.raises(Invalid, match="more than one run begins"):
        asked(project, "0000", "0000")


def test_it_is_a_table_for_people(project: Workspace, adopted: Adopted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "call", lambda _, request: compare(project, request))
    adopted(params={"depth": "3"}, metrics={"acc": 0.9})
    adopted(params={"depth": "4"}, metrics={"acc": 0.95})
    lines = CliRunner().invoke(face.compare, ["churn@1", "churn@2"]).output.splitlines()
    assert "PARAMS  churn@1.0.0  churn@1.1.0" in lines
    assert "depth   3            4" in lines
    assert "acc      0.9          0.95 (+0.05)" in lines
    assert lines[-1].endswith("more are equal: --all shows them")
    assert not any("b3:" in line and len(line) > 160 for line in lines)
    assert CliRunner().invoke(face.compare, ["churn@1", "churn@1"]).output == "nothing differs\n"
    assert "seed =" in CliRunner().invoke(face.compare, ["churn@1", "churn@1", "--all"]).output
