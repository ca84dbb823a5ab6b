"""What webhooks are told of, when they are tried again, where they may send, and what they send: without a network."""

from __future__ import annotations

import hashlib
import hmac
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.clock import SECOND
from windlass.domain.errors import Denied, Invalid, Unavailable
from windlass.domain.ledger import Entry
from windlass.governance.webhooks import addresses, matching, message, retrying
from windlass.governance.webhooks.config import WebhookConfig

HOUR = 3600 * SECOND
SECRET = "a secret that nobody can guess"
ENTRY = Entry(
    seq=7, at=1_700_000_000_000_000, actor="Zoë", action="roll back", subject="endpoint/churn", before="b3:1",
    after=None, reason="harm\r\nX-Evil: 1", evidence={"e": [1.5]}, previous="b3:0", hash="b3:7",
)  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "subject", "action", "fits"),
    [
        ("version/*:register", "version/m@1.0.0", "register", True),
        ("version/*:register", "version/m@1.0.0", "retire", False),
        ("version/*:register", "versions/m", "register", False),
        ("version/*", "version/m@1.0.0", "anything", True),
        ("alias/*/champion", "alias/m/champion", "move", True),
        ("alias/*", "alias/a/b/c", "move", True),
        ("alias/*", "alias/", "move", True),
        ("*", "run/1", "run", True),
        ("*:roll back", "endpoint/e", "roll back", True),
        ("*:roll back", "endpoint/e", "promote", False),
        ("endpoint/churn", "endpoint/churn", "promote", True),
        ("endpoint/churn", "endpoint/churn2", "promote", False),
        ("endpoint/Churn", "endpoint/churn", "promote", False),
        ("environment/*:lock", "environment/b3:01ab", "lock", True),
        ("a*b*a", "aba", "x", True),
        ("a*ba", "aba", "x", True),
        ("ab*ba", "aba", "x", False),
        ("endpoint/[a-z]+", "endpoint/churn", "promote", False),
        ("endpoint/.....", "endpoint/churn", "promote", False),
    ],
)
def test_patterns(pattern: str, subject: str, action: str, fits: bool) -> None:
    matching.checked(pattern)
    assert matching.fits([pattern], subject=subject, action=action) is fits
    assert matching.fits(["nothing", pattern], subject=subject, action=action) is fits


@given(st.text("ab*", min_size=1, max_size=8), st.text("ab", max_size=10))
def test_a_star_is_any_text(pattern: str, text: str) -> None:
    expected = re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text) is not None
    assert matching.fits([pattern], subject=text, action="x") is expected


@pytest.mark.parametrize("wrong", ["", ":register", "version/*:", "a" * 201, "a\nb"])
def test_what_is_no_pattern(wrong: str) -> None:
    with pytest.raises(Invalid, match="no pattern"):
        matching.checked(wrong)


def test_attempts_grow_apart_over_about_a_day() -> None:
    pauses = [retrying.pause(attempt, 0.5) for attempt in range(1, retrying.ATTEMPTS)]
    assert retrying.ATTEMPTS == 8
    assert pauses[0] == SECOND
    assert pauses == sorted(pauses)
    assert 20 * HOUR < sum(pauses) < 28 * HOUR


@given(st.integers(1, 20), st.floats(0, 1, exclude_max=True))
def test_chance_spreads_attempts_a_little(attempt: int, chance: float) -> None:
    middle = retrying.pause(attempt, 0.5)
    assert 0.79 * middle <= retrying.pause(attempt, chance) <= 1.21 * middle


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "192.0.2.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "168.63.129.16", "192.88.99.1",
        "::", "::1", "fe80::1", "fe80::1%2", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "ff0e::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1", "::127.0.0.1", "::7f00:1",
        "64:ff9b::7f00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "2002:7f00:1::1", "2002:808:808::1",
        "2001:db8::1", "3fff::1", "2001:0:53aa:64c::1", "100::1", "not an address", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not_the_internets(address: str) -> None:
    assert not addresses.is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "172.32.0.1"]
)
def test_addresses_of_the_internet(address: str) -> None:
    assert addresses.is_public(address)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://example.com/", "scheme 'ftp'"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("gopher://example.com/", "scheme"),
        ("unix:///run/docker.sock", "scheme"),
        ("//example.com/", "scheme"),
        ("example.com/hook", "scheme"),
        ("", "scheme"),
        ("http://user:word@example.com/", "user or a password"),
        ("http://example.com@127.0.0.1/", "user or a password"),
        ("http://127.0.0.1:80@example.com/", "user or a password"),
        ("http://@example.com/", "user or a password"),
        ("http://example.com\\@127.0.0.1/", "characters"),
        ("http:\\\\127.0.0.1/", "characters"),
        ("http://exam\tple.com/", "characters"),
        ("http://example.com/\r\nHost: evil", "characters"),
        ("http://example.com/ HTTP/1.1", "characters"),
        ("http://\u2460\u2461\u2466.0.0.1/", "characters"),
        ("http://127\u30020.0.1/", "characters"),
        ("http://example.com/#@127.0.0.1", "fragment"),
        ("http://example.com:0/", "host and port"),
        ("http://example.com:99999/", "host and port"),
        ("http://example.com:http/", "host and port"),
        ("http://example.com:/", "host and port"),
        ("http:///path", "host and port"),
        ("http://:80/", "host and port"),
        ("http://./", "host and port"),
        ("http://[::1/", "host and port"),
        ("http://[fe80::1%25eth0]/", "host and port"),
        ("http://127.0.0.1%2f@example.com/", "user or a password"),
        ("http://exa%6dple.com/", "host and port"),
        ("http://a,b/", "host and port"),
        ("http://example.com/" + "a" * 2000, "characters"),
    ],
)
def test_urls_that_are_refused_as_written(url: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as raised:
        addresses.parsed(url)
    assert "word" not in raised.value.message.replace("password", "")


HOSTILE = [
    "http://127.0.0.1/", "http://127.1/", "http://127.0.0.1./", "http://localhost/", "http://localhost./",
    "http://LOCALHOST/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://0177.0.0.1/",
    "http://017700000001/", "http://0/", "http://0.0.0.0/", "http://[::1]/", "http://[::]/",
    "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:ffff:127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://[fe80::1]/", "http://[fd00:ec2::254]/",
    "http://169.254.169.254/latest/meta-data/", "http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/",
    "http://10.0.0.1:8080/", "http://100.64.0.1/", "http://168.63.129.16/", "https://127.0.0.1/", "http://192.168.0.1./",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_hosts_that_are_private_however_they_are_written(url: str) -> None:
    """With the system's own resolver: it, not we, says what 0x7f.1 is."""
    with pytest.raises((Denied, Unavailable)):
        addresses.vetted(addresses.parsed(url), allow_private=False, resolve=addresses.resolve)


def test_a_name_that_resolves_to_anything_private_is_refused() -> None:
    target = addresses.parsed("https://hooks.example/x?token=word")
    for found in (["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["8.8.8.8", "::1"]):
        with pytest.raises(Denied, match="not a public address") as raised:
            addresses.vetted(target, allow_private=False, resolve=lambda *_, found=found: found)  # type: ignore[misc]
        assert "word" not in str(raised.value)
        assert addresses.vetted(target, allow_private=True, resolve=lambda *_, found=found: found) == found  # type: ignore[misc]
    assert addresses.vetted(target, allow_private=False, resolve=lambda *_: ["8.8.8.8"]) == ["8.8.8.8"]


def test_a_name_that_resolves_to_nothing() -> None:
    target = addresses.parsed("https://hooks.example/")
    with pytest.raises(Unavailable, match="has no address"):
        addresses.vetted(target, allow_private=False, resolve=lambda *_: [])
    with pytest.raises(Unavailable, match="has no address"):
        addresses.vetted(
            addresses.parsed(f"https://{'a' * 70}.example/"), allow_private=True, resolve=addresses.resolve
        )


@pytest.mark.parametrize(
    ("url", "authority", "path", "shown"),
    [
        ("https://hooks.example", "hooks.example", "/", "https://hooks.example/"),
        ("HTTPS://Hooks.Example./a/T0K?k=v", "hooks.example", "/a/T0K?k=v", "https://hooks.example/…"),
        ("http://hooks.example:8080/?k=v", "hooks.example:8080", "/?k=v", "http://hooks.example:8080/…"),
        ("https://hooks.example:80/", "hooks.example:80", "/", "https://hooks.example:80/"),
        ("http://[2606:4700::1111]:81/x", "[2606:4700::1111]:81", "/x", "http://[2606:4700::1111]:81/…"),
    ],
)
def test_what_a_url_is_made_of(url: str, authority: str, path: str, shown: str) -> None:
    target = addresses.parsed(url)
    assert (target.authority, target.path, target.shown) == (authority, path, shown)


def test_the_body_is_the_transition_and_always_the_same() -> None:
    body = message.of_entry(ENTRY, webhook="chat", delivery="d1")
    assert body == message.of_entry(ENTRY, webhook="chat", delivery="d1")
    assert json.loads(body) == {
        "format": 1, "delivery": "d1", "webhook": "chat", "event": 7, "hash": "b3:7",
        "at": "2023-11-14T22:13:20.000000Z", "action": "roll back", "subject": "endpoint/churn", "before": "b3:1",
        "after": None, "actor": "Zoë", "reason": "harm\r\nX-Evil: 1", "evidence": {"e": [1.5]},
    }  # fmt: skip


def test_the_signature_is_of_the_timestamp_and_the_body() -> None:
    body = message.of_entry(ENTRY, webhook="chat", delivery="d1")
    sent = message.headers(body, delivery="d1", kind="endpoint:roll back\r\n", secret=SECRET, at=1_700_000_001_999_999)
    assert sent["X-Windlass-Timestamp"] == "1700000001"
    expected = hmac.new(SECRET.encode(), b"1700000001." + body, hashlib.sha256).hexdigest()
    assert sent["X-Windlass-Signature"] == f"v1={expected}"
    assert sent["X-Windlass-Event"] == "endpoint:roll back%0D%0A"
    assert SECRET not in str(sent)


def test_nothing_is_sent_unsigned() -> None:
    assert message.secret({"HOOK": SECRET}, "HOOK") == SECRET
    for environ, said in (({}, "not set"), ({"HOOK": ""}, "not set"), ({"HOOK": "hunter2"}, "too short")):
        with pytest.raises(Invalid, match=said) as raised:
            message.secret(environ, "HOOK")
        assert "hunter2" not in f"{raised.value.message} {raised.value.hint}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://example.com/"}, {"events": ()}, {"events": ("ok", ":x")}, {"secret_env": "not a name"},
        {"secret_env": ""}, {"url": "https://user:hunter2@example.com"},
    ],
)  # fmt: skip
def test_a_configuration_that_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Invalid) as raised:
        WebhookConfig(**{"url": "https://example.com", "events": ("*",), "secret_env": "HOOK", **wrong})  # type: ignore[arg-type]
    assert "hunter2" not in f"{raised.value.message} {raised.value.hint}"
