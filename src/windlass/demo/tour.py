"""What the story is told with: the command line, the HTTP API and client processes, each used as a user would."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from windlass.demo.timeline import Timeline
from windlass.domain.errors import Failure, Unavailable
from windlass.workspace import databases
from windlass.workspace.project import example_data

PERSON, APPROVER, ON_CALL = "dana", "alex", "sam"
POLL_SECONDS = 0.2


def _alone() -> dict[str, str]:
    """Our environment, but for the database that a team works with: the story has its own."""
    return os.environ | {databases.VARIABLE: ""}


@dataclass
class Tour:
    """One telling of the story in ``folder``; ``traffic`` is what its users saw."""

    folder: Path
    timeline: Timeline
    traffic: list[dict[str, Any]] = field(default_factory=list)
    server: subprocess.Popen[str] | None = None
    gateway_url: str = ""
    control_url: str = ""

    def windlass(self, *args: str, actor: str = PERSON, expect: int = 0, quiet: bool = False) -> Any:
        """Run a command with ``--json``; returns its document, or its error text if it is to fail."""
        if not quiet:
            self.timeline.command(f"windlass {shlex.join(args)}")
        environment = _alone() | {"WINDLASS_ACTOR": actor, "WINDLASS_PROJECT": str(self.folder)}
        done = subprocess.run(
            [sys.executable, "-m", "windlass", *args, "--json"],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        if done.returncode != expect:
            raise Failure(
                f"`windlass {shlex.join(args)}` ended with {done.returncode}, not {expect}:\n{done.stderr.strip()}",
                hint=f"look around in {self.folder}; `windlass --project {self.folder} status`",
            )
        return json.loads(done.stdout) if expect == 0 else done.stderr

    def ask(self, operation: str, **request: Any) -> Any:
        """Call an operation over the HTTP API of the control process."""
        http = urllib.request.Request(  # noqa: S310 - the URL of our own control process
            f"{self.control_url}/api/v1/{operation}",
            data=json.dumps(request).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(http, timeout=30) as response:  # noqa: S310
            return json.load(response)

    def wait(self, operation: str, until: Callable[[Any], bool], *, seconds: float, what: str, **request: Any) -> Any:
        """Ask until the answer is as wanted.

        Raises:
            Unavailable: it is not within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while True:
            answer = self.ask(operation, **request)
            if until(answer):
                return answer
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"waited {seconds:.0f} s for {what}",
                    hint=f"see {self.folder}/.windlass/logs; the last answer was {json.dumps(answer)[:500]}",
                )
            time.sleep(POLL_SECONDS)

    def up(self) -> None:
        """Start `windlass up` beside the story and wait until it is ready."""
        self.timeline.command("windlass up &")
        # A file, not a pipe: with --keep-serving the server outlives the story, and still has things to say.
        log = self.folder / ".windlass" / "logs" / "up.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as said:
            self.server = self._start(said)
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        if not line:
            raise Unavailable(f"`windlass up` did not start: {log.read_text().strip()}")
        address = json.loads(line)
        self.gateway_url, self.control_url = address["gateway_url"], address["control_url"]

    def _start(self, said: IO[bytes]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                sys.executable, "-m", "windlass", "--project", str(self.folder),
                "up", "--gateway-port", "0", "--control-port", "0", "--json",
            ],
            stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True, env=_alone(),
        )  # fmt: skip

    def down(self) -> None:
        """Stop `windlass up` as Ctrl-C would."""
        if self.server is None or self.server.poll() is not None:
            return
        self.server.send_signal(signal.SIGTERM)
        try:
            self.server.wait(20)
        except subprocess.TimeoutExpired:
            self.server.kill()

    @contextmanager
    def users(
        self, name: str, year: int, *, count: int | None = None, start: int = 0, recode: bool = False
    ) -> Iterator[Path]:
        """Users of ``year`` send their records while the block runs (or until ``count``); gives the labels' file."""
        labels = self.folder / ".windlass" / f"labels-{name}.jsonl"
        data = example_data(year)
        command = [
            sys.executable, "-m", "windlass.demo.traffic", "--prefix", name, "--labels", str(labels),
            "--url", f"{self.gateway_url}/endpoints/employment/invocations", "--data", str(data), "--start", str(start),
        ]  # fmt: skip
        if count is not None:
            command += ["--count", str(count)]
        if recode:
            command += ["--recode"]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert client.stdout is not None
        try:
            # Before it sends it cannot be told to stop: it would end without its summary.
            client.stdout.readline()
            yield labels
            if count is None:
                client.terminate()
            out, _ = client.communicate(timeout=120)
            self.traffic.append({"users": name, **json.loads(out.splitlines()[-1])})
        finally:
            if client.poll() is None:
                client.kill()
                client.wait()
