"""What a worker needs to know of a model that MLflow's clients logged: written beside its files, from its ``MLmodel``.

Nothing of the model is run or unpickled here. What only the loaded model can tell (its classes) the worker asks it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from windlass.domain import digest
from windlass.domain.errors import Invalid
from windlass.domain.schema import Column, Kind, Signature
from windlass.registry.mlmodel import MlModel

FORMAT = 2
GOLDEN_ROWS = 20
NATIVE = ("sklearn", "xgboost", "lightgbm", "onnx")

_KINDS = {
    "long": Kind.INTEGER, "integer": Kind.INTEGER, "double": Kind.NUMBER, "float": Kind.NUMBER,
    "string": Kind.STRING, "boolean": Kind.BOOLEAN,
}  # fmt: skip


def described(model: MlModel, example: bytes | None) -> dict[str, bytes]:
    """``windlass.json`` and ``golden.json`` of a model; ``example`` is its input example.

    Raises:
        Invalid: it has no signature of named columns, or columns that a request cannot carry; says which.
    """
    columns = _columns(model.signature.get("inputs"))
    types = [[each["name"], each["type"]] for each in columns]  # in order: to some models it matters
    signature = Signature(
        inputs=tuple(
            Column(name=each["name"], kind=_kind(each), nullable=not each.get("required", True)) for each in columns
        ),
        outputs=(Column(name="prediction", kind=Kind.NUMBER),),
    )
    flavor = next((name for name in NATIVE if isinstance(model.flavors.get(name), Mapping)), "python_function")
    plain = {
        "format": FORMAT,
        "features": None,
        "target": "",
        "task": "classification",
        "classes": None,
        "positive": None,
        "signature": signature,
        "loader": {"flavor": flavor, "options": _options(model.flavors.get(flavor)), "types": types},
    }
    return {
        "windlass.json": digest.canonical(plain),
        "golden.json": digest.canonical({"rows": _rows(example, signature), "answers": None}),
    }


def _columns(inputs: Any) -> list[dict[str, Any]]:
    try:
        columns = json.loads(inputs) if isinstance(inputs, str) else inputs
    except (ValueError, RecursionError):
        columns = None
    if not isinstance(columns, list) or not columns or not all(_is_column(each) for each in columns):
        raise Invalid(
            "the model has no signature of named columns",
            hint="log it with one: mlflow.models.infer_signature(X, y), or autolog with a table of named columns",
        )
    return columns


def _is_column(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("type"), str)


def _kind(column: Mapping[str, Any]) -> Kind:
    kind = _KINDS.get(column["type"])
    if kind is None:
        raise Invalid(
            f"column '{column['name'][:80]}' is of type {column['type'][:80]}, which a request cannot carry",
            hint=f"known: {', '.join(_KINDS)}",
        )
    return kind


def _options(flavor: Any) -> dict[str, str]:
    """What a flavor says of its files and its class: text only."""
    plain = flavor if isinstance(flavor, Mapping) else {}
    return {str(key): value for key, value in plain.items() if isinstance(value, str)}


def _rows(example: bytes | None, signature: Signature) -> list[dict[str, Any]]:
    """Rows of an input example in pandas' split orient; none if it is of another form, or does not fit."""
    try:
        plain = json.loads(example or b"null")
        names, data = plain["columns"], plain["data"]
        rows = [dict(zip(names, row, strict=True)) for row in data[:GOLDEN_ROWS]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
    wanted = [column.name for column in signature.inputs]
    # JSON writes 1.0 as 1 now and then: a number column takes either, a request is as strict as ever.
    return rows if all(sorted(row) == sorted(wanted) for row in rows) else []
