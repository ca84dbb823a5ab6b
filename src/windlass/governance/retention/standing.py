"""What stands in the tables: what was deleted long enough ago, and what has to stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from windlass.domain.ports import Transaction
from windlass.governance.retention import deciding, holds
from windlass.governance.retention.deciding import Candidate, Protection, Version
from windlass.registry.tracking.logged_models import model_root
from windlass.registry.tracking.runs import run_root

# Where a page begins: after this group and number.
Place = tuple[str, int]
START: Place = ("", -1)

_DEFAULT_EXPERIMENT = 0  # MLflow's clients log there unless told otherwise, and never create it


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """What a purge takes with it, of what is decided before in the same dry run."""

    versions: frozenset[str] = frozenset()
    members: Mapping[int, int] = field(default_factory=dict)  # experiment -> how many of its runs and logged models


def protection(tx: Transaction, going: Collection[str] = ()) -> Protection:
    """Why things have to stay, as of now; ``going``: versions that go in the same purge."""
    parents: dict[str, list[str]] = defaultdict(list)
    for child, parent in tx.tuples("SELECT child, parent FROM lineage"):
        parents[child].append(parent)
    roots: dict[tuple[str, int], list[str]] = defaultdict(list)
    for model, number, root in tx.tuples("SELECT model, number, root FROM registered_roots"):
        roots[model, number].append(_owner(root))
    versions = []
    for model, number, semver, run, model_id in tx.tuples(
        "SELECT model, number, semver, run, model_id FROM model_versions WHERE purged_at IS NULL ORDER BY model, number"
    ):
        came_from = [f"run/{run}"] * bool(run) + [f"logged-model/{model_id}"] * bool(model_id) + roots[model, number]
        thing = f"version/{model}@{semver}"
        versions.append(Version(thing=thing, model=model, parents=tuple(came_from), is_going=thing in going))
    standing = {each.thing: each.reason for each in holds.ls(tx)}
    return deciding.protection(versions, parents, standing)


def holding(tx: Transaction, thing: str, *within: str) -> str:
    """Why a thing is held, by itself, by what it is in or by what came from it; "" if it is not."""
    if not holds.ls(tx):
        return ""
    held = protection(tx).held
    return next((held[name] for name in (thing, *within) if name in held), "")


def versions(tx: Transaction, before: int, after: Place, limit: int, _: Going) -> list[Candidate]:
    """Deleted versions. What was released or approved stays for ever: releases and the ledger's records need it."""
    rows = tx.tuples(
        "SELECT model, number, semver,"
        " (SELECT MAX(releases.endpoint) FROM releases WHERE releases.reference = model || '@' || semver),"
        " (SELECT MAX(approvals.actor) FROM approvals WHERE approvals.reference = model || '@' || semver)"
        " FROM model_versions WHERE deleted_at <= ? AND purged_at IS NULL AND (model, number) > (?, ?)"
        " ORDER BY model, number LIMIT ?",
        (before, *after, limit),
    )
    return [
        Candidate(
            thing=f"version/{model}@{semver}",
            number=number,
            group=model,
            within=(f"model/{model}",),
            needed_by=f"it was released to endpoint '{endpoint}'" if endpoint else f"{by} approved it" if by else "",
        )
        for model, number, semver, endpoint, by in rows
    ]


def logged_models(tx: Transaction, before: int, after: Place, limit: int, _: Going) -> list[Candidate]:
    """Deleted logged models, and those of deleted experiments, which are deleted with them."""
    rows = tx.tuples(
        "SELECT id, model_id, experiment, source_run FROM logged_models"
        " WHERE (stage = 'deleted' AND updated_at <= ? OR experiment IN"
        " (SELECT id FROM experiments WHERE stage = 'deleted' AND updated_at <= ?))"
        " AND id > ? ORDER BY id LIMIT ?",
        (before // 1000, before // 1000, after[1], limit),
    )
    return [
        Candidate(
            thing=f"logged-model/{model_id}", number=number, within=(f"experiment/{experiment}", f"run/{source_run}")
        )
        for number, model_id, experiment, source_run in rows
    ]


def runs(tx: Transaction, before: int, after: Place, limit: int, _: Going) -> list[Candidate]:
    rows = tx.tuples(
        "SELECT id, run_id, experiment FROM runs WHERE stage = 'deleted' AND deleted_at <= ? AND id > ?"
        " ORDER BY id LIMIT ?",
        (before // 1000, after[1], limit),
    )
    return [
        Candidate(thing=f"run/{run_id}", number=number, within=(f"experiment/{experiment}",))
        for number, run_id, experiment in rows
    ]


def experiments(tx: Transaction, before: int, after: Place, limit: int, going: Going) -> list[Candidate]:
    """Deleted experiments: each goes after the last of its runs and logged models."""
    rows = tx.tuples(
        "SELECT id, (SELECT COUNT(*) FROM runs WHERE runs.experiment = experiments.id)"
        " + (SELECT COUNT(*) FROM logged_models WHERE logged_models.experiment = experiments.id)"
        " FROM experiments WHERE stage = 'deleted' AND updated_at <= ? AND id > ? AND id <> ? ORDER BY id LIMIT ?",
        (before // 1000, after[1], _DEFAULT_EXPERIMENT, limit),
    )
    found = []
    for number, members in rows:
        left = members - going.members.get(number, 0)
        why = f"it has {left} runs and logged models that stay" if left else ""
        found.append(Candidate(thing=f"experiment/{number}", number=number, needed_by=why))
    return found


Find = Callable[[Transaction, int, Place, int, Going], list[Candidate]]
# In this order: each may free what follows.
KINDS: Mapping[str, Find] = {
    "version": versions,
    "logged-model": logged_models,
    "run": runs,
    "experiment": experiments,
}


def root_of(tx: Transaction, kind: str, number: int) -> str:
    """The folder of artifacts of a run or a logged model; "" for an experiment."""
    if kind == "run":
        [(experiment, name)] = tx.tuples("SELECT experiment, run_id FROM runs WHERE id = ?", (number,))
        return run_root(str(experiment), name)
    if kind == "logged-model":
        [(experiment, name)] = tx.tuples("SELECT experiment, model_id FROM logged_models WHERE id = ?", (number,))
        return model_root(str(experiment), name)
    return ""


def _owner(root: str) -> str:
    """What a folder of artifacts is of: EXPERIMENT/RUN/artifacts, EXPERIMENT/models/MODEL/artifacts."""
    parts = root.split("/")
    return f"logged-model/{parts[2]}" if len(parts) == 4 else f"run/{parts[1]}"
