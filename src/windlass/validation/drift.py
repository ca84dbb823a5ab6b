"""Drift of the evaluation rows against the training rows: is the model judged on what it was trained for?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from windlass.domain.errors import Invalid
from windlass.domain.evidence import CheckResult, Verdict
from windlass.stats import drift, profile
from windlass.stats.profile import Array
from windlass.validation.policy import DriftPolicy

FAMILY = "drift"

_VERDICTS = {"drift": Verdict.FAIL, "none": Verdict.PASS, "inconclusive": Verdict.INCONCLUSIVE}


def check(policy: DriftPolicy, training: pa.Table, evaluation: pa.Table, columns: Sequence[str]) -> list[CheckResult]:
    """Compare each of ``columns``, corrected over all of them.

    Raises:
        Invalid: one of the tables lacks a column.
    """
    reference = profile.profile(_columns(training, columns, "training"))
    current = profile.count(reference, _columns(evaluation, columns, "evaluation"))
    return [_result(policy, each) for each in drift.drift(reference, current, policy.alpha, policy.min_effect)]


def _result(policy: DriftPolicy, found: drift.ColumnDrift) -> CheckResult:
    verdict = _VERDICTS[found.verdict]
    said = {
        Verdict.PASS: f"no drift: effect {found.effect:.3f}; one over {policy.min_effect:g} and beyond chance counts",
        Verdict.FAIL: f"drifted: effect {found.effect:.3f}, over {policy.min_effect:g} and beyond chance",
        Verdict.INCONCLUSIVE: f"too few rows ({found.n}) to tell",
    }
    return CheckResult(
        name=found.column,
        family=FAMILY,
        verdict=verdict,
        summary=said[verdict],
        value=_finite(found.effect),
        threshold=policy.min_effect,
        n=found.n,
        details={
            "statistic": _finite(found.statistic),
            "p_value": _finite(found.p_value),
            "adjusted_p": _finite(found.adjusted_p),
            "alpha": policy.alpha,
        },
    )


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None


def _columns(table: pa.Table, names: Sequence[str], which: str) -> dict[str, Array]:
    if absent := [name for name in names if name not in table.column_names]:
        raise Invalid(
            f"the {which} rows lack the column {', '.join(absent)}",
            hint=f"gates.{which} in windlass.toml must name rows with every input of the model and the target",
        )
    return {name: table[name].to_numpy() for name in names}
