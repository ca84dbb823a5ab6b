"""What a run read and made, by name: datasets, and logged models."""

from __future__ import annotations

import json
from collections.abc import Sequence

from windlass.domain.errors import Invalid
from windlass.domain.ports import Transaction
from windlass.registry.tracking import names
from windlass.registry.tracking.experiments import chunks, number_of
from windlass.registry.tracking.recording import touch
from windlass.registry.tracking.runs import DatasetInput

MAX_NAME, MAX_DIGEST = 500, 36
MAX_SOURCE, MAX_SCHEMA, MAX_PROFILE = 65_535, 1_048_575, 16_777_215
MAX_TAG_KEY, MAX_TAG = 255, 500
MOST_SUMMARIES = 1000


def log_inputs(
    tx: Transaction, run_id: str, datasets: Sequence[tuple[str, DatasetInput]], models: Sequence[str]
) -> None:
    """Record what a run read: datasets (each with an id for it if it is new), and logged models by id.

    Raises:
        NotFound: no such run.
        Invalid: a name or a value out of its limits, or the run is deleted.
    """
    for _, each in datasets:
        _check(each)
    run, experiment = touch(tx, run_id)
    for new_id, each in datasets:
        tx.execute(
            "INSERT INTO tracked_datasets (id, experiment, name, digest, source_type, source, schema, profile)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (new_id, experiment, *each[:6]),
        )
        row = tx.row(
            "SELECT id FROM tracked_datasets WHERE experiment = ? AND name = ? AND digest = ?",
            (experiment, each.name, each.digest),
        )
        assert row is not None
        tx.execute(
            "INSERT INTO run_datasets (run, dataset, context, tags, seq)"
            " SELECT CAST(? AS INTEGER), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), COUNT(*)"
            " FROM run_datasets WHERE run = ? ON CONFLICT DO NOTHING",
            (run, row["id"], each.tags.get(names.DATASET_CONTEXT), json.dumps(dict(each.tags)), run),
        )
    _link(tx, run, "input", [(model_id, 0) for model_id in models])


def log_outputs(tx: Transaction, run_id: str, models: Sequence[tuple[str, int]]) -> None:
    """Record which logged models a run made, each with its step.

    Raises:
        NotFound: no such run.
        Invalid: the run is deleted.
    """
    _link(tx, touch(tx, run_id)[0], "output", models)


def summaries(tx: Transaction, experiments: Sequence[str]) -> list[tuple[str, str, str, str | None]]:
    """The datasets of experiments: (experiment, name, digest, context)."""
    found: list[tuple[str, str, str, str | None]] = []
    for chunk in chunks([number_of(each) for each in experiments]):
        found += [
            (str(experiment), name, digest, context)
            for experiment, name, digest, context in tx.tuples(
                "SELECT DISTINCT experiment, name, digest, context FROM tracked_datasets"
                " JOIN run_datasets ON run_datasets.dataset = tracked_datasets.id"
                f" WHERE experiment IN ({', '.join('?' * len(chunk))}) ORDER BY experiment, name, digest LIMIT ?",
                (*chunk, MOST_SUMMARIES),
            )
        ]
    return found[:MOST_SUMMARIES]


def _link(tx: Transaction, run: int, direction: str, models: Sequence[tuple[str, int]]) -> None:
    row = tx.row("SELECT COUNT(*) AS n FROM run_models WHERE run = ? AND direction = ?", (run, direction))
    assert row is not None
    tx.many(
        "INSERT INTO run_models (run, direction, model_id, step, seq) VALUES (?, ?, ?, ?, ?)",
        [(run, direction, model_id, step, row["n"] + index) for index, (model_id, step) in enumerate(models)],
    )


def _check(dataset: DatasetInput) -> None:
    for what, text, most in (
        ("name", dataset.name, MAX_NAME),
        ("digest", dataset.digest, MAX_DIGEST),
        ("source_type", dataset.source_type, MAX_NAME),
        ("source", dataset.source, MAX_SOURCE),
        ("schema", dataset.schema, MAX_SCHEMA),
        ("profile", dataset.profile, MAX_PROFILE),
    ):
        if what in ("name", "digest", "source_type", "source") and not text:
            raise Invalid(f"Dataset {what} cannot be empty.")
        names.checked_text(text, most, f"dataset.{what}")
    for key, value in dataset.tags.items():
        names.checked_text(key, MAX_TAG_KEY, "tag.key")
        names.checked_text(value, MAX_TAG, "tag.value")
