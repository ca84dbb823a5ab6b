"""The whole way: a transition, the control process, a receiver; and the commands that show it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from webhook_receiver import OK, SECRET, Receiver, saying, status

from windlass.domain import clock, ledger
from windlass.domain.clock import SECOND
from windlass.governance.webhooks import deliveries
from windlass.workspace.layout import Layout
from windlass.workspace.notifying import Notifier
from windlass.workspace.workspace import Workspace

TOKEN = "t0ken-in-the-query"
PROJECT = '[project]\nname = "p"\n[model]\nname = "m"\n[endpoint]\nname = "e"\n'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "windlass.toml").write_text(PROJECT)
    return tmp_path


def configure(project: Path, name: str, url: str, *events: str, allow_private: bool = True) -> None:
    with (project / "windlass.toml").open("a") as file:
        file.write(f'[webhooks.{name}]\nurl = "{url}"\nevents = {json.dumps(events or ["*"])}\nsecret_env = "HOOK"\n')
        file.write(f"allow_private = {str(allow_private).lower()}\n")


def workspace(project: Path, now: Callable[[], int] = clock.now) -> Workspace:
    return Workspace(Layout(project), actor="dana", now=now)


def move(project: Path, *subjects: str, action: str = "register") -> None:
    db = workspace(project).database
    with db.write() as tx:
        for subject in subjects:
            ledger.transition(
                tx, subject=subject, action=action, before=ledger.head(tx, subject), after="b3:x", actor="dana",
                reason="a better one", at=clock.now(), evidence={"accuracy": 0.9},
            )  # fmt: skip


def windlass(project: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "windlass", *args], cwd=project, capture_output=True, text=True, check=False,
        env=os.environ | {"HOOK": SECRET} | environ,
    )  # fmt: skip


def listed(project: Path, name: str) -> list[dict[str, Any]]:
    done = windlass(project, "webhooks", "deliveries", name, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@contextmanager
def control(project: Path, *names: str) -> Iterator[subprocess.Popen[bytes]]:
    """A control process, once it has seen the webhooks named."""
    with (project / "control.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "windlass.server.control", "--project", str(project), "--port", "0"],
            stdout=subprocess.PIPE, stderr=log, env=os.environ | {"HOOK": SECRET},
        )  # fmt: skip
    assert process.stdout is not None
    try:
        process.url = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"  # type: ignore[attr-defined]
        until(lambda: all(standing(project, name).position is not None for name in names))
        yield process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def standing(project: Path, name: str) -> deliveries.Standing:
    with workspace(project).database.read() as tx:
        return deliveries.standing(tx, name)


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_transition_reaches_its_receiver_signed_and_the_log_says_so(project: Path, receiver: Receiver) -> None:
    configure(project, "chat", receiver.url(f"/hook?token={TOKEN}"), "snapshot/*:add data")
    (project / "rows.csv").write_text("a,b\n1,2\n")
    receiver.answers = [status(503)]
    with control(project, "chat") as process:
        move(project, "note/1")
        done = windlass(project, "data", "add", "rows.csv", "--name", "rows")
        assert done.returncode == 0, done.stderr
        first, second = receiver.wait(2)
        until(lambda: standing(project, "chat").counts == {"delivered": 1})
        over_http = windlass(project, "webhooks", "--json", WINDLASS_URL=process.url)  # type: ignore[attr-defined]
    assert first.signed
    assert second.signed
    assert first.body == second.body
    assert first.headers["x-windlass-delivery"] == second.headers["x-windlass-delivery"]
    assert (first.headers["x-windlass-event"], first.message["webhook"]) == ("snapshot:add data", "chat")
    with workspace(project).database.read() as tx:
        entry = next(each for each in ledger.entries(tx) if each.action == "add data")
    told = {key: value for key, value in first.message.items() if key not in ("format", "delivery", "webhook")}
    assert told == {
        "event": entry.seq, "hash": entry.hash, "at": clock.text_of(entry.at), "action": "add data",
        "subject": "snapshot/rows@1", "before": None, "after": entry.after, "actor": entry.actor,
        "reason": entry.reason, "evidence": entry.evidence,
    }  # fmt: skip
    [logged] = listed(project, "chat")
    assert (logged["id"], logged["state"]) == (first.message["delivery"], "delivered")
    assert [each["status"] for each in logged["attempts"]] == [503, 200]
    [shown] = json.loads(over_http.stdout)
    assert (shown["name"], shown["url"], shown["delivered"]) == ("chat", f"http://127.0.0.1:{receiver.port}/…", 1)
    assert windlass(project, "verify").returncode == 0
    said = (
        over_http.stdout + windlass(project, "webhooks").stdout + windlass(project, "webhooks", "test", "chat").stdout
    )
    assert SECRET not in said
    assert TOKEN not in said
    for file in (path for path in project.rglob("*") if path.is_file() and path.name != "windlass.toml"):
        content = file.read_bytes()
        assert SECRET.encode() not in content, file
        assert TOKEN.encode() not in content, file


def test_a_control_process_killed_between_sending_and_recording_sends_the_same_delivery_again(
    project: Path, receiver: Receiver
) -> None:
    configure(project, "chat", receiver.url())
    receiver.answers = [receiver.hold]
    with control(project, "chat") as process:
        move(project, "version/m@1.0.0")
        receiver.wait(1)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    [left] = listed(project, "chat")
    assert (left["state"], left["attempts"][0]["milliseconds"]) == ("pending", None)
    with workspace(project).database.write() as tx:
        tx.execute("UPDATE webhook_deliveries SET until = 0")  # as if its lease had run out
    with control(project, "chat"):
        first, second = receiver.wait(2)
        until(lambda: standing(project, "chat").counts == {"delivered": 1})
    assert first.message["delivery"] == second.message["delivery"] == left["id"]
    assert first.body == second.body
    assert len(listed(project, "chat")) == 1


def test_a_control_process_that_was_down_tells_what_happened_meanwhile(project: Path, receiver: Receiver) -> None:
    configure(project, "chat", receiver.url())
    with control(project, "chat"):
        pass
    move(project, "version/m@1.0.0", "version/m@1.1.0")
    with control(project, "chat"):
        got = receiver.wait(2)
    assert [each.message["subject"] for each in got] == ["version/m@1.0.0", "version/m@1.1.0"]


def test_a_slow_receiver_holds_up_nobody_else(project: Path, receiver: Receiver) -> None:
    slow = Receiver()
    slow.answers = [slow.hold]
    configure(project, "slow", slow.url())
    configure(project, "fast", receiver.url())
    try:
        with control(project, "slow", "fast"):
            move(project, "run/1")
            slow.wait(1)
            move(project, "run/2", "run/3")
            assert [each.message["subject"] for each in receiver.wait(3)] == ["run/1", "run/2", "run/3"]
            move(project, "run/4")
            receiver.wait(4)
            assert len(slow.received) == 1
            assert windlass(project, "status").returncode == 0
    finally:
        slow.close()


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = clock.now()

    def __call__(self) -> int:
        return self.now


def ticked(notifier: Notifier, ws: Workspace, done: Callable[[], bool]) -> None:
    def turn() -> bool:
        notifier.tick(ws)
        return done()

    until(turn)


@pytest.fixture
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", SECRET)


@pytest.mark.usefixtures("_secret")
def test_a_receiver_that_fails_again_and_again_gets_it_within_a_day(project: Path, receiver: Receiver) -> None:
    configure(project, "chat", receiver.url())
    receiver.answers = [
        status(500), status(302, "Location: http://169.254.169.254/\r\n"), saying(b""),
        saying(b"HTTP/1.1 200 OK\r\nContent-"), saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), saying(OK),
    ]  # fmt: skip
    now = Clock()
    ws, notifier = workspace(project, now), Notifier(holder="one")
    notifier.tick(ws)
    move(project, "run/1")

    def attempts() -> int:
        with ws.database.read() as tx:
            [found] = deliveries.ls(tx, "chat", state=None, limit=9)
            return sum(each.milliseconds is not None for each in found.attempts)

    for number in range(1, 7):
        ticked(notifier, ws, lambda number=number: attempts() == number)  # type: ignore[misc]
        now.now += 20 * 3600 * SECOND
    assert len({each.message["delivery"] for each in receiver.received}) == 1
    [found] = listed(project, "chat")
    assert found["state"] == "delivered"
    assert [each["status"] for each in found["attempts"]][::5] == [500, 200]
    assert "a redirect: those are not followed" in found["attempts"][1]["error"]
    assert "169.254" not in json.dumps(found)


@pytest.mark.usefixtures("_secret")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
def test_cve_2026_2393_a_webhook_does_not_reach_inside_unless_the_configuration_lets_it(
    project: Path, receiver: Receiver, host: str
) -> None:
    configure(project, "inside", receiver.url(f"/?token={TOKEN}", host), allow_private=False)
    ws, notifier = workspace(project), Notifier(holder="one")
    notifier.tick(ws)
    move(project, "run/1")

    def tried() -> bool:
        with ws.database.read() as tx:
            [found] = deliveries.ls(tx, "inside", state=None, limit=9)
            return found.attempts[0].milliseconds is not None

    ticked(notifier, ws, tried)
    assert receiver.connections == 0
    error = listed(project, "inside")[0]["attempts"][0]["error"]
    assert "is not a public address" in error
    assert TOKEN not in error


@pytest.mark.usefixtures("_secret")
def test_two_processes_send_each_delivery_once(project: Path, receiver: Receiver) -> None:
    configure(project, "chat", receiver.url())
    Notifier(holder="first").tick(workspace(project))
    move(project, *(f"run/{number}" for number in range(40)))

    def run(holder: str) -> None:
        ws, notifier = workspace(project), Notifier(holder=holder)
        ticked(notifier, ws, lambda: standing(project, "chat").counts == {"delivered": 40})

    threads = [threading.Thread(target=run, args=(f"process {number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(each.message["event"] for each in receiver.received) == list(range(1, 41))


def test_without_its_secret_nothing_is_sent(project: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(project, "chat", receiver.url())
    monkeypatch.delenv("HOOK", raising=False)
    ws, notifier = workspace(project), Notifier(holder="one")
    notifier.tick(ws)
    move(project, "run/1")
    ticked(notifier, ws, lambda: bool(listed(project, "chat")[0]["attempts"]))
    ticked(notifier, ws, lambda: listed(project, "chat")[0]["attempts"][0]["milliseconds"] is not None)
    assert "the environment variable HOOK is not set" in listed(project, "chat")[0]["attempts"][0]["error"]
    assert receiver.connections == 0


def test_the_commands(project: Path, receiver: Receiver) -> None:
    assert "no webhooks" in windlass(project, "webhooks").stdout
    configure(project, "chat", receiver.url(), "version/*")
    assert "no deliveries" in windlass(project, "webhooks", "deliveries", "chat").stdout
    done = windlass(project, "webhooks", "test", "chat", WINDLASS_ACTOR="alex")
    assert "chat got the test: 200" in done.stdout, done.stderr
    [got] = receiver.received
    assert got.signed
    assert (got.message["action"], got.message["actor"], got.message["event"]) == ("ping", "alex", 0)
    receiver.answers = [status(302, "Location: http://169.254.169.254/\r\n")]
    failing = windlass(project, "webhooks", "test", "chat")
    assert (failing.returncode, "a redirect" in failing.stderr, "Traceback" in failing.stderr) == (5, True, False)
    unset = windlass(project, "webhooks", HOOK="")
    assert "HOOK is not set" in unset.stdout
    assert [each["state"] for each in listed(project, "chat")] == ["failed", "delivered"]
    assert (
        len(json.loads(windlass(project, "webhooks", "deliveries", "chat", "--state", "failed", "--json").stdout)) == 1
    )
    for wrong in (["test", "nobody"], ["deliveries", "nobody"], ["redeliver", "nothing"]):
        refused = windlass(project, "webhooks", *wrong)
        assert (refused.returncode, "Traceback" in refused.stderr) == (2, False), refused.stderr
        assert wrong[1] in refused.stderr


def test_redelivered_by_command(project: Path, receiver: Receiver) -> None:
    configure(project, "chat", receiver.url())
    with control(project, "chat"):
        move(project, "run/1")
        [first] = receiver.wait(1)
        until(lambda: standing(project, "chat").counts == {"delivered": 1})
        done = windlass(project, "webhooks", "redeliver", first.message["delivery"])
        assert "is sent again to chat" in done.stdout, done.stderr
        receiver.wait(2)
    assert receiver.received[1].body == first.body


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ('url = "http://user:hunter2@h/"', "user or a password"),
        ('url = "ftp://h/hunter2"', "scheme 'ftp'"),
        ("events = []", "events are empty"),
        ('secret_env = "hunter2 itself"', "not the name of an environment variable"),
        ("alow_private = true", "unknown key"),
        ("allow_private = 1", "allow_private"),
    ],
)
def test_a_configuration_that_is_wrong_says_so(project: Path, key: str, said: str) -> None:
    keys = {"url": 'url = "https://h/"', "events": 'events = ["*"]', "secret_env": 'secret_env = "HOOK"'}
    keys[key.partition(" ")[0]] = key
    with (project / "windlass.toml").open("a") as file:
        file.write("[webhooks.chat]\n" + "\n".join(keys.values()) + "\n")
    done = windlass(project, "webhooks")
    assert (done.returncode, said in done.stderr, "hunter2" in done.stderr) == (2, True, False), done.stderr
