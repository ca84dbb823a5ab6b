"""Lock files of every format that projects have."""

from __future__ import annotations

from pathlib import Path

import pytest

from windlass.capture import locks
from windlass.capture.locks import Pin
from windlass.domain.errors import Invalid

A, B = "a" * 64, "b" * 64
FILES = {
    "uv.lock": f"""
version = 1
[[package]]
name = "mine"
version = "0.1.0"
source = {{ editable = "." }}
[[package]]
name = "Some_Thing"
version = "1.2.3"
source = {{ registry = "https://example.org/simple" }}
sdist = {{ url = "https://example.org/x.tar.gz", hash = "sha256:{A}" }}
wheels = [{{ url = "https://example.org/x.whl", hash = "sha256:{B}" }}]
""",
    "pylock.toml": f"""
lock-version = "1.0"
[[packages]]
name = "some-thing"
version = "1.2.3"
sdist = {{ name = "x.tar.gz", hashes = {{ sha256 = "{A}" }} }}
wheels = [{{ name = "x.whl", hashes = {{ sha256 = "{B}" }} }}]
""",
    "requirements.txt": f"""
# a comment
--index-url https://example.org/simple
some.thing[extra] == 1.2.3 ; python_version > "3" \\
    --hash=sha256:{A} \\
    --hash=sha256:{B}
loose>=1
""",
}


@pytest.mark.parametrize("name", FILES)
def test_pins_and_hashes_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name])
    lock = locks.find(tmp_path)
    assert lock is not None
    assert (lock.file, dict(lock.pins)) == (name, {"some-thing": (Pin("1.2.3", (A, B)),)})
    assert lock.pin("some-thing", "1.2.3") is not None
    assert lock.pin("some-thing", "1.2.4") is None


def test_conda_gives_pins_without_hashes(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text(
        "name: x\nchannels:\n  - defaults\ndependencies:\n  - python=3.11\n  - numpy=1.26.4=py311_0  # fast\n"
        "  - scipy\n  - pip:\n    - some_thing==1.2.3\n"
    )
    lock = locks.find(tmp_path)
    assert lock is not None
    assert dict(lock.pins) == {"numpy": (Pin("1.26.4"),), "some-thing": (Pin("1.2.3"),)}


def test_the_first_lock_counts_and_none_is_none(tmp_path: Path) -> None:
    assert locks.find(tmp_path) is None
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    found = locks.find(tmp_path)
    assert found is not None
    assert found.file == "uv.lock"


def test_what_is_installed_otherwise_is_told_and_what_is_not_locked_is_not(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("a==1\nb==2\n")
    lock = locks.find(tmp_path)
    assert lock is not None
    assert locks.compare(lock, [("a", "1"), ("b", "3"), ("c", "4")]) == ["b: requirements.txt says 2, installed is 3"]


@pytest.mark.parametrize("text", ["[[package", "package = 3", "[[package]]\nversion = 1\n"])
def test_a_broken_lock_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "uv.lock").write_text(text)
    with pytest.raises(Invalid, match="cannot be read as a lock"):
        locks.find(tmp_path)
