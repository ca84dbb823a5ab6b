"""Windlass takes machine-learning models from training to production and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windlass.domain import version

if TYPE_CHECKING:
    from windlass.pipelines.model import Model
    from windlass.pipelines.step import step

__all__ = ["Model", "__version__", "step"]
__version__ = version.VERSION


def __getattr__(name: str) -> Any:
    # Late, so that `import windlass` and the command line load neither numpy nor pyarrow.
    if name == "Model":
        from windlass.pipelines.model import Model  # noqa: PLC0415

        return Model
    if name == "step":
        from windlass.pipelines.step import step  # noqa: PLC0415

        return step
    raise AttributeError(f"module 'windlass' has no attribute '{name}'")
