"""MLflow's REST protocol over registry.tracking: a first thin slice.

Experiments, runs, metrics and artifacts, enough for a script that logs with the real client. Every call of MLflow's
that is not in the table below answers 501 in MLflow's form, and says so; nothing is swallowed.
"""

from __future__ import annotations

import json
import logging
import math
import mimetypes
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from windlass.domain.clock import Clock
from windlass.domain.errors import Conflict, Corrupt, Denied, Failure, Invalid, NotFound, Refused, Unavailable
from windlass.domain.ports import Database, ObjectStore, Transaction
from windlass.registry import tracking, tracking_search
from windlass.registry.tracking import Experiment, Metric, TrackedRun
from windlass.server.errors import TooLarge, unforeseen
from windlass.server.mlflow_requests import (
    ById,
    ByName,
    CreateExperiment,
    CreateRun,
    History,
    ListArtifacts,
    LogBatch,
    LogMetric,
    LogPair,
    OfRun,
    Pair,
    Point,
    SearchExperiments,
    SearchLoggedModels,
    SearchRuns,
    UpdateRun,
)
from windlass.server.threads import Pool

# What clients ask the server's version for is which of MLflow's calls they may use.
PROTOCOL_VERSION = "3.1.0"
MAX_RESULTS = 50_000
MAX_BATCH_METRICS, MAX_BATCH_PARAMS, MAX_BATCH_TAGS = 1000, 100, 100
ARTIFACTS = "mlflow-artifacts/artifacts"

_PREFIXES = ("/api/2.0", "/ajax-api/2.0", "/api/3.0", "/ajax-api/3.0")
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_EVERY_RUN = 2**31
_log = logging.getLogger("windlass.mlflow")

T = TypeVar("T")


class Unserved(Failure):
    """A call of MLflow's protocol that is not served (yet)."""


CODES: dict[type[Failure], tuple[str, int]] = {
    Unserved: ("NOT_IMPLEMENTED", 501),
    TooLarge: ("INVALID_PARAMETER_VALUE", 413),
    NotFound: ("RESOURCE_DOES_NOT_EXIST", 404),
    Conflict: ("RESOURCE_ALREADY_EXISTS", 400),
    Invalid: ("INVALID_PARAMETER_VALUE", 400),
    Denied: ("PERMISSION_DENIED", 403),
    Refused: ("PERMISSION_DENIED", 403),
    Corrupt: ("INTERNAL_ERROR", 500),
    Unavailable: ("TEMPORARILY_UNAVAILABLE", 503),
    Failure: ("INTERNAL_ERROR", 500),
}


def speaks(path: str) -> bool:
    """Whether a path is of MLflow's protocol, served or not: its errors have MLflow's form."""
    return path.startswith(("/api/2.0", "/api/3.0", "/ajax-api/"))


def failed(error: Failure) -> Response:
    """An error in MLflow's form."""
    code, status = next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return _answered({"error_code": code, "message": message}, status)


def unroutable(method: str, path: str, status: int) -> Response:
    """The answer to what is under MLflow's prefixes and no call of it."""
    code = "ENDPOINT_NOT_FOUND" if status == 404 else "BAD_REQUEST"
    return _answered({"error_code": code, "message": f"{method} {path[:200]}: there is no such call"}, status)


# ---- the calls: (transaction, request, edge) -> answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What a call takes from outside of its request."""

    now: Clock
    actor: str
    new_id: Callable[[], str] = field(default=partial(secrets.token_hex, 16))


def create_experiment(tx: Transaction, asked: CreateExperiment, edge: Edge) -> dict[str, Any]:
    if asked.artifact_location:
        raise Unserved("artifacts are kept in Windlass's store: an artifact_location of one's own is not supported yet")
    return {"experiment_id": tracking.create_experiment(tx, name=asked.name, at=edge.now(), tags=_mapping(asked.tags))}


def get_experiment(tx: Transaction, asked: ById, _: Edge) -> dict[str, Any]:
    return {"experiment": _experiment(tracking.find_experiment(tx, asked.experiment_id))}


def experiment_by_name(tx: Transaction, asked: ByName, _: Edge) -> dict[str, Any]:
    found = tracking.experiment_id(tx, asked.experiment_name)
    if found is None:
        raise NotFound(f"Could not find experiment with name '{asked.experiment_name[:200]}'")
    return {"experiment": _experiment(tracking.find_experiment(tx, found))}


def search_experiments(tx: Transaction, asked: SearchExperiments, _: Edge) -> dict[str, Any]:
    if asked.filter or asked.order_by:
        raise Invalid("a filter or an order of experiments is not supported yet", hint="ask for all of them")
    found = [] if asked.view_type in ("DELETED_ONLY", 2) else tracking.experiments(tx)
    page, following = _page([_experiment(each) for each in found], asked.max_results, asked.page_token)
    return {"experiments": page, **following}


def create_run(tx: Transaction, asked: CreateRun, edge: Edge) -> dict[str, Any]:
    run_id, tags = edge.new_id(), _mapping(asked.tags)
    tracking.create_run(
        tx,
        run_id=run_id,
        experiment_id=asked.experiment_id,
        name=asked.run_name or tags.get(tracking.RUN_NAME, "") or f"run-{run_id[:8]}",
        user=asked.user_id or tags.get(tracking.USER, "") or edge.actor,
        at=edge.now() if asked.start_time is None else _time(asked.start_time),
        tags=tags,
    )
    return {"run": _run(tracking.find_run(tx, run_id))}


def get_run(tx: Transaction, asked: OfRun, _: Edge) -> dict[str, Any]:
    return {"run": _run(tracking.find_run(tx, asked.run))}


def update_run(tx: Transaction, asked: UpdateRun, _: Edge) -> dict[str, Any]:
    ended = None if asked.end_time is None else _time(asked.end_time)
    tracking.update_run(tx, asked.run, status=asked.status, ended_at=ended, name=asked.run_name)
    return {"run_info": _run(tracking.find_run(tx, asked.run))["info"]}


def search_runs(tx: Transaction, asked: SearchRuns, _: Edge) -> dict[str, Any]:
    if asked.run_view_type in ("DELETED_ONLY", 2):
        return {"runs": []}  # nothing can be deleted yet
    # A filter or an order needs all of them; a plain page needs no more than it and the one after.
    needed = _EVERY_RUN if asked.filter or asked.order_by else _start(asked.page_token) + asked.max_results + 1
    found = tracking.search_runs(tx, asked.experiment_ids, max(needed, 0))
    matched = tracking_search.ordered(tracking_search.matching(found, asked.filter), asked.order_by)
    page, following = _page(matched, asked.max_results, asked.page_token)
    return {"runs": [_run(run) for run in page], **following}


def log_metric(tx: Transaction, asked: LogMetric, _: Edge) -> dict[str, Any]:
    tracking.log(tx, asked.run, metrics=[_point(asked)])
    return {}


def log_param(tx: Transaction, asked: LogPair, _: Edge) -> dict[str, Any]:
    tracking.log(tx, asked.run, params={asked.key: asked.value})
    return {}


def set_tag(tx: Transaction, asked: LogPair, _: Edge) -> dict[str, Any]:
    tracking.log(tx, asked.run, tags={asked.key: asked.value})
    return {}


def log_batch(tx: Transaction, asked: LogBatch, _: Edge) -> dict[str, Any]:
    for what, items, most in (
        ("metrics", asked.metrics, MAX_BATCH_METRICS),
        ("params", asked.params, MAX_BATCH_PARAMS),
        ("tags", asked.tags, MAX_BATCH_TAGS),
    ):
        if len(items) > most:
            raise Invalid(f"a batch can contain at most {most} {what}, not {len(items)}", hint="send several batches")
    for key in {pair.key for pair in asked.params}:
        if len({pair.value for pair in asked.params if pair.key == key}) > 1:
            raise Invalid(f"the batch gives param '{key[:80]}' two values")
    tracking.log(
        tx,
        asked.run,
        params=_mapping(asked.params),
        metrics=[_point(each) for each in asked.metrics],
        tags=_mapping(asked.tags),
    )
    return {}


def history(tx: Transaction, asked: History, _: Edge) -> dict[str, Any]:
    points = tracking.history(tx, asked.run, asked.metric_key)
    page, following = _page(points, asked.max_results, asked.page_token)
    return {"metrics": [_metric(asked.metric_key, point) for point in page], **following}


def list_artifacts(tx: Transaction, asked: ListArtifacts, _: Edge) -> dict[str, Any]:
    run = tracking.find_run(tx, asked.run)
    files = [_file(path, size) for path, size in tracking.list_artifacts(tx, run.run_id, asked.path.strip("/"))]
    return {"root_uri": _artifact_uri(run), "files": files}


def search_logged_models(_: Transaction, __: SearchLoggedModels, ___: Edge) -> dict[str, Any]:
    """None: making one is not supported yet. The client asks before it downloads any artifact of a run."""
    return {"models": []}


@dataclass(frozen=True, slots=True)
class Call:
    """``writes``: in a write transaction; the request is decoded into ``request``."""

    answer: Callable[[Transaction, Any, Edge], dict[str, Any]]
    request: type[Any]
    writes: bool = False


CALLS: dict[tuple[str, str], Call] = {
    ("POST", "mlflow/experiments/create"): Call(create_experiment, CreateExperiment, writes=True),
    ("GET", "mlflow/experiments/get"): Call(get_experiment, ById),
    ("GET", "mlflow/experiments/get-by-name"): Call(experiment_by_name, ByName),
    ("GET", "mlflow/experiments/search"): Call(search_experiments, SearchExperiments),
    ("POST", "mlflow/experiments/search"): Call(search_experiments, SearchExperiments),
    ("POST", "mlflow/runs/create"): Call(create_run, CreateRun, writes=True),
    ("GET", "mlflow/runs/get"): Call(get_run, OfRun),
    ("POST", "mlflow/runs/update"): Call(update_run, UpdateRun, writes=True),
    ("POST", "mlflow/runs/search"): Call(search_runs, SearchRuns),
    ("POST", "mlflow/runs/log-metric"): Call(log_metric, LogMetric, writes=True),
    ("POST", "mlflow/runs/log-parameter"): Call(log_param, LogPair, writes=True),
    ("POST", "mlflow/runs/log-batch"): Call(log_batch, LogBatch, writes=True),
    ("POST", "mlflow/runs/set-tag"): Call(set_tag, LogPair, writes=True),
    ("GET", "mlflow/metrics/get-history"): Call(history, History),
    ("GET", "mlflow/artifacts/list"): Call(list_artifacts, ListArtifacts),
    ("POST", "mlflow/logged-models/search"): Call(search_logged_models, SearchLoggedModels),
}
SERVER_INFO = {"store_type": "SqlStore", "workspaces_enabled": False, "trace_archival_enabled": False}


# ---- the routes


class Api:
    """The protocol over one database and store. ``close`` ends its threads."""

    def __init__(self, db: Database, objects: ObjectStore, *, now: Clock, actor: str) -> None:
        self.db, self.objects = db, objects
        self.edge = Edge(now=now, actor=actor)
        self.pool = Pool("mlflow", workers=8)

    def routes(self) -> list[BaseRoute]:
        found: list[BaseRoute] = [Route("/version", lambda _: PlainTextResponse(PROTOCOL_VERSION))]
        found.extend(Route(prefix + "/{call:path}", self.serve, methods=_METHODS) for prefix in _PREFIXES)
        return found

    def close(self) -> None:
        self.pool.close()

    async def serve(self, request: Request) -> Response:
        """Any request under MLflow's prefixes; whatever goes wrong has MLflow's form."""
        try:
            return await self._dispatch(request)
        except Failure as error:
            return failed(error)
        except Exception as error:  # noqa: BLE001 - what a client sees of a fault of ours is MLflow's form too
            _log.error("%s %s", request.method, request.url.path, exc_info=error)
            return failed(unforeseen())

    async def _dispatch(self, request: Request) -> Response:
        name, method = request.path_params["call"], "GET" if request.method == "HEAD" else request.method
        if request.url.path.rstrip("/").endswith("3.0/mlflow/server-info") and method == "GET":
            return _answered(SERVER_INFO)
        legacy = "/2.0/" in request.url.path
        if legacy and (name == ARTIFACTS or name.startswith(ARTIFACTS + "/")):
            return await self._artifact(request, method, name[len(ARTIFACTS) + 1 :])
        call = CALLS.get((method, name)) if legacy else None
        if call is None:
            raise Unserved(f"{method} {request.url.path[:200]} is not supported by Windlass yet")
        if method == "GET":
            plain = _queried(request.query_params.multi_items(), call.request)
        else:
            plain = _decoded(await request.body())
        asked = _converted(plain, call.request)
        return _answered(await self.pool.run(partial(self._answer, call, asked)))

    def _answer(self, call: Call, asked: Any) -> dict[str, Any]:
        with self.db.write() if call.writes else self.db.read() as tx:
            return call.answer(tx, asked, self.edge)

    async def _artifact(self, request: Request, method: str, path: str) -> Response:
        if method == "GET" and not path:
            run_id, folder = _located(request.query_params.get("path", ""))
            return _answered({"files": await self.pool.run(partial(self._listed, run_id, folder))})
        run_id, file = _located(path)
        if method == "GET":
            return await self._download(run_id, file)
        if method == "PUT":
            return await self._upload(request, run_id, file)
        raise Unserved(f"{method} of an artifact is not supported by Windlass yet")

    def _listed(self, run: tuple[str, str], folder: str) -> list[dict[str, Any]]:
        with self.db.read() as tx:
            _same_experiment(tx, run)
            found = tracking.list_artifacts(tx, run[1], folder)
        return [_file(path.rpartition("/")[2], size) for path, size in found]

    async def _download(self, run: tuple[str, str], path: str) -> Response:
        folder = Path(tempfile.mkdtemp(prefix="windlass-"))

        def fetch() -> None:
            with self.db.read() as tx:
                _same_experiment(tx, run)
                artifact = tracking.find_artifact(tx, run[1], path)
            # Checked against its digest whole before a byte of it leaves.
            self.objects.fetch(artifact.digest, folder / "artifact")

        try:
            await self.pool.run(fetch)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        name = path.rpartition("/")[2]
        return FileResponse(
            folder / "artifact",
            media_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
            # Never shown by a browser as a page of this server: a run's files are whatever somebody uploaded.
            headers={
                "content-disposition": f"attachment; filename*=utf-8''{quote(name)}",
                "x-content-type-options": "nosniff",
            },
            background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
        )

    async def _upload(self, request: Request, run: tuple[str, str], path: str) -> Response:
        tracking.checked_path(path)

        def known() -> None:
            with self.db.read() as tx:
                _same_experiment(tx, run)

        await self.pool.run(known)
        with tempfile.NamedTemporaryFile(prefix="windlass-") as file:
            size = 0
            async for chunk in request.stream():
                size += len(chunk)
                await self.pool.run(partial(file.write, chunk))

            def keep() -> None:
                file.flush()
                digest = self.objects.put_file(Path(file.name))
                with self.db.write() as tx:
                    tracking.add_artifact(tx, run[1], path=path, digest=digest, size=size)

            await self.pool.run(keep)
        return _answered({})


def routes(db: Database, objects: ObjectStore, *, now: Clock, actor: str) -> list[BaseRoute]:
    return Api(db, objects, now=now, actor=actor).routes()


def _located(path: str) -> tuple[tuple[str, str], str]:
    """``EXPERIMENT/RUN/artifacts/PATH`` as ((experiment, run), path): the one form of URI that runs are given."""
    experiment, _, rest = path.strip("/").partition("/")
    run, _, rest = rest.partition("/")
    word, _, inside = rest.partition("/")
    if not run or word != "artifacts":
        raise Invalid(f"'{path[:200]}' is not a path of a run's artifacts", hint="EXPERIMENT/RUN/artifacts/PATH")
    return (experiment, run), inside


def _same_experiment(tx: Transaction, run: tuple[str, str]) -> None:
    if tracking.find_run(tx, run[1]).experiment_id != run[0]:
        raise NotFound(f"no run with id '{run[1][:80]}' in experiment '{run[0][:80]}'")


# ---- JSON, in and out


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        # Not msgspec: proto3's JSON has bare NaN and Infinity.
        plain = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}") from None
    if not isinstance(plain, dict):
        raise Invalid("the body is not a JSON object")
    return plain


def _queried(items: Sequence[tuple[str, str]], into: type[Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    several = _several(into)
    for name, value in items:
        if name in several:
            plain.setdefault(name, []).append(value)
        else:
            plain[name] = value
    return plain


def _several(into: type[Any]) -> set[str]:
    described = msgspec.inspect.type_info(into)
    assert isinstance(described, msgspec.inspect.DataclassType)
    return {each.name for each in described.fields if isinstance(each.type, msgspec.inspect.ListType)}


def _converted(plain: Mapping[str, Any], into: type[T]) -> T:
    given = {name: value for name, value in plain.items() if value is not None}  # in proto3, null is absent
    try:
        return msgspec.convert(given, into, strict=False)
    except msgspec.ValidationError as error:
        message = str(error).replace("`", "'")
        raise Invalid(
            message.replace("Object missing required field", "Missing value for required parameter")
        ) from None


def _answered(value: Mapping[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def _page(items: Sequence[T], most: int, token: str) -> tuple[Sequence[T], dict[str, str]]:
    if not 1 <= most <= MAX_RESULTS:
        raise Invalid(f"Invalid value for parameter 'max_results': {most}; it must be 1 to {MAX_RESULTS}")
    start = _start(token)
    following = {"next_page_token": str(start + most)} if start + most < len(items) else {}
    return items[start : start + most], following


def _start(token: str) -> int:
    if token and not (token.isascii() and token.isdigit() and len(token) < 12):
        raise Invalid(f"'{token[:80]}' is not a page token", hint="send back the next_page_token of the page before")
    return int(token or 0)


def _mapping(pairs: Sequence[Pair]) -> dict[str, str]:
    return {pair.key: pair.value for pair in pairs}


def _point(asked: Point | LogMetric) -> tuple[str, float, int, int]:
    try:
        return asked.key, float(asked.value), asked.step, _time(asked.timestamp)
    except ValueError:
        raise Invalid(f"metric '{asked.key[:80]}': '{str(asked.value)[:80]}' is not a number") from None


def _time(milliseconds: int) -> int:
    return milliseconds * 1000


def _number(value: float) -> float | str:
    """As proto3's JSON has it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _metric(key: str, metric: Metric) -> dict[str, Any]:
    return {"key": key, "value": _number(metric.value), "timestamp": metric.at // 1000, "step": metric.step}


def _file(path: str, size: int | None) -> dict[str, Any]:
    return {"path": path, "is_dir": True} if size is None else {"path": path, "is_dir": False, "file_size": size}


def _experiment(experiment: Experiment) -> dict[str, Any]:
    at = experiment.at // 1000
    return {
        "experiment_id": experiment.id,
        "name": experiment.name,
        "artifact_location": f"mlflow-artifacts:/{experiment.id}",
        "lifecycle_stage": "active",
        "creation_time": at,
        "last_update_time": at,
        "tags": _pairs(experiment.tags),
    }


def _artifact_uri(run: TrackedRun) -> str:
    return f"mlflow-artifacts:/{run.experiment_id}/{run.run_id}/artifacts"


def _run(run: TrackedRun) -> dict[str, Any]:
    info = {
        "run_id": run.run_id,
        "run_uuid": run.run_id,
        "run_name": run.name,
        "experiment_id": run.experiment_id,
        "user_id": run.user,
        "status": run.status,
        "start_time": run.started_at // 1000,
        "artifact_uri": _artifact_uri(run),
        "lifecycle_stage": "active",
    }
    if run.ended_at is not None:
        info["end_time"] = run.ended_at // 1000
    data = {
        "metrics": [_metric(key, metric) for key, metric in run.metrics.items()],
        "params": _pairs(run.params),
        "tags": _pairs(run.tags),
    }
    return {"info": info, "data": data, "inputs": {}, "outputs": {}}
