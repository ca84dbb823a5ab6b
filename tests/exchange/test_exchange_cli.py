"""The commands: what they print, and how they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from exchange_contents import RUN, fill, project

from windlass.cli.root import root
from windlass.cli.run import guarded
from windlass.registry.tracking import runs
from windlass.server.tracking import tracking_server

CONFIG = '[project]\nname = "here"\n[model]\nname = "m"\n[endpoint]\nname = "e"\n'


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    there = project(tmp_path / "there")
    fill(there)
    with tracking_server(there) as found:
        yield found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("WINDLASS_DATABASE", raising=False)
    project(tmp_path / "here", config=CONFIG).database.close()
    return tmp_path / "here"


def command(here: Path, *arguments: str) -> int:
    return guarded(root, ["--project", str(here), *arguments])


def test_import_and_verify(here: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(here, "import", "mlflow", url, "--dry-run") == 0
    assert "would copy" in capsys.readouterr().out
    assert command(here, "import", "mlflow", url) == 0
    assert "3 experiments, 5 runs, 1 logged models" in capsys.readouterr().out
    assert command(here, "import", "mlflow", url, "--verify") == 0
    assert "everything is the same" in capsys.readouterr().out
    ours = project(here)
    with ours.database.write() as tx:
        tx.execute("DELETE FROM run_params WHERE run = ?", (runs.number_of(tx, RUN.format(1)),))
    assert command(here, "import", "mlflow", url, "--verify", "--json") == 4
    told = json.loads(capsys.readouterr().out)
    assert {each["what"] for each in told["differences"]} == {"param 'depth'", "param 'empty'"}
    assert command(here, "import", "mlflow", url, "--verify") == 4
    assert f"different: run {RUN.format(1)}: param 'depth': 1 in the source, missing in the copy" in (
        capsys.readouterr().out
    )


def test_export_and_verify(here: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(here, "import", "mlflow", url) == 0
    with tracking_server(project(tmp_path / "third")) as third:
        assert command(here, "export", "mlflow", third, "--verify") == 4
        assert command(here, "export", "mlflow", third) == 0
        assert command(here, "export", "mlflow", third, "--verify") == 0
    assert "everything is the same" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("uri", "code"),
    [("sqlite:///m.db", 2), ("/no/such/folder", 2), ("http://127.0.0.1:1/x?y", 2), ("http://u:p@127.0.0.1:1", 2)],
)
def test_what_is_no_source_is_one_line(here: Path, uri: str, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(here, "import", "mlflow", uri) == code
    said = capfd.readouterr().err
    assert said.startswith("error")
    assert "Traceback" not in said


def test_what_could_not_be_copied_is_told_and_ends_with_1(
    here: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = project(here)
    with ours.database.write() as tx:
        runs.create_run(tx, run_id=RUN.format(3), experiment_id="0", name="mine", user="", at=1)
    assert command(here, "import", "mlflow", url) == 1
    assert f"not copied: run {RUN.format(3)}: there is a run of that id here already" in capsys.readouterr().out
