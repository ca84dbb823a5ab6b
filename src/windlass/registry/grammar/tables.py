"""What may be searched for and how, for the five kinds of thing: data only, as MLflow 3.17 has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Holds(Enum):
    """What the values of a field are."""

    TEXT = "text"
    REAL = "real"  # always a float
    NUMBER = "number"  # an int where written as one, else a float
    WHOLE = "whole"  # an int, nothing else
    WHOLE_OR_QUOTED = "whole or quoted"  # an int, which may stand in quotes
    ID = "id"  # digits in quotes


_EQUAL = frozenset({"=", "!="})
_NUMERIC = _EQUAL | {"<", "<=", ">", ">="}
_TEXT = _EQUAL | {"LIKE", "ILIKE"}
_LIST = frozenset({"IN", "NOT IN"})
_NULL = frozenset({"IS NULL", "IS NOT NULL"})


@dataclass(frozen=True, slots=True)
class Field:
    """What may be compared: ``key`` is its canonical name, empty where the caller chooses names (metrics, tags...)."""

    operators: frozenset[str]
    holds: Holds = Holds.TEXT
    key: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    kind: str
    key: str
    ascending: bool


@dataclass(frozen=True, slots=True)
class Grammar:
    """One kind of thing.

    Attributes:
        of: what it is, for messages.
        prefixes: what stands before the dot -> the kind meant.
        fixed: kind -> name as written -> field, for kinds whose names are given.
        free: kind -> field, for kinds whose names the caller chose.
        orders: attribute as written -> its canonical name, for those that order.
        free_orders: the kinds of chosen names that order.
        default: the whole order when none is asked for; ``ties`` are appended to any that is.
        repeats: whether the same field may order twice.
        loose: text values need no quotes, numbers may be ``inf`` and ``nan``, and names may have - and / in them.
    """

    of: str
    prefixes: Mapping[str, str]
    fixed: Mapping[str, Mapping[str, Field]]
    free: Mapping[str, Field]
    orders: Mapping[str, str]
    ties: tuple[Order, ...]
    free_orders: frozenset[str] = frozenset()
    default: tuple[Order, ...] = ()
    repeats: bool = False
    loose: bool = False
    wrong_operator: str = "Invalid comparator"

    @property
    def numeric(self) -> frozenset[str]:
        """The canonical attributes that hold numbers."""
        return frozenset(
            found.key for found in self.fixed["attribute"].values() if found.holds not in (Holds.TEXT, Holds.ID)
        )


def _fields(operators: frozenset[str], holds: Holds, *keys: str, **aliases: str) -> dict[str, Field]:
    written = {key: key for key in keys} | aliases
    return {name: Field(operators, holds, key) for name, key in written.items()}


def _ascending(key: str) -> Order:
    return Order("attribute", key, True)


def _descending(key: str) -> Order:
    return Order("attribute", key, False)


_METRIC = Field(_NUMERIC, Holds.REAL)
_CREATED = {"created": "start_time", "Created": "start_time"}
_NAMED = {"run name": "run_name", "Run name": "run_name", "Run Name": "run_name"}
_RUN_TEXTS = ("run_name", "user_id", "status", "artifact_uri")
_RUN_TIMES = ("start_time", "end_time")

RUNS = Grammar(
    of="run",
    prefixes={
        "attribute": "attribute", "attributes": "attribute", "attr": "attribute", "run": "attribute",
        "metric": "metric", "metrics": "metric",
        "param": "param", "params": "param", "parameter": "param", "parameters": "param",
        "tag": "tag", "tags": "tag",
        "dataset": "dataset", "datasets": "dataset",
    },
    fixed={
        "attribute": {
            **_fields(_TEXT | _LIST, Holds.TEXT, "run_id"),
            **_fields(_TEXT, Holds.TEXT, *_RUN_TEXTS, **_NAMED),
            **_fields(_NUMERIC, Holds.NUMBER, *_RUN_TIMES, **_CREATED),
        },
        "dataset": _fields(_TEXT | _LIST, Holds.TEXT, "name", "digest", "context"),
    },
    free={"metric": _METRIC, "param": Field(_TEXT | _NULL), "tag": Field(_TEXT | _NULL)},
    orders={key: key for key in ("run_id", *_RUN_TEXTS, *_RUN_TIMES)} | _CREATED,
    free_orders=frozenset({"metric", "param", "tag"}),
    default=(_descending("start_time"), _ascending("run_id")),
    ties=(_descending("start_time"), _ascending("run_id")),
)  # fmt: skip

_TAGGED = {"attribute": "attribute", "tag": "tag", "tags": "tag"}
_EXPERIMENT_KEYS = ("name", "experiment_id", "creation_time", "last_update_time")

EXPERIMENTS = Grammar(
    of="experiment",
    prefixes=_TAGGED,
    fixed={
        "attribute": {
            **_fields(_TEXT, Holds.TEXT, "name"),
            **_fields(_EQUAL | _LIST, Holds.ID, "experiment_id"),
            **_fields(_NUMERIC, Holds.WHOLE, "creation_time", "last_update_time"),
        }
    },
    free={"tag": Field(_TEXT | _NULL)},
    orders={key: key for key in _EXPERIMENT_KEYS},
    default=(_descending("creation_time"), _ascending("experiment_id")),
    ties=(_descending("experiment_id"),),
    repeats=True,
)

MODELS = Grammar(
    of="registered model",
    prefixes=_TAGGED,
    fixed={"attribute": _fields(_TEXT | _LIST, Holds.TEXT, "name")},
    free={"tag": Field(_TEXT)},
    orders={"name": "name", "timestamp": "last_updated_timestamp", "last_updated_timestamp": "last_updated_timestamp"},
    default=(_ascending("name"),),
    ties=(_ascending("name"),),
)

VERSIONS = Grammar(
    of="model version",
    prefixes=_TAGGED,
    fixed={
        "attribute": {
            **_fields(_TEXT | _LIST, Holds.TEXT, "name", "run_id"),
            **_fields(_TEXT, Holds.TEXT, "source_path"),
            **_fields(_NUMERIC, Holds.WHOLE_OR_QUOTED, "version_number"),
        }
    },
    free={"tag": Field(_TEXT)},
    orders={key: key for key in ("name", "version_number", "creation_timestamp", "last_updated_timestamp")},
    default=(_descending("last_updated_timestamp"), _ascending("name"), _descending("version_number")),
    ties=(_ascending("name"), _descending("version_number")),
)

_MODEL_TEXTS = (
    "model_id", "experiment_id", "name", "artifact_location", "status", "lifecycle_stage", "model_type",
    "source_run_id", "status_message",
)  # fmt: skip
_MODEL_TIMES = {
    "creation_timestamp": "creation_timestamp",
    "creation_time": "creation_timestamp",
    "creation_timestamp_ms": "creation_timestamp",
    "last_updated_timestamp": "last_updated_timestamp",
    "last_updated_timestamp_ms": "last_updated_timestamp",
}

LOGGED_MODELS = Grammar(
    of="logged model",
    prefixes={"attributes": "attribute", "metrics": "metric", "params": "param", "tags": "tag"},
    fixed={
        "attribute": {
            **_fields(_TEXT | _LIST, Holds.TEXT, *_MODEL_TEXTS),
            **_fields(_NUMERIC, Holds.NUMBER, **_MODEL_TIMES),
        }
    },
    free={"metric": _METRIC, "param": Field(_TEXT | _LIST), "tag": Field(_TEXT | _LIST)},
    orders={key: key for key in _MODEL_TEXTS} | _MODEL_TIMES,
    free_orders=frozenset({"metric"}),
    default=(_descending("creation_timestamp"), _ascending("model_id")),
    ties=(_descending("creation_timestamp"), _ascending("model_id")),
    repeats=True,
    loose=True,
    wrong_operator="Invalid comparison operator",
)
