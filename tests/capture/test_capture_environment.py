"""Environments: captured, locked with hashes, built again. Real uv, real distributions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from windlass.capture import environment, uv, wheels
from windlass.capture.environment import Environment
from windlass.domain import ledger
from windlass.domain.errors import Corrupt, NotFound, Unavailable
from windlass.domain.ports import Database
from windlass.store.objects import PackedObjects

# An environment's digest in format 1, for ever.
GOLDEN = "b3:302b87a6acb37ab90c4691314f73ab006071aa9d6c6b53464b299f34d43ab7d6"
GOLDEN_BYTES = (
    b'{"distributions":[["click","8.1.0"]],"format":1,"implementation":"cpython","local":[["mine","1 (editable)"]],'
    b'"platform":"linux-x86_64","python":"3.12.1","windlass":"0.1.0"}'
)
EXAMPLE = Environment(
    python="3.12.1",
    implementation="cpython",
    platform="linux-x86_64",
    distributions=(("click", "8.1.0"),),
    local=(("mine", "1 (editable)"),),
    windlass="0.1.0",
)


@pytest.fixture(scope="module")
def small() -> Environment:
    """This interpreter with two small distributions, in the versions that are installed."""
    pins = tuple((name, version(name)) for name in ("click", "msgspec"))
    return replace(environment.capture(), distributions=pins, local=())


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def stored(database: Database, objects: PackedObjects, small: Environment, said: list[str]) -> Iterator[str]:
    yield environment.store(database, objects, small, actor="ada", now=lambda: 7, progress=said.append)


def test_the_running_interpreter_is_captured_without_windlass() -> None:
    found = environment.capture()
    pins = dict(found.distributions)
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert (pins["click"], pins["pytest"]) == (version("click"), version("pytest"))
    assert "windlass" not in pins
    assert list(pins) == sorted(pins)
    assert environment.capture() == found
    assert environment.inspect(Path(sys.executable)) == found


def test_the_digest_is_the_same_in_every_folder(tmp_path: Path) -> None:
    script = "from windlass.capture import environment as e; print(e.digest_of(e.capture()))"
    digests = set()
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        if folder.name == "two":
            (folder / "mine-1.0.dist-info").mkdir()
            (folder / "mine-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        done = subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, capture_output=True, text=True)
        digests.add(done.stdout)
    assert len(digests) == 1


def test_the_record_is_the_golden_one(objects: PackedObjects) -> None:
    assert environment.digest_of(EXAMPLE) == objects.put(GOLDEN_BYTES) == GOLDEN
    assert environment.load(objects, GOLDEN) == EXAMPLE


def test_what_is_installed_is_looked_at_again_when_something_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "installed"
    installed.mkdir()
    monkeypatch.syspath_prepend(str(installed))
    first = environment.capture(tmp_path / "cache.json")
    assert environment.capture(tmp_path / "cache.json") == first == environment.capture()
    (installed / "tinydep-2.0.dist-info").mkdir()
    (installed / "tinydep-2.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tinydep\nVersion: 2.0\n"
    )
    assert environment.compare(first, environment.capture(tmp_path / "cache.json")) == ["tinydep: not installed -> 2.0"]
    (tmp_path / "cache.json").write_text("damaged")
    assert ("tinydep", "2.0") in environment.capture(tmp_path / "cache.json").distributions


def test_environments_are_compared_by_line() -> None:
    other = replace(EXAMPLE, python="3.13.0", distributions=(("click", "8.2.0"), ("rich", "14")), local=())
    assert environment.compare(EXAMPLE, EXAMPLE) == []
    assert environment.compare(EXAMPLE, other) == [
        "python: 3.12.1 -> 3.13.0",
        "click: 8.1.0 -> 8.2.0",
        "rich: not installed -> 14",
        "mine: 1 (editable) -> not installed",
    ]


def test_an_environment_is_locked_once_with_hashes_and_without_hosts(
    database: Database, objects: PackedObjects, small: Environment, stored: str, said: list[str]
) -> None:
    assert said == ["locking the environment"]
    assert environment.store(database, objects, small, actor="ada", now=lambda: 8, progress=said.append) == stored
    assert said == ["locking the environment"]
    assert environment.load(objects, stored) == small
    with database.read() as tx:
        lock = ledger.head(tx, f"environment/{stored}")
        assert len(ledger.entries(tx)) == 1
    assert lock is not None
    text = objects.get(lock).decode()
    assert [line.split()[0] for line in text.splitlines() if not line.startswith(" ")] == [
        f"{name}=={pin}" for name, pin in small.distributions
    ]
    assert text.count("--hash=sha256:") >= 2
    assert "//" not in text


def test_an_environment_is_built_from_its_lock_and_holds_nothing_else(
    database: Database, objects: PackedObjects, small: Environment, stored: str, said: list[str], tmp_path: Path
) -> None:
    python = environment.build(database, objects, stored, tmp_path / "environments", progress=said.append)
    assert said[1:] == ["building the environment: 2 distributions"]
    assert environment.inspect(python) == small
    script = "import click, msgspec, windlass, windlass.domain.errors; print(click.__file__, windlass.__file__)"
    done = subprocess.run([str(python), "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(tmp_path)) == 2
    missing = subprocess.run([str(python), "-I", "-c", "import pytest"], capture_output=True, text=True, check=False)
    assert "No module named 'pytest'" in missing.stderr
    assert environment.build(database, objects, stored, tmp_path / "environments", progress=said.append) == python
    assert len(said) == 2
    assert [path.name for path in (tmp_path / "environments").iterdir()] == [stored.removeprefix("b3:")]


def test_a_vendored_environment_is_built_without_an_index_or_a_cache(
    database: Database,
    objects: PackedObjects,
    stored: str,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = wheels.vendor(database, objects, stored, actor="ada", now=lambda: 8, progress=said.append)
    assert (kept.environment, kept.files) == (stored, 2)
    assert wheels.vendor(database, objects, stored, actor="ada", now=lambda: 9, progress=said.append) == kept
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty cache"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    python = environment.build(database, objects, stored, tmp_path / "environments")
    assert dict(environment.inspect(python).distributions)["click"] == version("click")
    with database.read() as tx:
        [row] = environment.ls(tx)
    assert (row["digest"], row["locked"], row["vendored"]) == (stored, True, 2)


def test_the_hashes_of_the_projects_lock_are_taken_and_what_differs_is_said(
    database: Database, objects: PackedObjects, small: Environment, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text(
        f"click=={version('click')} --hash=sha256:{'a' * 64}\nmsgspec==0.0.1 --hash=sha256:{'b' * 64}\n"
    )
    name = environment.store(
        database, objects, small, project=tmp_path, actor="ada", now=lambda: 7, progress=said.append
    )
    assert said[1:] == [f"msgspec: requirements.txt says 0.0.1, installed is {version('msgspec')}"]
    with database.read() as tx:
        [entry] = ledger.entries(tx, subject=f"environment/{name}")
    assert entry.evidence["lock file"] == "requirements.txt"
    assert entry.after is not None
    lock = objects.get(entry.after).decode()
    assert f"sha256:{'a' * 64}" in lock
    assert f"sha256:{'b' * 64}" not in lock


@pytest.mark.parametrize("hashes", [f" --hash=sha256:{'0' * 64}", ""])
def test_a_distribution_without_the_right_hash_is_not_installed(
    database: Database, objects: PackedObjects, small: Environment, stored: str, tmp_path: Path, hashes: str
) -> None:
    forged = objects.put("".join(f"{name}=={pin}{hashes}\n" for name, pin in small.distributions).encode())
    with database.write() as tx:
        tx.execute("UPDATE environments SET lock = ? WHERE digest = ?", (forged, stored))
    with pytest.raises(Unavailable, match="uv pip failed"):
        environment.build(database, objects, stored, tmp_path / "environments")
    assert list((tmp_path / "environments").iterdir()) == []


def test_a_lock_of_another_environment_builds_nothing(
    database: Database, objects: PackedObjects, stored: str, tmp_path: Path
) -> None:
    with database.write() as tx:
        tx.execute("UPDATE environments SET lock = ? WHERE digest = ?", (objects.put(b""), stored))
    with pytest.raises(Corrupt, match=r"click: .* -> not installed"):
        environment.build(database, objects, stored, tmp_path / "environments")
    assert list((tmp_path / "environments").iterdir()) == []


def test_what_no_index_has_is_left_out_and_said(
    database: Database, objects: PackedObjects, small: Environment, said: list[str], tmp_path: Path
) -> None:
    mixed = replace(small, distributions=small.distributions[:1], local=(("mine", "1.0 (editable)"),))
    name = environment.store(database, objects, mixed, actor="ada", now=lambda: 7)
    environment.build(database, objects, name, tmp_path / "environments", progress=said.append)
    assert said[-1] == "no index has mine 1.0 (editable): left out of the environment"


def test_where_no_lock_can_be_made_the_run_goes_on_and_the_build_says_why(
    database: Database,
    objects: PackedObjects,
    small: Environment,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")  # where nothing answers
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    impossible = replace(small, distributions=(("click", "0.0.0.dev1"),))
    name = environment.store(database, objects, impossible, actor="ada", now=lambda: 7, progress=said.append)
    assert environment.load(objects, name) == impossible
    assert "could not be locked" in said[-1]
    with database.read() as tx:
        [entry] = ledger.entries(tx)
    assert (entry.subject, entry.after) == (f"environment/{name}", None)
    assert "uv pip failed" in entry.reason
    assert "127.0.0.1" not in entry.reason
    with pytest.raises(Unavailable, match="has no lock") as caught:
        environment.build(database, objects, name, tmp_path / "environments")
    assert "windlass run" in caught.value.hint
    # Tried again at the next run; what did not change is not recorded twice.
    assert environment.store(database, objects, impossible, actor="ada", now=lambda: 8) == name
    with database.read() as tx:
        assert len(ledger.entries(tx)) == 1


def test_an_unknown_environment_cannot_be_built(database: Database, objects: PackedObjects, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        environment.build(database, objects, "b3:" + "0" * 64, tmp_path / "environments")


def test_records_name_no_host() -> None:
    said = "error sending request for url (https://index.example.org/simple/click/) at file:///home/ada/wheels"
    assert uv.anonymous(said) == "error sending request for url ((a URL) at (a URL)"


def test_the_module_that_other_interpreters_run_needs_only_the_standard_library() -> None:
    file = Path(environment.distributions.__file__)
    done = subprocess.run([sys.executable, "-I", "-S", str(file)], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["distributions"] == []


def test_a_broken_interpreter_is_one_clear_error(tmp_path: Path) -> None:
    for python in (tmp_path / "nowhere", Path("/bin/true")):
        with pytest.raises(Unavailable, match="does not run"):
            environment.inspect(python)
