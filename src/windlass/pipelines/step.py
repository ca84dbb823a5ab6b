"""``@step``: a plain function of a pipeline. The decorator only marks it; called, it is the function it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])


@overload
def step(function: F) -> F: ...
@overload
def step(*, retries: int = 0, backoff_seconds: float = 1.0, timeout_seconds: float = 3600.0) -> Callable[[F], F]: ...
def step(
    function: F | None = None, *, retries: int = 0, backoff_seconds: float = 1.0, timeout_seconds: float = 3600.0
) -> F | Callable[[F], F]:
    """Mark a function as a step of the pipeline.

    Its parameters say what it needs, by name: a dataset (a ``Path`` to its files), another step (what that returned),
    a key of ``[pipeline.config]``, or ``seed``. Windlass reads the options from the source, without running it: they
    have to be plain numbers.
    """
    if function is None:
        return lambda marked: marked
    return function
