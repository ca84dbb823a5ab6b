"""The rollouts of the serving benchmark: the example's project, with `windlass up`, under load.

    python rollingout.py PARQUET PORT OUT

writes the requests of the example's users for ``firing.py``. (A process of its own reads the table.)
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from figures import Figure, Goal
from firing import HOLE, LENGTH
from measuring import Failed, say
from rich.console import Console

from windlass.demo import story
from windlass.demo.git import commit
from windlass.demo.timeline import Timeline
from windlass.demo.tour import APPROVER, Tour
from windlass.domain.errors import Failure
from windlass.workspace.project import example_data

CONNECTIONS = 16
MODEL = ENDPOINT = "employment"
RECORDS = 20_000
HARM_SECONDS = 120.0
Firing = Callable[[str, Path, int, float], contextlib.AbstractContextManager["subprocess.Popen[str]"]]
Result = Callable[["subprocess.Popen[str]"], dict[str, Any]]


def figures(scratch: Path, folder: Path, count: int, firing: Firing, result: Result) -> list[Figure]:
    """``count`` promotions and rollbacks by command, then a candidate that fails where no gate could see it."""
    with (scratch / "rollouts.log").open("w") as log:
        tour = Tour(folder, Timeline(Console(file=log)))
        try:
            _versions(tour)
            tour.up()
            tour.windlass("release", f"{MODEL}@1.0.0", "--to", ENDPOINT, "--wait")
            with _load(tour, scratch, firing, result) as switched:
                taken = list(_switch(tour, count))
            harm, harmed = _harm(tour, scratch, firing, result)
        except Failure as failure:
            raise Failed(f"{failure.message} {failure.hint}") from None
        finally:
            tour.down()
    text = f"{count} promotions (blue-green) and {count} rollbacks by command, {CONNECTIONS} connections"
    return [
        Figure(
            f"{text}: requests failed", "requests", [float(switched["failed"])], goal=Goal(at_most=0),
            note=_told(switched),
        ),
        Figure("a rollback by command, golden rows included", "s", taken),
        Figure(
            "verdict to the candidate's last answer", "ms", [1000 * harm["rollback_seconds"]], goal=Goal(at_most=250)
        ),
        Figure(
            "requests failed while a harmful candidate came and went", "requests", [float(harmed["failed"])],
            goal=Goal(at_most=0), note=_told(harmed),
        ),
    ]  # fmt: skip


def _told(found: dict[str, Any]) -> str:
    return f"of {found['answered']:,}" + (f"; {found['first_failure']}" if found["first_failure"] else "")


def _versions(tour: Tour) -> None:
    """1.0.0 on one year, 1.1.0 on two; both may be released."""
    tour.windlass("init", str(tour.folder), "--example")
    tour.windlass("data", "add", "--name", "acs")
    _made(tour, "1.0.0")
    year = example_data(2016)
    (tour.folder / "data" / "acs" / year.name).write_bytes(year.read_bytes())
    tour.windlass("data", "add", "--name", "acs", "--reason", "the year 2016")
    _made(tour, "1.1.0")


def _made(tour: Tour, semver: str) -> None:
    tour.windlass("run")
    version = tour.windlass("register")["version"]["semver"]
    if version != semver:
        raise Failed(f"the version is {version}, and not {semver}")
    tour.windlass("gate", f"{MODEL}@{semver}")
    tour.windlass("approve", f"{MODEL}@{semver}", "--reason", "for the benchmark", actor=APPROVER)
    say(f"  {MODEL}@{semver} may be released")


def _switch(tour: Tour, count: int) -> Iterator[float]:
    """Promote 1.1.0 and roll back to 1.0.0, so many times; gives what each rollback took."""
    for at in range(1, count + 1):
        options = ["--strategy", "blue-green", "--force", "--reason", f"promotion {at}", "--wait"]
        rollout = tour.windlass("release", f"{MODEL}@1.1.0", "--to", ENDPOINT, *options)
        if rollout["state"] != "promoted":
            raise Failed(f"promotion {at} ended as {rollout['state']}: {rollout.get('verdict')}")
        done = tour.windlass("rollback", ENDPOINT, "--reason", f"rollback {at}")
        say(f"  {at}: {done['from_reference']} -> {done['to_reference']} in {1000 * done['seconds']:.0f} ms")
        yield float(done["seconds"])


def _harm(tour: Tour, scratch: Path, firing: Firing, result: Result) -> tuple[dict[str, Any], dict[str, Any]]:
    """The bug of the demo, which only requests of one row can meet, as a canary: its rollout, and the load."""
    features = tour.folder / "features.py"
    features.write_text(features.read_text().replace(story.HEALTHY, story.BROKEN))
    commit(tour.folder, "Put ages in relation to a reference group")
    _made(tour, "1.2.0")
    with _load(tour, scratch, firing, result) as load:
        started = tour.windlass("release", f"{MODEL}@1.2.0", "--to", ENDPOINT, "--strategy", "canary")
        ended: dict[str, Any] = tour.wait(
            "rollout.show",
            lambda found: found["ended_at"] is not None and found["rollback_seconds"] is not None,
            seconds=HARM_SECONDS, what="the harmful rollout to end", rollout=started["id"],
        )  # fmt: skip
    say(f"  {ended['state']}: {ended['verdict']}; {1000 * ended['rollback_seconds']:.0f} ms")
    return ended, load


@contextlib.contextmanager
def _load(tour: Tour, scratch: Path, firing: Firing, result: Result) -> Iterator[dict[str, Any]]:
    """Users ask while the block runs; the dictionary is filled at its end."""
    port = tour.gateway_url.rpartition(":")[2]
    requests, found = scratch / "requests-users", dict[str, Any]()
    subprocess.run([sys.executable, __file__, str(example_data(2016)), port, str(requests)], check=True)
    with firing(port, requests, CONNECTIONS, 3600.0) as client:
        time.sleep(0.5)
        yield found
        time.sleep(0.5)
        client.terminate()
        found.update(result(client))


def main() -> None:
    from windlass.demo import traffic

    data, port, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    path, sent = f"/endpoints/{ENDPOINT}/invocations", traffic.requests(data, start=0, recode=False, prefix="user")
    with out.open("wb") as file:
        for _, (_, body, _) in zip(range(RECORDS), sent, strict=False):
            head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
            request = f"{head}windlass-user: {HOLE.decode()}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
            file.write(LENGTH.pack(len(request)) + request)


if __name__ == "__main__":
    main()
