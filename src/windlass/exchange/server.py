"""A source: an MLflow server, by its REST protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from windlass.domain.errors import Corrupt, Invalid, NotFound
from windlass.exchange import answers
from windlass.exchange.content import Experiment, File, LoggedModel, ModelVersion, Point, RegisteredModel, Run
from windlass.exchange.paging import pages, whole_pages
from windlass.exchange.rest import Download, Missing, Rest
from windlass.registry.tracking import artifacts

PAGE = 1000
PAGE_OF_POINTS = 25_000
PAGE_OF_MODELS = 50
PAGE_OF_VERSIONS = 200
DEEPEST = 64
MOST_FILES = 1_000_000
PROXIED = "mlflow-artifacts"
PROXY = "/api/2.0/mlflow-artifacts/artifacts/"
ACTIVE, DELETED = "active", "deleted"


class ServerSource:
    def __init__(self, rest: Rest) -> None:
        self.rest = rest

    @property
    def identity(self) -> str:
        return self.rest.address.shown

    def close(self) -> None:
        self.rest.close()

    def experiments(self) -> Iterator[Experiment]:
        def fetch(token: str) -> tuple[list[Experiment], str]:
            page = self.rest.post(
                "experiments/search", answers.Experiments, max_results=PAGE, view_type="ALL", **_token(token)
            )
            return [answers.experiment(each) for each in page.experiments], page.next_page_token

        for page in pages("experiments", fetch, lambda each: each.id):
            yield from page

    def runs(self, experiment_id: str) -> Iterator[Run]:
        def fetch(token: str) -> tuple[list[Run], str]:
            page = self.rest.post(
                "runs/search",
                answers.Runs,
                experiment_ids=[experiment_id],
                max_results=PAGE,
                run_view_type="ALL",
                # What is begun meanwhile comes last, and moves no page.
                order_by=["attributes.start_time ASC"],
                **_token(token),
            )
            found = [answers.run(each) for each in page.runs]
            if any(each.experiment_id != experiment_id for each in found):
                raise Corrupt(f"asked for the runs of experiment {experiment_id}, the server gives others")
            return found, page.next_page_token

        for page in pages("runs", fetch, lambda each: each.id):
            yield from page

    def whole(self, run: Run) -> Run:
        found = answers.run(self.rest.get("runs/get", answers.OneRun, run_id=run.id).run)
        if found.id != run.id or found.experiment_id != run.experiment_id:
            raise Corrupt(f"asked for run {run.id}, the server gives another")
        return found

    def history(self, run: Run, key: str) -> Iterator[list[Point]]:
        def fetch(token: str) -> tuple[list[Point], str]:
            page = self.rest.get(
                "metrics/get-history",
                answers.History,
                run_id=run.id,
                metric_key=key,
                max_results=PAGE_OF_POINTS,
                page_token=token,
            )
            return [answers.point(each) for each in page.metrics], page.next_page_token

        return whole_pages(f"the metric '{key[:80]}'", fetch)

    def logged_models(self, experiment_id: str) -> Iterator[LoggedModel]:
        def fetch(token: str) -> tuple[list[LoggedModel], str]:
            page = self.rest.post(
                "logged-models/search",
                answers.LoggedModels,
                experiment_ids=[experiment_id],
                max_results=PAGE_OF_MODELS,
                **_token(token),
            )
            found = [answers.logged_model(each) for each in page.models]
            if any(each.experiment_id != experiment_id for each in found):
                raise Corrupt(f"asked for the models of experiment {experiment_id}, the server gives others")
            return found, page.next_page_token

        try:
            for page in pages("logged models", fetch, lambda each: each.id):
                yield from page
        except Missing:
            return  # a server before 3.0

    def files(self, owner: Run | LoggedModel) -> Iterator[File]:
        open_folders, count = [("", 0)], 0
        while open_folders:
            folder, depth = open_folders.pop()
            for each in self._listed(owner, folder):
                count += 1
                if count > MOST_FILES or depth > DEEPEST:
                    raise Corrupt(f"the server's list of the files of {owner.id} never ends")
                # Directly in the folder that was asked for, or it is not what was asked for.
                head, slash, name = each.path.rpartition("/")
                if not name or head != folder or bool(slash) != bool(folder):
                    raise Corrupt(f"the server lists '{each.path[:80]}' in the folder '{folder[:80]}' of {owner.id}")
                if each.is_dir:
                    open_folders.append((artifacts.checked_path(each.path), depth + 1))
                else:
                    yield File(each.path, each.file_size)

    def _listed(self, owner: Run | LoggedModel, folder: str) -> Iterator[answers.FileInfo]:
        def fetch(token: str) -> tuple[list[answers.FileInfo], str]:
            if isinstance(owner, Run):
                page = self.rest.get("artifacts/list", answers.Files, run_id=owner.id, path=folder, page_token=token)
            else:
                page = self.rest.get(
                    f"logged-models/{quote(owner.id, safe='')}/artifacts/directories",
                    answers.Files,
                    artifact_directory_path=folder,
                    page_token=token,
                )
            return page.files, page.next_page_token

        for page in pages(f"the files of {owner.id}", fetch, lambda each: each.path):
            yield from page

    def open(self, owner: Run | LoggedModel, file: File) -> AbstractContextManager[Download]:
        artifacts.checked_path(file.path)
        return self.rest.download(_download(owner, file.path), file.size)

    def registered_models(self) -> Iterator[RegisteredModel]:
        def fetch(token: str) -> tuple[list[RegisteredModel], str]:
            page = self.rest.get(
                "registered-models/search", answers.RegisteredModels, max_results=100, page_token=token
            )
            return [answers.registered_model(each) for each in page.registered_models], page.next_page_token

        for page in pages("registered models", fetch, lambda each: each.name):
            for each in page:
                try:
                    # A server does not always list the aliases.
                    whole = self.rest.get("registered-models/get", answers.OneRegisteredModel, name=each.name)
                except NotFound:
                    continue  # deleted meanwhile
                yield replace(answers.registered_model(whole.registered_model), name=each.name)

    def versions(self, model: str) -> Iterator[ModelVersion]:
        quoted = f"'{model}'" if "'" not in model else f'"{model}"'

        def fetch(token: str) -> tuple[list[ModelVersion], str]:
            page = self.rest.get(
                "model-versions/search",
                answers.ModelVersions,
                filter=f"name={quoted}",
                max_results=PAGE_OF_VERSIONS,
                page_token=token,
            )
            found = [answers.model_version(each) for each in page.model_versions]
            return [each for each in found if each.name == model], page.next_page_token

        listed = pages(f"versions of '{model[:80]}'", fetch, lambda each: each.number)
        return iter(sorted((each for page in listed for each in page), key=lambda each: each.number))


def proxied(uri: str, path: str) -> str:
    """Where the server itself takes and gives the file at a path below an ``mlflow-artifacts:`` URI. Its host is not
    looked at: there is one server only that is asked.

    Raises:
        Invalid: the URI is another.
    """
    parts = urlsplit(uri)
    if parts.scheme != PROXIED:
        raise Invalid(f"'{uri[:200]}' is not a place of this server's")
    root = parts.path.strip("/")
    if any(part in ("", ".", "..") for part in root.split("/")):
        raise Corrupt(f"'{uri[:200]}' is not a place of artifacts")
    return PROXY + quote(f"{root}/{path}" if path else root)


def _download(owner: Run | LoggedModel, path: str) -> str:
    if urlsplit(owner.artifact_uri).scheme == PROXIED:
        return proxied(owner.artifact_uri, path)
    # Files that clients get from a store of their own: the server's user interface gives them too.
    if isinstance(owner, Run):
        return f"/get-artifact?{urlencode({'path': path, 'run_uuid': owner.id})}"
    text = urlencode({"artifact_file_path": path})
    return f"/ajax-api/2.0/mlflow/logged-models/{quote(owner.id, safe='')}/artifacts/files?{text}"


def _token(token: str) -> dict[str, Any]:
    return {"page_token": token} if token else {}


__all__ = ["ServerSource", "proxied"]
