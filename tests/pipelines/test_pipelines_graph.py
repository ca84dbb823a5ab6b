"""The DAG, read from the source without running it."""

from __future__ import annotations

import pytest

from windlass.domain.errors import Invalid
from windlass.pipelines import graph
from windlass.pipelines.config import CommandConfig, PipelineConfig

SOURCE = """
import nothing_that_exists
from windlass import step
import windlass

@step
def c(a, b, seed): ...

@windlass.step(retries=2, timeout_seconds=5)
def a(rows): ...

@step(backoff_seconds=0.5)
def b(a, share): ...

def helper(whatever): ...
"""


def read(source: str, **commands: CommandConfig) -> graph.Graph:
    return graph.read(source, "pipeline.py", PipelineConfig(config={"share": 0.5}, commands=commands), {"rows"})


def test_steps_come_after_what_they_need_with_their_options() -> None:
    found = read(SOURCE)
    assert [step.name for step in found.steps] == ["a", "b", "c"]
    assert found.needs == {"a": (), "b": ("a",), "c": ("a", "b")}
    assert (found.steps[0].retries, found.steps[0].timeout_seconds, found.steps[1].backoff_seconds) == (2, 5, 0.5)


def test_a_command_is_a_step() -> None:
    found = read(SOURCE, legacy=CommandConfig(run=["python", "train.py"], needs=("rows", "a")))
    legacy = next(step for step in found.steps if step.name == "legacy")
    assert (legacy.command, legacy.parameters) == (("python", "train.py"), ("rows", "a"))


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("def f(:", "pipeline.py:1"),
        ("x = 1", "no step"),
        ("@step\ndef a(b): ...\n@step\ndef b(a): ...", "circle"),
        ("@step\ndef a(unheard): ...", "'unheard'"),
        ("@step\ndef rows(): ...", "two things"),
        ("@step\ndef a(*many): ...", "named? each|name"),
        ("@step(retries=N)\ndef a(): ...", "retries"),
        ("@step(colour='red')\ndef a(): ...", "colour"),
    ],
)
def test_what_makes_no_graph_is_said(source: str, word: str) -> None:
    with pytest.raises(Invalid) as error:
        read(source)
    assert any(part in f"{error.value.message} {error.value.hint}" for part in word.split("|"))
