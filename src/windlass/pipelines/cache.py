"""The cache: what a recipe made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from windlass.domain import digest
from windlass.domain.ports import Transaction
from windlass.pipelines.stored import Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    output: Stored
    run: str


def find(tx: Transaction, recipe: str) -> Cached | None:
    row = tx.row("SELECT output, run FROM step_cache WHERE recipe = ?", (recipe,))
    return Cached(output=json.loads(row["output"]), run=row["run"]) if row else None


def latest(tx: Transaction, step: str) -> dict[str, Any] | None:
    """The parts of the recipe by which a step ran last."""
    row = tx.row("SELECT parts FROM step_cache WHERE step = ? ORDER BY at DESC, recipe LIMIT 1", (step,))
    return json.loads(row["parts"]) if row else None


def parts_of(tx: Transaction, recipe: str) -> dict[str, Any] | None:
    """The parts of a recipe that made something."""
    row = tx.row("SELECT parts FROM step_cache WHERE recipe = ?", (recipe,))
    return json.loads(row["parts"]) if row else None


def put(
    tx: Transaction, *, recipe: str, step: str, parts: Mapping[str, Any], output: Stored, run: str, at: int
) -> None:
    """Keep what a recipe made; made anew, the new output stands."""
    tx.execute(
        "INSERT INTO step_cache (recipe, step, parts, output, run, at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (recipe) DO UPDATE SET output = excluded.output, run = excluded.run, at = excluded.at",
        (recipe, step, digest.canonical(parts).decode(), digest.canonical(output).decode(), run, at),
    )
