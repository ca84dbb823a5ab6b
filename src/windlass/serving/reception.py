"""What users meet: paths, keys and bodies on one side, the dispatcher on the other."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from windlass.domain import credentials, version
from windlass.domain.errors import Denied, Failure, Invalid, NotFound, Unavailable
from windlass.domain.routing import Route, releases_of
from windlass.serving.dispatch import Asked, Dispatcher, Served, status_of
from windlass.serving.http import Reply, Request, Response
from windlass.serving.pool import Pool
from windlass.serving.protocols import commas, headers, mlflow, oip
from windlass.serving.protocols.calls import Call, Op, route
from windlass.serving.protocols.headers import Form
from windlass.serving.protocols.rows import Columns, Untold
from windlass.serving.wire import Description

MOST_KEPT = 64
PROBE_SECONDS = 1.0  # a probe of readiness waits no longer for a worker
_NO_POOL = Unavailable("the release has no worker")


class Reception:
    """Answers HTTP requests. ``gauges`` gives what ``/metrics`` shows besides the dispatcher's counts;
    ``require_keys``: an endpoint that has no API keys is closed, not open."""

    def __init__(
        self, dispatcher: Dispatcher, gauges: Callable[[], dict[str, float]], *, require_keys: bool = False
    ) -> None:
        self._dispatcher, self._gauges, self._require_keys = dispatcher, gauges, require_keys
        self._kept: dict[int, tuple[Description, Columns]] = {}  # by the id of what a worker told

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer one HTTP request, now or later."""
        call = route(request.method, request.path)
        _guarded(call, reply, lambda: self._handle(call, request, reply))

    def _handle(self, call: Call, request: Request, reply: Reply) -> None:
        if call.allow:
            wrong = Invalid(f"{request.method[:20]} is not for {request.path[:200]}", hint=f"use {call.allow}")
            reply(failed(405, wrong, allow=call.allow, oip_errors=call.oip))
        elif call.op is Op.INVOKE or call.op is Op.INFER:
            self._invoke(call, request, reply)
        elif call.op is Op.MODEL or call.op is Op.MODEL_READY:
            self._model(call, request, reply)
        elif call.op is Op.READY:
            self._ready(reply)
        else:
            reply(self._other(call, request))

    def _invoke(self, call: Call, request: Request, reply: Reply) -> None:
        endpoint = call.endpoint or self._named(request)
        found = self._route(endpoint)
        if (closed := self._closed(found, endpoint, request)) is not None:
            reply(failed(401, closed, headers={"www-authenticate": "Bearer"}, oip_errors=call.oip))
            return
        form = headers.form_of(request.headers)
        if form is None or (call.oip and form is not Form.JSON):
            unknown = headers.unsupported(request.headers, Form.JSON.value if call.oip else headers.ACCEPTED)
            reply(failed(415, unknown, oip_errors=call.oip))
            return
        release = self._release(call, found)
        timeout_ms = headers.deadline_ms(request.headers, found.timeout_ms)
        asked = Asked(
            endpoint,
            request.headers.get(b"windlass-user", b"").decode("latin-1"),
            [],
            request.headers,
            headers.request_id(request.headers),
            timeout_ms,
            release,
            len(request.body),
        )
        pool = self._dispatcher.pools.get(release or found.stable)
        description = None if pool is None else pool.description
        read = self._infer if call.oip else self._rows
        try:
            read(asked, form, request, description, reply)
        except Untold:
            if pool is None:
                raise
            until = asyncio.get_running_loop().time() + timeout_ms / 1000

            def told(outcome: Description | Failure) -> None:
                if isinstance(outcome, Failure):
                    reply(failed(status_of(outcome), outcome, oip_errors=call.oip))
                else:
                    _guarded(call, reply, lambda: read(asked, form, request, outcome, reply))

            pool.describe(until, told)

    def _rows(self, asked: Asked, form: Form, request: Request, told: Description | None, reply: Reply) -> None:
        columns = None if told is None else self._columns(told)
        asked.rows = (mlflow if form is Form.JSON else commas).rows_of(request.body, columns)

        def done(served: Served) -> None:
            answers = served.answers
            passed = headers.passed_on(request.headers, served.id)
            if answers is None:
                assert served.failure is not None
                reply(failed(served.status, served.failure, headers=passed))
                return
            body = mlflow.answer_body(served.id, answers.predictions, answers.probabilities, served.release)
            reply(Response(200, body, headers=passed))

        self._dispatcher.invoke(asked, done)

    def _infer(self, asked: Asked, form: Form, request: Request, told: Description | None, reply: Reply) -> None:
        columns = None if told is None else self._columns(told)
        inference = oip.inference(request.body, columns, binary=headers.BINARY in request.headers)
        assert told is not None  # or the columns had been missed
        oip.require_outputs(inference.outputs, oip.outputs_of(told))
        asked.rows = inference.rows
        kind = told.signature.outputs[0].kind

        def done(served: Served) -> None:
            answers = served.answers
            passed = headers.passed_on(request.headers, served.id)
            if answers is None:
                assert served.failure is not None
                reply(failed(served.status, served.failure, headers=passed, oip_errors=True))
                return
            try:
                body = oip.infer_body(
                    inference.outputs, model=asked.endpoint, release=served.release, identity=inference.id or served.id,
                    prediction_id=served.id, predictions=answers.predictions, chances=answers.probabilities,
                    kind=kind,
                )  # fmt: skip
            except Failure as failure:  # another release than the one that was described answered, with less
                reply(failed(status_of(failure), failure, headers=passed, oip_errors=True))
                return
            reply(Response(200, body, headers=passed))

        self._dispatcher.invoke(asked, done)

    def _columns(self, told: Description) -> Columns:
        """The columns of a description, worked out once."""
        kept = self._kept.get(id(told))
        if kept is None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            # It holds the description, too: as long as it does, no other one gets this id.
            kept = self._kept[id(told)] = (told, Columns.of(told.signature.inputs))
        return kept[1]

    def _model(self, call: Call, request: Request, reply: Reply) -> None:
        found = self._route(call.endpoint)
        ready = call.op is Op.MODEL_READY
        if not ready and (closed := self._closed(found, call.endpoint, request)) is not None:
            reply(failed(401, closed, headers={"www-authenticate": "Bearer"}, oip_errors=True))
            return
        release = self._release(call, found) or found.stable

        def told(outcome: Description | Failure) -> None:
            if ready:
                there = isinstance(outcome, Description)
                reply(Response(200 if there else 503, oip.ready_body(ready=there, model=call.endpoint)))
            elif isinstance(outcome, Failure):
                reply(failed(status_of(outcome), outcome, oip_errors=True))
            else:
                reply(Response(200, oip.model_body(call.endpoint, sorted(self._versions(found)), outcome)))

        self._describe(release, told, there=ready)

    def _ready(self, reply: Reply) -> None:
        """Whether every endpoint's stable release has a worker."""
        waiting = {each.stable for each in self._dispatcher.table.routes.values()}
        if not waiting:
            reply(Response(200, oip.ready_body(ready=True)))
            return
        left, ready = len(waiting), True

        def told(outcome: Description | Failure) -> None:
            nonlocal left, ready
            left, ready = left - 1, ready and isinstance(outcome, Description)
            if left == 0:
                reply(Response(200 if ready else 503, oip.ready_body(ready=ready)))

        for release in waiting:
            self._describe(release, told, there=True)

    def _describe(self, release: str, told: Callable[[Description | Failure], None], *, there: bool) -> None:
        pool: Pool | None = self._dispatcher.pools.get(release)
        if pool is None:
            told(_NO_POOL)
        else:
            pool.describe(asyncio.get_running_loop().time() + PROBE_SECONDS, told, there=there)

    def _other(self, call: Call, request: Request) -> Response:
        match call.op:
            case Op.HEALTH:
                return Response(200, b'{"status":"ok"}')
            case Op.GATEWAY_READY:
                return Response(200, b'{"status":"ready"}')
            case Op.PING:
                return Response(200, b"\n")  # as MLflow's
            case Op.VERSION:
                return Response(200, version.VERSION.encode(), kind="text/plain; charset=utf-8")
            case Op.LIVE:
                return Response(200, oip.live_body())
            case Op.SERVER:
                return Response(200, oip.server_body())
            case Op.METRICS:
                text = self._dispatcher.metrics.text(self._gauges())
                return Response(200, text.encode(), kind="text/plain; version=0.0.4; charset=utf-8")
        nothing = Invalid(f"nothing at {request.path[:200]}", hint="POST to /endpoints/NAME/invocations")
        return failed(404, nothing, oip_errors=call.oip)

    def _route(self, endpoint: str) -> Route:
        found = self._dispatcher.table.routes.get(endpoint)
        if found is None:
            # Strangers are not told what there is.
            known = "" if self._require_keys else ", ".join(sorted(self._dispatcher.table.routes)) or "none yet"
            raise NotFound(f"no endpoint '{endpoint[:64]}'", hint=f"endpoints: {known}" if known else "")
        return found

    def _named(self, request: Request) -> str:
        """The endpoint of a request whose path names none."""
        sent = request.headers.get(headers.ENDPOINT, b"").decode("latin-1")
        if named := sent or parse_qs(request.query).get("endpoint", [""])[-1]:
            return named
        endpoints = list(self._dispatcher.table.routes)
        if len(endpoints) == 1:
            return endpoints[0]
        raise Invalid(
            f"which of {len(endpoints)} endpoints?" if endpoints else "there is no endpoint yet",
            hint="name it: /endpoints/NAME/invocations, /invocations?endpoint=NAME, or the header Windlass-Endpoint",
        )

    def _closed(self, found: Route, endpoint: str, request: Request) -> Denied | None:
        keys = {} if found.keys is None and self._require_keys else found.keys
        if keys is None or _opens(keys, request):
            return None
        return Denied(f"endpoint '{endpoint}' wants an API key", hint="send it as: authorization: Bearer KEY")

    def _release(self, call: Call, found: Route) -> str:
        if not call.version:
            return ""
        return oip.release_of(call.version, self._versions(found), call.endpoint)

    def _versions(self, found: Route) -> dict[str, str]:
        """The route's releases by their models' versions; by their ids, where that would not tell them apart."""
        told = self._dispatcher.table.versions
        releases = releases_of(found)
        labels = [told.get(each, each) for each in releases]
        return {
            label if labels.count(label) == 1 else release: release
            for label, release in zip(labels, releases, strict=True)
        }


def failed(
    status: int, failure: Failure, *, allow: str = "", headers: dict[str, str] | None = None, oip_errors: bool = False
) -> Response:
    """A failure as a response; one that retrying may mend says when to."""
    headers = dict(headers or {})
    if status == 503:
        headers["retry-after"] = "1"
    if allow:
        headers["allow"] = allow
    return Response(status, (oip if oip_errors else mlflow).error_body(failure), headers=headers)


def _guarded(call: Call, reply: Reply, answer: Callable[[], None]) -> None:
    try:
        answer()
    except Failure as failure:
        reply(failed(status_of(failure), failure, oip_errors=call.oip))
    except Exception:  # noqa: BLE001 - whatever it is, the user gets an answer and the connection lives
        sys.stderr.write(f"error: {call.op.value} {call.endpoint}: {traceback.format_exc()}")
        ours = Failure("the gateway failed at this request", hint="its log says at what")
        reply(failed(500, ours, oip_errors=call.oip))


def _opens(keys: Mapping[str, str], request: Request) -> bool:
    """Whether the request carries one of the keys.

    Keys are looked up by their digest: how long that takes says nothing about a key.
    """
    scheme, _, sent = request.headers.get(b"authorization", b"").partition(b" ")
    key = sent.strip() if scheme.lower() == b"bearer" else request.headers.get(b"x-api-key", b"")
    return bool(key) and credentials.digest_of(key) in keys
