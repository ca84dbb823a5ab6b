"""Where things lie in a project's folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from windlass.domain.errors import NotFound

CONFIG_FILE = "windlass.toml"


@dataclass(frozen=True, slots=True)
class Layout:
    """``root`` holds ``windlass.toml``; all that Windlass keeps is in ``root/.windlass``."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / ".windlass"

    @property
    def config(self) -> Path:
        return self.root / CONFIG_FILE

    @property
    def database(self) -> Path:
        return self.home / "windlass.db"

    @property
    def objects(self) -> Path:
        return self.home / "objects"

    @property
    def packages(self) -> Path:
        """Packaged models laid out for workers, by digest; a cache of the store."""
        return self.home / "packages"

    @property
    def environments(self) -> Path:
        """Virtual environments built from locks, by digest; a cache."""
        return self.home / "environments"

    @property
    def remotes(self) -> Path:
        """What is known of other stores: which packs they have; a cache."""
        return self.home / "cache" / "remotes"

    @property
    def installed(self) -> Path:
        """What was found installed beside Windlass; a cache."""
        return self.home / "cache" / "installed.json"

    @property
    def files(self) -> Path:
        """Read-only files by digest, which checkouts link to; a cache."""
        return self.home / "cache" / "files"

    @property
    def predictions(self) -> Path:
        """Prediction log segments, a folder an endpoint."""
        return self.home / "predictions"

    @property
    def parquet(self) -> Path:
        """The prediction log's finished segments as Parquet, a folder an endpoint."""
        return self.home / "parquet"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def runs(self) -> Path:
        """Working folders of pipeline runs."""
        return self.home / "runs"

    @property
    def scratch(self) -> Path:
        """Folders of what is being made now; those of processes that ended are swept up."""
        return self.home / "scratch"

    @property
    def routes(self) -> Path:
        """The gateway's last good route table."""
        return self.home / "routes.json"

    @property
    def lock(self) -> Path:
        """Held by `windlass up` for as long as it lives."""
        return self.home / "up.lock"

    @property
    def address(self) -> Path:
        """Written by `windlass up`: URLs and process ids of what it started."""
        return self.home / "up.json"

    def socket(self, name: str) -> Path:
        """A Unix socket's path: short, because the kernel allows 107 bytes and project folders can be deep."""
        key = hashlib.sha256(os.fsencode(self.root.resolve())).hexdigest()[:16]
        folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"windlass-{os.getuid()}-{key}"
        return folder / f"{name}.sock"

    def gateway_socket(self, number: int = 0) -> Path:
        """The admin socket of one of the gateways that share the port."""
        return self.socket("gateway" if number == 0 else f"gateway-{number}")

    def worker_socket(self, release: str) -> Path:
        """The socket of a release's worker."""
        return self.socket(f"worker-{release.removeprefix('b3:')[:16]}")


def find(start: Path) -> Layout:
    """The project that ``start`` lies in.

    Raises:
        NotFound: neither ``start`` nor a folder above it has a ``windlass.toml``.
    """
    found = _above(start)
    if found is not None:
        return found
    raise NotFound(
        f"no {CONFIG_FILE} in {start} or above it",
        hint="run `windlass init` to make a project here, or go to one (or give --project DIR)",
    )


def find_or_here(start: Path) -> Layout:
    """The project that ``start`` lies in, or ``start`` itself, which may become one."""
    return _above(start) or Layout(start)


def _above(start: Path) -> Layout | None:
    return next((Layout(folder) for folder in (start, *start.parents) if (folder / CONFIG_FILE).is_file()), None)
