"""A Feast repository as a source, with a stand-in for Feast: it weighs too much to be installed for tests."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windlass.capture.sources import feast
from windlass.domain.errors import Failure, Invalid, NotFound, Unavailable


class Frame(dict[str, Any]):
    @property
    def columns(self) -> list[str]:
        return list(self)


class Store:
    asked: Any = None

    def __init__(self, repo_path: str) -> None:
        self.repo_path = repo_path

    def get_feature_service(self, name: str) -> tuple[str, str]:
        return ("service", name)

    def get_historical_features(self, entity_df: Any, features: Any) -> Any:
        Store.asked = (dict(entity_df), features)
        if features == ["bad:x"]:
            raise KeyError("no view\nbad")
        return types.SimpleNamespace(to_arrow=lambda: pa.table({"user": [2, 1], "score": [0.5, None]}))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(feast, "find_spec", lambda _: True)
    stand_in = types.SimpleNamespace(FeatureStore=Store, __version__="0.67.0")
    pandas = types.SimpleNamespace(
        read_csv=lambda path: Frame({column: [] for column in path.read_text().splitlines()[0].split(",")}),
        to_datetime=lambda values, utc: ("utc", utc),
    )
    modules = {"feast": stand_in, "pandas": pandas}
    monkeypatch.setattr(feast, "importlib", types.SimpleNamespace(import_module=modules.__getitem__))
    place = tmp_path / "features"
    place.mkdir()
    (place / "feature_store.yaml").write_text("project: x\n")
    (tmp_path / "events.csv").write_text("user,event_timestamp\n1,2020-01-01\n")
    return place


def test_what_feast_joins_is_kept_sorted_with_its_provenance(repository: Path, tmp_path: Path) -> None:
    said = feast.materialise(repository, tmp_path / "events.csv", ("users:score",), tmp_path)
    assert pq.read_table(tmp_path / "data.parquet").to_pylist() == [
        {"user": 1, "score": None},
        {"user": 2, "score": 0.5},
    ]
    assert Store.asked == ({"user": [], "event_timestamp": ("utc", True)}, ["users:score"])
    assert (said["kind"], said["engine"], said["features"]) == ("feast", "feast 0.67.0", ["users:score"])
    assert sorted(said["inputs"]) == ["events.csv", "feature_store.yaml"]
    feast.materialise(repository, tmp_path / "events.csv", ("employment",), tmp_path)
    assert Store.asked[1] == ("service", "employment")


def test_bad_input_is_one_clear_error(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "no_time.csv").write_text("user\n1\n")
    cases: list[tuple[Path, str, tuple[str, ...], type[Failure]]] = [
        (tmp_path, "events.csv", ("a:b",), NotFound),
        (repository, "nope.csv", ("a:b",), NotFound),
        (repository, "events.csv", (), Invalid),
        (repository, "events.csv", ("bad:x",), Invalid),
        (repository, "no_time.csv", ("a:b",), Invalid),
    ]
    for place, events, names, kind in cases:
        with pytest.raises(kind) as caught:
            feast.materialise(place, tmp_path / events, names, tmp_path)
        assert caught.value.hint
        assert "\n" not in caught.value.message


def test_without_feast_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feast, "find_spec", lambda _: None)
    with pytest.raises(Unavailable) as caught:
        feast.materialise(tmp_path, tmp_path / "events.csv", ("a:b",), tmp_path)
    assert "windlass[feast]" in caught.value.hint
