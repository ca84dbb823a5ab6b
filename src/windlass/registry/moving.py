"""Stages and aliases: names that move from one version to another, each move a transition of the ledger.

Whether a move is allowed is decided before (governance); here it is made, in one transaction with its record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from windlass.domain import ledger, names
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ports import Transaction
from windlass.registry import registered
from windlass.registry.registered import VersionEntry

NONE, STAGING, PRODUCTION, ARCHIVED = "None", "Staging", "Production", "Archived"
STAGES = (NONE, STAGING, PRODUCTION, ARCHIVED)
MAX_ALIAS = 255

_ALIAS = re.compile(r"[\w\-]+")
_NUMBERED = re.compile(r"[vV]\d+")


def stage_named(text: str) -> str:
    """A stage however it is spelt. Raises Invalid."""
    for stage in STAGES:
        if stage.lower() == text.lower():
            return stage
    raise Invalid(f"Invalid Model Version stage: {text[:80]}. Value must be one of {', '.join(STAGES)}.")


def checked_alias(text: str) -> str:
    """``text`` if it may be an alias. Raises Invalid."""
    if not text:
        raise Invalid("Registered model alias name cannot be empty.")
    if not _ALIAS.fullmatch(text):
        raise Invalid(
            f"Invalid alias name: '{text[:80]}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )
    if len(text) > MAX_ALIAS:
        raise Invalid(f"'Registered model alias name' exceeds the maximum length of {MAX_ALIAS} characters")
    return text


def set_alias(
    tx: Transaction,
    entry: VersionEntry,
    alias: str,
    *,
    actor: str,
    reason: str,
    at: int,
    evidence: Mapping[str, Any] | None = None,
) -> None:
    """Let an alias stand for a version.

    Raises:
        Invalid: it is no alias, or one that means a version by itself.
    """
    names.checked_model(entry.model)
    checked_alias(alias)
    if alias.lower() == "latest":
        raise Invalid("'latest' alias name (case insensitive) is reserved.")
    if _NUMBERED.fullmatch(alias):
        raise Invalid(f"Version alias name '{alias}' is reserved.")
    subject = f"alias/{entry.model}/{alias}"
    before = ledger.head(tx, subject)
    if before == entry.reference:
        return
    ledger.transition(
        tx, subject=subject, action="alias", before=before, after=entry.reference, actor=actor, reason=reason, at=at,
        evidence=evidence,
    )  # fmt: skip
    tx.execute(
        "INSERT INTO model_aliases (model, alias, number) VALUES (?, ?, ?)"
        " ON CONFLICT (model, alias) DO UPDATE SET number = excluded.number",
        (entry.model, alias, entry.number),
    )


def delete_alias(tx: Transaction, model: str, alias: str, *, actor: str, reason: str, at: int) -> None:
    """Take an alias away; one that is not there is no error.

    Raises:
        NotFound: no such model.
        Invalid: it is no alias.
    """
    checked_alias(alias)
    registered.find(tx, model)
    if not tx.execute("DELETE FROM model_aliases WHERE model = ? AND alias = ?", (model, alias)):
        return
    subject = f"alias/{model}/{alias}"
    ledger.transition(
        tx, subject=subject, action="delete", before=ledger.head(tx, subject), after=None, actor=actor, reason=reason,
        at=at,
    )  # fmt: skip


def aliased(tx: Transaction, model: str, alias: str) -> VersionEntry:
    """The version that an alias stands for; ``latest`` is the newest.

    Raises:
        NotFound: no such model, or it has no version.
        Invalid: it is no alias, or the model has no such one.
    """
    checked_alias(alias)
    registered.find(tx, model)
    number = stood_for(tx, model, alias)
    if number is None and alias.lower() == "latest":
        raise NotFound(f"Latest version not found for model {model}.")
    if number is None:
        raise Invalid(f"Registered model alias {alias} not found.")
    return registered.entry_of(tx, model, number)


def stood_for(tx: Transaction, model: str, alias: str) -> int | None:
    """The number of the version that an alias stands for; None if it is no alias of the model."""
    if alias.lower() == "latest":
        row = tx.row(
            "SELECT MAX(number) AS number FROM model_versions WHERE model = ? AND deleted_at IS NULL", (model,)
        )
    else:
        row = tx.row("SELECT number FROM model_aliases WHERE model = ? AND alias = ?", (model, alias))
    return None if row is None else row["number"]


def set_stage(
    tx: Transaction,
    entry: VersionEntry,
    stage: str,
    *,
    actor: str,
    reason: str,
    at: int,
    evidence: Mapping[str, Any] | None = None,
) -> None:
    """Move a version to a stage; where it stands already, only the time of it changes."""
    subject = f"stage/{entry.reference}"
    if entry.stage != stage:
        ledger.transition(
            tx,
            subject=subject,
            action="stage",
            before=ledger.head(tx, subject),
            after=None if stage == NONE else stage,
            actor=actor,
            reason=reason,
            at=at,
            evidence=evidence,
        )
    tx.execute(
        "UPDATE model_versions SET stage = ?, updated_at = ? WHERE model = ? AND number = ?",
        (stage, at, entry.model, entry.number),
    )
    registered.touch(tx, entry.model, at=at)


def standing_in(tx: Transaction, model: str, stage: str) -> list[VersionEntry]:
    """The versions of a model in a stage, oldest first."""
    rows = tx.rows(
        "SELECT number FROM model_versions WHERE model = ? AND stage = ? AND deleted_at IS NULL ORDER BY number",
        (model, stage),
    )
    return registered.entries(tx, [(model, row["number"]) for row in rows])
