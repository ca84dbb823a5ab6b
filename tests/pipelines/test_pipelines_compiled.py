"""Models compiled to ONNX: used only where they answer as the estimator does, and the package says so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from windlass.domain.errors import Corrupt, Failure, Invalid
from windlass.pipelines import compiled, package
from windlass.pipelines.model import Model
from windlass.serving import model as serving

for _needed in ("skl2onnx", "onnxruntime", "onnxmltools"):
    pytest.importorskip(_needed, reason="what compiles to ONNX is in the group 'onnx'")


def data(rows: int = 1200) -> tuple[Any, Any]:
    return make_classification(rows, 4, n_informative=3, n_redundant=0, random_state=0)  # type: ignore[no-any-return]


def estimator() -> Any:
    inputs, truth = data()
    return GradientBoostingClassifier(n_estimators=5, random_state=0).fit(inputs, truth)


def packaged(folder: Path, estimator: Any, rows: int = 1200, **given: Any) -> Path:
    inputs, truth = data(rows)
    table = pa.table({**{f"c{at}": inputs[:, at] for at in range(4)}, "t": truth})
    package.write(Model(estimator=estimator, rows=table, target="t", **given), folder, folder)
    return folder


def report_of(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "onnx.json").read_text())
    return read


def _of(make: Callable[[Any, Any], Any]) -> Any:
    return make(*data())


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: GradientBoostingClassifier(n_estimators=5).fit(x, y),
        lambda x, y: make_pipeline(StandardScaler(), LogisticRegression()).fit(x, np.where(y, "yes", "no")),
        lambda x, y: LogisticRegression().fit(x, y > 0),
        lambda x, y: RandomForestRegressor(5).fit(x, x[:, 0] * 1e6),
        lambda x, y: LinearRegression().fit(x, x[:, 0]),
    ],
    ids=["trees", "text", "truths", "forest", "line"],
)
def test_what_answers_as_the_estimator_does_is_used(make: Callable[[Any, Any], Any]) -> None:
    inputs, _ = data()
    fitted = _of(make)
    report, content = compiled.compiled(fitted, inputs, True)
    assert content is not None, report.why
    assert report.used and report.rows == len(inputs) and report.max_difference <= compiled.TOLERANCE
    assert report.versions.keys() >= {"skl2onnx", "onnxruntime"} and report.opset
    assert compiled.compiled(fitted, inputs, True)[1] == content


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_boosters_are_compiled_too(library: str) -> None:
    module = pytest.importorskip(library, reason="it is in the group 'models'")
    inputs, truth = data()
    kind = module.XGBClassifier() if library == "xgboost" else module.LGBMClassifier(verbose=-1)
    report, content = compiled.compiled(kind.fit(inputs, truth), inputs, True)
    assert content is not None, report.why


def test_what_answers_otherwise_is_not_used_and_the_report_says_by_how_much() -> None:
    inputs, truth = data()

    class Other(LogisticRegression):  # type: ignore[misc]
        """Not what its attributes say: the converter reads those."""

        def predict_proba(self, rows: Any) -> Any:
            return super().predict_proba(np.asarray(rows) + 1e-3)

    class Flipped(LogisticRegression):  # type: ignore[misc]
        def predict(self, rows: Any) -> Any:
            return 1 - super().predict(rows)

    report, content = compiled.compiled(Other().fit(inputs, truth), inputs, True)
    assert content is None and not report.used
    if report.rows:  # a converter may refuse what is derived from a class that it knows
        assert report.max_difference > compiled.TOLERANCE and "differs by" in report.why
    report, content = compiled.compiled(Flipped().fit(inputs, truth), inputs, True)
    assert content is None and not report.used


def test_differences_are_of_labels_and_their_types_of_probabilities_and_of_sizes() -> None:
    class Fixed:
        def __init__(self, labels: Any, chances: Any = None, classes: bool = True) -> None:
            self._labels = labels
            if classes:
                self.classes_ = np.asarray([0, 1])
            if chances is not None:
                self.predict_proba = lambda rows: np.asarray(chances)

        def predict(self, rows: Any) -> Any:
            return np.asarray(self._labels)

    def differences(one: Fixed, other: Fixed) -> tuple[int, float]:
        return compiled._differences(one, other, None)  # type: ignore[arg-type]

    sure, half = [[0.2, 0.8], [0.9, 0.1]], [[0.5, 0.5], [0.9, 0.1]]
    assert differences(Fixed([1, 0], sure), Fixed([1, 0], sure)) == (0, 0.0)
    assert differences(Fixed([1, 0], sure), Fixed([1, 1], sure)) == (1, 0.0)
    assert differences(Fixed([1, 0], sure), Fixed([True, False], sure))[0] == 2
    assert differences(Fixed([1, 0], sure), Fixed([1, 0], half)) == (1, pytest.approx(0.3))
    assert differences(Fixed([1e6, 1], classes=False), Fixed([1e6 + 1, 1], classes=False)) == (0, pytest.approx(1e-6))
    assert np.isnan(differences(Fixed([np.nan], classes=False), Fixed([1.0], classes=False))[1])


def test_few_rows_are_no_proof_and_text_is_no_matrix() -> None:
    inputs, _ = data()
    report, content = compiled.compiled(estimator(), inputs[:999], True)
    assert content is None and "999 rows" in report.why
    report, content = compiled.compiled(estimator(), np.full((1200, 4), "a", dtype=object), True)
    assert content is None and "matrix of numbers" in report.why


def test_without_the_libraries_it_is_refused_if_wanted_and_left_out_if_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_versions", lambda: {"onnx": "1"})
    inputs, _ = data()
    with pytest.raises(Invalid, match="skl2onnx is not installed") as refused:
        compiled.compiled(estimator(), inputs, True)
    assert "windlass[onnx]" in refused.value.hint
    report, content = compiled.compiled(estimator(), inputs, "auto")
    assert content is None and "not installed" in report.why


def test_a_package_serves_its_compiled_model_and_its_golden_answers(tmp_path: Path) -> None:
    folder = packaged(tmp_path / "p", estimator(), positive=1, onnx="auto")
    assert report_of(folder)["used"]
    assert "onnxruntime==" in (folder / "requirements.txt").read_text()
    loaded = serving.Model.load(folder)
    assert loaded.engine == "ONNX Runtime"
    serving.check_golden(loaded)
    rows, answers = loaded.golden
    assert answers is not None
    answers[2]["probability"] += 2e-6  # type: ignore[operator]
    with pytest.raises(Corrupt, match="golden row 3"):
        serving.check_golden(loaded)
    assert len(rows) == package.GOLDEN_ROWS


def test_a_package_is_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    packaged(tmp_path / "one", estimator(), positive=1, onnx=True)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_pipelines_compiled as t; from pathlib import Path\n"
        "t.packaged(Path(sys.argv[2]), t.estimator(), positive=1, onnx=True)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path / "two")], check=True)
    for name in ("model.onnx", "onnx.json", "golden.json", "windlass.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_estimator_serves_where_the_runtime_is_not_installed(tmp_path: Path) -> None:
    folder = packaged(tmp_path / "p", estimator(), positive=1, onnx=True)
    script = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from windlass.serving.worker import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder), str(tmp_path / "w.sock")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b'{"ready":true}\n'
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert b"answers come from the estimator itself" in said


def test_without_a_wish_nothing_is_compiled_and_what_fails_its_test_is_not_served(tmp_path: Path) -> None:
    plain = packaged(tmp_path / "plain", estimator(), positive=1)
    assert not (plain / "onnx.json").exists() and not (plain / "model.onnx").exists()
    few = packaged(tmp_path / "few", GaussianNB().fit(*data(100)), rows=100, onnx=True)
    assert not report_of(few)["used"] and not (few / "model.onnx").exists()
    assert not isinstance(serving.Model.load(few).answer([[{"c0": 1.0, "c1": 1.0, "c2": 0.0, "c3": 2.0}]])[0], Failure)
