"""MLflow's search grammar beside MLflow's own parser: the same texts accepted, read as the same comparisons.

MLflow's judgement is that of its parser and of what its SQL stores check before they ask the database; its failing in
any way, even with a ValueError that nobody foresaw, is a refusal. Every difference we mean stands in ``DIFFERENCES``.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windlass.domain.errors import Invalid
from windlass.registry.grammar import (
    EXPERIMENTS,
    LOGGED_MODELS,
    MODELS,
    RUNS,
    VERSIONS,
    parse_filter,
    parse_order,
)

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs mlflow (dependency group `contract`)"),
    pytest.mark.filterwarnings("default"),
]

Found = tuple[tuple[str, str, str, Any], ...]
GRAMMARS = {"runs": RUNS, "experiments": EXPERIMENTS, "models": MODELS, "versions": VERSIONS, "logged": LOGGED_MODELS}


class Refused(Exception):
    """MLflow would not have it."""


def mlflow_runs(text: str) -> Found:
    from mlflow.utils.search_utils import SearchUtils

    found = []
    for clause in SearchUtils.parse_search_filter(text):
        kind, operator, value = clause["type"], clause["comparator"].upper(), clause["value"]
        key = SearchUtils.translate_key_alias(clause["key"])
        if SearchUtils.is_metric(kind, operator):
            value = float(value)
        elif not (
            SearchUtils.is_attribute(kind, key, operator)
            or SearchUtils.is_param(kind, operator)
            or SearchUtils.is_tag(kind, operator)
            or SearchUtils.is_dataset(kind, operator)
        ):
            raise Refused
        found.append(("param" if kind == "parameter" else kind, key, operator, value))
    return tuple(found)


def mlflow_experiments(text: str) -> Found:
    from mlflow.utils.search_utils import SearchExperimentsUtils

    found = []
    for clause in SearchExperimentsUtils.parse_search_filter(text):
        kind, key, operator, value = clause["type"], clause["key"], clause["comparator"], clause["value"]
        if kind == "tag":
            allowed = {"=", "!=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL"}
        elif key == "experiment_id":
            allowed = {"=", "!=", "IN", "NOT IN"}
            value = tuple(str(int(each)) for each in value) if isinstance(value, tuple) else str(int(value))
        elif key == "name":
            allowed = {"=", "!=", "LIKE", "ILIKE"}
        else:
            allowed = {"=", "!=", "<", "<=", ">", ">="}
            if isinstance(value, float):
                raise Refused
        if operator not in allowed:
            raise Refused
        found.append((kind, key, operator, value))
    return tuple(found)


def mlflow_models(text: str) -> Found:
    from mlflow.utils.search_utils import SearchModelUtils

    found = []
    for clause in SearchModelUtils.parse_search_filter(text):
        kind, operator = clause["type"], clause["comparator"]
        if operator not in {"=", "!=", "LIKE", "ILIKE"} | ({"IN", "NOT IN"} if kind == "attribute" else set()):
            raise Refused
        found.append((kind, clause["key"], operator, clause["value"]))
    return tuple(found)


def mlflow_versions(text: str) -> Found:
    from mlflow.utils.search_utils import SearchModelVersionUtils

    found = []
    for clause in SearchModelVersionUtils.parse_search_filter(text):
        kind, key, operator, value = clause["type"], clause["key"], clause["comparator"], clause["value"]
        allowed = {"=", "!=", "LIKE", "ILIKE"}
        if (kind, key) == ("attribute", "version_number"):
            allowed = {"=", "!=", "<", "<=", ">", ">="}
            if isinstance(value, float):
                raise Refused
            value = int(value)
        elif kind == "attribute" and key in ("name", "run_id"):
            allowed |= {"IN", "NOT IN"}
        if operator not in allowed:
            raise Refused
        found.append((kind, key, operator, value))
    return tuple(found)


class LoggedModelTable:
    """What MLflow's parser asks of its table, for SQLAlchemy is not among our tools."""

    COLUMNS = frozenset(
        ["model_id", "experiment_id", "name", "artifact_location", "creation_timestamp_ms", "last_updated_timestamp_ms",
         "status", "lifecycle_stage", "model_type", "source_run_id", "status_message"]
    )  # fmt: skip
    TIMES = frozenset({"creation_timestamp_ms", "last_updated_timestamp_ms"})
    ALIASES: ClassVar = {
        "creation_time": "creation_timestamp_ms",
        "creation_timestamp": "creation_timestamp_ms",
        "last_updated_timestamp": "last_updated_timestamp_ms",
    }

    @staticmethod
    def is_numeric(name: str) -> bool:
        return LoggedModelTable.ALIASES.get(name, name) in LoggedModelTable.TIMES


@pytest.fixture(scope="module")
def logged_models() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        # All of MLflow but this one module does without SQLAlchemy, and must see that it is not there.
        importlib.import_module("mlflow.utils.search_utils")
        tables = ModuleType("models")
        vars(tables).update(SqlLoggedModel=LoggedModelTable)
        patch.setitem(sys.modules, "sqlalchemy", ModuleType("sqlalchemy"))
        patch.setitem(sys.modules, "mlflow.store.tracking.dbmodels.models", tables)
        patch.delitem(sys.modules, "mlflow.utils.search_logged_model_utils", raising=False)
        module = importlib.import_module("mlflow.utils.search_logged_model_utils")
        patch.delitem(sys.modules, "mlflow.utils.search_logged_model_utils")
        yield module


def mlflow_logged(module: Any, text: str) -> Found:
    found = []
    for comparison in module.parse_filter_string(text):
        kind, key = comparison.entity.type.value.removesuffix("s"), comparison.entity.key
        if kind == "attribute":
            if key not in LoggedModelTable.COLUMNS:
                raise Refused
            key = key.removesuffix("_ms")
        found.append((kind, key, comparison.op, comparison.value))
    return tuple(found)


@pytest.fixture(scope="module")
def judge(logged_models: Any) -> Callable[[str, str], Found | None]:
    judges: dict[str, Callable[[str], Found]] = {
        "runs": mlflow_runs,
        "experiments": mlflow_experiments,
        "models": mlflow_models,
        "versions": mlflow_versions,
        "logged": lambda text: mlflow_logged(logged_models, text),
    }

    def of(name: str, text: str) -> Found | None:
        try:
            found = judges[name](text)
        except Exception:  # noqa: BLE001 - whatever goes wrong, MLflow did not read it
            return None
        # What no database can do: compare a text with anything but a text, or with a list by anything but IN.
        for kind, key, operator, value in found:
            number = kind == "metric" or key in GRAMMARS[name].numeric
            if operator in ("IN", "NOT IN"):
                if not isinstance(value, tuple) or not value:
                    return None
            elif not number and not isinstance(value, str | None):
                return None
        return found

    return of


def ours(name: str, text: str) -> Found | None:
    try:
        return tuple((c.kind, c.key, c.operator, c.value) for c in parse_filter(text, GRAMMARS[name]))
    except Invalid:
        return None


WE_READ, WE_REFUSE, OTHERWISE = "we read it, MLflow refuses", "MLflow reads it, we refuse", "read otherwise"
ANY = "any"
EVERY = tuple(GRAMMARS)


@dataclass(frozen=True)
class Difference:
    """Texts that MLflow and we judge differently by intent: those in which ``where`` is found."""

    reason: str
    way: str
    where: str
    example: str
    grammars: tuple[str, ...] = EVERY

    def covers(self, name: str, text: str, way: str) -> bool:
        return name in self.grammars and self.way in (way, ANY) and re.search(self.where, text) is not None


# A name where AND should be, and IS NULL after it; or one after a list.
NO_AND = r"""(?is)['")\w]\s+(?!and\b|is\b|not\b|null\b|in\b|i?like\b)[\w`].*\bis\s+(not\s+)?null|\)\s*(?!and\b)[\w`"]"""
DIFFERENCES = (
    Difference(
        "MLflow renames the tags, params and metrics that are called as an alias of an attribute",
        OTHERWISE, r"\.[\"`']*([Cc]reated|[Rr]un [Nn]ame)\b", "tags.Created = 'x'", ("runs",),
    ),
    Difference(
        "operators may be in any case everywhere, as MLflow has it for runs",
        WE_READ, r"(?i:\b(i?like|(not\s+)?in)\b)", "tags.a like 'x'", ("experiments",),
    ),
    Difference(
        "words of SQL are names like others after a dot",
        WE_READ, r"(?i:\.(case|in|values|using|from|as)\b)", "tags.from = 'x'",
    ),
    Difference("names may begin with a digit", WE_READ, r"\.\d", "tags.10a = 'x'"),
    Difference(
        "attributes may stand in quotes everywhere, as MLflow has it for runs",
        WE_READ, r"""[`"']\w+[`"']""", '"name" = \'x\'', ("models", "versions", "logged"),
    ),
    Difference(
        "the kind may stand in backticks everywhere, as MLflow has it for runs",
        WE_READ, r"`\w+`\s*\.", "`tags`.a = 'x'", ("experiments", "models", "versions", "logged"),
    ),
    Difference(
        "quotes around a name or a value are no part of it, others are",
        OTHERWISE, r"""\.['"`]|"[^"]*\"|`\s*[<>=!]""", 'tags."a b" = "x"', ("logged",),
    ),
    Difference("numbers may be as Python writes them", WE_READ, r"\de\+\d", "end_time > 1e+12"),
    Difference(
        "words may be any space apart",
        WE_READ, r"(?i)not(\s\s+|[^ \S])null", "tags.a IS NOT\nNULL", ("runs", "experiments"),
    ),
    Difference(
        "the attributes of logged models are the same with their kind as without",
        WE_READ, r"\battributes\.(creation_time|last_updated_timestamp)", "attributes.creation_time > 5", ("logged",),
    ),
    Difference("names with - and / have lists too", WE_READ, r"\w[-/]\w", "tags.a-b IN ('x')", ("logged",)),
    Difference("a word may begin with a digit", WE_READ, r"\b\d\w*[A-Za-z]", "params.a = 0x1", ("logged",)),
    Difference(
        "a whole number has at most 64 bits: no database has more",
        WE_REFUSE, r"\d{19}", "end_time < 99999999999999999999", ("runs", "experiments", "versions", "logged"),
    ),
    Difference("lists hold texts in quotes only", WE_REFUSE, r"\(", "experiment_id IN (1, 2)", ("logged",)),
    Difference(
        "expressions of SQL are no names and no values: arrays, casts, sums, comments, an order, an empty name",
        WE_REFUSE, r"""[\[\]*@#$:>%^&|+?\\-]|!(?!=)|[<>]\s*\w+\s*=|\w[`"']|\.\s*[=<>!.]|\.\s|(?i:\b(asc|desc)\b)""",
        "tags.a[0] = 'x'",
    ),
    Difference(
        "without its AND, what comes before a name and the name are one name to MLflow, here and there",
        ANY, NO_AND, "tags.a = 'x' tags.b IS NULL", ("runs", "experiments", "logged"),
    ),
)  # fmt: skip


def way_of(theirs: Found | None, mine: Found | None) -> str:
    if theirs == mine or repr(theirs) == repr(mine):
        return ""
    return WE_READ if theirs is None else WE_REFUSE if mine is None else OTHERWISE


KINDS = st.sampled_from(
    ["metrics", "metric", "params", "param", "parameter", "tags", "tag", "attributes", "attribute", "attr", "run",
     "dataset", "datasets", "`tags`", "Tags", "foo"]
)  # fmt: skip
ATTRIBUTES = st.sampled_from(
    ["run_id", "run_name", "user_id", "status", "start_time", "end_time", "artifact_uri", "Created", "`run name`",
     "name", "experiment_id", "creation_time", "last_update_time", "version_number", "source_path",
     "creation_timestamp",
     "last_updated_timestamp", "model_id", "model_type", "source_run_id", "`name`", "source", "digest", "context"]
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "a",
        "a_b",
        "a.b",
        "`a b`",
        '"a b"',
        "'a b'",
        "1a",
        "2",
        "in",
        "from",
        "a-b",
        "a/b",
        "_a",
        "é",
        "日",
        "`a``b`",
        "a.`b`",
    ]
)
OPERATORS = st.sampled_from(
    ["=", "!=", "<", "<=", ">", ">=", "==", "<>", "LIKE", "like", "ILIKE", "IN", "in", "NOT IN", "not  in", "IS NULL",
     "is null", "IS NOT NULL", "NOT LIKE", "RLIKE", "IS", "is  not\nnull", "BETWEEN"]
)  # fmt: skip
VALUES = st.sampled_from(
    ["'x'", '"x"', "'1'", '"2"', "1", "1.5", "-2", "1e5", "1e-3", "1e+3", ".5", "5.", "x", "nan", "inf", "('a')",
     "('a','b')", "('a',)", "()", "(1)", "'it''s'", r"'it\'s'", "'C:\\'", "''", "'a b'", "'a AND b'", "`x`",
     "NULL", "('a' 'b')",
     "( \"a\" ,'b\\n')", "+1", "0x1", "99999999999999999999", "('1', '2')", "1_0"]
)  # fmt: skip
SPACES = st.sampled_from([" ", " ", " ", "  ", "\n", "\t"])
JOINTS = st.sampled_from([" AND ", " AND ", " AND ", " and ", "\nAND\t", " OR ", " ", ", ", " AND AND ", ";"])
ODDS = st.sampled_from(
    [".", ",", "(", ")", "'", '"', "`", "\\", "-", "[", "]", "[0]", "*", "::", "->", "--", "/*", "*/", "#", "$", "?",
     "%s", "@a", ":b", ";", "NOT ", " OR ", "1", "e", " DESC", " ASC", "CASE", "END", "NULL", "r'x'", "select",
     " AND ", " ", "\n"]
)  # fmt: skip


TEXTS = st.sampled_from(["run_id", "name", "tags.a", "tag.`a b`", "model_id", "status", "source_path", "dataset.name"])
NUMBERS = st.sampled_from(["metrics.a", "metric.`a b`", "start_time", "creation_time", "version_number", "created"])


@st.composite
def sound_clauses(draw: st.DrawFn) -> str:
    """Those that some kind of thing has."""
    if draw(st.booleans()):
        operator = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
        return f"{draw(NUMBERS)} {operator} {draw(st.sampled_from(['1', '-2', '1.5', '1e5', '.5', '5.', '0']))}"
    operator = draw(st.sampled_from(["=", "!=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"]))
    values = {"I": ["('a')", "('a', \"b\")", r"('a\\\'\n' 'b',)"], "IS": [""]}.get(
        operator[:2] if operator[:2] == "IS" else "I" if operator.endswith("IN") else "",
        ["'x'", '"x"', "''", "'it''s'", "'C:\\'", "'1'"],
    )
    return f"{draw(TEXTS | NAMES.map('params.{}'.format))} {operator} {draw(st.sampled_from(values))}"


@st.composite
def mixed_clauses(draw: st.DrawFn) -> str:
    subject = draw(ATTRIBUTES) if draw(st.booleans()) else f"{draw(KINDS)}.{draw(NAMES | ATTRIBUTES)}"
    operator = draw(OPERATORS)
    value = "" if operator.upper().endswith("NULL") else draw(VALUES)
    if operator[0].isalpha():
        return f"{subject}{draw(SPACES)}{operator}{draw(SPACES)}{value}"
    return f"{subject}{draw(SPACES | st.just(''))}{operator}{draw(SPACES | st.just(''))}{value}"


clauses = st.one_of(sound_clauses(), sound_clauses(), mixed_clauses())


@st.composite
def filters(draw: st.DrawFn) -> str:
    text = draw(clauses)
    for _ in range(draw(st.integers(0, 3))):
        text += draw(JOINTS) + draw(clauses)
    return text


@st.composite
def broken_filters(draw: st.DrawFn) -> str:
    text = draw(clauses)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(ODDS) + text[at + draw(st.integers(0, 1)) :]
    return text


ORDER_DIFFERENCES = (
    Difference(
        "MLflow renames the tags, params and metrics that are called as an alias of an attribute",
        OTHERWISE, r"\.[\"`']*[Cc]reated\b", "tags.Created", ("runs",),
    ),
    Difference(
        "words of SQL are names like others after a dot", WE_READ, r"(?i:\.(in|from)\b)", "tags.from", ("runs",)
    ),
    Difference("names may begin with a digit", WE_READ, r"\.\d", "tags.2", ("runs",)),
    Difference("there may be space around", WE_READ, r"^\s|\s$", "name "),
    Difference("attributes may stand in quotes", WE_READ, r"""^[`"']""", '"name"', ("models",)),
    Difference(
        "attributes may have their kind before them",
        WE_READ, r"^`?attribute`?\.", "attribute.name", ("models",),
    ),
    Difference(
        "the kind may stand in backticks everywhere, as MLflow has it for runs",
        WE_READ, r"^`\w+`\.", "`attribute`.name", ("experiments", "versions"),
    ),
    Difference(
        "a tag of a model version does not order, whatever it is called",
        WE_REFUSE, r"^tags?\.", "tags.name", ("versions",),
    ),
    Difference(
        "quotes that are open or stand within a name are part of it",
        ANY, r"""\w\.[`"'].*\.|\.\w+\.[`"']|``""", "tags.a.`b` DESC", ("runs",),
    ),
    Difference(
        "a name in quotes is one name, with its dot and the space in it",
        ANY, r"""^[`"']|[`"']\S""", "`tags.a` DESC", ("runs", "experiments", "models", "versions"),
    ),
)  # fmt: skip


def mlflow_order(name: str, text: str) -> tuple[str, str, bool] | None:
    from mlflow.utils import search_utils as mlflow

    try:
        if name == "models":
            key, ascending = mlflow.SearchUtils.parse_order_by_for_search_registered_models(text)
            return "attribute", "name" if key == "name" else "last_updated_timestamp", ascending
        if name == "versions":
            _, key, ascending = mlflow.SearchModelVersionUtils.parse_order_by_for_search_model_versions(text)
            return ("attribute", key, ascending) if key in VERSIONS.orders else None
        if name == "experiments":
            kind, key, ascending = mlflow.SearchExperimentsUtils.parse_order_by_for_search_experiments(text)
            return (kind, key, ascending) if kind == "attribute" else None
        kind, key, ascending = mlflow.SearchUtils.parse_order_by_for_search_runs(text)
        key = mlflow.SearchUtils.translate_key_alias(key)
        return None if kind == "dataset" else ("param" if kind == "parameter" else kind, key, ascending)
    except Exception:  # noqa: BLE001 - whatever goes wrong, MLflow did not read it
        return None


def our_order(name: str, text: str) -> tuple[str, str, bool] | None:
    try:
        first = parse_order([text], GRAMMARS[name])[0]
    except Invalid:
        return None
    return first.kind, first.key, first.ascending


ORDERED = ["runs", "experiments", "models", "versions"]
WAYS = st.sampled_from(
    ["", "", " ASC", " DESC", " desc", "\tasc", " Desc", " up", " DESC NULLS LAST", " DESC DESC", ", name", " "]
)
order_texts = st.builds(
    lambda kind, name, way: f"{kind}{name}{way}",
    KINDS.map("{}.".format) | st.just(""),
    NAMES | ATTRIBUTES | st.sampled_from(["timestamp", "a b", "last_updated_timestamp"]), WAYS,
)  # fmt: skip

# The same texts every time: others are for whoever changes the grammar, not for a build that has nothing to do with it.
many = settings(
    max_examples=400,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Judge = Callable[[str, str], Found | None]


def compare(judge: Judge, text: str) -> None:
    for name in GRAMMARS:
        theirs, mine = judge(name, text), ours(name, text)
        way = way_of(theirs, mine)
        assert not way or any(each.covers(name, text, way) for each in DIFFERENCES), (name, text, way, theirs, mine)


@many
@given(text=filters())
def test_filters_are_read_as_mlflow_reads_them(judge: Judge, text: str) -> None:
    compare(judge, text)


@many
@given(text=broken_filters())
def test_broken_filters_are_refused_where_mlflow_refuses_them(judge: Judge, text: str) -> None:
    compare(judge, text)


@pytest.mark.parametrize("each", DIFFERENCES, ids=[each.reason for each in DIFFERENCES])
def test_every_difference_is_one(judge: Judge, each: Difference) -> None:
    ways = {name: way_of(judge(name, each.example), ours(name, each.example)) for name in each.grammars}
    for name, way in ways.items():
        assert not way or each.covers(name, each.example, way), (name, way)
    assert any(ways.values())


@many
@given(text=order_texts)
def test_orders_are_read_as_mlflow_reads_them(text: str) -> None:
    for name in ORDERED:
        theirs, mine = mlflow_order(name, text), our_order(name, text)
        way = "" if theirs == mine else WE_READ if theirs is None else WE_REFUSE if mine is None else OTHERWISE
        known = any(each.covers(name, text, way) for each in ORDER_DIFFERENCES)
        assert not way or known, (name, text, way, theirs, mine)


@pytest.mark.parametrize("each", ORDER_DIFFERENCES, ids=[each.reason for each in ORDER_DIFFERENCES])
def test_every_difference_in_orders_is_one(each: Difference) -> None:
    assert any(mlflow_order(name, each.example) != our_order(name, each.example) for name in ORDERED)
