"""Both APIs, asked what schemathesis makes up from their OpenAPI documents: legal requests, and others.

No answer is a fault of the server, each error has its form, and what was there before is as it was.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from server_process import server_process

from windlass.workspace import databases, project

CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance,status_code_conformance"
# MLflow answers 500 where a thing is not in the state for it (INVALID_STATE), and 501 to what a store does not do.
CONFIG = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501]
"""


@pytest.mark.parametrize(("document", "examples"), [("openapi.json", 12), ("openapi-mlflow.json", 8)])
def test_nothing_that_can_be_asked_is_a_fault_of_the_server(tmp_path: Path, document: str, examples: int) -> None:
    pytest.importorskip("schemathesis", reason="needs schemathesis (dependency group `fuzz`)")
    folder = tmp_path / "project"
    project.create(folder, name="fuzzed", example=False)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    with server_process(folder) as started:
        target = replace(started, token=token_of(folder))
        before = target.known()
        done = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "schemathesis.toml"),
                "run", f"http://127.0.0.1:{target.port}/{document}",
                "--header", f"Authorization: Bearer {target.token}", "--exclude-path", "/api/v1/token.revoke",
                # It takes as much processor time as it is asked to, within a bound that has its own test.
                "--exclude-path", "/api/v1/rollout.simulate",
                "--phases", "coverage,fuzzing", "--seed", "4", "--max-examples", str(examples), "--checks", CHECKS,
                "--continue-on-failure", "--warnings", "off", "--no-color", "--suppress-health-check", "all",
            ],
            capture_output=True, text=True, check=False, cwd=tmp_path, timeout=280, env=os.environ,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert target.known() == before
        assert target.peak < 400 << 20
        assert target.ask("GET", "/ready").status == 200


def token_of(folder: Path) -> str:
    """Somebody's token."""
    made = subprocess.run(
        [sys.executable, "-m", "windlass", "token", "create", "fuzzer"],
        capture_output=True, text=True, check=True, cwd=folder, env=os.environ | {databases.VARIABLE: ""},
    )  # fmt: skip
    return made.stdout.strip()
