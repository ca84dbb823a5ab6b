"""Making a project: the files that a new one starts with, and its Git repository."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from windlass.capture import code
from windlass.domain import names
from windlass.domain.errors import Invalid, Unavailable
from windlass.pipelines import template

EXAMPLE_NAME = "employment"
EXAMPLE_FILES = ("windlass.toml", "pipeline.py", "features.py", ".gitignore", "README.md")
FIRST_YEAR = "acs_ma_employment_2015.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    folder: str
    created: tuple[str, ...]
    kept: tuple[str, ...]


def create(folder: Path, *, name: str | None, example: bool) -> Created:
    """Lay a project out in ``folder`` and commit it; a file that is there already is kept as it is.

    Raises:
        Invalid: the name is none.
        Unavailable: the folder cannot be written, or there is no git.
    """
    folder = folder.resolve()
    if example and name not in (None, EXAMPLE_NAME):
        raise Invalid("the example has a name of its own", hint="leave --name or --example out")
    chosen = names.checked(name or EXAMPLE_NAME if example else name or _from_folder(folder), "project name")
    created, kept = [], []
    try:
        for path, content in (_example() if example else _template(chosen)).items():
            target = folder / path
            if target.exists():
                kept.append(path)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, target)
            else:
                target.write_text(content, encoding="utf-8")
            created.append(path)
    except OSError as error:
        raise Unavailable(f"cannot write to {folder}: {error.strerror}", hint="choose another folder") from None
    code.initialise(folder, f"Start {chosen} with Windlass")
    return Created(folder=str(folder), created=tuple(created), kept=tuple(kept))


def example_folder() -> Path:
    """The employment example: inside the package when installed, in the checkout otherwise."""
    inside = Path(str(files("windlass.demo"))) / EXAMPLE_NAME
    return inside if inside.is_dir() else Path(__file__).parents[3] / "examples" / EXAMPLE_NAME


def example_data(year: int) -> Path:
    return example_folder() / "data" / f"acs_ma_employment_{year}.parquet"


def _example() -> dict[str, str | Path]:
    source = example_folder()
    laid: dict[str, str | Path] = {path: source / path for path in EXAMPLE_FILES}
    laid[f"data/acs/{FIRST_YEAR}"] = source / "data" / FIRST_YEAR
    return laid


def _template(name: str) -> dict[str, str | Path]:
    return dict(template.files(name))


def _from_folder(folder: Path) -> str:
    """A legal name from the folder's."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", folder.name).strip("-0123456789_") or "model"
