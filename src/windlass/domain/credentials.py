"""Secrets that name their holder: people's tokens, and endpoints' keys.

Each is 256 random bits, so that only its SHA-256 is kept. A slow hash with a salt guards secrets that people make up,
of which a thief of the table can try the likely ones; of 2^256 equally likely ones he can try none worth mentioning,
and a server can afford to look at every request. Looking the digest up does not have to take the same time for each:
how far a guess's digest agrees with a real one says nothing about the secret.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

BITS = 256


def make(prefix: str, entropy: Callable[[int], bytes]) -> str:
    """A new secret. ``entropy`` gives random bytes; ``prefix`` says to people and to scanners what leaked."""
    return prefix + base64.urlsafe_b64encode(entropy(BITS // 8)).rstrip(b"=").decode()


def digest_of(secret: bytes) -> str:
    """What is kept of a secret, and what it is looked up by: SHA-256, in hex."""
    return hashlib.sha256(secret).hexdigest()
