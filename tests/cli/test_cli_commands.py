"""Every command explains itself, and none costs what it does not use."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from windlass.cli import root
from windlass.domain.errors import KINDS, Failure, Refused

HEAVY = ("numpy", "pyarrow", "scipy", "sklearn", "starlette", "uvicorn", "httptools", "mlflow", "psycopg")


def commands() -> list[list[str]]:
    """Every command and subcommand."""
    context = click.Context(root.root, obj=Path())
    found: list[list[str]] = []

    def walk(command: click.Command, path: list[str]) -> None:
        if path:
            found.append(path)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                walk(inner, [*path, name])

    walk(root.root, [])
    return found


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(path: list[str]) -> None:
    done = CliRunner().invoke(root.root, [*path, "--help"])
    assert done.exit_code == 0
    assert "Example" in done.output
    assert "windlass" in done.output


@pytest.mark.parametrize(
    "path", [path for path in commands() if path[0] != "completion" and path != ["data", "cat"]], ids=" ".join
)
def test_every_command_that_reports_has_json(path: list[str]) -> None:
    said = CliRunner().invoke(root.root, [*path, "--help"]).output
    assert "--json" in said or "Commands:" in said


@pytest.mark.parametrize("code", ["import windlass", "import windlass.cli.root"])
def test_importing_and_helping_load_nothing_heavy(code: str) -> None:
    script = f"{code}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_server_starts_without_what_only_models_and_tables_need() -> None:
    numeric = ("numpy", "pyarrow", "scipy", "pandas", "sklearn")
    script = f"import sys, windlass.server.control\nprint([name for name in {numeric!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    done = CliRunner().invoke(root.root, ["completion", shell])
    assert done.exit_code == 0
    assert "_WINDLASS_COMPLETE" in done.output


def test_an_unknown_command_is_usage() -> None:
    done = subprocess.run([sys.executable, "-m", "windlass", "frobnicate"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_every_kind_of_error_has_an_exit_code() -> None:
    run = importlib.import_module("windlass.cli.run")
    for kind in KINDS.values():

        @click.command()
        def fail(kind: type[Failure] = kind) -> None:
            raise kind("what is wrong", "what to do") if kind is not Refused else Refused("w", "h", evidence=["e"])

        assert run.guarded(fail, []) == run.EXIT_CODES[kind]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A control process over an empty project."""
    subprocess.run([sys.executable, "-m", "windlass", "init", str(tmp_path)], check=True, capture_output=True)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "windlass.server.control", "--project", str(tmp_path), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
    process.terminate()
    process.wait(20)
    process.stdout.close()


def test_with_a_url_commands_go_to_the_server(server: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()

    def windlass(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "windlass", *args], capture_output=True, text=True, check=False,
            cwd=tmp_path / "elsewhere", env=os.environ | {"WINDLASS_URL": server},
        )  # fmt: skip

    assert json.loads(windlass("models", "--json").stdout) == []
    assert json.loads(windlass("status", "--json").stdout)["project"] == tmp_path.name
    missing = windlass("gate", "m@1.0.0")
    assert (missing.returncode, "no model version m@1.0.0" in missing.stderr) == (2, True)
    outside = windlass("data", "add", "/etc/hostname", "--name", "rows")
    assert (outside.returncode, "outside of the project" in outside.stderr) == (3, True)


def test_without_a_server_there_it_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "windlass", "models"], capture_output=True, text=True, check=False,
        env=os.environ | {"WINDLASS_URL": "http://127.0.0.1:9"},
    )  # fmt: skip
    assert done.returncode == 5
    assert "windlass up" in done.stderr
