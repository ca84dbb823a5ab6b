"""Fan-out: one step as many instances, over a grid of parameters or over the items of something it gets."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from windlass.capture import trees
from windlass.capture.data import Snapshot
from windlass.domain import digest
from windlass.domain.errors import Invalid
from windlass.domain.ports import ObjectStore
from windlass.pipelines.graph import SEED, Step
from windlass.pipelines.stored import Stored


@dataclass(frozen=True, slots=True)
class Plain:
    """A parameter that is a number, a text or a truth value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Data:
    """A parameter that is a dataset's files; with ``path`` one of them."""

    name: str
    identity: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """A parameter that is what a step returned, or an item of it (``key``)."""

    step: str
    stored: Stored
    key: str = ""


Bound = Plain | Data | Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One thing to run: a step with all its parameters bound. ``label`` is empty where the step has no others."""

    step: Step
    label: str
    arguments: Mapping[str, Bound]

    @property
    def name(self) -> str:
        return f"{self.step.name}[{self.label}]" if self.label else self.step.name

    def inputs(self) -> dict[str, str]:
        """What stands for its data in its recipe."""
        found = {}
        for name, bound in self.arguments.items():
            if isinstance(bound, Data):
                found[name] = bound.identity
            elif isinstance(bound, Output):
                found[name] = digest.of(bound.stored)
        return found

    def config(self) -> dict[str, Any]:
        """The plain parameters in its recipe; the seed has a part of its own there."""
        return {
            name: bound.value for name, bound in self.arguments.items() if isinstance(bound, Plain) and name != SEED
        }


def instances(
    step: Step,
    *,
    config: Mapping[str, Any],
    seed: int,
    snapshots: Mapping[str, Snapshot],
    outputs: Mapping[str, Stored],
    objects: ObjectStore,
) -> list[Instance]:
    """The instances of a step whose needs are met.

    Raises:
        Invalid: it goes over something that has no items.
    """
    grid = dict(step.grid)
    fixed: dict[str, Bound] = {}
    for name in step.parameters:
        if name in grid or name == step.over:
            continue
        if name == SEED:
            fixed[name] = Plain(seed)
        elif name in snapshots:
            fixed[name] = Data(name, snapshots[name].tree)
        elif name in outputs:
            fixed[name] = Output(name, outputs[name])
        else:
            fixed[name] = Plain(config[name])
    items: dict[str, Bound | None] = {"": None}
    if step.over:
        items = {**_items(step, snapshots, outputs, objects)}
    found = []
    for label, item in items.items():
        for values in itertools.product(*grid.values()):
            chosen = dict(zip(grid, values, strict=True))
            bound = {**fixed, **{name: Plain(value) for name, value in chosen.items()}}
            if item is not None:
                bound[step.over] = item
            parts = [label] if label else []
            parts += [f"{name}={value}" for name, value in chosen.items()]
            found.append(Instance(step=step, label=",".join(parts), arguments=bound))
    return found


def collected(step: Step, outputs: Mapping[str, Stored]) -> Stored:
    """What a step made, by the labels of its instances."""
    if not step.grid and not step.over:
        return outputs[""]
    return {"kind": "mapping", "items": dict(outputs)}


def _items(
    step: Step, snapshots: Mapping[str, Snapshot], outputs: Mapping[str, Stored], objects: ObjectStore
) -> dict[str, Bound]:
    if step.over in snapshots:
        files = trees.manifest(objects, snapshots[step.over].tree).files
        return {each.path: Data(step.over, digest.of([each.path, each.digest]), each.path) for each in files}
    stored = outputs[step.over]
    if stored["kind"] == "mapping":
        return {key: Output(step.over, each, key) for key, each in stored["items"].items()}
    plain = json.loads(objects.get(stored["digest"])) if stored["kind"] == "json" else None
    if isinstance(plain, list):
        plain = {str(at): value for at, value in enumerate(plain)}
    if not isinstance(plain, dict):
        raise Invalid(
            f"step '{step.name}' goes over '{step.over}', which is neither a list nor a dict",
            hint=f"return a list or a dict from '{step.over}'",
        )
    return {
        key: Output(step.over, {"kind": "json", "digest": objects.put(digest.canonical(value))}, key)
        for key, value in plain.items()
    }
