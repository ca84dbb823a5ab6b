"""What a server meets that anybody can reach: each bad input gets its error, in bounded memory and time, and nothing
else is disturbed. Against a real server process, whose memory, threads and files are looked at after each test.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import msgspec
import pytest
from server_process import ANSWER_SECONDS, API, FILES, Reply, Target, server_process

from windlass.server.mlflow.app import CALLS

SECRET = "the-secret-of-a-file-beside-the-store"
MOST_MEMORY = 1 << 30  # of all these tests together; each alone takes less than half of it


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("hostile") / "project"
    for place in (folder.parent, folder, folder / ".windlass"):
        place.mkdir(exist_ok=True)
        (place / "secret.txt").write_text(SECRET)
    with server_process(folder) as started:
        yield started


@pytest.fixture(autouse=True)
def undisturbed(target: Target) -> Iterator[None]:
    """After each test the server is as it was."""
    before = target.known()
    yield
    assert target.known() == before
    assert target.ask("GET", "/health").status == 200
    assert target.peak < MOST_MEMORY
    until = time.monotonic() + 40
    while (target.files > 80 or target.threads > 60) and time.monotonic() < until:
        time.sleep(0.1)
    assert target.files <= 80 and target.threads <= 60
    assert {each.name for each in target.folder.parent.iterdir()} == {"project", "secret.txt"}
    assert {each.name for each in target.folder.iterdir()} == {".windlass", "secret.txt", "log"}


def assert_refused(reply: Reply, *statuses: int) -> None:
    """An error in MLflow's form, that tells nothing of our inside."""
    assert reply.status in (statuses or (400, 404)), (reply.status, reply.body[:500])
    told = reply.json()
    assert told["error_code"] and isinstance(told["message"], str), told
    assert len(reply.body) < 4000
    assert SECRET.encode() not in reply.body and b"Traceback" not in reply.body


# ---- what is in a body

WRONG = [
    b"{", b"[]", b'"x"', b"7", b"true", b"\x00", b"\xff\xfe{", b'{"run_id": "\xff"}', b"{'run_id': 1}", b"{} {}",
    b'{"run_id": "\\ud800"}', b'{"run_id": 1' + b"0" * 5000 + b"}", b"[" * 100_000, b'{"a":' * 100_000,
    b'{"metrics": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", b'{"run_id": {"a": [1, {"b": "c"}]}}', b"nul", b"NaN",
]  # fmt: skip


@pytest.mark.parametrize("body", WRONG, ids=lambda body: repr(body[:16]))
def test_malformed_json_is_told_in_mlflows_form(target: Target, body: bytes) -> None:
    for call in ("runs/log-metric", "runs/log-batch", "runs/update", "model-versions/create"):
        assert_refused(target.ask("POST", f"{API}/{call}", body), 400)


def test_malformed_json_is_told_in_our_form_under_our_paths(target: Target) -> None:
    for body in WRONG:
        reply = target.ask("POST", "/api/v1/model.show", body)
        assert reply.status == 422 and reply.json()["error"]["kind"] == "invalid", (body[:40], reply.body[:300])


VALUES: list[Any] = [
    None, True, -1, 2**70, 1.5, 1e308, "", "x" * 3000, "\0", "../../etc/passwd", "🦊\u202e", [], [[]], {}, {"key": {}},
    [None], [{"key": "a", "value": []}], "1e999", "NaN", -(2**63), 2**63,
]  # fmt: skip


@pytest.mark.parametrize("method, name", sorted(CALLS), ids=lambda part: part)
def test_wrong_types_in_any_field_of_any_call_are_no_fault_of_the_servers(
    target: Target, method: str, name: str
) -> None:
    request = CALLS[method, name].request
    path = f"{API}/{re.sub(r'{.+?}', 'none', name)}"
    with closing(http.client.HTTPConnection("127.0.0.1", target.port, timeout=ANSWER_SECONDS)) as connection:
        for field in msgspec.structs.fields(request):
            for value in VALUES:
                if method == "GET":
                    from urllib.parse import urlencode

                    connection.request(method, f"{path}?{urlencode({field.encode_name: value})}")
                else:
                    body = json.dumps({field.encode_name: value})
                    connection.request(method, path, body, {"content-type": "application/json"})
                response = connection.getresponse()
                told = response.read()
                assert response.status < 500 or response.status == 501, (name, field.name, value, told[:300])
                if response.status != 200:
                    assert json.loads(told)["error_code"] != "INTERNAL_ERROR", (name, field.name, value, told[:300])


def test_of_a_parameter_of_10_mb_no_more_is_kept_than_a_parameter_may_have(target: Target) -> None:
    huge = "x" * (10 << 20)
    # A value that is too long is cut where MLflow's server cuts it.
    made = target.call("runs/create", experiment_id="0").json()["run"]["info"]["run_id"]
    for call in ("runs/log-parameter", "runs/set-tag"):
        assert target.call(call, run_id=made, key="huge", value=huge).status in (200, 400)
        assert_refused(target.call(call, run_id=made, key=huge, value="1"), 400)
    assert len(target.ask("GET", f"{API}/runs/get?run_id={made}").body) < 20_000
    assert_refused(target.call("runs/search", experiment_ids=["0"], filter=f"params.a = '{huge}'"), 400, 404)
    assert_refused(target.call("runs/search", experiment_ids=["0"], filter=huge), 400)
    assert_refused(target.call("runs/create", experiment_id=huge), 400, 404)
    assert_refused(target.call("runs/log-parameter", run_id=target.run, key="huge", value=huge * 2), 413)


def test_a_batch_of_a_million_keys_is_refused(target: Target) -> None:
    params = [{"key": f"{number}", "value": "1"} for number in range(1_000_000)]
    assert_refused(target.call("runs/log-batch", run_id=target.run, params=params), 413)
    assert_refused(target.call("runs/log-batch", run_id=target.run, params=params[:400_000]), 400)
    assert_refused(target.call("runs/log-batch", run_id=target.run, tags=params[:400_000]), 400)
    metrics = [{"key": "m", "value": 1, "timestamp": 1}] * 300_000
    assert_refused(target.call("runs/log-batch", run_id=target.run, metrics=metrics), 400)
    # Fields that are unknown are no error in proto3's JSON, as many as there are.
    many = {f"{number}": 1 for number in range(1_000_000)}
    assert target.ask("POST", f"{API}/runs/search", json.dumps(many).encode()).status in (200, 400)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-unknown"])
def test_a_zip_bomb_is_not_unpacked(target: Target, encoding: str) -> None:
    bomb = gzip.compress(b" " * (256 << 20), 9)
    file = f"{FILES}/0/{target.run}/artifacts/z"
    for method, path in (("POST", f"{API}/runs/log-batch"), ("POST", "/api/v1/model.list"), ("PUT", file)):
        reply = target.ask(method, path, bomb, {"content-encoding": encoding})
        assert reply.status == 415 and reply.json(), reply.body[:200]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000, "params.a = '" + "'" * 50_001, "a and " * 20_000, "params.a IN (" + "'x'," * 50_000,
        "not " * 50_000, "metrics.`" + "`" * 50_000, "params." + "a." * 50_000 + " = 1", "\0", "params.a = '\ud83e'",
        "params.a LIKE '" + "%_" * 5_000 + "'", "attributes.start_time > " + "9" * 50_000,
    ],
    ids=lambda text: repr(text[:16]),
)  # fmt: skip
def test_filters_nested_deeply_or_without_end_are_refused(target: Target, text: str) -> None:
    for call in ("runs/search", "experiments/search", "logged-models/search"):
        reply = target.call(call, experiment_ids=["0"], filter=text)
        if reply.status != 200:
            assert_refused(reply, 400)
        assert_refused(target.call(call, experiment_ids=["0"], order_by=[text]), 400)
    reply = target.ask("GET", f"{API}/registered-models/search?filter=" + "(" * 40_000)
    assert_refused(reply, 400)


def test_invalid_utf8_in_body_query_path_and_headers_is_refused(target: Target) -> None:
    assert_refused(target.ask("POST", f"{API}/runs/log-parameter", b'{"run_id": "\xc3\x28"}'), 400)
    for text in ("%ff", "%c3%28", "%ed%a0%80", "%c0%af", "%f8%88%80%80%80"):
        assert_refused(target.ask("GET", f"{API}/runs/get?run_id={text}"), 400)
        assert_refused(target.ask("GET", f"{FILES}/0/{target.run}/artifacts/{text}"), 400)
        assert_refused(target.ask("PUT", f"{FILES}/0/{target.run}/artifacts/{text}", b"x"), 400)
        assert_refused(target.ask("GET", f"/ajax-api/2.0/mlflow/{text}"), 400)
        assert target.ask("GET", f"/api/v1/{text}").json()["error"]["kind"] == "invalid"
        assert target.ask("GET", f"/api/v1/model.show?reference={text}").status in (404, 422)
    for head in (
        b"GET /api/2.0/mlflow/runs/get?run_id=\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /api/2.0/\xc3\xa9 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /version HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
        b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: \xff\r\n\r\n",
    ):
        assert re.match(rb"HTTP/1.1 40[03] ", target.raw(head)), head
    assert b" 200 " in target.raw(b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Any: \xff\xfe\r\n\r\n")[:20]


# ---- paths

ESCAPES = [
    "../../../secret.txt", "..%2f..%2f..%2fsecret.txt", "%2e%2e/%2e%2e/%2e%2e/secret.txt", "..%252f..%252fsecret.txt",
    "%252e%252e%252fsecret.txt", "..%5c..%5csecret.txt", "..\\..\\secret.txt", "%2e%2e%5csecret.txt", "..;/secret.txt",
    "..%3b/secret.txt", "a;..%2fsecret.txt", "secret.txt%00.png", "%00", "a/../../secret.txt", "a/%2e%2e/b", "./a",
    "%2e/a", "a//b", "a%2f%2fb", "/etc/passwd", "%2fetc%2fpasswd", "//etc/passwd", "%c0%ae%c0%ae/secret.txt",
    "%c0%ae%c0%ae%c0%afsecret.txt", "..%c0%afsecret.txt", "%e0%80%ae%e0%80%ae/secret.txt", "..%ef%bc%8fsecret.txt;",
    "C:/secret.txt", "C:%5csecret.txt", "file:///etc/passwd", "file:/etc/passwd", "http://127.0.0.1/x", "%252e%252e",
    "%25252e%25252e%25252fsecret.txt", "a%0d%0ab", "a%0ab", "..%09/a", "....//secret.txt",
    "%%32%65%%32%65/secret.txt", "a%", "..", "%2e%2e",
]  # fmt: skip


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_no_path_leaves_a_runs_artifacts(target: Target, method: str, escape: str) -> None:
    roots = [f"0/{target.run}/artifacts/", f"0/{target.run}/", "0/", ""]
    for root in roots:
        body = b"x" if method == "PUT" else None
        assert_refused(target.ask(method, f"{FILES}/{root}{escape}", body), 400, 404, 405)


@pytest.mark.parametrize("escape", ESCAPES)
def test_no_path_leaves_a_runs_artifacts_in_lists_and_uploads_of_parts(target: Target, escape: str) -> None:
    for root in (f"0/{target.run}/artifacts", f"0/{target.run}", ""):
        for path in (f"{FILES}?path={root}/{escape}", f"{FILES}/?path={root}/{escape}"):
            reply = target.ask("GET", path)
            if reply.status == 200:
                assert reply.json() == {}
            else:
                assert_refused(reply, 400, 404)
        begun = target.ask(
            "POST", f"/api/2.0/mlflow-artifacts/mpu/create/{root}/{escape}", b'{"path": "a.txt", "num_parts": 1}'
        )
        assert_refused(begun, 400, 404)
    reply = target.ask("GET", f"{API}/artifacts/list?run_id={target.run}&path={escape}")
    if reply.status == 200:
        assert not reply.json().get("files")
    else:
        assert_refused(reply, 400, 404)
    body = json.dumps({"path": escape.rpartition("/")[2] or "..", "num_parts": 1}).encode()
    if not re.fullmatch(r"[\w.]*\w", escape.rpartition("/")[2]):
        begun = target.ask("POST", f"/api/2.0/mlflow-artifacts/mpu/create/0/{target.run}/artifacts", body)
        assert_refused(begun, 400, 404)


def test_cve_2024_1560_what_is_encoded_twice_is_decoded_once(target: Target) -> None:
    """A path was checked, then decoded once more: a DELETE left the store."""
    for escape in ("..%252f..%252fsecret.txt", "%252e%252e%252f%252e%252e%252fsecret.txt", "folder%252fa.txt"):
        assert_refused(target.ask("DELETE", f"{FILES}/0/{target.run}/artifacts/{escape}"), 400)
        assert_refused(target.ask("DELETE", f"/ajax-api/2.0/mlflow-artifacts/artifacts/0/{escape}"), 400)


def test_cve_2024_1593_what_follows_a_semicolon_is_no_path_of_its_own(target: Target) -> None:
    for escape in ("a;../../secret.txt", ";..%2f..%2fsecret.txt", "a;b", "%3b..%2fsecret.txt", "x;/../secret.txt"):
        for method in ("GET", "PUT", "DELETE"):
            body = b"x" if method == "PUT" else None
            assert_refused(target.ask(method, f"{FILES}/0/{target.run}/artifacts/{escape}", body), 400)
    made = target.call("experiments/create", name="semicolon", artifact_location="mlflow-artifacts:/;../../../etc")
    assert_refused(made, 400, 501)


SOURCES = [
    "/etc", "/etc/passwd", "file:///etc", "file:/etc", "file:etc", "FILE:///etc", "s3://bucket/x", "http://127.0.0.1/x",
    "https://example.com/m", "ftp://example.com/m", "hdfs:///x", "gs://bucket/x", "dbfs:/x", "../../etc", "etc", ".",
    "", "\\\\host\\share", "..\\..\\etc", "file:\\\\\\etc", "http:\\..\\..\\etc", "runs:\\x",
    "mlflow-artifacts:\\..\\..",
    "runs:/{run}/../../etc",
    "runs:/{run}/..%2f..", "runs:/{run}/%2e%2e/x", "runs:/{run}/a;..", "runs:/{run}/a#/../..",
    "runs:/{run}/a?x=/../..", "runs:/{run}\0", "runs://{run}/x", "runs:/../x", "mlflow-artifacts:/../../etc",
    "mlflow-artifacts://host/0/{run}/artifacts", "mlflow-artifacts:///etc", "mlflow-artifacts:/0/{run}/artifacts/../..",
    "mlflow-artifacts:/1/{run}/artifacts", "mlflow-artifacts:/0/{run}/artifacts/%252e%252e/x", "models:/none/1",
    "models:/../1", "models:/", "models:/m@", "data:,x", "file:///etc#runs:/{run}/x", "file:///etc?runs:/{run}/x",
    "runs:/{run}/folder\n", " file:///etc", "f\tile:///etc", "file:%2f%2f%2fetc", "file://localhost/etc",
    "http://127.0.0.1#mlflow-artifacts:/0/{run}/artifacts",
]  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_a_versions_source_is_nothing_but_artifacts_of_this_server(target: Target, source: str) -> None:
    target.call("registered-models/create", name="sourced")
    source = source.replace("{run}", target.run)
    for more in ({}, {"run_id": target.run}, {"tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]}):
        made = target.call("model-versions/create", name="sourced", source=source, **more)
        assert_refused(made, 400, 404)
    versions = target.ask("GET", f"{API}/model-versions/search?filter=name%3D%27sourced%27").json()
    assert versions.get("model_versions", []) == []


def test_cve_2023_1177_a_version_is_not_a_door_to_the_servers_files(target: Target) -> None:
    """A version with the source file:/// was created, and its files asked for."""
    target.call("registered-models/create", name="door")
    for source in ("file:///", "file:///etc/", "//etc", "/"):
        assert_refused(target.call("model-versions/create", name="door", source=source, run_id=target.run), 400)
    for path in ("/model-versions/get-artifact?name=door&version=1&path=etc/passwd", "/get-artifact?path=../../secret"):
        assert_refused(target.ask("GET", path), 404) if path.startswith(API) else None
        assert target.ask("GET", path).status == 404


def test_cve_2023_2356_a_relative_source_does_not_lead_out(target: Target) -> None:
    target.call("registered-models/create", name="relative")
    for source in (
        "./../../",
        "../..",
        f"runs:/{target.run}/../../..",
        f"mlflow-artifacts:/0/{target.run}/artifacts/..",
    ):
        assert_refused(target.call("model-versions/create", name="relative", source=source, run_id=target.run), 400)


def test_cve_2023_2780_backslashes_are_no_way_round_the_check(target: Target) -> None:
    target.call("registered-models/create", name="backslash")
    for source in ("\\..\\..\\etc", "file:\\..\\..\\etc", "http:\\\\..\\..\\etc", f"runs:/{target.run}/\\..\\..\\.."):
        assert_refused(target.call("model-versions/create", name="backslash", source=source, run_id=target.run), 400)
    assert_refused(target.call("experiments/create", name="back", artifact_location="\\..\\..\\etc"), 400, 501)
    for escape in ("..%5c..%5csecret.txt", "a%5c..%5c..%5csecret.txt", "%5c%5chost%5cshare"):
        assert_refused(target.ask("GET", f"{FILES}/0/{target.run}/artifacts/{escape}"), 400)


def test_cve_2026_2614_a_versions_source_is_checked_whatever_its_tags_say(target: Target) -> None:
    """The check of a version's source was left out for versions with the tag of a prompt."""
    target.call("registered-models/create", name="prompted")
    for tags in (
        [{"key": "mlflow.prompt.is_prompt", "value": "true"}],
        [{"key": "mlflow.prompt.is_prompt", "value": ""}],
    ):
        made = target.call("model-versions/create", name="prompted", source="/etc/passwd", tags=tags)
        assert_refused(made, 400)
        prompt = target.call("registered-models/create", name="a-prompt", tags=tags)
        assert prompt.status in (200, 400)
        assert_refused(target.call("model-versions/create", name="a-prompt", source="file:///etc", tags=tags), 400, 404)


def test_an_experiments_place_is_the_servers_choice(target: Target) -> None:
    for place in ("file:///etc", "/etc", "s3://bucket", "http://x/?../..", "mlflow-artifacts:/#/../../etc"):
        assert_refused(target.call("experiments/create", name="placed", artifact_location=place), 400, 501)


def test_cve_2026_27482_pages_of_other_sites_are_refused_on_every_method(target: Target) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        for path in (f"{API}/runs/search", f"{FILES}/0/{target.run}/artifacts/folder/a.txt", "/api/v1/model.list", "/"):
            for headers in (
                {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
                {"origin": "http://[", "content-type": "text/plain"},
            ):  # fmt: skip
                assert target.ask(method, path, b"{}", headers).status == 403, (method, path, headers)
        host = f"{method} /version HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n"
        assert b" 403 " in target.raw(host.encode())[:20]


# ---- connections


def test_heads_without_end_are_refused(target: Target) -> None:
    start = b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    for head in (
        start + b"X-Long: " + b"x" * (100 << 10) + b"\r\n\r\n",
        start + b"".join(b"X-%d: y\r\n" % number for number in range(20_000)) + b"\r\n",
        b"GET /" + b"x" * (100 << 10) + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        start + b"X-Long: " + b"x" * (64 << 20),
        b"x" * (1 << 20),
        b"\r\n" * (1 << 20),
    ):
        assert target.raw(head)[:13] in (b"HTTP/1.1 431 ", b"HTTP/1.1 400 ", b"")
    chunked = b"POST /api/v1/model.list HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    chunked += b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    assert b" 200 " in target.raw(chunked + b"\r\n")[:20]
    target.raw(chunked + b"X-Trailer: " + b"x" * (64 << 20))
    target.raw(chunked[:-3] + b"2;" + b"x" * (64 << 20))


def test_a_trailer_is_no_header(target: Target) -> None:
    request = (
        b"POST /api/v1/model.list HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\nContent-Type: application/json\r\n\r\n"
    )
    assert b" 422 " in target.raw(request)[:20]


SMUGGLED = b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length : 5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\nContent-Length: 5\r\n",
        b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"X: y\r\n Transfer-Encoding: chunked\r\n",
        b"X\x00: y\r\n",
        b"Host: evil.example\r\n",
    ],
)
def test_what_two_servers_could_read_differently_is_refused(target: Target, headers: bytes) -> None:
    head = b"POST /api/v1/model.list HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + headers
    reply = target.raw(head + b"\r\n" + b"0\r\n\r\n" + SMUGGLED)
    assert re.match(rb"HTTP/1\.1 40[03] ", reply), reply[:300]
    assert reply.count(b"HTTP/1.1 ") == reply.count(b"HTTP/1.1 request") + 1, reply[
        :2000
    ]  # nothing after it is taken for a request
    assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["message"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n", b"\x00" * 1000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"BREW /pot HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"GET  /  HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /version HTTP/1.1\r\n\r\n", b"GET /version HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
    ids=lambda data: repr(data[:16]),
)  # fmt: skip
def test_what_is_no_request_gets_an_error_and_the_end(target: Target, data: bytes) -> None:
    assert re.match(rb"HTTP/1\.1 (400|403|404|405|307) ", target.raw(data)), data


def test_an_upgrade_is_not_made(target: Target) -> None:
    for upgrade in (b"websocket", b"h2c"):
        reply = target.raw(
            b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n\r\n"
        )
        assert b" 101 " not in reply[:20]


def test_slow_clients_hold_up_nobody(target: Target) -> None:
    """200 clients that send their heads, their bodies or their files a byte at a time."""
    head = b"POST /api/2.0/mlflow/runs/log-batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    put = f"PUT {FILES}/0/{target.run}/artifacts/slow HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    shapes = [
        head,
        head + b"Content-Length: 1000\r\n\r\n{",
        head + b"Transfer-Encoding: chunked\r\n\r\n",
        put + b"Content-Length: 100000000\r\n\r\nx",
        put + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
    ]
    with ExitStack() as stack:
        slow = []
        for number in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=5))
            client.sendall(shapes[number % len(shapes)])
            slow.append(client)
        for turn in range(5):
            for client in slow:
                with suppress(OSError):
                    client.send(b"X" if turn % 2 else b"1")
            made = target.call("runs/create", experiment_id="0").json()["run"]["info"]["run_id"]
            assert target.call("runs/log-metric", run_id=made, key="m", value=1, timestamp=1).status == 200
            assert target.ask("PUT", f"{FILES}/0/{made}/artifacts/a", b"x" * (2 << 20)).status == 200
            assert len(target.ask("GET", f"{FILES}/0/{made}/artifacts/a").body) == 2 << 20
            assert target.ask("POST", "/api/v1/model.list", b"{}").status == 200
        assert target.threads <= 60
    assert_refused(target.ask("GET", f"{FILES}/0/{target.run}/artifacts/slow"), 404)


def test_of_a_client_that_disappears_within_its_upload_nothing_stays(target: Target) -> None:
    for size, sent in ((100 << 20, 20 << 20), (100 << 20, 0), (100_000, 50_000), (2 << 20, (2 << 20) - 1)):
        path = f"{FILES}/0/{target.run}/artifacts/gone-{size}-{sent}"
        head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", target.port), timeout=ANSWER_SECONDS) as client:
            client.sendall(head)
            client.sendall(b"x" * sent)
        assert_refused(target.ask("GET", path), 404)
    assert target.ask("GET", f"{API}/artifacts/list?run_id={target.run}").json()["files"] == [
        {"path": "folder", "is_dir": True}
    ]
    threads = target.threads
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", target.port), timeout=ANSWER_SECONDS) as client:
            path = f"{FILES}/0/{target.run}/artifacts/gone"
            client.sendall(f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n\r\n".encode())
            client.sendall(b"x" * (2 << 20))
    until = time.monotonic() + 20
    while target.ask("PUT", f"{FILES}/0/{target.run}/artifacts/after", b"x" * (2 << 20)).status != 200:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert target.ask("DELETE", f"{FILES}/0/{target.run}/artifacts/after").status == 200
    assert target.threads <= max(threads, 40) + 24


def test_readers_that_do_not_read_hold_up_nobody(target: Target) -> None:
    made = target.call("runs/create", experiment_id="0").json()["run"]["info"]["run_id"]
    path = f"{FILES}/0/{made}/artifacts/large"
    assert target.ask("PUT", path, os.urandom(8 << 20)).status == 200
    with ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=5))
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert len(target.ask("GET", path).body) == 8 << 20
        assert target.call("runs/log-metric", run_id=made, key="m", value=1, timestamp=1).status == 200


def test_a_thousand_connections_at_once_are_served(target: Target) -> None:
    request = b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    async def all_at_once() -> list[bytes]:
        together = asyncio.Barrier(1000)

        async def one() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
            await together.wait()  # all are connected
            writer.write(request)
            found = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            return found[:15]

        return list(await asyncio.wait_for(asyncio.gather(*(one() for _ in range(1000))), 60))

    assert set(asyncio.run(all_at_once())) == {b"HTTP/1.1 200 OK"}


def test_many_clients_that_do_everything_wrong_at_once(target: Target) -> None:
    wrong: list[Callable[[], object]] = [
        lambda: target.raw(b"\x00" * 100_000),
        lambda: target.ask("POST", f"{API}/runs/search", b"[" * 1_000_000),
        lambda: target.ask("PUT", f"{FILES}/0/{target.run}/artifacts/%2e%2e/x", b"x" * 100_000),
        lambda: target.ask("GET", "/api/v1/" + "%2e%2e/" * 1000),
    ]
    threads = [threading.Thread(target=each) for each in wrong * 10]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
