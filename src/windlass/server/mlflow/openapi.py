"""MLflow's calls as an OpenAPI document, made from the table of calls: it cannot list what is not served."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from windlass.server.mlflow.edge import Call
from windlass.server.mlflow.errors import CODES

_REF = "#/components/schemas/{name}"
_BASE = "/api/2.0/mlflow/"
_FILES = "/api/2.0/mlflow-artifacts/artifacts/{path}"
_ERROR = {
    "type": "object",
    "description": "What is wrong, in MLflow's form.",
    "required": ["error_code", "message"],
    "properties": {
        "error_code": {"enum": sorted({code for code, _ in CODES.values()})},
        "message": {"type": "string"},
    },
}
_ANSWERS = {
    "200": {"description": "Done.", "content": {"application/json": {"schema": {"type": "object"}}}},
    "default": {
        "description": "Not done, and why.",
        "content": {"application/json": {"schema": {"$ref": _REF.format(name="Error")}}},
    },
}
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def document(calls: Mapping[tuple[str, str], Call], version: str) -> dict[str, Any]:
    """The whole document; ``version`` is that of the protocol."""
    requests = {call.request for call in calls.values()}
    ordered = sorted(requests, key=lambda each: (each.__module__, each.__qualname__))
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    schema_of = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for (method, name), call in sorted(calls.items()):
        schema = schema_of[call.request]
        properties = components[schema["$ref"].rpartition("/")[2]].get("properties", {})
        paths.setdefault(_BASE + name, {})[method.lower()] = _described(method, name, schema, properties)
    paths[_FILES] = _files()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Windlass: MLflow's protocol",
            "version": version,
            "description": "Numbers may be written as text, null is the same as nothing, unknown fields are ignored:"
            " JSON as proto3 maps it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": {**components, "Error": _ERROR}},
    }


def _described(method: str, name: str, schema: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    given = re.findall(r"\{(\w+)\}", name)
    parameters = [
        {"name": each, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for each in given
    ]
    described: dict[str, Any] = {
        "operationId": f"{name.replace('/', '.')}.{method.lower()}",
        "tags": [name.partition("/")[0]],
        "responses": _ANSWERS,
    }
    if method == "GET":
        parameters += [
            {"name": each, "in": "query", "required": False, "schema": shape}
            for each, shape in properties.items()
            if each not in given
        ]
    else:
        described["requestBody"] = {"required": False, "content": {"application/json": {"schema": schema}}}
    return {**described, **({"parameters": parameters} if parameters else {})}


def _files() -> dict[str, Any]:
    path = {"name": "path", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    got = {**_ANSWERS, "200": {"description": "The file.", "content": {"*/*": {"schema": {}}}}}
    return {
        "parameters": [path],
        "get": {"operationId": "artifacts.get", "tags": ["artifacts"], "responses": got},
        "put": {
            "operationId": "artifacts.put",
            "tags": ["artifacts"],
            "requestBody": {"content": _BYTES},
            "responses": _ANSWERS,
        },
        "delete": {"operationId": "artifacts.delete", "tags": ["artifacts"], "responses": _ANSWERS},
    }
