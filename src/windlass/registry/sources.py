"""Where a version's files come from, as MLflow's clients say it: a folder of artifacts that this server keeps.

Anything else is refused: a path of the server's own disk, another store, a URL (CVE-2023-1177, CVE-2023-2356,
CVE-2023-2780, CVE-2026-2614). So is what a decoder could turn into one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from windlass.domain import digest
from windlass.domain.errors import Invalid
from windlass.domain.ports import Transaction
from windlass.registry import moving, registered
from windlass.registry.models import Origin
from windlass.registry.tracking import artifacts, logged_models, runs
from windlass.registry.tracking.artifacts import Artifact
from windlass.registry.tracking.logged_models import model_root
from windlass.registry.tracking.runs import TrackedRun, run_root

ARTIFACTS = "mlflow-artifacts:/"
_ENVIRONMENT = ("conda.yaml", "python_env.yaml", "requirements.txt")
_LARGEST = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder of artifacts: ``path`` below ``root``; of which run and which logged model, where that is known."""

    root: str
    path: str
    run_id: str
    model_id: str

    @property
    def uri(self) -> str:
        return f"{ARTIFACTS}{self.root}" + (f"/{self.path}" if self.path else "")


def resolve(tx: Transaction, source: str, *, run_id: str, model_id: str) -> Folder:
    """The folder that a source names: ``runs:/RUN/PATH``, ``models:/ID``, ``models:/NAME/VERSION``,
    ``models:/NAME@ALIAS`` or ``mlflow-artifacts:/…``.

    Raises:
        Invalid: it is none of these, or not of the run or the model that the request names.
        NotFound: there is no such run, model or version.
    """
    if any(c in source for c in "\\%;#?\0") or ".." in source.split("/") or any(ord(c) < 32 for c in source):
        raise _refused(source)
    scheme, separator, rest = source.partition(":/")
    if not separator or rest.startswith("/"):
        raise _refused(source)
    match scheme:
        case "runs":
            run, _, path = rest.partition("/")
            folder = _of_run(tx, run, path)
        case "models":
            folder = _of_model(tx, source, rest)
        case "mlflow-artifacts":
            folder = _of_artifacts(tx, source, rest)
        case _:
            raise _refused(source)
    if model_id and folder.model_id and folder.model_id != model_id:
        raise Invalid(f"Invalid model version source: '{source[:200]}' is not of the logged model {model_id[:80]}")
    if run_id and folder.run_id and folder.run_id != run_id:
        raise Invalid(f"Invalid model version source: '{source[:200]}' is not of the run {run_id[:80]}")
    return folder


def _of_run(tx: Transaction, run_id: str, path: str) -> Folder:
    row = runs.info(tx, run_id)
    root, clean = run_root(str(row["experiment"]), run_id), path.strip("/")
    if clean:
        artifacts.checked_path(clean)
    made = runs.read(tx, [row["id"]])[0].model_outputs
    if not next(iter(artifacts.beneath(tx, root, clean)), None):
        # Since MLflow 3 a model's files are the logged model's; runs:/RUN/NAME still means them.
        for model_id, _ in reversed(made):
            found = logged_models.require(tx, model_id)
            if found["name"] == clean:
                return Folder(
                    root=model_root(str(found["experiment"]), model_id), path="", run_id=run_id, model_id=model_id
                )
    return Folder(root=root, path=clean, run_id=run_id, model_id="")


def _of_model(tx: Transaction, source: str, rest: str) -> Folder:
    name, at, alias = rest.partition("@")
    if at:
        return _of_version(tx, moving.aliased(tx, name, alias))
    name, slash, version = rest.partition("/")
    if slash:
        return _of_version(tx, registered.entry_of(tx, name, registered.number_of(version)))
    row = tx.row("SELECT * FROM logged_models WHERE model_id = ? AND stage <> 'deleted'", (name,))
    if row is None:
        raise Invalid(
            f"Invalid model version source: '{source[:200]}'. The model_id request parameter must identify the"
            " resource that contains the source."
        )
    return Folder(
        root=model_root(str(row["experiment"]), name), path="", run_id=row["source_run"], model_id=row["model_id"]
    )


def _of_version(tx: Transaction, entry: registered.VersionEntry) -> Folder:
    row = tx.row("SELECT root, path FROM registered_roots WHERE model = ? AND number = ?", (entry.model, entry.number))
    if row is None:
        raise Invalid(f"{entry.reference} was not registered from artifacts", hint="name its run instead")
    return Folder(root=row["root"], path=row["path"], run_id=entry.run, model_id=entry.model_id)


def _of_artifacts(tx: Transaction, source: str, rest: str) -> Folder:
    parts = rest.strip("/").split("/")
    if len(parts) >= 4 and parts[1] == "models" and parts[3] == "artifacts":
        row = logged_models.require(tx, parts[2])
        folder = Folder(root="/".join(parts[:4]), path="/".join(parts[4:]), run_id=row["source_run"], model_id=parts[2])
    elif len(parts) >= 3 and parts[2] == "artifacts":
        row = runs.info(tx, parts[1])
        folder = Folder(root="/".join(parts[:3]), path="/".join(parts[3:]), run_id=parts[1], model_id="")
    else:
        raise _refused(source)
    if str(row["experiment"]) != parts[0]:
        raise _refused(source)
    if folder.path:
        artifacts.checked_path(folder.path)
    return folder


def _refused(source: str) -> Invalid:
    return Invalid(
        f"Invalid model version source: '{source[:200]}'",
        hint="register what this server keeps: runs:/RUN_ID/PATH, models:/MODEL_ID or mlflow-artifacts:/…",
    )


def holder(tx: Transaction, root: str, path: str, *, below: bool = False) -> str | None:
    """The version whose registered files a path belongs to, if there is one; ``below``: or has some of below it.

    A version that is deleted counts too: its record still names these files.
    """
    rows = tx.tuples(
        "SELECT r.path, r.model, v.semver FROM registered_roots r"
        " JOIN model_versions v ON v.model = r.model AND v.number = r.number WHERE r.root = ? ORDER BY v.number",
        (root,),
    )
    for registered_path, model, semver in rows:
        inside = not registered_path or f"{path}/".startswith(f"{registered_path}/")
        if inside or (below and (not path or registered_path.startswith(f"{path}/"))):
            return f"{model}@{semver}"
    return None


def origin_of(run: TrackedRun | None, files: Mapping[str, Artifact]) -> Origin:
    """What determined a model, as far as its run and its files tell: MLflow's clients record no more."""
    environment = {name: files[name].digest for name in _ENVIRONMENT if name in files}
    tags: Mapping[str, str] = {} if run is None else run.tags
    code = {
        key: tags[key]
        for key in ("mlflow.source.git.commit", "mlflow.source.name", "mlflow.project.entryPoint", "windlass.code")
        if key in tags
    }
    return Origin(
        data={} if run is None else {f"{each.name}@{each.digest}": each.digest for each in run.datasets},
        code=digest.of(code),
        environment=digest.of(environment),
        config={} if run is None else _bounded(run.params),
        seed=_seed(run),
    )


def _bounded(params: Mapping[str, str]) -> dict[str, Any]:
    return {key: value if len(value) <= _LARGEST else digest.of(value) for key, value in params.items()}


def _seed(run: TrackedRun | None) -> int:
    for key in ("seed", "random_state", "random_seed"):
        text = "" if run is None else run.params.get(key, "")
        if text.isascii() and text.isdigit() and len(text) < 18:
            return int(text)
    return 0
