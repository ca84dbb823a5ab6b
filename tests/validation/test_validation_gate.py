"""Gates on real packages, each in a real worker process."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from windlass.domain import clock, digest
from windlass.domain.errors import Invalid
from windlass.domain.evidence import CheckResult, Verdict
from windlass.validation import gate, html
from windlass.validation.gate import GateReport
from windlass.validation.policy import FairnessPolicy, GatePolicy, LatencyPolicy, MetricFloor

CENSUS = Path(__file__).parents[2] / "examples/employment/data/acs_ma_employment_2015.parquet"
TARGET = "employed"
POLICY = GatePolicy(
    metrics={"accuracy": MetricFloor(min=0.75), "roc_auc": MetricFloor(min=0.8)},
    fairness=FairnessPolicy(columns=("SEX", "RAC1P"), max_difference=0.3),
    # What is tested is the verdicts: a busy machine must not turn them.
    latency=LatencyPolicy(p50_ms=5_000, p99_ms=9_000, requests=20),
)

PLAIN = """
import numpy as np
import pyarrow as pa

COLUMNS = {columns}


def transform(rows: pa.Table) -> np.ndarray:
    return np.column_stack([rows[name].to_numpy(zero_copy_only=False).astype(float) for name in COLUMNS])
"""
# Raises on a null instead of treating it as missing.
RAISES_ON_NULL = PLAIN.replace(
    "    return", "    if rows['SCHL'].null_count:\n        raise ValueError('SCHL is null')\n    return"
)
# Takes its reference group from the request itself: only a request of the right few rows has none.
NEEDS_COMPANY = PLAIN.replace(
    "    return",
    "    native, school = (rows[name].to_numpy(zero_copy_only=False) for name in ('NATIVITY', 'SCHL'))\n"
    "    rows['AGEP'].to_numpy(zero_copy_only=False)[(native == 1) | (school >= 16)].max()\n"
    "    return",
)
ENDS_ON_NEGATIVE = PLAIN.replace(
    "    return",
    "    if (rows['MAR'].to_numpy(zero_copy_only=False) < 0).any():\n        import os; os._exit(3)\n    return",
)
RAISES_ON_OLD = PLAIN.replace(
    "    return",
    "    if (rows['AGEP'].to_numpy(zero_copy_only=False) > 85).any():\n        raise KeyError('old')\n    return",
)


@pytest.fixture(scope="module")
def rows() -> tuple[pa.Table, pa.Table]:
    """Training and evaluation rows of the census."""
    table = pq.read_table(CENSUS).drop_columns(["year"]).replace_schema_metadata()
    order = np.random.default_rng(2015).permutation(table.num_rows)
    return table.take(order[:12_000]), table.take(order[12_000:24_000])


@pytest.fixture(scope="module")
def make(rows: tuple[pa.Table, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Packages of one model with different feature code."""
    training = rows[0]
    columns = [name for name in training.column_names if name != TARGET]
    inputs = np.column_stack([training[name].to_numpy().astype(float) for name in columns])
    model = HistGradientBoostingClassifier(max_iter=40, random_state=0).fit(inputs, training[TARGET].to_numpy())
    golden = list(range(0, 12_000, 600))
    chances = model.predict_proba(inputs[golden])[:, 1]

    def package(code: str, nullable: Sequence[str] = (), answers: Mapping[str, Any] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("package")
        signature = {
            "inputs": [{"name": name, "kind": "integer", "nullable": name in nullable} for name in columns],
            "outputs": [
                {"name": "prediction", "kind": "integer", "nullable": False},
                {"name": "probability", "kind": "number", "nullable": False},
            ],
        }
        described = {
            "format": 1, "features": "features:transform", "target": TARGET, "task": "classification",
            "classes": [0, 1], "positive": 1, "signature": signature,
        }  # fmt: skip
        said = [{"prediction": int(p > 0.5), "probability": float(p), **(answers or {})} for p in chances]
        asked = training.select(columns).take(golden).to_pylist()
        (folder / "windlass.json").write_bytes(digest.canonical(described))
        (folder / "golden.json").write_text(json.dumps({"rows": asked, "answers": said}))
        (folder / "model.pkl").write_bytes(pickle.dumps(model, protocol=5))
        (folder / "code").mkdir()
        (folder / "code/features.py").write_text(code.replace("{columns}", repr(columns)))
        return folder

    return package


@pytest.fixture
def run(rows: tuple[pa.Table, pa.Table], tmp_path: Path) -> Callable[..., GateReport]:
    def gated(folder: Path, policy: GatePolicy = POLICY, **changes: Any) -> GateReport:
        given: dict[str, Any] = {"training": rows[0], "evaluation": rows[1], "progress": lambda _: None, **changes}
        return gate.run(
            reference="employment@1.0.0",
            package="b3:" + "0" * 64,
            folder=folder,
            policy=policy,
            socket=tmp_path / "gate.sock",
            log=tmp_path / "gate.log",
            now=clock.now,
            **given,
        )

    return gated


def of(report: GateReport, family: str) -> list[CheckResult]:
    return [result for result in report.results if result.family == family]


def test_a_sound_model_passes_and_tiny_groups_decide_nothing(
    make: Callable[..., Path], run: Callable[..., GateReport], tmp_path: Path
) -> None:
    said: list[str] = []
    report = run(make(PLAIN), progress=said.append)
    assert report.verdict is Verdict.PASS, [r for r in report.results if r.blocking and r.verdict is not Verdict.PASS]
    assert report.rows == 12_000
    assert [r.family for r in report.results if r.blocking and r.family != "drift"] == [
        "package", "package", "metrics", "metrics", "fairness", "fairness", "latency", "latency", "corner_cases",
    ]  # fmt: skip
    assert len(of(report, "drift")) == 17
    tiny = [result for result in report.results if not result.blocking]
    assert tiny
    assert {result.verdict for result in tiny} == {Verdict.INCONCLUSIVE}
    assert {result.details["column"] for result in tiny} == {"RAC1P"}
    by_race = next(r for r in of(report, "fairness") if r.details.get("column") == "RAC1P" and r.blocking)
    assert {group["group"] for group in by_race.details["groups"] if not group["large_enough"]} <= {"3", "4", "5", "7"}
    assert said[-1] == "employment@1.0.0: pass"
    assert report.policy == digest.of(report.rules)
    assert "Gate report" in html.render(report)


def test_feature_code_that_raises_on_a_null_it_accepts_fails_with_the_row_that_shows_it(
    make: Callable[..., Path], run: Callable[..., GateReport]
) -> None:
    report = run(make(RAISES_ON_NULL, nullable=("SCHL",)))
    (result,) = of(report, "corner_cases")
    assert report.verdict is Verdict.FAIL
    assert (result.details["failures"][0]["column"], result.details["failures"][0]["change"]) == ("SCHL", "null")
    assert "SCHL is null" in result.details["failures"][0]["said"]
    assert result.details["failures"][0]["row"]["SCHL"] is None
    assert all(r.verdict is Verdict.PASS for r in report.results if r.blocking and r is not result)


def test_a_fault_that_takes_two_unusual_columns_at_once_is_beyond_the_corner_cases(
    make: Callable[..., Path], run: Callable[..., GateReport]
) -> None:
    report = run(make(NEEDS_COMPANY))
    assert report.verdict is Verdict.PASS, [r for r in report.results if r.blocking and r.verdict is not Verdict.PASS]


def test_a_worker_that_dies_fails_the_gate_and_the_report_is_made(
    make: Callable[..., Path], run: Callable[..., GateReport]
) -> None:
    report = run(make(ENDS_ON_NEGATIVE))
    (result,) = of(report, "corner_cases")
    assert result.verdict is Verdict.FAIL
    assert "after that (at MAR, " in result.summary


def test_a_model_that_raises_on_evaluation_rows_fails_and_is_not_scored(
    make: Callable[..., Path], run: Callable[..., GateReport], rows: tuple[pa.Table, pa.Table]
) -> None:
    training = rows[0].filter(pa.compute.less_equal(rows[0]["AGEP"], 85))
    folder = make(RAISES_ON_OLD)
    golden = json.loads((folder / "golden.json").read_text())
    young = [i for i, row in enumerate(golden["rows"]) if row["AGEP"] <= 85]
    kept = {key: [golden[key][i] for i in young] for key in ("rows", "answers")}
    (folder / "golden.json").write_text(json.dumps(kept))
    report = run(folder, training=training)
    package = {result.name: result.verdict for result in of(report, "package")}
    assert package["answers every evaluation row"] is Verdict.FAIL
    assert {result.verdict for family in ("metrics", "fairness") for result in of(report, family)} == {Verdict.ERROR}
    assert report.verdict is Verdict.FAIL


def test_a_package_that_does_not_answer_as_packaged_fails(
    make: Callable[..., Path], run: Callable[..., GateReport]
) -> None:
    report = run(make(PLAIN, answers={"probability": 0.123}))
    (package,) = of(report, "package")
    assert package.verdict is Verdict.FAIL
    assert "golden" in package.summary
    assert {r.verdict for r in report.results if r.family not in {"package", "drift"}} == {Verdict.ERROR}
    assert report.verdict is Verdict.FAIL


def test_an_error_in_one_family_is_that_familys_result(
    make: Callable[..., Path], run: Callable[..., GateReport], rows: tuple[pa.Table, pa.Table]
) -> None:
    policy = replace(POLICY, fairness=FairnessPolicy(columns=("CASTE",)))
    report = run(make(PLAIN), policy, evaluation=rows[1].slice(0, 2000))
    (result,) = of(report, "fairness")
    assert result.verdict is Verdict.ERROR
    assert "CASTE" in result.summary
    assert {r.verdict for r in of(report, "metrics")} == {Verdict.PASS}
    assert report.verdict is Verdict.ERROR


def test_a_folder_without_a_package_is_refused(run: Callable[..., GateReport], tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="holds no packaged model"):
        run(tmp_path)
