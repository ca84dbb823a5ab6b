"""The package: a model as a folder that a worker can serve, with its feature code, golden rows and profile.

Every byte is determined by the model and its rows: no time, no path, no run. The format is in
docs/internals/package.md; it is MLflow's model format too (``MLmodel`` is JSON, which is YAML).
"""

from __future__ import annotations

import json
import pickle
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from windlass.capture import code
from windlass.domain import digest
from windlass.domain.errors import Invalid
from windlass.domain.schema import Column, Kind, Signature
from windlass.pipelines import compiled
from windlass.pipelines.model import Model, prepared
from windlass.stats import profile

FORMAT = 1
GOLDEN_ROWS = 20


def write(model: Model, folder: Path, root: Path) -> None:
    """Write a model's package to ``folder``; ``root`` is where its feature code is.

    Raises:
        Invalid: the model has no rows, or columns of a type that a request cannot carry.
    """
    if model.rows is None or model.rows.num_rows == 0:
        raise Invalid("the model has no rows", hint="give windlass.Model(rows=...) the raw training rows")
    if model.target not in model.rows.column_names:
        raise Invalid(f"the model's rows lack its target '{model.target}'", hint="leave the target among the rows")
    inputs = model.rows.drop_columns([model.target])
    classes = getattr(model.estimator, "classes_", None)
    signature = _signature(inputs, classes, model.positive)
    folder.mkdir(parents=True)
    described = {
        "format": FORMAT,
        "features": model.features,
        "postprocess": model.postprocess,
        "target": model.target,
        "task": "regression" if classes is None else "classification",
        "classes": None if classes is None else [_scalar(each) for each in classes],
        "positive": model.positive,
        "signature": signature,
    }
    _put(folder / "windlass.json", described)
    (folder / "model.pkl").write_bytes(pickle.dumps(model.estimator, protocol=5))
    for reference in filter(None, (model.features, model.postprocess)):
        module = Path(*reference.partition(":")[0].split(".")).with_suffix(".py")
        for path in code.closure(root, module):
            target = folder / "code" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((root / path).read_bytes())
    golden = inputs.take(_spread(inputs, GOLDEN_ROWS))
    used = model.onnx is not False and _compile(model, inputs, folder)
    # What a compiled model may differ by, it may in its golden rows.
    tolerance = {"tolerance": compiled.TOLERANCE} if used else {}
    answers = model.answered(golden).rows()
    _put(folder / "golden.json", {"rows": golden.to_pylist(), "answers": answers, **tolerance})
    _put(folder / "profile.json", profile.to_plain(_profile(model, inputs)))
    _write_mlflow(folder, signature, model.estimator, {"onnxruntime"} if used else set())


def read(folder: Path) -> Model:
    """The model of a package of this pipeline's; its feature code is the project's, already importable."""
    described = json.loads((folder / "windlass.json").read_text())
    with (folder / "model.pkl").open("rb") as file:
        estimator = pickle.load(file)  # noqa: S301 - written by the step before, fetched by its digest
    return Model(
        estimator=estimator,
        features=described["features"],
        postprocess=described.get("postprocess"),
        target=described["target"],
        positive=described["positive"],
    )


def _signature(inputs: pa.Table, classes: Any, positive: object) -> Signature:
    outputs = [Column(name="prediction", kind=Kind.NUMBER if classes is None else _kind_of(_scalar(classes[0])))]
    if positive is not None:
        outputs.append(Column(name="probability", kind=Kind.NUMBER))
    columns = [
        Column(name=field.name, kind=_kind(field), nullable=inputs[field.name].null_count > 0)
        for field in inputs.schema
    ]
    return Signature(inputs=tuple(columns), outputs=tuple(outputs))


def _kind(field: pa.Field) -> Kind:
    kind = field.type
    if pa.types.is_boolean(kind):
        return Kind.BOOLEAN
    if pa.types.is_integer(kind):
        return Kind.INTEGER
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Kind.NUMBER
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return Kind.STRING
    raise Invalid(
        f"column '{field.name}' is {kind}, which a request cannot carry",
        hint="make it a number, text or a truth value in the step before training",
    )


def _kind_of(value: object) -> Kind:
    if isinstance(value, bool):
        return Kind.BOOLEAN
    if isinstance(value, int):
        return Kind.INTEGER
    return Kind.NUMBER if isinstance(value, float) else Kind.STRING


def _spread(rows: pa.Table, most: int) -> Any:
    """The numbers of at most so many rows, evenly over all."""
    return np.linspace(0, rows.num_rows - 1, min(most, rows.num_rows)).astype(int)


def _compile(model: Model, inputs: pa.Table, folder: Path) -> bool:
    """Compile the estimator; whether it is served so."""
    chosen = inputs.take(np.union1d(_spread(inputs, compiled.MOST_ROWS), _spread(inputs, GOLDEN_ROWS)))
    report, content = compiled.compiled(model.estimator, prepared(model.features, chosen), model.onnx)
    _put(folder / "onnx.json", report)
    if content is not None:
        (folder / "model.onnx").write_bytes(content)
    return content is not None


def _profile(model: Model, inputs: pa.Table) -> profile.Profile:
    columns = {name: inputs[name].to_numpy() for name in inputs.column_names}
    columns["prediction"] = model.predict(inputs)
    if model.positive is not None:
        columns["probability"] = model.probability(inputs)
    return profile.profile(columns)


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _put(path: Path, value: Any) -> None:
    path.write_bytes(digest.canonical(value))


def _write_mlflow(folder: Path, signature: Signature, estimator: Any, more: set[str]) -> None:
    """The files by which MLflow's own tools load and serve the package."""
    kinds = {Kind.INTEGER: "long", Kind.NUMBER: "double", Kind.STRING: "string", Kind.BOOLEAN: "boolean"}

    def columns(part: tuple[Column, ...]) -> str:
        return json.dumps(
            [{"type": kinds[each.kind], "name": each.name, "required": not each.nullable} for each in part],
            sort_keys=True,
        )

    _put(
        folder / "MLmodel",
        {
            "flavors": {
                "python_function": {
                    "loader_module": "windlass.serving.model",
                    "python_version": platform.python_version(),
                    "env": {"virtualenv": "python_env.yaml"},
                }
            },
            "signature": {"inputs": columns(signature.inputs), "outputs": columns(signature.outputs), "params": None},
        },
    )
    needed = [f"{name}=={metadata.version(name)}" for name in sorted({"numpy", "pyarrow", *more, *_made_by(estimator)})]
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in ["windlass", *needed]))
    _put(
        folder / "python_env.yaml",
        {"python": ".".join(map(str, sys.version_info[:3])), "dependencies": ["-r requirements.txt"]},
    )


def _made_by(estimator: Any) -> set[str]:
    """The distributions of an estimator's class and of those that it is derived from."""
    known = metadata.packages_distributions()
    roots = {each.__module__.partition(".")[0] for each in type(estimator).__mro__}
    return {name for root in roots for name in known.get(root, ())}
