"""What a worker says of its model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from windlass.domain.errors import Invalid
from windlass.domain.schema import Column, Kind, Scalar, Signature
from windlass.serving.wire import Description


def description(folder: Path, signature: Signature, classes: Sequence[Scalar] | None, positive: Scalar) -> Description:
    """The model of a package, as it is once it is loaded: what it answers may not stand in the package (``model``).

    Raises:
        Invalid: the folder holds no package.
    """
    try:
        described = json.loads((folder / "windlass.json").read_bytes())
        loader = described.get("loader")
        platform = "windlass" if loader is None else f"mlflow_{loader['flavor']}"
        return Description(0, _as_loaded(signature, classes, positive), platform, int(described["format"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Invalid(f"{folder} holds no package: {error}") from None


def _as_loaded(signature: Signature, classes: Sequence[Scalar] | None, positive: Scalar) -> Signature:
    if not classes:
        return signature
    outputs = [Column(name="prediction", kind=_kind_of(classes[0]))]
    if positive is not None:
        outputs.append(Column(name="probability", kind=Kind.NUMBER))
    return Signature(inputs=signature.inputs, outputs=tuple(outputs))


def _kind_of(value: Scalar) -> Kind:
    match value:
        case bool():
            return Kind.BOOLEAN
        case int():
            return Kind.INTEGER
        case float():
            return Kind.NUMBER
        case _:
            return Kind.STRING
