"""The fleet brings up what is wanted, ends what is not, and tells how each stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from windlass.delivery.workers import Limits, Wanted
from windlass.domain.errors import Invalid, Unavailable
from windlass.server.child import Standing, State
from windlass.server.fleet import Fleet


class Story:
    """What is wanted, and what was reported, as tables would hold them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[tuple[str, int], Wanted] = {}
        self.reports: dict[tuple[str, int], Standing] = {}
        self.reachable = True
        self.clock = 0.0
        self.python = folder / "python"
        self.python.write_text("#!/bin/sh\necho $$ $@ >> started\nexec sleep 60\n")
        self.python.chmod(0o755)
        self.fleet = Fleet(
            wanted=self.wanted, report=self.report, prepare=self.prepare, logs=folder / "logs", folder=folder,
            clock=lambda: self.clock,
        )  # fmt: skip

    def want(self, release: str, number: int = 0, **more: Any) -> None:
        socket = str(self.folder / f"{release[3:]}{number or ''}.sock")
        self.rows[release, number] = Wanted(
            release=release, number=number, package="b3:p", environment="b3:e", socket=socket, **more
        )

    def wanted(self) -> list[Wanted]:
        if not self.reachable:
            raise Unavailable("the database does not answer")
        return list(self.rows.values())

    def report(self, changed: Sequence[tuple[tuple[str, int], Standing]]) -> None:
        if not self.reachable:
            raise Unavailable("the database does not answer")
        self.reports.update(changed)

    def prepare(self, wanted: Wanted) -> tuple[Path, str]:
        if "broken" in wanted.release:
            raise Invalid("the package is damaged")
        return self.folder / "package", str(self.python)

    def started(self) -> list[str]:
        file = self.folder / "started"
        return file.read_text().splitlines() if file.exists() else []

    def until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < end, "it did not come to be"
            self.fleet.reconcile()
            time.sleep(0.01)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    story = Story(tmp_path)
    yield story
    story.fleet.stop()


def pid_of(story: Story, release: str, number: int = 0) -> int | None:
    return story.reports[release, number].pid if (release, number) in story.reports else None


def test_what_is_wanted_is_started_once_with_its_package_and_socket(story: Story) -> None:
    story.want("b3:a")
    story.until(lambda: bool(story.started()) and pid_of(story, "b3:a") is not None)
    for _ in range(5):
        story.fleet.reconcile()
    [line] = story.started()
    assert line.split()[0] == str(pid_of(story, "b3:a"))
    assert f"-m windlass.serving.worker {story.folder}/package {story.folder}/a.sock --stdin-watch" in line
    assert story.fleet.address()["b3:a"]["pid"] == pid_of(story, "b3:a")


def test_several_workers_of_a_release_have_each_a_process_and_a_socket(story: Story) -> None:
    story.want("b3:a")
    story.want("b3:a", 1)
    story.until(lambda: len(story.started()) == 2 and pid_of(story, "b3:a", 1) is not None)
    assert pid_of(story, "b3:a") != pid_of(story, "b3:a", 1)
    address = story.fleet.address()
    assert (address["b3:a"]["socket"], address["b3:a/1"]["socket"]) == (
        f"{story.folder}/a.sock", f"{story.folder}/a1.sock",
    )  # fmt: skip
    del story.rows["b3:a", 1]
    story.fleet.reconcile()
    story.clock += 2
    story.until(lambda: len(story.fleet.children) == 1)
    assert story.reports["b3:a", 1].state is State.STOPPED and story.reports["b3:a", 0].state is not State.STOPPED


def test_a_worker_is_started_with_its_limits(story: Story) -> None:
    story.want("b3:a", 1, limits=Limits(memory_mb=512, cpu=2, nice=5))
    story.until(lambda: bool(story.started()))
    assert story.started()[0].endswith("--stdin-watch --memory-mb 512 --cpu 2 --number 1 --nice 5")


def test_what_the_database_no_longer_knows_of_a_worker_is_told_again(story: Story) -> None:
    story.want("b3:a")
    story.until(lambda: pid_of(story, "b3:a") is not None)
    told = story.reports.pop(("b3:a", 0))
    story.fleet.reconcile()
    assert not story.reports
    story.rows["b3:a", 0] = replace(story.rows["b3:a", 0], state="ready")
    assert told.state is State.STARTING
    story.until(lambda: story.reports.get(("b3:a", 0)) == told)


def test_what_is_no_longer_wanted_is_drained_before_it_is_ended(story: Story) -> None:
    story.want("b3:a")
    story.until(lambda: bool(story.started()))
    del story.rows["b3:a", 0]
    story.fleet.reconcile()
    story.clock += 0.9
    story.fleet.reconcile()
    assert [child.name for child in story.fleet.children] == ["worker b3:a"]
    story.clock += 0.2
    story.until(lambda: not story.fleet.children)
    assert story.reports["b3:a", 0].state is State.STOPPED


def test_what_is_wanted_again_before_it_was_ended_runs_on(story: Story) -> None:
    story.want("b3:a")
    story.until(lambda: bool(story.started()))
    del story.rows["b3:a", 0]
    story.fleet.reconcile()
    story.want("b3:a")
    story.clock += 5
    story.fleet.reconcile()
    story.clock += 5
    story.fleet.reconcile()
    assert len(story.started()) == 1 and len(story.fleet.children) == 1


def test_what_is_wanted_again_while_it_ends_is_started_afresh(story: Story) -> None:
    story.want("b3:a")
    story.until(lambda: bool(story.started()))
    row = story.rows.pop(("b3:a", 0))
    story.fleet.reconcile()
    story.clock += 2
    story.fleet.reconcile()  # asks it to end
    story.rows["b3:a", 0] = row
    story.until(lambda: len(story.started()) == 2)


def test_a_worker_that_never_starts_is_reported_as_failed_and_why(story: Story) -> None:
    story.want("b3:broken")
    story.until(lambda: ("b3:broken", 0) in story.reports and story.reports["b3:broken", 0].state is State.FAILED)
    assert story.reports["b3:broken", 0].error == "the package is damaged"


def test_a_database_that_does_not_answer_ends_no_worker_and_is_told_later(story: Story) -> None:
    story.want("b3:a")
    story.until(lambda: bool(story.started()))
    story.reachable = False
    story.want("b3:b")
    for _ in range(3):
        story.fleet.reconcile()
    assert len(story.started()) == 1
    story.reachable = True
    story.until(lambda: len(story.started()) == 2 and pid_of(story, "b3:b") is not None)


def test_stopping_ends_every_worker_and_says_so(story: Story) -> None:
    story.want("b3:a")
    story.want("b3:b")
    story.until(lambda: len(story.started()) == 2)
    story.fleet.stop()
    assert {release: each.state for (release, _), each in story.reports.items()} == {
        "b3:a": State.STOPPED, "b3:b": State.STOPPED,
    }  # fmt: skip
    assert not any(Path(f"/proc/{line.split()[0]}").exists() for line in story.started())
