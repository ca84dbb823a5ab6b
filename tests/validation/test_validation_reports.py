from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from windlass.domain import digest, ledger
from windlass.domain.errors import Corrupt, NotFound
from windlass.domain.evidence import CheckResult, Verdict
from windlass.domain.ports import Database
from windlass.store.objects import PackedObjects
from windlass.validation import html, reports
from windlass.validation.gate import GateReport

HOSTILE = "<script>alert('x')</script>&\""


def report(name: str = "AGEP", verdict: Verdict = Verdict.PASS) -> GateReport:
    groups = [
        {"group": name, "n": 900, "k": 700, "base": 800, "rate": 0.875, "low": 0.85, "high": 0.9, "large_enough": True},
        {"group": "2", "n": 12, "k": 0, "base": 0, "rate": None, "low": 0.0, "high": 1.0, "large_enough": False},
    ]
    failure = {
        "column": name,
        "change": "zero",
        "row": {name: 0},
        "expected": "answer",
        "outcome": "failed",
        "said": name,
    }
    results = (
        CheckResult(name="accuracy", family="metrics", verdict=verdict, summary=name, value=0.83, low=0.82, high=0.84,
                    threshold=0.8, n=9000),
        CheckResult(name=f"rate by {name}", family="fairness", verdict=Verdict.PASS, summary="", value=0.1, low=0.0,
                    high=0.12, threshold=0.15, n=900, details={"groups": groups}),
        CheckResult(name="tiny", family="fairness", verdict=Verdict.INCONCLUSIVE, summary="few", blocking=False),
        CheckResult(name=name, family="drift", verdict=Verdict.PASS, summary="", value=0.01, threshold=0.1, n=9000),
        CheckResult(name="p99", family="latency", verdict=Verdict.PASS, summary="", value=1.5, low=1.2, threshold=250.0,
                    details={"unit": "ms"}),
        CheckResult(name="corner cases", family="corner_cases", verdict=Verdict.PASS, summary="", value=0.01,
                    threshold=0.1, n=100, details={"failures": [failure]}),
        CheckResult(name="mine", family="custom", verdict=Verdict.PASS, summary=name),
    )  # fmt: skip
    return GateReport(
        reference="employment@1.0.0",
        package="b3:" + "0" * 64,
        policy="b3:" + "1" * 64,
        rules={"note": name},
        verdict=verdict,
        results=results,
        rows=9000,
        at=1_795_000_000_000_000,
        seconds=2.5,
        environment={"python": "3.11.2"},
    )


def test_a_report_is_found_again_as_it_was(database: Database, objects: PackedObjects) -> None:
    saved = reports.save(database, objects, report(), actor="ada", now=lambda: 7)
    with database.read() as tx:
        name, found = reports.find(tx, objects, "employment@1.0.0")
        (entry,) = ledger.entries(tx)
    assert name == saved
    assert found == report()
    assert isinstance(found.results[0].verdict, Verdict)
    assert (entry.subject, entry.after, entry.actor, entry.at) == ("gate/employment@1.0.0", saved, "ada", 7)


def test_the_latest_report_counts_and_the_older_one_stays(database: Database, objects: PackedObjects) -> None:
    first = reports.save(database, objects, report(), actor="ada", now=lambda: 7)
    second = reports.save(database, objects, replace(report(verdict=Verdict.FAIL), at=9), actor="ada", now=lambda: 9)
    with database.read() as tx:
        assert reports.find(tx, objects, "employment@1.0.0")[0] == second
        assert reports.load(objects, first).verdict is Verdict.PASS
        assert "pass" in reports.html(tx, objects, first)
        assert ledger.verify(ledger.entries(tx), {"gate/employment@1.0.0": second}) == 2


def test_a_version_without_a_gate_says_how_to_run_one(database: Database, objects: PackedObjects) -> None:
    with database.read() as tx:
        with pytest.raises(NotFound) as caught:
            reports.find(tx, objects, "employment@9.9.9")
        assert caught.value.hint == "run `windlass gate employment@9.9.9`"
        with pytest.raises(NotFound):
            reports.html(tx, objects, "b3:" + "f" * 64)


def test_an_object_that_is_no_report_is_corrupt(objects: PackedObjects) -> None:
    with pytest.raises(Corrupt):
        reports.load(objects, objects.put(b"[1, 2"))
    with pytest.raises(Corrupt):
        reports.load(objects, objects.put(b"{}"))


class Page(HTMLParser):
    """Checks that tags close, and keeps what would load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [name for name, _ in attrs if name in {"src", "href", "srcset", "onload", "onclick"}]
        if tag not in {"meta", "br", "hr", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    page = Page()
    page.feed(html.render(report(), "b3:" + "2" * 64))
    assert page.open == []
    assert page.loads == []
    assert page.tags.isdisjoint({"script", "link", "iframe", "img"})
    assert {"svg", "table", "details"} <= page.tags


def test_nothing_from_outside_becomes_markup() -> None:
    text = html.render(report(HOSTILE))
    assert "<script" not in text
    page = Page()
    page.feed(text)
    assert page.open == []


def test_the_page_says_each_number_of_each_check() -> None:
    text = re.sub(r"<[^>]+>", " ", html.render(report()))
    for said in ("0.83", "0.82 to 0.84", "9,000", "1.5 ms", "1.2 to unknown ms", "decides nothing", "900", "2.5 s"):
        assert said in text


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (0.8123, 0.8124), (0.0, 1.0), (-3.0, 1e6), (5.0, 5.0)])
def test_an_axis_holds_what_it_shows(low: float, high: float) -> None:
    first, last, ticks = html._axis(low, high)
    assert first <= low <= high <= last
    assert first < last
    assert 2 <= len(ticks) <= 8


def test_format_1_of_a_report_never_changes(objects: PackedObjects) -> None:
    # A changed digest means that reports written before can no longer be told from damaged ones: make a format 2.
    assert digest.of(report()) == "b3:a880f6ed7ba06d8fddcaecaf9183ae029090aeb4b4b2e48f52c6d4c0ce8f8fd1"
    written = json.loads(digest.canonical(report()))
    assert (written["format"], written["verdict"], written["results"][0]["verdict"]) == (1, "pass", "pass")
    assert reports.load(objects, objects.put(digest.canonical(report()))) == report()
