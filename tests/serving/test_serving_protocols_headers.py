"""Paths and headers: which call is made, how long its sender waits, and what goes back with the answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.errors import Invalid
from windlass.serving.protocols import headers
from windlass.serving.protocols.calls import Call, Op, route
from windlass.serving.protocols.headers import Form


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("POST", "/endpoints/churn/invocations", Call(Op.INVOKE, "churn")),
        ("POST", "/invocations", Call(Op.INVOKE)),
        ("GET", "/ping", Call(Op.PING)),
        ("HEAD", "/health", Call(Op.HEALTH)),
        ("GET", "/version", Call(Op.VERSION)),
        ("GET", "/ready", Call(Op.GATEWAY_READY)),
        ("GET", "/metrics", Call(Op.METRICS)),
        ("GET", "/v2", Call(Op.SERVER, oip=True)),
        ("GET", "/v2/", Call(Op.SERVER, oip=True)),
        ("GET", "/v2/health/live", Call(Op.LIVE, oip=True)),
        ("GET", "/v2/health/ready", Call(Op.READY, oip=True)),
        ("GET", "/v2/models/churn", Call(Op.MODEL, "churn", oip=True)),
        ("GET", "/v2/models/churn/ready", Call(Op.MODEL_READY, "churn", oip=True)),
        ("POST", "/v2/models/churn/infer", Call(Op.INFER, "churn", oip=True)),
        ("GET", "/v2/models/churn/versions/1.2.0", Call(Op.MODEL, "churn", "1.2.0", oip=True)),
        ("GET", "/v2/models/churn/versions/b3%3Aab/ready", Call(Op.MODEL_READY, "churn", "b3:ab", oip=True)),
        ("POST", "/v2/models/churn/versions/1/infer", Call(Op.INFER, "churn", "1", oip=True)),
        ("GET", "/v2/models/churn/infer", Call(Op.INFER, "churn", allow="POST", oip=True)),
        ("POST", "/v2/models/churn", Call(Op.MODEL, "churn", allow="GET", oip=True)),
        ("DELETE", "/endpoints/churn/invocations", Call(Op.INVOKE, "churn", allow="POST")),
        ("GET", "/nothing", Call(Op.NOTHING)),
        ("GET", "/v2/models", Call(Op.NOTHING, oip=True)),
        ("GET", "/v2/models/churn/versions/", Call(Op.NOTHING, oip=True)),
        ("GET", "/v2/models/churn/versions/1/2", Call(Op.NOTHING, oip=True)),
        ("POST", "/endpoints/1churn/invocations", Call(Op.NOTHING)),
        ("POST", "/endpoints/churn/invocations\n", Call(Op.NOTHING)),
        ("POST", "", Call(Op.NOTHING)),
    ],
)
def test_paths(method: str, path: str, call: Call) -> None:
    assert route(method, path) == call


@given(st.text(max_size=60))
def test_any_path_is_a_call_or_nothing(path: str) -> None:
    assert isinstance(route("GET", path), Call)


@pytest.mark.parametrize(("sent", "ms"), [(b"1", 1), (b"150", 150), (b"2000", 2000), (b"999999999", 2000)])
def test_a_deadline_only_shortens_the_wait(sent: bytes, ms: int) -> None:
    assert headers.deadline_ms({b"windlass-deadline-ms": sent}, 2000) == ms


def test_without_a_deadline_the_endpoints_holds() -> None:
    assert headers.deadline_ms({}, 2000) == 2000


@pytest.mark.parametrize(
    "sent", [b"", b"0", b"000", b"-1", b"+1", b"1.5", b"1e3", b" 1", b"soon", b"1" * 10, b"\xb2", b"1s"]
)
def test_a_deadline_that_is_none(sent: bytes) -> None:
    with pytest.raises(Invalid, match="Windlass-Deadline-Ms"):
        headers.deadline_ms({b"windlass-deadline-ms": sent}, 2000)


@pytest.mark.parametrize("sent", [b"a", b"3f2c-77/x y~", b"x" * 128])
def test_a_request_id(sent: bytes) -> None:
    assert headers.request_id({b"x-request-id": sent}) == sent.decode()
    assert headers.request_id({}) == ""


@pytest.mark.parametrize("sent", [b"", b"x" * 129, b"a\tb", b"\xe9", b"a\x00", b"a\x7f", b"a\n"])
def test_a_request_id_that_a_log_could_not_hold(sent: bytes) -> None:
    with pytest.raises(Invalid, match="X-Request-Id"):
        headers.request_id({b"x-request-id": sent})


def test_what_goes_back_with_the_answer() -> None:
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    sent = {b"traceparent": trace, b"tracestate": b"a=1", b"cookie": b"secret"}
    assert headers.passed_on(sent, "id-1") == {
        "x-request-id": "id-1",
        "traceparent": trace.decode(),
        "tracestate": "a=1",
    }
    assert headers.passed_on({}, "") == {}


@pytest.mark.parametrize(
    ("sent", "form"),
    [
        (None, Form.JSON),
        (b"application/json", Form.JSON),
        (b"Application/JSON; charset=UTF-8", Form.JSON),
        (b'application/json;charset="utf-8"', Form.JSON),
        (b"application/json; format=pandas-split", Form.JSON),
        (b"text/csv", Form.CSV),
        (b"text/csv; charset=utf-8; header=present", Form.CSV),
        (b"text/csv; charset=latin-1", None),
        (b"application/x-www-form-urlencoded", None),
        (b"application/vnd.apache.parquet", None),
        (b"application/octet-stream", None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
def test_content_types(sent: bytes | None, form: Form | None) -> None:
    assert headers.form_of({} if sent is None else {b"content-type": sent}) is form


def test_what_is_said_of_another_content_type() -> None:
    said = headers.unsupported({b"content-type": b"application/xml\xff"})
    assert "application/xml\\xff" in said.message
    assert "application/json or text/csv" in said.hint
