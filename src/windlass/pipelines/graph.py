"""The DAG of a pipeline, read from its source without running it, and from ``[pipeline.commands]``."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from windlass.domain.errors import Invalid
from windlass.pipelines.config import PipelineConfig, Scalar

SEED = "seed"
_NUMBERS = ("retries", "backoff_seconds", "timeout_seconds", "cpus", "memory_mb")
_TEXTS = ("over", "environment")
_OPTIONS = (*_NUMBERS, *_TEXTS, "grid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node: a function of the pipeline's file, or a ``command``. ``parameters`` are what it needs, by name.

    ``environment`` is a requirements file of the project: the step runs with these distributions instead of the run's.
    With a ``grid`` (parameter -> values) or ``over`` (a parameter with items) it runs many times, an instance each.
    """

    name: str
    parameters: tuple[str, ...]
    retries: int = 0
    backoff_seconds: float = 1.0
    timeout_seconds: float = 3600.0
    cpus: int = 1
    memory_mb: int = 0
    grid: tuple[tuple[str, tuple[Scalar, ...]], ...] = ()
    over: str = ""
    environment: str = ""
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Steps in an order in which each comes after all it needs; ``needs`` has the steps among a step's parameters."""

    steps: tuple[Step, ...]
    needs: Mapping[str, tuple[str, ...]]


def read(source: str, where: str, config: PipelineConfig, datasets: Collection[str]) -> Graph:
    """The graph of a pipeline.

    Raises:
        Invalid: a syntax error, two steps of one name, a parameter that nothing provides, or a circle.
    """
    steps: dict[str, Step] = {}
    for step in [*_functions(source, where), *_commands(config)]:
        if step.name in steps or step.name in datasets:
            raise Invalid(f"{where}: '{step.name}' names two things", hint="give each step and dataset its own name")
        steps[step.name] = step
    if not steps:
        raise Invalid(f"{where} has no step", hint="mark its functions with @step (from windlass import step)")
    known = {*steps, *datasets, *config.config, SEED}
    for step in steps.values():
        _check_fan_out(step, steps, datasets, where)
        for parameter in step.parameters:
            if parameter not in known and parameter not in dict(step.grid):
                raise Invalid(
                    f"{where}: step '{step.name}' asks for '{parameter}', which is nothing known",
                    hint=f"known: {', '.join(sorted(known))}; add it to [pipeline.config] if it is a setting",
                )
    needs = {step.name: tuple(name for name in step.parameters if name in steps) for step in steps.values()}
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise Invalid(f"{where}: the steps need each other in a circle: {' → '.join(error.args[1])}") from None
    return Graph(steps=tuple(steps[name] for name in order), needs=needs)


def _check_fan_out(step: Step, steps: Mapping[str, Step], datasets: Collection[str], where: str) -> None:
    for name, _ in step.grid:
        if name not in step.parameters:
            raise Invalid(
                f"{where}: step '{step.name}' has a grid over '{name}', which is no parameter of it",
                hint=f"its parameters: {', '.join(step.parameters) or 'none'}",
            )
    if step.over and (step.over not in step.parameters or step.over not in {*steps, *datasets}):
        raise Invalid(
            f"{where}: step '{step.name}' goes over '{step.over}', which is no step or dataset among its parameters",
            hint="name a parameter that is a step returning a list or a dict, or a dataset",
        )


def _functions(source: str, where: str) -> list[Step]:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise Invalid(f"{where}:{error.lineno}: {error.msg}") from None
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                call = decorator if isinstance(decorator, ast.Call) else None
                if _is_step(call.func if call else decorator):
                    found.append(_step(node, call, where))
    return found


def is_step(node: ast.stmt) -> bool:
    """Whether a top-level statement of a pipeline's file is a step."""
    return isinstance(node, ast.FunctionDef) and any(
        _is_step(each.func if isinstance(each, ast.Call) else each) for each in node.decorator_list
    )


def _is_step(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "step") or (
        isinstance(node, ast.Attribute) and node.attr == "step"
    )


def _step(node: ast.FunctionDef, call: ast.Call | None, where: str) -> Step:
    arguments = node.args
    if arguments.vararg or arguments.kwarg or arguments.posonlyargs:
        raise Invalid(
            f"{where}:{node.lineno}: step '{node.name}' has *args, **kwargs or positional-only parameters",
            hint="name each thing that it needs",
        )
    options: dict[str, Any] = {}
    for keyword in call.keywords if call else ():
        try:
            value = ast.literal_eval(keyword.value)
        except ValueError:
            value = None
        options[str(keyword.arg)] = _option(keyword.arg, value, f"{where}:{node.lineno}: step '{node.name}'")
    return Step(
        name=node.name, parameters=tuple(each.arg for each in [*arguments.args, *arguments.kwonlyargs]), **options
    )


def _option(name: str | None, value: Any, where: str) -> Any:
    if name in _NUMBERS and isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return value
    if name in _TEXTS and isinstance(value, str):
        return value
    if name == "grid" and isinstance(value, dict) and value and all(_are_scalars(each) for each in value.values()):
        return tuple((str(key), tuple(each)) for key, each in value.items())
    raise Invalid(
        f"{where}: {name} is not an option, or not written out plainly",
        hint=f"{', '.join(_NUMBERS)} are numbers, over a parameter, environment a file, grid {{'depth': [3, 5]}}",
    )


def _are_scalars(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str | int | float | bool) for one in value)


def _commands(config: PipelineConfig) -> Sequence[Step]:
    return [
        Step(
            name=name,
            parameters=tuple(command.needs),
            retries=command.retries,
            timeout_seconds=command.timeout_seconds,
            environment=command.environment,
            command=tuple(command.run),
        )
        for name, command in config.commands.items()
    ]
