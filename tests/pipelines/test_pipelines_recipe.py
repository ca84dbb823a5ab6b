"""A step's recipe changes with what its result can depend on, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from windlass.pipelines import recipe
from windlass.pipelines.graph import Step

PIPELINE = '''
"""Words."""
import features
from windlass import step
import other as unused

LIMIT = 3

def scaled(x):
    return x * LIMIT

@step
def train(rows):
    return features.make(scaled(rows))

@step
def evaluate(train):
    return unused.measure(train)
'''


@pytest.fixture
def code_of(tmp_path: Path) -> Callable[..., dict[str, str]]:
    files = {
        "pipeline.py": PIPELINE, "features.py": "import deep\ndef make(x): return deep.f(x)\n",
        "deep.py": "def f(x): return x\n", "other.py": "def measure(x): return x\n", "lonely.py": "",
    }  # fmt: skip

    def read(step: str = "train", **changed: tuple[str, str]) -> dict[str, str]:
        for name, text in files.items():
            old, new = changed.get(name.removesuffix(".py"), ("", ""))
            assert old in text
            (tmp_path / name).write_text(text.replace(old, new) if old else text + new)
        return recipe.code_of(tmp_path, "pipeline.py", Step(name=step, parameters=()))

    return read


@pytest.mark.parametrize(
    "changed",
    [
        {"pipeline": ("x * LIMIT", "x + LIMIT")},
        {"pipeline": ("LIMIT = 3", "LIMIT = 4")},
        {"pipeline": ("features.make(", "features.make(1 + ")},
        {"features": ("deep.f(x)", "deep.f(x) + 1")},
        {"deep": ("return x", "return -x")},
        {"pipeline": ("import features\n", "import features\nprint('side effect')\n")},
    ],
)
def test_a_change_that_it_can_see_changes_it(
    code_of: Callable[..., dict[str, str]], changed: dict[str, tuple[str, str]]
) -> None:
    assert code_of(**changed) != code_of()


@pytest.mark.parametrize(
    "changed",
    [
        {"pipeline": ("unused.measure(train)", "unused.measure(train) + 1")},
        {"other": ("return x", "return -x")},
        {"lonely": ("", "x = 1")},
        {"pipeline": ('"""Words."""', '"""Other words."""')},
        {"pipeline": ("LIMIT = 3", "LIMIT = 3  # three")},
    ],
)
def test_a_change_that_it_cannot_see_does_not(
    code_of: Callable[..., dict[str, str]], changed: dict[str, tuple[str, str]]
) -> None:
    assert code_of(**changed) == code_of()


def test_feature_code_named_as_text_is_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "features.py").write_text("def transform(rows): return rows\n")
    (tmp_path / "pipeline.py").write_text("@step\ndef train(rows):\n    return Model(features='features:transform')\n")
    found = recipe.code_of(tmp_path, "pipeline.py", Step(name="train", parameters=()))
    assert "features.py" in found


def test_a_commands_code_is_its_script_and_what_that_imports(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import deep\n")
    (tmp_path / "deep.py").write_text("x = 1\n")
    found = recipe.code_of(tmp_path, "pipeline.py", Step(name="t", parameters=(), command=("python", "train.py")))
    assert {"command", "train.py", "deep.py"} <= set(found)


def parts(**changed: object) -> dict[str, object]:
    return recipe.parts(
        **{
            "step_code": {"f": "1"}, "inputs": {"acs": "1"}, "config": {"share": 1}, "seed": 1, "threads": 1,
            "environment": "e", "variables": {"HOME": "x"}, **changed,
        }  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"inputs": {"acs": "2"}}, "acs changed"),
        ({"step_code": {"f": "2"}}, "f changed"),
        ({"config": {"share": 2}}, "config share changed"),
        ({"seed": 2}, "seed changed"),
        ({"environment": "other", "seed": 2}, "seed, environment changed"),
        ({"variables": {"HOME": "y"}}, "variable HOME changed"),
        ({}, "it was asked to run again"),
    ],
)
def test_why_a_step_runs_is_said(changed: dict[str, object], said: str) -> None:
    assert recipe.difference(parts(), parts(**changed)) == said
    assert recipe.difference(None, parts()) == "first run"
