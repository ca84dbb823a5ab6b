"""The whole loop on real data: `windlass demo --json`, and what its document must say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from windlass.store import objects
from windlass.workspace.stores import local_store


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


def test_nothing_of_the_demo_is_left_running(
    summary: dict[str, Any], folder: Path, processes: Callable[[str], list[int]]
) -> None:
    assert not (folder / ".windlass" / "up.json").exists()
    assert processes(str(folder)) == []


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


def lies(home: Path, digest: str) -> tuple[Path, int]:
    """Where an object lies in its pack: the file, and the place of one of its bytes."""
    store = local_store(home / "objects")
    place = store.index.place(objects.raw(digest))
    store.index.close()
    assert place is not None
    return home / "objects" / place.pack, place.record.offset + place.record.stored // 2


def test_a_flipped_byte_in_any_kind_of_record_is_found(summary: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    home = folder / ".windlass"
    first = summary["versions"][0]
    log = next(iter(sorted((home / "predictions" / "employment").rglob("*.log"))))
    data = lies(home, first["data_digest"])
    for victim, at in (lies(home, first["model_digest"]), (log, 100), data):
        intact = victim.read_bytes()
        mode = victim.stat().st_mode
        victim.chmod(0o644)
        victim.write_bytes(intact[:at] + bytes([intact[at] ^ 1]) + intact[at + 1 :])
        try:
            done = windlass("--project", str(folder), "verify")
            assert done.returncode == 4
            assert "Traceback" not in done.stderr
            assert "damaged" in done.stdout
            if (victim, at) == data:
                used = windlass("--project", str(folder), "data", "checkout", "acs@1", str(tmp_path / "acs"))
                assert (used.returncode, (tmp_path / "acs").exists()) == (4, False)
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


@contextmanager
def up(folder: Path) -> Iterator[dict[str, str]]:
    """`windlass up` in the folder; gives its addresses."""
    process = subprocess.Popen(
        [sys.executable, "-m", "windlass", "--project", str(folder), "up", "--gateway-port", "0",
         "--control-port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def until(holds: Callable[[], bool], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_the_control_process_killed_in_the_middle_of_a_canary(
    summary: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    """The gateway goes on answering; the next control process finishes the rollout; the ledger verifies."""
    here = ["--project", str(folder)]
    assert windlass(*here, "approve", "employment@1.3.0", WINDLASS_ACTOR="alex").returncode == 0
    with up(folder) as address:

        def ask(operation: str, **request: Any) -> Any:
            http = urllib.request.Request(
                f"{address['control_url']}/api/v1/{operation}", json.dumps(request).encode(),
                {"content-type": "application/json"},
            )  # fmt: skip
            with urllib.request.urlopen(http, timeout=30) as answer:
                return json.load(answer)

        def pid() -> int:
            found = json.loads((folder / ".windlass" / "up.json").read_text())["control"]["pid"]
            return int(found or 0)

        until(lambda: ask("status.show")["workers"][0]["state"] == "ready", "the worker is ready again")
        users = subprocess.Popen(
            [sys.executable, "-m", "windlass.demo.traffic", "--url",
             f"{address['gateway_url']}/endpoints/employment/invocations", "--data",
             str(folder / "data" / "acs" / "acs_ma_employment_2016.parquet"), "--labels", str(tmp_path / "labels"),
             "--prefix", "kill"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            started = windlass(*here, "release", "employment@1.3.0", "--strategy", "canary", "--json")
            assert started.returncode == 0, started.stderr
            rollout = json.loads(started.stdout)["id"]
            until(lambda: ask("rollout.show", rollout=rollout)["phase"] == 1, "the canary is at 5 %")
            killed = pid()
            os.kill(killed, signal.SIGKILL)
            until(lambda: pid() not in (killed, 0), "the control process is started again")
            until(lambda: _ended(here, rollout), "the rollout has ended")
        finally:
            users.terminate()
            said = json.loads(users.communicate(timeout=30)[0].splitlines()[-1])
    shown = json.loads(windlass(*here, "rollout", "show", rollout, "--json").stdout)
    assert shown["state"] in ("promoted", "rolled_back"), shown
    assert said["failed"] == 0, said
    assert said["sent"] > 1000
    assert windlass(*here, "verify").returncode == 0
    explained = json.loads(windlass(*here, "rollout", "explain", rollout, "--json").stdout)
    assert all(step["agrees"] for step in explained["steps"])


def _ended(here: list[str], rollout: str) -> bool:
    shown = windlass(*here, "rollout", "show", rollout, "--json")
    return shown.returncode == 0 and json.loads(shown.stdout)["ended_at"] is not None
