"""What ``[pipeline]`` in ``windlass.toml`` says."""

from __future__ import annotations

from dataclasses import dataclass, field

from windlass.domain.errors import Invalid

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandConfig:
    """A script as a step: any program, ``train.py`` as it is. ``needs`` names datasets and steps.

    ``environment``: a requirements file of the project, for a step that needs other distributions than the run.
    """

    run: list[str]
    needs: tuple[str, ...] = ()
    retries: int = 0
    timeout_seconds: float = 3600.0
    environment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """``env`` names the environment variables that take part in the recipe; ``config`` has the steps' parameters.

    ``blas_kernel`` ("Haswell") makes OpenBLAS use the code for that processor on every machine that can run it:
    results of linear algebra then do not depend on the machine.
    """

    file: str = "pipeline.py"
    seed: int = 0
    env: tuple[str, ...] = ()
    threads: int = 1
    blas_kernel: str = ""
    config: dict[str, Scalar] = field(default_factory=dict)
    commands: dict[str, CommandConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise Invalid(f"pipeline.seed is {self.seed}", hint="choose a whole number from 0 to 4294967295")
        if self.threads < 1:
            raise Invalid(f"pipeline.threads is {self.threads}", hint="use 1 or more")
