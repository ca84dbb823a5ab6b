"""Where a webhook may send to: a plain http(s) URL whose host resolves to public addresses only.

The addresses decide, never how the host is written: 2130706433, 0x7f.1 and a name of one's own are all 127.0.0.1 once
they are resolved. The host is resolved once, and the connection goes to what was checked, so that a name which changes
its mind in between (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from windlass.domain.errors import Denied, Invalid, Unavailable

# Addresses (as text) of a host, in the order in which to try them; raises OSError if there are none.
Resolve = Callable[[str, int], Sequence[str]]

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_LONGEST = 2000

_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Of these the standard library's ``is_global`` is not sure, or not in every version of Python: protocol assignments
# (Oracle's metadata is there), relays of 6to4, Azure's host agent; tunnels (Teredo, 6to4) to any IPv4 address.
_NOT_THE_INTERNET_V4 = tuple(map(ipaddress.IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")))
_NOT_THE_INTERNET_V6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL taken apart. ``path`` has the query string; neither is ever shown."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """For people and logs: many a receiver has its secret in the path or in the query string."""
        return f"{self.scheme}://{self.authority}{'/' if self.path == '/' else '/…'}"


def parsed(url: str) -> Target:
    """A webhook's URL.

    Raises:
        Invalid: it is none, or has something that means different things to different readers. The message does not
            repeat the URL, which may hold a secret.
    """
    if not url.isascii() or not url.isprintable() or any(c in url for c in ' \\"<>^`{|}') or len(url) > _LONGEST:
        raise _invalid("has characters that a URL does not have", "percent-encode them; write a host in punycode")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid("has no legal host and port") from None
    if parts.scheme not in _PORTS:
        raise _invalid(f"is of the scheme '{parts.scheme[:20]}'", "use http or https")
    if "@" in parts.netloc:
        raise _invalid("holds a user or a password", "every request is signed: see secret_env")
    if "#" in url:
        raise _invalid("has a fragment (#...), which is never sent")
    host = (parts.hostname or "").removesuffix(".")
    if not _HOST.fullmatch(host) or port == 0 or parts.netloc.endswith(":"):
        raise _invalid("has no legal host and port")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme=parts.scheme, host=host, port=port or _PORTS[parts.scheme], path=path)


def resolve(host: str, port: int) -> list[str]:
    """Every address of a host, by the system's resolver."""
    import socket  # noqa: PLC0415 - every command reads the configuration, few resolve a host

    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def vetted(target: Target, *, allow_private: bool, resolve: Resolve) -> list[str]:
    """The addresses to connect to, in order; the host is resolved once.

    Raises:
        Denied: one of them is not public, and private ones are not allowed.
        Unavailable: the host has none.
    """
    try:
        addresses = list(resolve(target.host, target.port))
    except (OSError, UnicodeError):  # UnicodeError: a label of the name is too long for DNS
        addresses = []
    if not addresses:
        raise Unavailable(f"the host {target.host} has no address", hint="check the webhook's URL, and DNS")
    if not allow_private:
        for address in addresses:
            if not is_public(address):
                raise Denied(
                    f"the host {target.host} is not a public address",
                    hint="if it is meant to be inside your network: allow_private = true for this webhook",
                )
    return addresses


def is_public(address: str) -> bool:
    """Whether an address is one of the Internet's: not this machine's, not its network's, nor a way around to them."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return _is_public_v4(ip.ipv4_mapped)
        if ip in _NAT64:
            return _is_public_v4(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
        return ip in _UNICAST and ip.is_global and not any(ip in network for network in _NOT_THE_INTERNET_V6)
    return _is_public_v4(ip)


def _is_public_v4(ip: ipaddress.IPv4Address) -> bool:
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_THE_INTERNET_V4)


def _invalid(what: str, hint: str = "write it as https://HOST/PATH") -> Invalid:
    return Invalid(f"the webhook's url {what}", hint=hint)
