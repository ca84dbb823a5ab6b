"""Post-processing travels with the model: what it makes of the answers is what is packaged, profiled and served."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from windlass.domain.errors import Failure
from windlass.pipelines import package
from windlass.pipelines.model import Model
from windlass.serving import model as serving
from windlass.serving.answers import Answered, postprocessed

CODE = """
import limits_of_test

def after(answers, rows):
    sure = limits_of_test.SURE
    kept = [p if c > sure or c < 1 - sure else -1 for p, c in zip(answers["prediction"], answers["probability"])]
    return {"prediction": [-1 if x > 5 else p for x, p in zip(rows["x"].to_pylist(), kept)],
            "probability": answers["probability"]}
"""


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Model]]:
    root = tmp_path / "project"
    root.mkdir()
    (root / "after_of_test.py").write_text(CODE)
    (root / "limits_of_test.py").write_text("SURE = 0.8\n")
    (root / "unrelated.py").write_text("")
    monkeypatch.syspath_prepend(str(root))
    x = np.random.default_rng(0).normal(size=300)
    rows = pa.table({"x": x, "t": (x > 0).astype(int)})
    fitted = LogisticRegression().fit(x[:, None], rows["t"].to_numpy())
    model = Model(estimator=fitted, postprocess="after_of_test:after", rows=rows, target="t", positive=1)
    package.write(model, tmp_path / "package", root)
    yield tmp_path / "package", model
    for name in ("after_of_test", "limits_of_test"):
        sys.modules.pop(name, None)


def test_a_package_carries_the_code_and_answers_as_it_makes_it(packaged: tuple[Path, Model]) -> None:
    folder, model = packaged
    assert sorted(each.name for each in (folder / "code").iterdir()) == ["after_of_test.py", "limits_of_test.py"]
    loaded = serving.Model.load(folder)
    serving.check_golden(loaded)
    assert loaded.golden[1] is not None
    assert {each["prediction"] for each in loaded.golden[1]} == {-1, 0, 1}
    asked = [[{"x": 9.0}], [{"x": 0.01}, {"x": 3.0}], [{"x": "no"}]]
    found = loaded.answer(asked)
    assert [[row["prediction"] for row in each] for each in found[:2] if not isinstance(each, Failure)] == [
        [-1],
        [-1, 1],
    ]
    assert isinstance(found[2], Failure)
    assert package.read(folder).postprocess == model.postprocess
    assert model.predict(pa.table({"x": [9.0, 0.01, 3.0]})).tolist() == [-1, -1, 1]


@pytest.mark.parametrize(
    ("made", "word"),
    [
        ({"prediction": [1]}, "1 of prediction of 2"), ({"score": [1, 2]}, "returned score"), (None, "TypeError"),
        ({"prediction": [1, [2]]}, "no answer"), ({"prediction": [1.0, float("nan")]}, "no answer"),
        ({"prediction": [1, 2], "probability": [0.5, "x"]}, "no number"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_a_failure_that_names_the_post_processing(made: Any, word: str) -> None:
    with pytest.raises(Failure, match=f"post-processing.*{word}"):
        postprocessed(lambda answers, rows: made, Answered([1, 2], [0.5, 0.5]), None)


def test_arrays_and_no_probability_are_answers() -> None:
    def after(answers: dict[str, list[Any]], rows: Any) -> dict[str, Any]:
        return {"prediction": np.asarray(answers["prediction"]) * 2}

    assert postprocessed(after, Answered([1, 2], [0.5, 0.5]), None) == Answered([2, 4], None)
