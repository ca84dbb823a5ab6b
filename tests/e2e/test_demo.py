"""The whole loop on real data: `windlass demo --json`, and what its document must say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "employment"


@pytest.fixture(scope="module")
def summary(folder: Path) -> Iterator[dict[str, Any]]:
    done = windlass("demo", "--json", "--dir", str(folder))
    assert done.returncode == 0, done.stderr
    yield json.loads(done.stdout)


def windlass(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "windlass", *args],
        capture_output=True, text=True, check=False, timeout=280, env=os.environ | environment,
    )  # fmt: skip


def test_versions_are_numbered_by_what_changed(summary: dict[str, Any]) -> None:
    assert [each["semver"] for each in summary["versions"]] == ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]
    assert all(each["model_digest"].startswith("b3:") for each in summary["versions"])
    assert all(each["data_digest"].startswith("b3:") for each in summary["versions"])


def test_every_version_passed_its_gate(summary: dict[str, Any]) -> None:
    assert summary["gates"] == dict.fromkeys(("1.0.0", "1.1.0", "1.2.0", "1.3.0"), "pass")


def test_the_first_release_was_blue_green_and_the_second_climbed_on_evidence(summary: dict[str, Any]) -> None:
    first, second, _ = summary["rollouts"]
    assert (first["strategy"], first["end_state"]) == ("blue-green", "promoted")
    assert second["end_state"] == "promoted"
    assert [(step["kind"], step["share"]) for step in second["steps"]] == [
        ("shadow", 0.0), ("canary", 0.01), ("canary", 0.05), ("canary", 0.25), ("canary", 1.0),
    ]  # fmt: skip
    assert all(step["requests"] > 0 for step in second["steps"])
    assert [step["decision"] for step in second["steps"]] == ["advance"] * 4 + ["promote"]


def test_the_harmful_release_was_rolled_back_and_no_user_saw_it(summary: dict[str, Any]) -> None:
    harmful = summary["rollouts"][2]
    assert harmful["strategy"] == "canary"
    assert harmful["end_state"] == "rolled_back"
    assert harmful["steps"][-1]["decision"] == "roll_back"
    assert summary["failed_user_requests"] == 0
    assert summary["requests"] > 10_000
    assert summary["rollback_seconds"] >= 0


def test_drift_is_flagged_on_the_recoded_input_alone_and_retraining_is_held(summary: dict[str, Any]) -> None:
    assert summary["drifted_columns"] == ["RELP"]
    assert summary["retraining"]["state"] == "held"
    assert summary["accuracy"]["realised"] < 0.75
    assert summary["accuracy"]["estimated"] > 0


def test_the_model_is_rebuilt_byte_for_byte(summary: dict[str, Any]) -> None:
    assert summary["reproduced"] is True
    assert summary["digests"]["recorded"] == summary["digests"]["rebuilt"] == summary["versions"][1]["model_digest"]


def test_the_ledger_verifies_and_knows_what_served_when(summary: dict[str, Any]) -> None:
    assert summary["ledger_verified"] is True
    assert [each["version"] for each in summary["history"]] == [
        "employment@1.0.0", "employment@1.1.0", "employment@1.0.0",
    ]  # fmt: skip


def test_nothing_of_the_demo_is_left_running(summary: dict[str, Any], folder: Path) -> None:
    assert not (folder / ".windlass" / "up.json").exists()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(folder) not in running


def test_the_same_recipe_gives_the_same_model_in_another_folder(summary: dict[str, Any], tmp_path: Path) -> None:
    there = tmp_path / "again"
    for args in (["init", str(there), "--example"], *(
        ["--project", str(there), *rest] for rest in (["data", "add", "--name", "acs"], ["run"], ["register"])
    )):  # fmt: skip
        done = windlass(*args)
        assert done.returncode == 0, done.stderr
    shown = windlass("--project", str(there), "models", "employment@1.0.0", "--json")
    version = json.loads(shown.stdout)
    first = summary["versions"][0]
    assert (version["package"], list(version["origin"]["data"].values())) == (
        first["model_digest"], [first["data_digest"]],
    )  # fmt: skip


def test_a_flipped_byte_in_any_kind_of_record_is_found(summary: dict[str, Any], folder: Path) -> None:
    home = folder / ".windlass"
    package = summary["versions"][0]["model_digest"].removeprefix("b3:")
    log = next(path for path in sorted((home / "predictions" / "employment").iterdir()) if path.suffix == ".log")
    for victim in (home / "objects" / package[:2] / package[2:], log):
        intact = victim.read_bytes()
        mode = victim.stat().st_mode
        victim.chmod(0o644)
        victim.write_bytes(intact[:100] + bytes([intact[100] ^ 1]) + intact[101:])
        try:
            done = windlass("--project", str(folder), "verify")
            assert done.returncode == 4
            assert "Traceback" not in done.stderr
            assert "damaged" in done.stdout
        finally:
            victim.write_bytes(intact)
            victim.chmod(mode)
    assert windlass("--project", str(folder), "verify").returncode == 0


def test_decisions_recompute_from_the_prediction_log(summary: dict[str, Any], folder: Path) -> None:
    listed = windlass("--project", str(folder), "rollout", "ls", "--json")
    for rollout in json.loads(listed.stdout):
        done = windlass("--project", str(folder), "rollout", "explain", rollout["id"], "--json")
        assert done.returncode == 0, done.stderr
        assert all(step["agrees"] for step in json.loads(done.stdout)["steps"])
