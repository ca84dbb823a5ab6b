"""docs/serving.md: each of its examples is answered as the page says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from windlass.domain.routing import Route, RouteTable
from windlass.serving import admin

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
EXAMPLES = re.findall(r"^    \$ curl (.+)\n    (.+)$", PAGE.read_text(), re.MULTILINE)
ID = re.compile(r"[0-9a-f]{24}")


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == PAGE.read_text().count("$ curl") >= 14


def test_every_example(plane: Callable[..., Any]) -> None:
    gateway = plane("good", "other")
    sockets = {name: (gateway.sockets[name],) for name in ("good", "other")}
    routes = {"churn": Route(stable="good", candidate="other")}
    admin.push(gateway.admin, RouteTable(revision=1, routes=routes, sockets=sockets))
    for command, expected in EXAMPLES:
        path, data, headers = asked(command)
        connection = HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        connection.request("GET" if data is None else "POST", path, data, headers)
        answer = connection.getresponse().read()
        connection.close()
        assert alike(json.loads(expected), json.loads(answer)), command


def asked(command: str) -> tuple[str, str | None, dict[str, str]]:
    """What curl would send: path, body, headers."""
    # A text in $'...' has the escapes of Python's.
    plain = re.sub(r"\$'([^']*)'", lambda text: shlex.quote(text.group(1).encode().decode("unicode_escape")), command)
    path, data, headers = "", None, dict[str, str]()
    words = iter(shlex.split(plain))
    for word in words:
        match word:
            case "-s":
                pass
            case "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            case "--json" | "-d" | "--data-binary":
                kind = "application/json" if word == "--json" else "application/x-www-form-urlencoded"
                headers.setdefault("content-type", kind)
                data = next(words)
            case _:
                path = word.removeprefix("localhost:8800")
    return path, data, headers


def alike(expected: Any, found: Any) -> bool:
    """The same, but for ids that are made up, and the last digits of numbers."""
    if isinstance(expected, dict):
        return list(expected) == list(found) and all(alike(expected[name], found[name]) for name in expected)
    if isinstance(expected, list):
        return len(expected) == len(found) and all(map(alike, expected, found))
    if isinstance(expected, float):
        return bool(found == pytest.approx(expected, abs=1e-6))
    return expected == found or bool(ID.fullmatch(str(expected)) and ID.fullmatch(str(found)))
