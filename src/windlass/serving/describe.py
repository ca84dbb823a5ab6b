"""What a worker says of its model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from windlass.domain.errors import Invalid
from windlass.domain.schema import Column, Kind, Scalar, Signature
from windlass.serving.model import Model
from windlass.serving.wire import Description


def description(folder: Path, model: Model) -> Description:
    """The model of a package, as it is once it is loaded: what it answers may not stand in the package (``model``).

    Raises:
        Invalid: the folder holds no package.
    """
    try:
        described = json.loads((folder / "windlass.json").read_bytes())
        loader = described.get("loader")
        platform = "windlass" if loader is None else f"mlflow_{loader['flavor']}"
        signature = Signature(inputs=model.signature.inputs, outputs=outputs_of(model))
        return Description(0, signature, platform, int(described["format"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Invalid(f"{folder} holds no package: {error}") from None


def outputs_of(model: Model) -> tuple[Column, ...]:
    """What the model answers: as its golden rows were answered (post-processing may make text of a number), or
    else by its classes."""
    answers = model.golden[1]
    if answers:
        probability = "probability" in answers[0]
        kind = _kind_of([each["prediction"] for each in answers])
    elif model.classes:
        probability = model.positive is not None
        kind = _kind_of(model.classes)
    else:
        return model.signature.outputs
    outputs = (Column(name="prediction", kind=kind), Column(name="probability", kind=Kind.NUMBER))
    return outputs if probability else outputs[:1]


def _kind_of(values: Sequence[Scalar]) -> Kind:
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {str}:
        return Kind.STRING
    if kinds == {bool}:
        return Kind.BOOLEAN
    return Kind.INTEGER if kinds == {int} else Kind.NUMBER
