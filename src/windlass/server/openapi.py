"""The OpenAPI document, made from the list of operations: it cannot say anything that the code does not do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

import windlass
from windlass.server.errors import STATUS
from windlass.workspace.operation import Operation

_REF = "#/components/schemas/{name}"
_ERROR = {
    "type": "object",
    "description": "What is wrong, and what to do next.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["kind", "message", "hint"],
            "properties": {
                "kind": {"enum": sorted({error.kind for error in STATUS})},
                "message": {"type": "string"},
                "hint": {"type": "string"},
                "evidence": {"type": "array", "items": {"type": "string"}},
            },
        }
    },
}


def document(operations: Mapping[str, Operation]) -> dict[str, Any]:
    """The whole document; its order is that of the names, so that two servers of one version answer the same bytes."""
    listed = [operations[name] for name in sorted(operations)]
    kinds = [kind for operation in listed for kind in (operation.request, operation.result)]
    schemas, components = msgspec.json.schema_components(
        [type(None) if kind is None else kind for kind in kinds], schema_hook=_schema, ref_template=_REF
    )
    pairs = zip(schemas[::2], schemas[1::2], strict=True)
    paths = {
        f"/api/v1/{operation.name}": _path(operation, request, result, components)
        for operation, (request, result) in zip(listed, pairs, strict=True)
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Windlass",
            "version": windlass.__version__,
            "summary": "Takes models from training to production and back.",
            "description": "Every operation is a POST of one JSON object; those that only read are also a GET.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": {**components, "Error": _ERROR}},
    }


def _path(
    operation: Operation, request: dict[str, Any], result: dict[str, Any], components: Mapping[str, Any]
) -> dict[str, Any]:
    described = {
        "summary": operation.summary,
        "tags": [operation.name.partition(".")[0]],
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": result}}},
            "default": {
                "description": "Not done, and why.",
                "content": {"application/json": {"schema": {"$ref": _REF.format(name="Error")}}},
            },
        },
    }
    body = {"required": bool(_properties(request, components)[1]), "content": {"application/json": {"schema": request}}}
    methods: dict[str, Any] = {"post": {"operationId": operation.name, **described, "requestBody": body}}
    if operation.reads_only:
        parameters = _parameters(request, components)
        methods["get"] = {"operationId": f"{operation.name}.get", **described, "parameters": parameters}
    return methods


def _properties(request: Mapping[str, Any], components: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    schema = components[request["$ref"].rpartition("/")[2]] if "$ref" in request else request
    return schema.get("properties", {}), schema.get("required", [])


def _parameters(request: Mapping[str, Any], components: Mapping[str, Any]) -> list[dict[str, Any]]:
    properties, required = _properties(request, components)
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in properties.items()
    ]


def _schema(kind: type[Any]) -> dict[str, Any]:
    if kind is Path:
        return {"type": "string", "format": "path"}
    if kind is object:
        return {"description": "Any JSON value."}
    raise TypeError(f"{kind} has no schema")
