"""What a step's process sees of the environment: everything that could change a result is pinned."""

from __future__ import annotations

import os
from collections.abc import Mapping

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def environment(threads: int, extra: Mapping[str, str]) -> dict[str, str]:
    """The variables of a step: the caller's, with everything pinned that could change a result."""
    pinned = {name: str(threads) for name in _THREADS}
    return {**os.environ, **pinned, "PYTHONHASHSEED": "0", **extra}
