"""A source: a folder in the layout of MLflow's file store, as ``mlruns`` is.

Everything is reached by listing folders from the root down, and no symbolic link is followed: nothing that a file says
is ever made a path.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from windlass.domain.errors import Corrupt, Failure, Invalid, NotFound
from windlass.exchange.content import Experiment, File, Flaw, LoggedModel, ModelVersion, Point, RegisteredModel, Run
from windlass.registry.plainyaml import loaded
from windlass.registry.tracking import names
from windlass.registry.tracking.logged_models import ModelMetric
from windlass.registry.tracking.runs import DatasetInput

T = TypeVar("T")

META = "meta.yaml"
TRASH = ".trash"
REGISTRY = "models"
PAGE_OF_POINTS = 25_000
DEEPEST = 64
_LARGEST_META = 1 << 20
_LARGEST_DATASET = 40 << 20
_LARGEST_VALUE = 1 << 20
_LONGEST_LINE = 4096
_BESIDE_RUNS = {"tags", "datasets", "traces", "models"}
_STATUS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_PROMPT = "mlflow.prompt.is_prompt"


class FolderSource:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, Path] = {}
        self._places: dict[str, Path] = {}

    @property
    def identity(self) -> str:
        return self._root.as_uri()

    def close(self) -> None:
        """Nothing is kept open."""

    def experiments(self) -> Iterator[Experiment | Flaw]:
        self._found.clear()
        for deleted, folder in ((False, self._root), (True, self._root / TRASH)):
            for place in _folders(folder):
                if place.name in (TRASH, REGISTRY) and folder == self._root:
                    continue
                if not _has(place, META):
                    continue
                yield _read_or_flaw(f"experiment {place.name}", partial(self._read_experiment, place, deleted=deleted))

    def _read_experiment(self, place: Path, *, deleted: bool) -> Experiment:
        meta = _meta(place, _LARGEST_META)
        if _text(meta, "experiment_id") != place.name:
            raise Corrupt(f"{place / META} is of experiment '{_text(meta, 'experiment_id')[:80]}'")
        if place.name in self._found:
            raise Corrupt(f"{place} and {self._found[place.name]} are the same experiment")
        found = Experiment(
            id=place.name,
            name=_text(meta, "name"),
            deleted=deleted or _text(meta, "lifecycle_stage") == "deleted",
            created_at=_number(meta, "creation_time"),
            updated_at=_number(meta, "last_update_time"),
            tags=_values(place / "tags"),
        )
        self._found[place.name] = place
        return found

    def runs(self, experiment_id: str) -> Iterator[Run | Flaw]:
        experiment = self._experiment(experiment_id)
        for place in _folders(experiment):
            if place.name not in _BESIDE_RUNS and _has(place, META):
                yield _read_or_flaw(f"run {place.name}", partial(self._run, experiment, place))

    def whole(self, run: Run) -> Run:
        return run

    def _run(self, experiment: Path, place: Path) -> Run:
        meta = _meta(place, _LARGEST_META)
        identity = _text(meta, "run_id") or _text(meta, "run_uuid")
        if identity != place.name:
            raise Corrupt(f"{place / META} is of run '{identity[:80]}'")
        tags = _values(place / "tags")
        name = _text(meta, "run_name") or tags.get(names.RUN_NAME, "")
        datasets, model_inputs = self._inputs(experiment, place)
        self._places[identity] = place
        return Run(
            id=identity,
            experiment_id=experiment.name,
            name=name,
            user=_text(meta, "user_id"),
            status=_STATUS.get(_number(meta, "status", 1), "RUNNING"),
            started_at=_number(meta, "start_time"),
            ended_at=_number(meta, "end_time") or None,
            deleted=_text(meta, "lifecycle_stage") == "deleted",
            artifact_uri=_text(meta, "artifact_uri"),
            params=_values(place / "params"),
            tags={**tags, names.RUN_NAME: name},
            metrics={key: _last(path) for key, path in _tree(place / "metrics")},
            datasets=datasets,
            model_inputs=model_inputs,
            model_outputs=tuple(
                (_text(each, "destination_id"), _number(each, "step"))
                for each in _metas(place / "outputs", _LARGEST_META)
                if _text(each, "destination_type") == "MODEL_OUTPUT"
            ),
        )

    def _inputs(self, experiment: Path, place: Path) -> tuple[tuple[DatasetInput, ...], tuple[str, ...]]:
        datasets, models = [], []
        # A small file for each; the datasets themselves lie once in the experiment.
        for each in _metas(place / "inputs", _LARGEST_META):
            source = _text(each, "source_id")
            if _text(each, "source_type") == "MODEL":
                models.append(source)
            elif _text(each, "source_type") == "DATASET":
                described = next((f for f in _folders(experiment / "datasets") if f.name == source), None)
                if described is None:
                    continue  # as MLflow has it
                of = _meta(described, _LARGEST_DATASET)
                tags = each.get("tags") or {}
                if not isinstance(tags, dict):
                    raise Corrupt(f"the inputs of {place} have malformed tags")
                datasets.append(
                    DatasetInput(
                        _text(of, "name"), _text(of, "digest"), _text(of, "source_type"), _text(of, "source"),
                        _text(of, "schema"), _text(of, "profile"),
                        {str(key): str(value) for key, value in sorted(tags.items())},
                    )
                )  # fmt: skip
        return tuple(datasets), tuple(models)

    def history(self, run: Run, key: str) -> Iterator[list[Point]]:
        path = dict(_tree(self._place(run) / "metrics")).get(key)
        if path is None:
            raise NotFound(f"run {run.id} has no metric '{key[:80]}'")
        page: list[Point] = []
        for point in _points(path):
            page.append(point)
            if len(page) >= PAGE_OF_POINTS:
                yield page
                page = []
        if page:
            yield page

    def logged_models(self, experiment_id: str) -> Iterator[LoggedModel | Flaw]:
        for place in _folders(self._experiment(experiment_id) / "models"):
            if not _has(place, META):
                continue
            found = _read_or_flaw(f"logged model {place.name}", partial(self._logged_model, experiment_id, place))
            if found is not None:
                yield found

    def _logged_model(self, experiment_id: str, place: Path) -> LoggedModel | None:
        meta = _meta(place, _LARGEST_META)
        if _text(meta, "model_id") != place.name:
            raise Corrupt(f"{place / META} is of model '{_text(meta, 'model_id')[:80]}'")
        if _text(meta, "lifecycle_stage") == "deleted":
            return None  # a server lists none of those
        self._places[place.name] = place
        return LoggedModel(
            id=place.name,
            experiment_id=experiment_id,
            name=_text(meta, "name"),
            source_run_id=_text(meta, "source_run_id"),
            model_type=_text(meta, "model_type"),
            status=_number(meta, "status"),
            status_message=_text(meta, "status_message"),
            created_at=_number(meta, "creation_timestamp"),
            updated_at=_number(meta, "last_updated_timestamp"),
            artifact_uri=_text(meta, "artifact_location"),
            params=_values(place / "params"),
            tags=_values(place / "tags"),
            metrics=tuple(
                _model_metric(path, key, line) for key, path in _tree(place / "metrics") for line in _lines(path)
            ),
        )

    def files(self, owner: Run | LoggedModel) -> Iterator[File]:
        place = self._place(owner) / "artifacts"
        if place.is_symlink():
            raise Invalid(f"{place} is a symbolic link: it is not followed", hint="put the folder itself there")
        found = False
        for path, file in _tree(place, all_kinds=True):
            found = True
            yield File(path, file.lstat().st_size)
        if not found and not self._is_ours(owner):
            raise NotFound(
                f"the files of {owner.id} are not in this folder: its record says {owner.artifact_uri[:200]}",
                hint="start `mlflow server` on the folder where that place can be read, and import from its URL",
            )

    def _is_ours(self, owner: Run | LoggedModel) -> bool:
        """Whether the place of files that a record names is the usual one, in this folder or where it once lay."""
        parts = urlsplit(owner.artifact_uri)
        kind = "models/" if isinstance(owner, LoggedModel) else ""
        usual = f"{owner.experiment_id}/{kind}{owner.id}/artifacts"
        return not owner.artifact_uri or (
            parts.scheme in ("", "file") and unquote(parts.path).rstrip("/").endswith("/" + usual)
        )

    @contextmanager
    def open(self, owner: Run | LoggedModel, file: File) -> Iterator[io.FileIO]:
        with _opened(_beneath(self._place(owner) / "artifacts", file.path)) as opened:
            yield opened

    def registered_models(self) -> Iterator[RegisteredModel | Flaw]:
        for place in _folders(self._root / REGISTRY):
            if not _has(place, META):
                continue
            found = _read_or_flaw(f"registered model '{place.name}'", partial(_registered_model, place))
            if found is not None:
                yield found

    def versions(self, model: str) -> Iterator[ModelVersion]:
        places = [each for each in _folders(self._root / REGISTRY / _name(model)) if each.name.startswith("version-")]
        found = [_model_version(model, place) for place in places if _has(place, META)]
        return iter(sorted((each for each in found if each is not None), key=lambda each: each.number))

    def _experiment(self, identity: str) -> Path:
        return self._found[identity]  # listed before: nobody knows of it otherwise

    def _place(self, owner: Run | LoggedModel) -> Path:
        return self._places[owner.id]


def _registered_model(place: Path) -> RegisteredModel | None:
    meta, tags = _meta(place, _LARGEST_META), _values(place / "tags")
    if tags.get(_PROMPT) == "true":
        return None  # a prompt is kept as a model is, and is none
    if _text(meta, "name") != place.name:
        raise Corrupt(f"{place / META} is of model '{_text(meta, 'name')[:80]}'")
    return RegisteredModel(
        name=place.name,
        description=_text(meta, "description"),
        created_at=_number(meta, "creation_timestamp"),
        updated_at=_number(meta, "last_updated_timestamp"),
        tags=tags,
        aliases={alias: _version(text, place) for alias, text in _values(place / "aliases").items()},
    )


def _model_version(model: str, place: Path) -> ModelVersion | None:
    meta = _meta(place, _LARGEST_META)
    if _text(meta, "current_stage") == "Deleted_Internal":
        return None
    return ModelVersion(
        name=model,
        number=_version(place.name.removeprefix("version-"), place),
        description=_text(meta, "description"),
        stage=_text(meta, "current_stage") or "None",
        source=_text(meta, "source"),
        run_id=_text(meta, "run_id"),
        run_link=_text(meta, "run_link"),
        model_id=_text(meta, "model_id"),
        user=_text(meta, "user_id"),
        created_at=_number(meta, "creation_timestamp"),
        updated_at=_number(meta, "last_updated_timestamp"),
        tags=_values(place / "tags"),
    )


def _read_or_flaw(subject: str, read: Callable[[], T]) -> T | Flaw:
    try:
        return read()
    except Failure as failure:
        return Flaw(subject, failure)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda each: each.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Invalid(f"cannot read {folder}: {error.strerror}", hint="check its permissions") from None


def _folders(folder: Path) -> list[Path]:
    if folder.is_symlink():
        return []
    return [folder / each.name for each in _entries(folder) if each.is_dir(follow_symlinks=False)]


def _has(folder: Path, name: str) -> bool:
    try:
        return stat.S_ISREG((folder / name).lstat().st_mode)
    except OSError:
        return False


def _tree(folder: Path, *, all_kinds: bool = False) -> Iterator[tuple[str, Path]]:
    """Every file below a folder, by its path from there; ``all_kinds``: links and pipes too, which nobody opens."""
    if folder.is_symlink():
        return
    open_folders = [("", folder, 0)]
    while open_folders:
        above, place, depth = open_folders.pop()
        for each in _entries(place):
            path = f"{above}{each.name}"
            if each.is_dir(follow_symlinks=False):
                if depth >= DEEPEST:
                    raise Corrupt(f"{place} is nested too deeply")
                open_folders.append((f"{path}/", place / each.name, depth + 1))
            elif all_kinds or each.is_file(follow_symlinks=False):
                yield path, place / each.name


def _beneath(folder: Path, path: str) -> Path:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise Invalid(f"'{path[:80]}' leads out of {folder}")
    return folder / path


def _name(text: str) -> str:
    if not text or "/" in text or "\0" in text or text in (".", ".."):
        raise Corrupt(f"'{text[:80]}' is not the name of a registered model's folder")
    return text


def _opened(path: Path) -> io.FileIO:
    """Raises Invalid: it is no file, or a link to one, or cannot be read."""
    try:
        # Not waiting: a pipe in a file's place would wait for ever.
        opened = io.FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Invalid(f"{path} is a symbolic link: it is not followed", hint="put the file itself there") from None
        raise Invalid(f"cannot read {path}: {error.strerror}", hint="check its permissions") from None
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise Invalid(f"{path} is no file: it is not read")
    return opened


def _read(path: Path, most: int) -> bytes:
    with io.BufferedReader(_opened(path)) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise Corrupt(f"{path} is larger than {most} bytes")
    return data


def _meta(folder: Path, most: int) -> dict[str, Any]:
    return loaded(_read(folder / META, most), str(folder / META))


def _metas(folder: Path, most: int) -> list[dict[str, Any]]:
    return [_meta(each, most) for each in _folders(folder) if _has(each, META)]


def _values(folder: Path) -> dict[str, str]:
    """Files that hold a value each, by the paths of their names."""
    return {key: _decoded(_read(path, _LARGEST_VALUE), path) for key, path in sorted(_tree(folder))}


def _decoded(data: bytes, path: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Corrupt(f"{path} is not text in UTF-8") from None


def _lines(path: Path) -> Iterator[list[str]]:
    """The fields of each line of a metric's file, which may be of any length."""
    with io.BufferedReader(_opened(path)) as file:
        while line := file.readline(_LONGEST_LINE):
            if len(line) >= _LONGEST_LINE:
                raise Corrupt(f"{path} has a line that is too long")
            if line.strip():
                yield _decoded(line, path).split()


def _points(path: Path) -> Iterator[Point]:
    for line in _lines(path):
        yield _point(path, line)


def _point(path: Path, line: list[str]) -> Point:
    # time value [step [dataset digest]]
    if len(line) not in (2, 3, 5):
        raise Corrupt(f"{path} has a line of {len(line)} fields: MLflow writes 2, 3 or 5")
    try:
        return Point(int(line[0]), int(line[2]) if len(line) > 2 else 0, float(line[1]))
    except ValueError:
        raise Corrupt(f"{path} has a malformed line") from None


def _last(path: Path) -> Point:
    points = _points(path)
    last = next(points, None)
    if last is None:
        raise Corrupt(f"{path} has no point in it")
    for each in points:
        if (each.step, each.at, each.value) > (last.step, last.at, last.value):
            last = each
    return last


def _model_metric(path: Path, key: str, line: list[str]) -> ModelMetric:
    # time value step run [dataset digest]
    if len(line) not in (4, 6):
        raise Corrupt(f"{path} has a line of {len(line)} fields: MLflow writes 4 or 6")
    try:
        at, step, value = int(line[0]), int(line[2]), float(line[1])
    except ValueError:
        raise Corrupt(f"{path} has a malformed line") from None
    dataset, digest = line[4:] or (None, None)
    return ModelMetric(
        key=key, value=value, step=step, at=at, run_id=line[3], dataset_name=dataset, dataset_digest=digest
    )


def _text(meta: dict[str, Any], name: str) -> str:
    value = meta.get(name)
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise Corrupt(f"'{name}' is no text in a {META}")
    return str(value)


def _number(meta: dict[str, Any], name: str, default: int = 0) -> int:
    value = meta.get(name)
    if value is None:
        return default
    if not isinstance(value, int):
        raise Corrupt(f"'{name}' is no whole number in a {META}")
    return int(value)


def _version(text: str, place: Path) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Corrupt(f"{place} names a version '{text[:80]}'")
    return int(text)
