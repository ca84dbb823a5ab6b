"""One request to a real receiver: what arrives, and what becomes of answers that are late, wrong or hostile."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from webhook_receiver import OK, SECRET, Receiver, saying, status

from windlass.domain import clock
from windlass.governance.webhooks import message, sending
from windlass.governance.webhooks.sending import LONGEST_ANSWER, Outcome

BODY = message.of_ping(webhook="chat", delivery="d1", actor="dana", at=1_700_000_000_000_000)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def post(url: str, *, allow_private: bool = True, seconds: float = 10, **rest: object) -> Outcome:
    headers = message.headers(BODY, delivery="d1", kind="ping", secret=SECRET, at=1_700_000_000_000_000)
    return sending.post(url, BODY, headers, allow_private=allow_private, timeout_seconds=seconds, **rest)  # type: ignore[arg-type]


def test_what_arrives_is_signed_and_whole(receiver: Receiver) -> None:
    done = post(receiver.url("/a/b?token=x"))
    assert (done.status, done.error) == (200, "")
    [got] = receiver.received
    assert got.line == "POST /a/b?token=x HTTP/1.1"
    assert got.signed
    assert got.body == BODY
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-windlass-delivery"] == got.message["delivery"] == "d1"
    assert got.headers["x-windlass-event"] == "ping"


def test_a_changed_body_or_timestamp_is_not_signed(receiver: Receiver) -> None:
    post(receiver.url())
    [got] = receiver.received
    assert not got._replace(body=got.body.replace(b"dana", b"alex")).signed
    assert not got._replace(headers=got.headers | {"x-windlass-timestamp": "1700000001"}).signed


def test_receivers_verify_it_as_the_documentation_says(receiver: Receiver) -> None:
    text = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    found: dict[str, Callable[..., bool]] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], found)
    verify = found["is_from_windlass"]

    headers = message.headers(BODY, delivery="d1", kind="ping", secret=SECRET, at=clock.now())
    assert sending.post(receiver.url(), BODY, headers, allow_private=True).error == ""
    [got] = receiver.received
    came = {name.title(): value for name, value in got.headers.items()}
    assert verify(came, got.body, SECRET)
    assert not verify(came, got.body, SECRET + "x")
    assert not verify(came, got.body + b" ", SECRET)
    old = {
        name.title(): value
        for name, value in message.headers(
            BODY, delivery="d1", kind="ping", secret=SECRET, at=clock.now() - 3600 * clock.SECOND
        ).items()
    }
    assert not verify(old, BODY, SECRET)


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_every_2xx_is_delivered(receiver: Receiver, code: int) -> None:
    receiver.answers = [status(code)]
    assert post(receiver.url()).error == ""


@pytest.mark.parametrize("code", [400, 401, 404, 410, 429, 500, 503, 600])
def test_other_answers_are_failures(receiver: Receiver, code: int) -> None:
    receiver.answers = [status(code)]
    assert post(receiver.url()).error == f"it answered {code}"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:{port}/elsewhere", "/x"])
def test_cve_2026_2393_a_redirect_is_not_followed(receiver: Receiver, code: int, to: str) -> None:
    receiver.answers = [status(code, f"Location: {to.format(port=receiver.port)}\r\n")]
    done = post(receiver.url())
    assert (done.status, done.error) == (code, f"it answered {code}, a redirect: those are not followed")
    assert receiver.connections == 1
    assert "169.254" not in done.error


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "localhost.", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::ffff:127.0.0.1]"],
)
def test_cve_2026_2393_nothing_is_sent_to_this_machine_unless_it_is_allowed(receiver: Receiver, host: str) -> None:
    refused = post(receiver.url(host=host), allow_private=False)
    assert (refused.status, "not a public address" in refused.error) == (None, True)
    assert receiver.connections == 0
    assert post(receiver.url(host=host)).error == ""


def test_cve_2026_2393_a_name_is_resolved_once_and_the_connection_goes_to_what_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS that says something public first and 127.0.0.1 afterwards."""
    asked: list[str] = []
    connected: list[tuple[str, int]] = []

    def rebinding(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["8.8.8.8"] if len(asked) == 1 else ["127.0.0.1"]

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", connect)
    done = post(receiver.url(host="hooks.example"), allow_private=False, resolve=rebinding)
    assert done.error == "no connection: Connection refused"
    assert (asked, connected) == (["hooks.example"], [("8.8.8.8", receiver.port)])
    assert receiver.connections == 0


def test_cve_2026_2393_a_name_of_somebody_elses_for_this_machine(receiver: Receiver) -> None:
    done = post(receiver.url(host="hooks.example"), allow_private=False, resolve=lambda *_: ["127.0.0.1"])
    assert done.error == "the host hooks.example is not a public address"
    assert receiver.connections == 0


def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert post(receiver.url()).error == ""


def test_the_next_address_is_tried_if_one_does_not_answer(receiver: Receiver) -> None:
    done = post(receiver.url(host="hooks.example"), resolve=lambda *_: ["::1", "127.0.0.1"])
    assert done.error == ""
    assert receiver.received[0].headers["host"] == f"hooks.example:{receiver.port}"


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/?token=word").error == "no connection: Connection refused"


def test_a_receiver_that_says_nothing(receiver: Receiver) -> None:
    receiver.answers = [receiver.hold]
    assert post(receiver.url(), seconds=0.3).error == "no whole answer within 0.3 s"


def test_a_receiver_that_drips_does_not_hold_us(receiver: Receiver) -> None:
    """Each byte comes in time; the whole does not."""
    receiver.answers = [receiver.drip]
    assert post(receiver.url(), seconds=0.3).error == "no whole answer within 0.3 s"


def test_an_answer_without_end_is_read_to_a_bound(receiver: Receiver) -> None:
    sent: list[int] = []

    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent.append(connection.send(b"x" * LONGEST_ANSWER))

    receiver.answers = [pour]
    assert post(receiver.url()).error == ""
    assert sum(sent) < 1000 * LONGEST_ANSWER


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "in the middle"),
        (b"SSH-2.0-OpenSSH_9.6 secret banner\r\n", "not HTTP"),
        (b"HTTP/1.1 2zz OK\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "not HTTP"),
        (b"HTTP/1.1 200", "in the middle"),
        (b"HTTP/1.1 200 OK\r\n", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", "in the middle"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "without an answer"),
    ],
)
def test_answers_that_are_none(receiver: Receiver, answer: bytes, said: str) -> None:
    receiver.answers = [saying(answer)]
    done = post(receiver.url())
    assert said in done.error
    assert "secret banner" not in done.error


def test_an_answer_that_comes_in_pieces(receiver: Receiver) -> None:
    def answer(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in OK:
            connection.sendall(bytes([byte]))

    receiver.answers = [answer, saying(b"HTTP/1.1 204 No\n\n")]
    assert post(receiver.url()).error == ""
    assert post(receiver.url()).error == ""


def test_what_a_receiver_says_is_not_kept(receiver: Receiver) -> None:
    receiver.answers = [saying(b"HTTP/1.1 500 root:x:0:0\r\nX-Internal: 1\r\nContent-Length: 6\r\n\r\nsecret")]
    assert post(receiver.url()).error == "it answered 500"


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver with a certificate for hooks.example, which this process trusts."""
    certificate = _certificate(tmp_path / "certificate.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made = Receiver(context)
    yield made
    made.close()


def _certificate(file: Path) -> Path:
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


def test_over_tls_the_certificate_is_of_the_host_and_not_of_the_address(certified: Receiver) -> None:
    done = post(certified.url(host="hooks.example."), resolve=lambda *_: ["127.0.0.1"])
    assert (done.status, done.error) == (200, "")
    assert certified.received[0].signed
    assert certified.received[0].headers["host"] == f"hooks.example:{certified.port}"


def test_over_tls_another_name_is_refused(certified: Receiver) -> None:
    done = post(certified.url(host="other.example"), resolve=lambda *_: ["127.0.0.1"])
    assert "its certificate is not accepted" in done.error
    assert certified.received == []


def test_over_tls_a_certificate_of_nobody_is_refused(certified: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    done = post(certified.url(host="hooks.example"), resolve=lambda *_: ["127.0.0.1"])
    assert "its certificate is not accepted" in done.error


def test_over_tls_a_receiver_that_holds_and_one_without_tls(certified: Receiver, receiver: Receiver) -> None:
    certified.answers = [certified.hold]
    done = post(certified.url(host="hooks.example"), resolve=lambda *_: ["127.0.0.1"], seconds=0.5)
    assert done.error == "no whole answer within 0.5 s"
    receiver.answers = [saying(OK)]
    plain = post(receiver.url().replace("http:", "https:"), seconds=0.5)
    assert plain.error
    assert plain.status is None
