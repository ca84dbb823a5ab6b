"""The document and its page: made from the list, complete, valid in form, and of nothing but themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import msgspec

from windlass.domain.errors import KINDS
from windlass.registry.models import Version
from windlass.server import openapi, page
from windlass.server.mlflow import openapi as mlflow_openapi
from windlass.server.mlflow.app import CALLS, PROTOCOL_VERSION
from windlass.workspace.operation import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    reference: str
    limit: int = 5
    only: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    pass


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("model.show", "Show <one> version.", True, Show, Version, lambda _, __: None),
        Operation("model.list", "List versions.", True, Nothing, list[Version], lambda _, __: None),
        Operation("model.drop", "Drop it.", False, Show, type(None), lambda _, __: None),
        Operation("gate.html", "Give a page.", True, Show, str, lambda _, __: None),
        Operation("model.card", "Give a card.", True, Show, dict[str, object], lambda _, __: None),
    )
}


METHODS = {"get", "post", "put", "patch", "delete"}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def check(document: dict[str, Any]) -> None:
    """What OpenAPI 3.1 asks of a document such as ours."""
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version"} <= document["info"].keys()
    ids = []
    for path, methods in document["paths"].items():
        assert path.startswith("/")
        for method, described in methods.items():
            assert method in {"get", "post"}
            ids.append(described["operationId"])
            assert described["responses"]
            for response in described["responses"].values():
                assert response["description"]
                assert all("schema" in content for content in response["content"].values())
            for parameter in described.get("parameters", []):
                assert {"name", "in", "required", "schema"} == parameter.keys()
            assert ("requestBody" in described) == (method == "post")
    assert len(ids) == len(set(ids))
    schemas = document["components"]["schemas"]
    for reference in references(document):
        prefix, _, name = reference.rpartition("/")
        assert prefix == "#/components/schemas" and name in schemas
    msgspec.json.encode(document)


def test_the_document_is_valid_and_has_every_operation() -> None:
    document = openapi.document(OPERATIONS)
    check(document)
    assert set(document["paths"]) == {f"/api/v1/{name}" for name in OPERATIONS}


def test_mlflows_calls_have_a_document_of_their_own() -> None:
    found = mlflow_openapi.document(CALLS, PROTOCOL_VERSION)
    served = {(m, p.removeprefix("/api/2.0/mlflow/")) for p, methods in found["paths"].items() for m in methods}
    assert {(method.lower(), name) for method, name in CALLS} <= served
    schemas = found["components"]["schemas"]
    assert {each.rpartition("/")[2] for each in references(found)} <= set(schemas)
    history = found["paths"]["/api/2.0/mlflow/metrics/get-history"]["get"]
    assert {"run_id", "metric_key"} <= {each["name"] for each in history["parameters"]}
    ids = [each["operationId"] for methods in found["paths"].values() for m, each in methods.items() if m in METHODS]
    assert len(ids) == len(set(ids)) > 60
    msgspec.json.encode(found)


def test_what_changes_something_cannot_be_got() -> None:
    paths = openapi.document(OPERATIONS)["paths"]
    assert set(paths["/api/v1/model.drop"]) == {"post"}
    assert set(paths["/api/v1/model.show"]) == {"get", "post"}


def test_a_required_field_is_a_required_parameter() -> None:
    parameters = openapi.document(OPERATIONS)["paths"]["/api/v1/model.show"]["get"]["parameters"]
    assert [(each["name"], each["required"]) for each in parameters] == [
        ("reference", True), ("limit", False), ("only", False),
    ]  # fmt: skip


def test_the_document_names_every_kind_of_error() -> None:
    error = openapi.document(OPERATIONS)["components"]["schemas"]["Error"]
    assert set(error["properties"]["error"]["properties"]["kind"]["enum"]) == set(KINDS)


def test_the_order_of_the_list_does_not_matter() -> None:
    turned = dict(reversed(OPERATIONS.items()))
    assert msgspec.json.encode(openapi.document(turned)) == msgspec.json.encode(openapi.document(OPERATIONS))


def test_the_page_is_whole_and_needs_nothing_from_elsewhere() -> None:
    text = page.rendered(openapi.document(OPERATIONS))

    class Reader(HTMLParser):
        open: list[str] = []  # noqa: RUF012
        ids: set[str] = set()  # noqa: RUF012
        links: set[str] = set()  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in {"script", "link", "img", "iframe"}
            given = dict(attrs)
            assert "src" not in given
            if tag != "meta":
                self.open.append(tag)
            if identity := given.get("id"):
                assert identity not in self.ids
                self.ids.add(identity)
            if target := given.get("href"):
                self.links.add(target)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    reader = Reader()
    reader.feed(text)
    assert not reader.open
    assert {link[1:] for link in reader.links if link.startswith("#")} <= reader.ids
    assert {link for link in reader.links if not link.startswith("#")} == {"/openapi.json"}
    assert "Show &lt;one&gt; version." in text
    assert not re.search(r"@import|url\(", text)
