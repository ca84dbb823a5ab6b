"""A Feast repository as a source: what its offline store knew of each event at its time.

What comes back is Feast's to say: its file store (0.67) drops rows past their TTL, its DuckDB store does not. A feature
view of ours (``features``) does neither: it has one row for each event.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from windlass.capture.sources import parquet, sql
from windlass.domain import digest
from windlass.domain.errors import Failure, Invalid, NotFound, Unavailable


def materialise(repository: Path, events: Path, features: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Write the events with the features that Feast joins to them, sorted, to ``data.parquet`` in ``folder``.

    ``events`` is a Parquet or CSV file with Feast's ``event_timestamp`` and the entities' keys; ``features`` are named
    ``view:feature``, or one feature service by its name. Returns the provenance.

    Raises:
        NotFound: there is no such file or repository.
        Invalid: nothing is asked for, or Feast refuses it.
        Unavailable: Feast is not installed.
    """
    if find_spec("feast") is None:
        raise Unavailable("reading from a Feast repository needs Feast", hint="install the extra: windlass[feast]")
    if not (repository / "feature_store.yaml").is_file():
        raise NotFound(f"no feature_store.yaml in {repository}", hint="name the folder of the Feast repository")
    if not events.is_file():
        raise NotFound(f"no file {events}", hint="name the file with the labelled events")
    if not features:
        raise Invalid("no features are asked for", hint='name them as features = ["view:feature"]')
    feast: Any = importlib.import_module("feast")
    read = digest.of_file(events)
    try:
        store = feast.FeatureStore(repo_path=str(repository))
        one_service = len(features) == 1 and ":" not in features[0]
        wanted = store.get_feature_service(features[0]) if one_service else list(features)
        table = store.get_historical_features(entity_df=_entities(events), features=wanted).to_arrow()
        ordered = table.sort_by([(name, "ascending") for name in table.column_names])
        parquet.write(ordered.schema, ordered.to_batches(), folder / sql.FILE)
    except Failure:
        raise
    except Exception as error:  # noqa: BLE001 - whatever Feast and its stores raise is theirs to say
        raise Invalid(
            f"Feast cannot join these features: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            hint="check the names of the features and the columns of the events",
        ) from None
    return {
        "kind": "feast",
        "repository": repository.name,
        "features": list(features),
        "engine": f"feast {feast.__version__}",
        "inputs": {
            events.name: read,
            "feature_store.yaml": digest.of_file(repository / "feature_store.yaml"),
        },
    }


def _entities(events: Path) -> Any:
    """Feast takes the events as a pandas frame, with their times in UTC."""
    pandas: Any = importlib.import_module("pandas")
    frame = pandas.read_csv(events) if events.suffix == ".csv" else pandas.read_parquet(events)
    if "event_timestamp" not in frame.columns:
        raise Invalid(f"{events.name} has no column event_timestamp", hint="Feast names the events' time so")
    frame["event_timestamp"] = pandas.to_datetime(frame["event_timestamp"], utc=True)
    return frame
