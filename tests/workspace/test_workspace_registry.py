"""Stages, aliases, tags and searches, as people ask for them: through the operations."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from windlass.domain import ledger
from windlass.domain.errors import Denied, Invalid, NotFound, Refused
from windlass.domain.names import Reference
from windlass.registry import models
from windlass.registry.models import Version
from windlass.workspace import promoting, verification
from windlass.workspace.operations.gates import Approve, approve
from windlass.workspace.operations.models import ListModels, ShowModel, list_models, show_model
from windlass.workspace.operations.registry import (
    Adopt,
    ListAliases,
    MoveAlias,
    MoveStage,
    RemoveAlias,
    SearchModels,
    SearchRuns,
    Tag,
    adopt,
    alias,
    aliases,
    search_models,
    search_runs,
    stage,
    tag,
    unalias,
)
from windlass.workspace.workspace import Workspace

Adopted = Callable[..., Version]


def found(ws: Workspace, text: str) -> str:
    with ws.database.read() as tx:
        return models.find(tx, ws.objects, Reference.parse(text)).reference


def test_an_alias_is_accepted_where_a_version_is(project: Workspace, adopted: Adopted) -> None:
    adopted(params={"depth": "1"})
    adopted(params={"depth": "2"})
    alias(project, MoveAlias(reference="churn@1", alias="champion"))
    assert found(project, "churn@champion") == "churn@1.0.0"
    assert found(project, "churn@latest") == found(project, "churn") == "churn@1.1.0"
    moved = alias(project, MoveAlias(reference="churn@latest", alias="champion", reason="better"))
    assert (moved.reference, moved.aliases) == ("churn@1.1.0", ("champion",))
    assert show_model(project, ShowModel(reference="churn@champion")).aliases == ("champion",)
    with pytest.raises(NotFound, match="no model version churn@challenger") as missing:
        found(project, "churn@challenger")
    assert "1.0.0, 1.1.0, champion" in missing.value.hint


def test_what_reads_as_a_version_is_never_an_alias(project: Workspace, adopted: Adopted) -> None:
    adopted(params={"depth": "1"})
    adopted(params={"depth": "2"})
    alias(project, MoveAlias(reference="churn@1", alias="2"))  # MLflow's clients may call one so
    assert found(project, "churn@2") == "churn@1.1.0"
    with pytest.raises(NotFound):
        found(project, "churn@٢")  # a digit, but none of ours


def test_aliases_are_listed_and_taken_away(project: Workspace, adopted: Adopted) -> None:
    adopted()
    alias(project, MoveAlias(reference="churn@1.0.0", alias="champion"))
    [listed] = aliases(project, ListAliases())
    assert (listed.model, listed.alias, listed.reference, listed.protected) == (
        "churn", "champion", "churn@1.0.0", False,
    )  # fmt: skip
    assert unalias(project, RemoveAlias(model="churn", alias="champion")) == []
    with pytest.raises(NotFound, match="no alias 'champion'"):
        unalias(project, RemoveAlias(model="churn", alias="champion"))
    with project.database.read() as tx:
        assert [e.action for e in ledger.entries(tx) if e.subject == "alias/churn/champion"] == ["alias", "delete"]


def test_a_stage_is_moved_and_others_archived(project: Workspace, adopted: Adopted) -> None:
    adopted(params={"depth": "1"})
    adopted(params={"depth": "2"})
    stage(project, MoveStage(reference="churn@1.0.0", stage="staging"))
    moved = stage(project, MoveStage(reference="churn@1.1.0", stage="Staging", archive_others=True))
    assert moved.stage == "Staging"
    assert [v.stage for v in list_models(project, ListModels())] == ["Archived", "Staging"]


def test_nothing_goes_to_production_without_clearance(project: Workspace, adopted: Adopted) -> None:
    adopted()
    with pytest.raises(Refused, match="no gate report") as refused:
        stage(project, MoveStage(reference="churn@latest", stage="production"))
    assert refused.value.hint == "windlass gate churn@1.0.0"
    with pytest.raises(Refused, match="no gate report"):
        alias(project, MoveAlias(reference="churn@1.0.0", alias="production"))


def test_production_takes_the_gate_and_the_group(
    project: Workspace, adopted: Adopted, gated: Callable[[Version], str]
) -> None:
    version = adopted()
    gated(version)

    def approve_as(actor: str) -> None:
        project.actor = actor
        approve(project, Approve(reference="churn@1"))

    with pytest.raises(Denied, match="not in the group 'leads'"):
        approve_as("kay")
    approve_as("alex")
    with pytest.raises(Refused, match="lacks 1 approval of 'leads'") as refused:
        stage(project, MoveStage(reference="churn@1", stage="production"))
    assert refused.value.hint == "sam: windlass approve churn@1.0.0"
    approve_as("sam")
    assert stage(project, MoveStage(reference="churn@1", stage="production")).stage == "Production"
    assert alias(project, MoveAlias(reference="churn@1", alias="production")).aliases == ("production",)

    # Who leaves the group counts no more, from then on, whatever this process read before.
    adopted(params={"depth": "2"})
    gated(show_model(project, ShowModel(reference="churn@2")))
    for actor in ("alex", "sam"):
        project.actor = actor
        approve(project, Approve(reference="churn@2"))
    toml = project.layout.config
    toml.write_text(toml.read_text().replace('"sam"', '"kim"'))
    with pytest.raises(Refused, match="lacks 1 approval") as refused:
        stage(project, MoveStage(reference="churn@2", stage="production"))
    assert "sam approved and does not count: not in the group 'leads' now" in refused.value.evidence
    assert refused.value.hint == "kim: windlass approve churn@1.1.0"


def test_what_policy_protects_does_not_go_with_its_version(
    project: Workspace, adopted: Adopted, gated: Callable[[Version], str]
) -> None:
    gated(adopted())
    adopted(params={"depth": "2"})
    for actor in ("alex", "sam"):
        project.actor = actor
        approve(project, Approve(reference="churn@1"))
    alias(project, MoveAlias(reference="churn@1", alias="production"))
    for remove in (
        lambda: promoting.delete_version(project, "churn", 1, actor="kay"),
        lambda: promoting.delete_model(project, "churn", actor="kay"),
        lambda: unalias(project, RemoveAlias(model="churn", alias="production")),
    ):
        with pytest.raises(Refused, match="alias 'production' is protected"):
            remove()
    assert found(project, "churn@production") == "churn@1.0.0"
    promoting.delete_version(project, "churn", 2, actor="kay")
    with pytest.raises(NotFound):
        found(project, "churn@2")


def test_tags_of_models_and_of_versions_are_found_by(project: Workspace, adopted: Adopted) -> None:
    adopted(params={"depth": "1"})
    adopted(params={"depth": "2"})
    assert tag(project, Tag(thing="churn", tags={"team": "a"})) == {"team": "a"}
    tag(project, Tag(thing="churn@1.1.0", tags={"team": "b", "draft": "yes"}))
    assert tag(project, Tag(thing="churn@latest", remove=("draft",))) == {"team": "b"}
    listed = list_models(project, ListModels(filter="tags.team = 'b'"))
    assert [(v.reference, v.tags) for v in listed] == [("churn@1.1.0", {"team": "b"})]
    ordered = list_models(project, ListModels(filter="name = 'churn'", order_by=("version_number DESC",)))
    assert [v.number for v in ordered] == [2, 1]
    assert [m.name for m in search_models(project, SearchModels(filter="tags.team = 'a'"))] == ["churn"]
    assert search_models(project, SearchModels(filter="tags.team = 'b'")) == []
    with pytest.raises(Invalid):
        list_models(project, ListModels(filter="tags.team ="))


def test_runs_are_searched_and_what_differs_is_named(project: Workspace, logged: Callable[..., str]) -> None:
    logged(params={"kind": "tree", "seed": "1"}, metrics={"acc": 0.91})
    best = logged(params={"kind": "tree", "seed": "1"}, metrics={"acc": 0.95})
    logged(params={"kind": "linear", "seed": "1"}, metrics={"acc": 0.99})
    result = search_runs(
        project,
        SearchRuns(filter="metrics.acc > 0.9 and params.kind = 'tree'", order_by=("metrics.acc DESC",), limit=5),
    )
    assert result.runs[0].run == best
    assert [run.metrics["acc"] for run in result.runs] == [0.95, 0.91]
    assert result.columns == ("metrics.acc", "params.kind")
    assert len(search_runs(project, SearchRuns(experiment="Default")).runs) == 3
    with pytest.raises(NotFound, match="no experiment 'x'") as missing:
        search_runs(project, SearchRuns(experiment="x"))
    assert "Default" in missing.value.hint
    with pytest.raises(Invalid, match="limit is 0"):
        search_runs(project, SearchRuns(limit=0))


def test_what_json_has_no_number_for_is_a_text(project: Workspace, logged: Callable[..., str]) -> None:
    logged(metrics={"nan": float("nan"), "inf": float("inf"), "low": float("-inf")})
    [run] = search_runs(project, SearchRuns()).runs
    assert run.metrics == {"inf": "Infinity", "low": "-Infinity", "nan": "NaN"}


def test_logged_files_are_registered_under_a_new_model(project: Workspace, logged: Callable[..., str]) -> None:
    run = logged()
    version = adopt(project, Adopt(source=f"runs:/{run}/model", model="fresh", tags={"from": "test"}))
    assert version.reference == "fresh@1.0.0"
    assert show_model(project, ShowModel(reference="fresh@1")).tags == {"from": "test"}
    with pytest.raises(Invalid, match="no files"):
        adopt(project, Adopt(source=f"runs:/{run}/nothing", model="empty"))
    assert [m.name for m in search_models(project, SearchModels())] == ["fresh"]


def test_a_name_that_was_moved_past_the_ledger_is_found(project: Workspace, adopted: Adopted) -> None:
    adopted(params={"depth": "1"})
    adopted(params={"depth": "2"})
    alias(project, MoveAlias(reference="churn@1", alias="champion"))
    alias(project, MoveAlias(reference="churn@1", alias="old"))
    unalias(project, RemoveAlias(model="churn", alias="old"))
    stage(project, MoveStage(reference="churn@1", stage="staging"))
    stage(project, MoveStage(reference="churn@1", stage="none"))
    stage(project, MoveStage(reference="churn@2", stage="archived"))
    assert verification.verify(project).ok
    with project.database.write() as tx:
        tx.execute("UPDATE model_aliases SET number = 2")
        tx.execute("UPDATE model_versions SET stage = 'Production' WHERE number = 2")
    assert [(each.where, each.what) for each in verification.verify(project).problems] == [
        ("alias/churn/champion", "it stands at churn@1.1.0, and by the ledger at churn@1.0.0"),
        ("stage/churn@1.1.0", "it stands at Production, and by the ledger at Archived"),
    ]
