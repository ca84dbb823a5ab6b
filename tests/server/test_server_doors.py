"""The gateways' sockets outlive the gateways; one that does not come back gives way."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from windlass.domain.errors import Unavailable
from windlass.server import binding
from windlass.server.doors import Doors

HOST = "127.0.0.1"


@pytest.fixture
def port() -> int:
    with binding.listen(HOST, 0) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def doors(port: int) -> Iterator[Doors]:
    made = Doors(HOST, port, 2)
    yield made
    made.close()


def connected(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=5)


def test_a_gateway_that_is_started_again_gets_its_socket_with_those_who_wait_in_it(doors: Doors, port: int) -> None:
    first = doors.descriptor(0)
    with connected(port) as waiting:
        assert doors.descriptor(0) == first
        with socket.socket(fileno=os.dup(first)) as gateway:
            accepted, _ = gateway.accept()
            with accepted:
                accepted.sendall(b"at last")
        assert waiting.recv(16) == b"at last"


def test_one_that_does_not_come_back_gives_its_connections_to_the_others(doors: Doors, port: int) -> None:
    one, other = doors.descriptor(0), doors.descriptor(1)
    assert one != other
    doors.leave(0)
    with socket.socket(fileno=os.dup(other)) as gateway:
        for _ in range(20):
            with connected(port):
                gateway.settimeout(5)
                gateway.accept()[0].close()
    assert doors.descriptor(0)  # and comes back later


def test_a_single_gateway_keeps_its_socket(port: int) -> None:
    alone = Doors(HOST, port, 1)
    descriptor = alone.descriptor(0)
    alone.leave(0)
    assert alone.descriptor(0) == descriptor
    with pytest.raises(Unavailable):
        binding.listen(HOST, port)
    alone.close()


def test_once_closed_nobody_comes_in_and_none_is_opened(doors: Doors, port: int) -> None:
    doors.descriptor(0)
    doors.close()
    with pytest.raises(OSError):
        connected(port)
    with pytest.raises(Unavailable, match="being ended"):
        doors.descriptor(0)
