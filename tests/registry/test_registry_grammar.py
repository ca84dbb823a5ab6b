"""MLflow's search grammar: what is read, as what, and what is refused with which words."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.errors import Invalid
from windlass.registry.grammar import (
    EXPERIMENTS,
    LOGGED_MODELS,
    MAX_TEXT,
    MODELS,
    RUNS,
    VERSIONS,
    Comparison,
    Grammar,
    Order,
    parse_fields,
    parse_filter,
    parse_order,
)

ALL = {"runs": RUNS, "experiments": EXPERIMENTS, "logged": LOGGED_MODELS, "models": MODELS, "versions": VERSIONS}
every_grammar = pytest.mark.parametrize("of", list(ALL.values()), ids=list(ALL))


def one(text: str, of: Grammar = RUNS) -> tuple[str, str, str, Any]:
    [found] = parse_filter(text, of)
    return found.kind, found.key, found.operator, found.value


def refusal(text: str, of: Grammar = RUNS) -> Invalid:
    with pytest.raises(Invalid) as caught:
        parse_filter(text, of)
    return caught.value


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        *((name, "attribute") for name in ("attribute", "attributes", "attr", "run", "`attribute`")),
        *((name, "param") for name in ("param", "params", "parameter", "parameters", "`params`")),
        *((name, "tag") for name in ("tag", "tags")),
        *((name, "dataset") for name in ("dataset", "datasets")),
    ],
)
def test_a_kind_has_several_names(written: str, kind: str) -> None:
    key = {"attribute": "user_id", "dataset": "digest"}.get(kind, "k")
    assert one(f"{written}.{key} = 'x'") == (kind, key, "=", "x")


@pytest.mark.parametrize("written", ["metric", "metrics", "`metrics`"])
def test_metrics_are_compared_with_numbers(written: str) -> None:
    assert one(f"{written}.loss < 1") == ("metric", "loss", "<", 1.0)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("a", "a"),
        ("a_b1", "a_b1"),
        ("_a", "_a"),
        ("1a", "1a"),
        ("42", "42"),
        ("é", "é"),
        ("a.b.c", "a.b.c"),
        ("`a b`", "a b"),
        ("`a.b/c`", "a.b/c"),
        ('"my metric"', "my metric"),
        ("'my metric'", "my metric"),
        ('a."b c"', 'a."b c"'),
        ('"`a`"', "a"),
        ("`it's`", "it's"),
        ("`a``b`", "a``b"),
        ("in", "in"),
        ("select", "select"),
        ("AND", "AND"),
    ],
)
def test_names_and_their_quotes(written: str, key: str) -> None:
    assert one(f"tags.{written} = 'x'") == ("tag", key, "=", "x")
    assert one(f"metrics.{written}>=2")[:3] == ("metric", key, ">=")


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("run_id", "run_id"),
        ("run_name", "run_name"),
        ("user_id", "user_id"),
        ("status", "status"),
        ("artifact_uri", "artifact_uri"),
        ("`run name`", "run_name"),
        ('"Run name"', "run_name"),
        ("`Run Name`", "run_name"),
        ("attr.`run name`", "run_name"),
        ("'run name'", None),
    ],
)
def test_attributes_of_runs_need_no_prefix_and_have_aliases(written: str, key: str | None) -> None:
    if key is None:
        assert "Invalid clause(s)" in str(refusal(f"{written} = 'x'"))
    else:
        assert one(f"{written} = 'x'") == ("attribute", key, "=", "x")


@pytest.mark.parametrize("written", ["start_time", "Created", "created", "attribute.Created", "`start_time`"])
def test_times_have_aliases_and_are_whole_numbers(written: str) -> None:
    kind, key, operator, value = one(f"{written} >= 1700000000000")
    assert (kind, key, operator, value, type(value)) == ("attribute", "start_time", ">=", 1_700_000_000_000, int)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1.0),
        ("-1", -1.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5", -0.5),
        ("1.5e3", 1500.0),
        ("1E-3", 0.001),
        ("1e+20", 1e20),
        ("1e999", math.inf),
        ("00", 0.0),
    ],
)
def test_numbers(written: str, value: float) -> None:
    found = one(f"metrics.m = {written}")[3]
    assert found == value
    assert isinstance(found, float)


@pytest.mark.parametrize(
    "written", ["nan", "inf", "-inf", "'1'", '"1"', "+1", "0x1", "1_0", "1a", "--1", "1 e3", "NULL"]
)
def test_what_is_no_number_for_a_metric(written: str) -> None:
    assert refusal(f"metrics.m = {written}").message.startswith(
        ("Expected numeric value type for metric. Found", "Invalid clause(s) in filter string")
    )


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("'x'", "x"),
        ('"x"', "x"),
        ("''", ""),
        ("' a  b '", " a  b "),
        ("'it''s'", "it''s"),
        (r"'it\'s'", r"it\'s"),
        (r"'C:\'", "C:\\"),
        ("'a\"b'", 'a"b'),
        ('"a\'b"', "a'b"),
        ('"a""b"', 'a""b'),
        ("'a AND b'", "a AND b"),
        ("'two\nlines'", "two\nlines"),
        ("'%_x'", "%_x"),
        ("'日本'", "日本"),
    ],
)
def test_quoted_values_are_what_stands_between_the_quotes(written: str, value: str) -> None:
    assert one(f"params.p = {written}") == ("param", "p", "=", value)
    assert one(f"tags.p LIKE{written}") == ("tag", "p", "LIKE", value)


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("('a')", ("a",)),
        ("( 'a' , \"b\" )", ("a", "b")),
        ("('a',)", ("a",)),
        ("('a',\n 'b',\n)", ("a", "b")),
        ("('')", ("",)),
        ("('a''b')", ("ab",)),
        (r"('it\'s', 'tab\t', '\x41\u00e9\101', 'a\\', '\d')", ("it's", "tab\t", "AéA", "a\\", "\\d")),
        ("(')', '(')", (")", "(")),
    ],
)
def test_lists_are_read_as_python_reads_them(written: str, values: tuple[str, ...]) -> None:
    assert one(f"run_id IN {written}") == ("attribute", "run_id", "IN", values)
    assert one(f"attributes.run_id not  in{written}") == ("attribute", "run_id", "NOT IN", values)
    for key in ("name", "digest", "context"):
        assert one(f"dataset.{key} IN {written}") == ("dataset", key, "IN", values)


@pytest.mark.parametrize(
    "written",
    [
        "()",
        "(,)",
        "('a',,'b')",
        "(1)",
        "('a', 1)",
        "('a'",
        "('a",
        "(a)",
        "(('a'))",
        r"('\x4')",
        r"('\U00110000')",
        "('a\nb')",
        "'a'",
        "",
        "['a']",
    ],
)
def test_what_is_no_list(written: str) -> None:
    assert refusal(f"run_id IN {written}").message.startswith(
        ("While parsing a list in the query, ", "Invalid clause(s) in filter string")
    )


@pytest.mark.parametrize(
    "operator", ["LIKE", "like", "Like", "ILIKE", "ilike", "IS NULL", "is not null", "Is  Not\nNull"]
)
@pytest.mark.parametrize("kind", ["param", "tag"])
def test_words_as_operators_in_any_case(kind: str, operator: str) -> None:
    value = "'x'" if "like" in operator.lower() else ""
    found = one(f"{kind}s.k {operator} {value}")
    assert found == (kind, "k", " ".join(operator.upper().split()), "x" if value else None)


@pytest.mark.parametrize(
    "text",
    [
        "metrics.a > 1 AND params.b = 'x'",
        "metrics.a>1 and params.b='x'",
        " metrics.a > 1\n\tAnd params.b = 'x' ",
        "metrics.a > 1 params.b = 'x'",
        "AND metrics.a > 1 AND AND params.b = 'x' AND",
    ],
)
def test_comparisons_are_joined_by_and_which_may_be_left_out(text: str) -> None:
    assert parse_filter(text, RUNS) == (Comparison("metric", "a", ">", 1.0), Comparison("param", "b", "=", "x"))


@every_grammar
@pytest.mark.parametrize("text", [None, "", "AND"])
def test_nothing_asked_is_nothing_compared(text: str | None, of: Grammar) -> None:
    assert parse_filter(text, of) == ()


@every_grammar
@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        (" \n ", "Could not be parsed"),
        ("tags.a = 'x' OR tags.b = 'y'", "Invalid clause(s) in filter string: 'OR"),
        ("(tags.a = 'x')", "Invalid clause(s) in filter string: '(tags.a"),
        ("NOT tags.a = 'x'", "Invalid clause(s) in filter string"),
        ("tags.a", "Invalid clause(s) in filter string"),
        ("tags.a =", "Invalid clause(s) in filter string"),
        ("tags. = 'x'", "Invalid clause(s) in filter string"),
        ("tags.a IS", "Invalid clause(s) in filter string"),
        ("tags.a IS NOT", "Invalid clause(s) in filter string"),
        ("tags.a IS NOT NOT NULL", "Invalid clause(s) in filter string"),
        ("tags.a BETWEEN 'a' AND 'b'", "Invalid clause(s) in filter string"),
        ("tags.a+b = 'x'", "Invalid clause(s) in filter string"),
        ("tags.a = 'x", "Invalid clause(s) in filter string"),
        ("tags.`a = 'x'", "Invalid clause(s) in filter string"),
        ("tags.a = 'x';", "Invalid clause(s) in filter string"),
        ("tags.a = 'x' -- all", "Invalid clause(s) in filter string"),
        ("'x' = tags.a", "Invalid clause(s) in filter string"),
        ("1 < tags.a", "Invalid clause(s) in filter string"),
        ("Tags.a = 'x'", "Invalid entity type 'Tags'. Valid entity types are"),
        ("\"tags\".a = 'x'", "Invalid entity type '\"tags\"'"),
        ("`tags.a` = 'x'", "Invalid entity type '`tags'"),
        ("nothing = 'x'", "Invalid attribute key 'nothing' specified. Valid keys are"),
        ("tags.a == 'x'", "'==' for tag 'a'"),
        ("tags.a < 'x'", "'<' for tag 'a'"),
        ("tags.a RLIKE 'x'", "'RLIKE' for tag 'a'"),
        ("tags.a NOT LIKE 'x'", "'NOT LIKE' for tag 'a'"),
        ("tags.a = ('x')", "Expected a quoted string value for tag"),
    ],
)
def test_refusals_that_all_grammars_share(text: str, phrase: str, of: Grammar) -> None:
    error = refusal(text, of)
    assert phrase in error.message
    assert len(error.message) < 1000


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("params.a = 5", "Expected a quoted string value for parameter (e.g. 'my-value'). Got value 5"),
        ("tags.a = x", "Parameter value is either not quoted or unidentified quote types used for string value x"),
        ("run_id = 5", "Expected a quoted string value for attributes. Got value 5"),
        ("dataset.name = 5", "Expected a quoted string value for dataset attributes. Got value 5"),
        ("dataset.size = 'x'", "Invalid dataset key 'size' specified. Valid keys are"),
        ("start_time > '5'", "Expected numeric value type for numeric attribute: start_time. Found '5'"),
        ("start_time > 9223372036854775808", "Invalid value for numeric attribute 'start_time'"),
        ("status IN ('x')", "Only ['run_id'] attributes support comparison with a list of quoted string values"),
        ("params.p IN ('x')", "Expected a quoted string value for parameter"),
        ("metrics.m IN ('x')", "Expected numeric value type for metric. Found"),
        ("metrics.m LIKE 'x'", "Invalid comparator 'LIKE'"),
        ("status < 'x'", "Invalid comparator '<'"),
        ("tags.a-b = 'x'", "Invalid clause(s) in filter string"),
        ("tags.a/b = 'x'", "Invalid clause(s) in filter string"),
        ("metrics.m IS NULL", "IS NULL / IS NOT NULL is only supported for params and tags, not for metric 'm'"),
        ("run_name IS NOT NULL", "IS NULL / IS NOT NULL is only supported for params and tags"),
    ],
)
def test_refusals_for_runs(text: str, phrase: str) -> None:
    assert phrase in refusal(text).message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name = 'x'", ("attribute", "name", "=", "x")),
        ("attribute.name ilike '%x%'", ("attribute", "name", "ILIKE", "%x%")),
        ("creation_time > 5", ("attribute", "creation_time", ">", 5)),
        ("last_update_time != 5", ("attribute", "last_update_time", "!=", 5)),
        ("experiment_id = '07'", ("attribute", "experiment_id", "=", "7")),
        ("experiment_id NOT IN ('1', '2')", ("attribute", "experiment_id", "NOT IN", ("1", "2"))),
        ("tags.`a b` = 'x'", ("tag", "a b", "=", "x")),
        ("tag.a IS NULL", ("tag", "a", "IS NULL", None)),
    ],
)
def test_experiments(text: str, found: tuple[Any, ...]) -> None:
    assert one(text, EXPERIMENTS) == found


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("metrics.m > 1", "Invalid entity type 'metrics'"),
        ("attributes.name = 'x'", "Invalid entity type 'attributes'"),
        ("name IN ('x')", "Only ['experiment_id'] attributes support"),
        ("name IS NULL", "only supported for tags, not for attribute 'name'"),
        ("creation_time > 1.5", "Invalid value for numeric attribute 'creation_time'"),
        ("creation_time > '1'", "Expected numeric value type for numeric attribute: creation_time"),
        ("experiment_id = 'x'", "Invalid experiment_id 'x'"),
        ("experiment_id IN ('1', 'x')", "Invalid experiment_id 'x'"),
        ("experiment_id LIKE '1'", "Invalid comparator 'LIKE'"),
    ],
)
def test_refusals_for_experiments(text: str, phrase: str) -> None:
    assert phrase in refusal(text, EXPERIMENTS).message


@pytest.mark.parametrize(
    ("of", "text", "found"),
    [
        (MODELS, "name LIKE 'x%'", ("attribute", "name", "LIKE", "x%")),
        (MODELS, "name IN ('x')", ("attribute", "name", "IN", ("x",))),
        (MODELS, "tags.a != 'x'", ("tag", "a", "!=", "x")),
        (VERSIONS, "name = 'x'", ("attribute", "name", "=", "x")),
        (VERSIONS, "run_id IN ('x', 'y')", ("attribute", "run_id", "IN", ("x", "y"))),
        (VERSIONS, "source_path ILIKE 's3%'", ("attribute", "source_path", "ILIKE", "s3%")),
        (VERSIONS, "version_number <= 3", ("attribute", "version_number", "<=", 3)),
        (VERSIONS, "version_number = '3'", ("attribute", "version_number", "=", 3)),
        (VERSIONS, "attribute.version_number = \"3\"", ("attribute", "version_number", "=", 3)),
        (VERSIONS, "tag.a = 'x'", ("tag", "a", "=", "x")),
    ],
)  # fmt: skip
def test_registered_models_and_their_versions(of: Grammar, text: str, found: tuple[Any, ...]) -> None:
    assert one(text, of) == found


@pytest.mark.parametrize(
    ("of", "text", "phrase"),
    [
        (MODELS, "run_id = 'x'", "Invalid attribute key 'run_id'"),
        (MODELS, "name = 5", "Expected a quoted string value for attributes"),
        (MODELS, "tags.a IS NULL", "IS NULL / IS NOT NULL is not supported for registered models"),
        (VERSIONS, "version_number = 'x'", "Invalid value for numeric attribute 'version_number': 'x'"),
        (VERSIONS, "version_number = 1.5", "Invalid value for numeric attribute 'version_number': '1.5'"),
        (VERSIONS, "version_number = x", "Expected numeric value type for numeric attribute: version_number"),
        (VERSIONS, "version_number IN ('1')", "Only ['name', 'run_id'] attributes support"),
        (VERSIONS, "source_path IN ('1')", "Only ['name', 'run_id'] attributes support"),
        (VERSIONS, "version = 1", "Invalid attribute key 'version'"),
    ],
)
def test_refusals_for_registered_models_and_their_versions(of: Grammar, text: str, phrase: str) -> None:
    assert phrase in refusal(text, of).message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name = 'x'", ("attribute", "name", "=", "x")),
        ("attributes.model_type IN ('x')", ("attribute", "model_type", "IN", ("x",))),
        ("status = 'READY'", ("attribute", "status", "=", "READY")),
        ("source_run_id != 'x'", ("attribute", "source_run_id", "!=", "x")),
        ("creation_time > 5", ("attribute", "creation_timestamp", ">", 5)),
        ("attributes.creation_timestamp > 5", ("attribute", "creation_timestamp", ">", 5)),
        ("last_updated_timestamp < 5", ("attribute", "last_updated_timestamp", "<", 5)),
        ("metrics.`a b` >= 0.5", ("metric", "a b", ">=", 0.5)),
        ("metrics.a < inf", ("metric", "a", "<", math.inf)),
        ("params.lr = 0.01", ("param", "lr", "=", "0.01")),
        ("params.kind = tree", ("param", "kind", "=", "tree")),
        ("metrics.val/log-loss > -1", ("metric", "val/log-loss", ">", -1.0)),
        ("tags.team not in ('a', 'b')", ("tag", "team", "NOT IN", ("a", "b"))),
    ],
)
def test_logged_models(text: str, found: tuple[Any, ...]) -> None:
    assert one(text, LOGGED_MODELS) == found


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("metric.a > 1", "Invalid entity type 'metric'"),
        ("metrics.a > x", "Expected numeric value type for metric"),
        ("creation_time > 'x'", "Expected numeric value type for numeric attribute: creation_timestamp"),
        ("params.a > 'x'", "Invalid comparison operator '>'"),
        ("params.a IS NULL", "Invalid comparison clause"),
        ("metrics.a LIKE 'x'", "Invalid comparison operator 'LIKE'"),
    ],
)
def test_refusals_for_logged_models(text: str, phrase: str) -> None:
    assert phrase in refusal(text, LOGGED_MODELS).message


def orders(of: Grammar, *texts: str) -> list[str]:
    found = parse_order(texts, of)
    return [f"{order.kind}.{order.key} {'asc' if order.ascending else 'desc'}" for order in found]


@pytest.mark.parametrize(
    ("of", "default"),
    [
        (RUNS, ["attribute.start_time desc", "attribute.run_id asc"]),
        (EXPERIMENTS, ["attribute.creation_time desc", "attribute.experiment_id asc"]),
        (MODELS, ["attribute.name asc"]),
        (VERSIONS, ["attribute.last_updated_timestamp desc", "attribute.name asc", "attribute.version_number desc"]),
        (LOGGED_MODELS, ["attribute.creation_timestamp desc", "attribute.model_id asc"]),
    ],
    ids=["runs", "experiments", "models", "versions", "logged"],
)
def test_the_order_when_none_is_asked_for(of: Grammar, default: list[str]) -> None:
    assert orders(of) == default


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("metrics.a", "metric.a asc"),
        ("metrics.a DESC", "metric.a desc"),
        ("metrics.`a b` desc", "metric.a b desc"),
        ('params."a.b/c" Asc', "param.a.b/c asc"),
        (" tags.a  desc ", "tag.a desc"),
        ("status", "attribute.status asc"),
        ("attributes.end_time DESC", "attribute.end_time desc"),
    ],
)
def test_runs_are_ordered_by_anything_they_have(text: str, first: str) -> None:
    assert orders(RUNS, text) == [first, "attribute.start_time desc", "attribute.run_id asc"]


def test_what_is_asked_for_replaces_what_decides_between_equals() -> None:
    assert orders(RUNS, "Created ASC") == ["attribute.start_time asc", "attribute.run_id asc"]
    assert orders(RUNS, "run_id DESC") == ["attribute.run_id desc", "attribute.start_time desc"]
    assert orders(EXPERIMENTS, "name") == ["attribute.name asc", "attribute.experiment_id desc"]
    assert orders(MODELS, "timestamp DESC") == ["attribute.last_updated_timestamp desc", "attribute.name asc"]
    assert orders(VERSIONS, "version_number") == ["attribute.version_number asc", "attribute.name asc"]
    assert orders(RUNS, "metrics.start_time")[1:] == ["attribute.start_time desc", "attribute.run_id asc"]


@pytest.mark.parametrize(
    ("of", "texts", "phrase"),
    [
        (RUNS, ["metrics.a b"], "Invalid ordering key in order_by clause"),
        (RUNS, ["metrics.a DESC NULLS LAST"], "Could not be parsed"),
        (RUNS, ["metrics.a, metrics.b"], "Could not be parsed"),
        (RUNS, [""], "Could not be parsed"),
        (RUNS, ["metrics.a-b"], "Could not be parsed"),
        (RUNS, ["5"], "Could not be parsed"),
        (RUNS, ["nothing"], "Invalid attribute key 'nothing' specified. Valid keys are"),
        (RUNS, ["`run name`"], "Invalid attribute key 'run name'"),
        (RUNS, ["dataset.name"], "Invalid order_by entity: 'dataset'"),
        (RUNS, ["metrics.a", "metric.a DESC"], "`order_by` contains duplicate fields"),
        (RUNS, ["Created", "start_time"], "`order_by` contains duplicate fields"),
        (EXPERIMENTS, ["tags.a"], "Invalid order_by entity: 'tag'"),
        (MODELS, ["creation_timestamp"], "Invalid attribute key"),
        (MODELS, ["timestamp", "last_updated_timestamp DESC"], "`order_by` contains duplicate fields"),
        (VERSIONS, ["run_id"], "Invalid attribute key"),
        (VERSIONS, ["name", "name DESC"], "`order_by` contains duplicate fields"),
        (LOGGED_MODELS, ["params.a"], "Invalid order_by entity: 'param'"),
    ],
)
def test_orders_that_are_refused(of: Grammar, texts: list[str], phrase: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_order(texts, of)
    assert phrase in caught.value.message
    assert caught.value.hint


def test_logged_models_are_ordered_by_bare_names() -> None:
    found = parse_fields([("metrics.my loss.1", True), ("last_updated_timestamp", False)], LOGGED_MODELS)
    assert found == (
        Order("metric", "my loss.1", True), Order("attribute", "last_updated_timestamp", False),
        Order("attribute", "creation_timestamp", False), Order("attribute", "model_id", True),
    )  # fmt: skip
    assert parse_fields([], LOGGED_MODELS) == LOGGED_MODELS.default
    for wrong in ("params.a", "nothing", "x.y", ""):
        with pytest.raises(Invalid):
            parse_fields([(wrong, True)], LOGGED_MODELS)


def test_every_attribute_that_is_a_number_is_known_as_one() -> None:
    assert {name: of.numeric for name, of in ALL.items()} == {
        "runs": {"start_time", "end_time"},
        "experiments": {"creation_time", "last_update_time"},
        "logged": {"creation_timestamp", "last_updated_timestamp"},
        "models": frozenset(),
        "versions": {"version_number"},
    }


PIECES = st.sampled_from(
    [
        "metrics", "params", "tags", "attributes", "dataset", ".", "name", "a", "run_id", "version_number", "=", "!=",
        "<", ">=", "==", " ", " ", " ", "\n", "'", '"', "`", "'x'", '"x"', "`x`", "\\", "(", ")", ",", "1", "1.5", "-",
        "AND", "and", "OR", "NOT", "IN", "IS", "NULL", "LIKE", "ilike", "DESC", "asc", ";", "--", "/*", "\0", "é", "日",
        "e", "$",
    ]
)  # fmt: skip
ANYTHING = st.one_of(st.text(), st.lists(PIECES).map("".join), st.lists(PIECES).map(" ".join))


@given(ANYTHING, st.sampled_from(list(ALL.values())))
def test_any_text_is_read_or_refused_with_a_reason(text: str, of: Grammar) -> None:
    for parse in (lambda: parse_filter(text, of), lambda: parse_order([text], of)):
        try:
            parse()
        except Invalid as error:
            assert error.message
            assert len(error.message) < 1500


@pytest.mark.parametrize(
    "piece",
    ["'", '"', "`", "\\'", "''", "tags.a", ".a", "(", "run_id IN (", "'a',", "a ", "1", " ", "IS NOT ", "-", "tags."],
)
@pytest.mark.parametrize("start", ["", "tags.a = '", "run_id IN (", "run_id IN ('", "tags.`", 'tags."', "metrics.a > "])
def test_the_longest_texts_of_one_piece_are_read_or_refused_at_once(piece: str, start: str) -> None:
    # What takes time by the square of the length would hang here: a hundred times 10^10 steps.
    text = (start + piece * MAX_TEXT)[:MAX_TEXT]
    for ending in ("", "'"):
        try:
            parse_filter(text[:-1] + ending, RUNS)
        except Invalid as error:
            assert len(error.message) < 1500


def test_a_longer_text_is_refused_unread() -> None:
    assert "at most 100000 are read" in refusal("x" * (MAX_TEXT + 1)).message
    with pytest.raises(Invalid, match="at most 100000"):
        parse_order(["x" * (MAX_TEXT + 1)], RUNS)
    ids = ", ".join(f"'{number:032x}'" for number in range(2700))
    [found] = parse_filter(f"run_id IN ({ids})", RUNS)
    assert isinstance(found.value, tuple)
    assert len(found.value) == 2700
