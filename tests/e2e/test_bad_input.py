"""Bad input gets one clear line, no traceback, and the exit code of its kind."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def windlass(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "windlass", "--project", str(folder), *args],
        capture_output=True, text=True, check=False, timeout=120, env=os.environ | {"WINDLASS_ACTOR": "dana"},
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    said = done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    assert f"\n{said}".count("\nerror: ") == 1
    for word in words:
        assert word in said


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "churn"
    assert windlass(tmp_path, "init", str(folder)).returncode == 0
    return folder


def test_outside_of_a_project(tmp_path: Path) -> None:
    refused(windlass(tmp_path, "status"), 2, "windlass.toml", "windlass init")


def test_a_missing_file(project: Path) -> None:
    refused(windlass(project, "data", "add", "nothing/here", "--name", "rows"), 2, "nothing/here")


def test_a_malformed_configuration_names_line_and_key(project: Path) -> None:
    config = project / "windlass.toml"
    text = config.read_text()
    config.write_text(text.replace("window_rows = 2000", "window_rows = 'many'"))
    line = config.read_text().splitlines().index("window_rows = 'many'") + 1
    refused(windlass(project, "run"), 2, f"windlass.toml:{line}", "monitors.window_rows")
    config.write_text("[project\n" + text)
    refused(windlass(project, "run"), 2, "windlass.toml:1:")


def test_an_unknown_key_in_the_configuration(project: Path) -> None:
    config = project / "windlass.toml"
    config.write_text(config.read_text() + "\n[surprise]\nx = 1\n")
    refused(windlass(project, "run"), 2, "surprise")


@pytest.mark.parametrize(
    "command",
    [["gate"], ["approve"], ["release"], ["reproduce"], ["lineage"]],
)
def test_an_unknown_version(project: Path, command: list[str]) -> None:
    refused(windlass(project, *command, "churn@9.9.9"), 2, "churn@9.9.9")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["stage", "churn@9.9.9", "staging"], "churn@9.9.9"),
        (["stage", "churn@1", "nowhere"], "nowhere"),
        (["alias", "churn@champion", "best"], "churn@champion"),
        (["alias", "churn@1", "v1"], "churn@1"),
        (["alias", "rm", "churn", "best"], "churn"),
        (["alias", "ls", "no/such"], "no/such"),
        (["models", "tag", "churn", "team"], "KEY=VALUE"),
        (["models", "--filter", "tags.team = "], "tags.team"),
        (["models", "--filter", "stage = 'Production'"], "stage"),
        (["models", "ls", "--order-by", "nothing UP"], "nothing UP"),
        (["runs", "search", "metrics.a > 'x' OR 1 = 1"], "'x'"),
        (["runs", "search", "--experiment", "none such"], "none such"),
        (["runs", "search", "--limit", "0"], "limit"),
        (["register", "--from", "file:///etc/passwd", "--model", "churn"], "file:///etc/passwd"),
        (["register", "--from", "runs:/../../x", "--model", "churn"], "runs:/../../x"),
        (["register", "--model", "churn"], "--from"),
        (["compare", "churn@1"], "1 to compare"),
        (["compare", "churn@1", "churn@2"], "churn@1"),
        (["lineage", "planet/mars"], "planet/mars"),
        (["lineage", "\x01"], "model name"),
    ],
)
def test_what_the_registry_is_asked_wrongly(project: Path, command: list[str], said: str) -> None:
    refused(windlass(project, *command), 2, said)


def test_no_reference_at_all(project: Path) -> None:
    refused(windlass(project, "gate", "../../etc/passwd"), 2, "Invalid model name")


def test_a_run_without_data(project: Path) -> None:
    refused(windlass(project, "run"), 2, "windlass data add")


def test_a_port_in_use(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused(windlass(project, "up", "--gateway-port", port, "--control-port", "0"), 5, port, "--gateway-port")


def test_not_on_a_public_address(project: Path) -> None:
    refused(windlass(project, "up", "--host", "0.0.0.0"), 3, "0.0.0.0", "127.0.0.1")


@pytest.fixture
def up(project: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "windlass", "--project", str(project), "up", "--gateway-port", "0",
         "--control-port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline()
    yield process
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_second_up_in_the_same_folder(project: Path, up: subprocess.Popen[str]) -> None:
    refused(windlass(project, "up", "--gateway-port", "0", "--control-port", "0"), 5, str(up.pid))


def test_an_empty_folder_can_be_brought_up(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "windlass", "--project", str(tmp_path), "up", "--gateway-port", "0",
         "--control-port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "gateway_url" in process.stdout.readline()
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_damaged_database(project: Path) -> None:
    assert windlass(project, "status").returncode == 0
    (project / ".windlass" / "windlass.db").write_bytes(b"not a database at all" * 100)
    refused(windlass(project, "status"), 4, "windlass.db")


def test_a_database_of_a_newer_windlass(project: Path) -> None:
    assert windlass(project, "status").returncode == 0
    with sqlite3.connect(project / ".windlass" / "windlass.db") as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    refused(windlass(project, "status"), 5, "upgrade")


def test_a_missing_label_file_and_a_malformed_one(project: Path, tmp_path: Path) -> None:
    refused(windlass(project, "labels", "add", str(tmp_path / "none.jsonl")), 2, "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"id": "1", "label": 1}\nnot json\n')
    refused(windlass(project, "labels", "add", str(tmp_path / "bad.jsonl")), 2, "bad.jsonl:2")
