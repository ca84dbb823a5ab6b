"""``@step``: a plain function of a pipeline. The decorator only marks it; called, it is the function it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])


@overload
def step(function: F) -> F: ...
@overload
def step(
    *,
    retries: int = 0,
    backoff_seconds: float = 1.0,
    timeout_seconds: float = 3600.0,
    cpus: int = 1,
    memory_mb: int = 0,
    grid: dict[str, list[Any]] | None = None,
    over: str = "",
    environment: str = "",
) -> Callable[[F], F]: ...
def step(function: F | None = None, **_: Any) -> F | Callable[[F], F]:
    """Mark a function as a step of the pipeline.

    Its parameters say what it needs, by name: a dataset (a ``Path`` to its files), another step (what that returned),
    a key of ``[pipeline.config]``, or ``seed``. Windlass reads the options from the source, without running it: they
    have to be written out plainly.

    ``environment="requirements-gpu.txt"``: the step runs with what that file of the project says, built by uv.
    ``retries`` with a pause that doubles from ``backoff_seconds``; ``timeout_seconds``; how many ``cpus`` it takes of
    those that steps share, and the most ``memory_mb`` that it may use (0: no limit).

    ``grid={"depth": [3, 5], "rate": [0.1, 0.2]}`` runs it once for each combination. ``over="parts"`` runs it once for
    each item of the parameter ``parts``: of a list or a dict that a step returned, or each file of a dataset. Whoever
    needs such a step gets a dict of what its instances returned, by their labels: ``depth=3,rate=0.1``, or the key.
    """
    if function is None:
        return lambda marked: marked
    return function
