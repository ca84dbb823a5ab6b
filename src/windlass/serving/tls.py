"""The gateway's certificate: read with errors that say what is wrong with it, and renewed while connections go on."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import NoReturn

from windlass.domain.errors import Failure, Invalid, NotFound

HANDSHAKE_SECONDS = 10.0
SHUTDOWN_SECONDS = 3.0


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's side of TLS 1.2 and newer, with Python's defaults, for HTTP/1.1.

    Args:
        certificate: PEM: the server's own certificate, and after it those up to the authority's.
        key: PEM: its private key, not encrypted.

    Raises:
        NotFound: a file is missing.
        Invalid: it cannot be read, or is no certificate or key, or the two do not belong together.
    """
    texts = [_text(certificate, "certificate"), _text(key, "key")]
    if b"-----BEGIN CERTIFICATE-----" not in texts[0]:
        raise Invalid(f"{certificate} holds no certificate", hint="it is to be PEM: -----BEGIN CERTIFICATE-----")
    if b"PRIVATE KEY-----" not in texts[1]:
        raise Invalid(f"{key} holds no private key", hint="it is to be PEM: -----BEGIN PRIVATE KEY-----")
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    made.set_alpn_protocols(["http/1.1"])

    def encrypted() -> NoReturn:
        raise Invalid(f"the key {key} is encrypted", hint="decrypt it: openssl pkey -in KEY -out PLAIN")

    try:
        made.load_cert_chain(certificate, key, encrypted)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Invalid(f"the key {key} is not that of the certificate {certificate}") from None
        # Which of the two it is OpenSSL does not say; the certificate can be read alone.
        damaged, kind = (key, "private key") if _readable(texts[0]) else (certificate, "certificate")
        raise Invalid(f"{damaged} holds no {kind} that can be read", hint="is it whole, and PEM?") from None
    return made


def _text(path: Path, kind: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"no {kind} {path}", hint="see [gateway] tls_certificate and tls_key") from None
    except OSError as error:
        raise Invalid(f"cannot read the {kind} {path}: {error.strerror}") from None


def _readable(certificate: bytes) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate.decode("ascii", "replace"))
    except ssl.SSLError:
        return False
    return True


class Certificate:
    """A certificate that is read again when its files change. ``context`` is to listen with, for good."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises what ``context`` does."""
        self._files = (certificate, key)
        self._seen = self._stamp()
        self._current = self.context = context(certificate, key)
        self.context.sni_callback = self._choose

    def refresh(self, *, changed: bool = False) -> None:
        """Read the files if they changed, or in any case; one that is no good is told of, and the old one kept."""
        stamp = self._stamp()
        if not changed and stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._current = context(*self._files)
        except Failure as failure:
            sys.stderr.write(f"error: the old certificate stays: {failure.message}\n")
        else:
            sys.stderr.write(f"the certificate {self._files[0]} was read again\n")

    def _choose(self, connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
        # Called in each handshake, with or without a name. Whole contexts are changed, so that there is
        # no moment with the new certificate and the old key.
        connection.context = self._current

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
