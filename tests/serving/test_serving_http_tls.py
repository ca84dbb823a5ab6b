"""TLS at the gateway: real certificates, real handshakes, renewed while it serves."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from raw_gateway import GET, PATIENCE, RawGateway, read_all, read_answers, statuses

from windlass.domain.errors import Failure, Invalid, NotFound
from windlass.serving import tls

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")


def made(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("certificates")
    return {name: made(folder, name) for name in ("first", "second")}


@pytest.fixture
def installed(tmp_path: Path, pairs: dict[str, tuple[Path, Path]]) -> tuple[Path, Path]:
    """Where a gateway finds its certificate and key."""
    for source, name in zip(pairs["first"], ("cert.pem", "key.pem"), strict=True):
        shutil.copy(source, tmp_path / name)
    return tmp_path / "cert.pem", tmp_path / "key.pem"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RawGateway]]:
    with tempfile.TemporaryDirectory() as short, ExitStack() as stack:

        def starting(*options: str) -> RawGateway:
            gateway = RawGateway(tmp_path, Path(short), *options)
            stack.callback(gateway.stop)
            return gateway

        yield starting


def secured(gateway: RawGateway, authority: Path, version: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(["h2", "http/1.1"])
    if version is not None:
        context.set_ciphers("DEFAULT@SECLEVEL=0")  # so that it is the server who refuses what is too old
        context.minimum_version = context.maximum_version = version
    plain = gateway.connect()
    try:
        return context.wrap_socket(plain, server_hostname="127.0.0.1")
    except BaseException:
        plain.close()
        raise


def replace(installed: tuple[Path, Path], pair: tuple[Path, Path]) -> None:
    for target, source in zip(installed, pair, strict=True):
        shutil.copy(source, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)


def options(installed: tuple[Path, Path]) -> tuple[str, ...]:
    return ("--tls-certificate", str(installed[0]), "--tls-key", str(installed[1]))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_https_is_served(
    start: Callable[..., RawGateway], installed: tuple[Path, Path], version: ssl.TLSVersion
) -> None:
    gateway = start(*options(installed))
    with secured(gateway, installed[0], version) as client:
        assert client.selected_alpn_protocol() == "http/1.1"
        for _ in range(3):
            client.sendall(GET + GET)
            assert statuses(read_answers(client, 2)) == [200, 200]
        client.sendall(b"BAD\r\n\r\n")
        assert statuses(read_all(client)) == [400]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_what_is_no_handshake_is_closed_and_harms_nobody(
    start: Callable[..., RawGateway], installed: tuple[Path, Path]
) -> None:
    gateway = start(*options(installed))
    assert statuses(gateway.talk(GET)) == []
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|UNEXPECTED_EOF"):
        secured(gateway, installed[0], ssl.TLSVersion.TLSv1_1)
    half = gateway.connect()
    half.sendall(b"\x16\x03\x01")
    with half, secured(gateway, installed[0]) as client:
        client.sendall(GET)
        read_answers(client, 1)
    assert "Traceback" not in gateway.errors.read_text()


def test_a_renewed_certificate_is_used_and_no_connection_dropped(
    start: Callable[..., RawGateway], installed: tuple[Path, Path], pairs: dict[str, tuple[Path, Path]]
) -> None:
    gateway = start(*options(installed))
    first, second = (pair[0] for pair in pairs.values())
    with secured(gateway, first) as old:
        replace(installed, pairs["second"])
        until = time.monotonic() + PATIENCE
        while not trusted(gateway, second):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert not trusted(gateway, first)
        old.sendall(GET)
        read_answers(old, 1)


def trusted(gateway: RawGateway, authority: Path) -> bool:
    try:
        secured(gateway, authority).close()
    except ssl.SSLCertVerificationError:
        return False
    return True


def test_a_bad_renewal_is_told_of_and_the_old_one_stays(
    start: Callable[..., RawGateway], installed: tuple[Path, Path], pairs: dict[str, tuple[Path, Path]]
) -> None:
    gateway = start(*options(installed))
    shutil.copy(pairs["second"][1], installed[1])
    gateway.process.send_signal(signal.SIGHUP)
    until = time.monotonic() + PATIENCE
    while "not that of the certificate" not in gateway.errors.read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert trusted(gateway, pairs["first"][0])


def test_tls_connections_drain(start: Callable[..., RawGateway], installed: tuple[Path, Path]) -> None:
    gateway = start(*options(installed))
    with secured(gateway, installed[0]) as client:
        client.sendall(GET)
        read_answers(client, 1)
        gateway.process.terminate()
        assert client.recv(1) == b""
        assert gateway.process.wait(PATIENCE) == 0


def damaged(folder: Path, pairs: dict[str, tuple[Path, Path]]) -> dict[str, tuple[Path, Path]]:
    certificate, key = pairs["first"]
    short, swapped, encrypted = folder / "short", folder / "swapped", folder / "encrypted"
    short.write_bytes(key.read_bytes()[:100] + b"\n-----END PRIVATE KEY-----\n")
    swapped.write_bytes(certificate.read_bytes()[:100] + b"\n-----END CERTIFICATE-----\n")
    subprocess.run(
        ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:x", "-out", str(encrypted)],
        check=True, capture_output=True,
    )  # fmt: skip
    absent = folder / "absent"
    return {
        "no certificate": (absent, key),
        "no key": (certificate, absent),
        "a folder": (certificate, folder),
        "holds no certificate": (key, key),
        "holds no private key": (certificate, certificate),
        "is not that of": (certificate, pairs["second"][1]),
        "private key that can be read": (certificate, short),
        "certificate that can be read": (swapped, key),
        "is encrypted": (certificate, encrypted),
    }


def test_errors_say_what_is_wrong_with_the_files(tmp_path: Path, pairs: dict[str, tuple[Path, Path]]) -> None:
    for word, (certificate, key) in damaged(tmp_path, pairs).items():
        with pytest.raises(NotFound if word.startswith("no ") else Invalid) as raised:
            tls.context(certificate, key)
        assert isinstance(raised.value, Failure)
        said = raised.value.message
        assert ("directory" if word == "a folder" else word) in said
        assert str(tmp_path if word == "a folder" else "") in said


def test_a_gateway_with_bad_files_ends_with_one_line(tmp_path: Path, pairs: dict[str, tuple[Path, Path]]) -> None:
    command = [sys.executable, "-P", "-m", "windlass.serving.gateway", "--routes", str(tmp_path / "r"), "--socket",
               str(tmp_path / "s"), "--log", str(tmp_path / "l"), "--port", "0"]  # fmt: skip
    for files in ((pairs["first"][0], pairs["second"][1]), (tmp_path / "absent", pairs["first"][1])):
        done = subprocess.run(
            [*command, *options(files)], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert done.returncode != 0
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
    alone = [*command, "--tls-key", str(pairs["first"][1])]
    assert "belong together" in subprocess.run(alone, capture_output=True, text=True, check=False, timeout=60).stderr


def test_a_client_that_goes_away_within_the_handshake_leaves_nothing(
    start: Callable[..., RawGateway], installed: tuple[Path, Path]
) -> None:
    gateway = start(*options(installed))
    before = gateway.descriptors()
    for sent in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"\0" * 1000):
        for _ in range(5):
            with gateway.connect() as client:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                read_all(client)
    until = time.monotonic() + PATIENCE
    while gateway.descriptors() > before:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "Traceback" not in gateway.errors.read_text()
