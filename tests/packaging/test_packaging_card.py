from __future__ import annotations

import json
from dataclasses import replace

from windlass.domain import digest
from windlass.domain.evidence import CheckResult, Verdict
from windlass.packaging.card import FORMAT, SCHEMA, card, markdown
from windlass.registry.models import Origin, Version
from windlass.validation.gate import GateReport

VERSION = Version(
    model="employment",
    number=1,
    semver="1.0.0",
    package="b3:" + "0" * 64,
    signature="b3:" + "1" * 64,
    origin=Origin(
        data={"acs@1": "b3:" + "2" * 64},
        code="b3:" + "3" * 64,
        environment="b3:" + "4" * 64,
        config={"test_share": 0.2},
        seed=2015,
    ),
    run="f" * 32,
    commit="c" * 40,
    metrics={"accuracy": 0.83},
    why="first version",
    at=1_795_000_000_000_000,
    actor="ada",
)
GROUPS = [
    {"group": "1", "n": 900, "k": 700, "base": 800, "rate": 0.875, "low": 0.85, "high": 0.9, "large_enough": True},
    {"group": "4", "n": 1, "k": 0, "base": 0, "rate": None, "low": 0.0, "high": 1.0, "large_enough": False},
]
REPORT = GateReport(
    reference="employment@1.0.0",
    package=VERSION.package,
    policy="b3:" + "5" * 64,
    rules={},
    verdict=Verdict.PASS,
    results=(
        CheckResult(name="accuracy", family="metrics", verdict=Verdict.PASS, summary="0.83", value=0.83, low=0.82,
                    high=0.84, threshold=0.8, n=9000),
        CheckResult(name="rate by RAC1P", family="fairness", verdict=Verdict.PASS, summary="", value=0.05, low=0.0,
                    high=0.1, threshold=0.15, n=800, details={"groups": GROUPS, "column": "RAC1P"}),
        CheckResult(name="rate of RAC1P = 4", family="fairness", verdict=Verdict.INCONCLUSIVE, blocking=False,
                    summary="1 row, under 100: too few to call it fair or unfair", n=0),
    ),
    rows=9000,
    at=1_795_000_000_000_000,
    seconds=3.0,
)  # fmt: skip
APPROVALS = [{"actor": "grace", "at": 1_795_000_100_000_000, "reason": "looked | at <it>"}]


def test_a_card_is_plain_json_with_its_schema() -> None:
    made = card(version=VERSION, report=REPORT, report_digest="b3:x", intended_use="teaching", approvals=APPROVALS)
    assert json.loads(digest.canonical(made)) == made
    assert (made["schema"], made["format"]) == (SCHEMA, FORMAT)
    assert made["data"] == [{"snapshot": "acs@1", "digest": "b3:" + "2" * 64}]
    assert made["metrics"][0]["low"] == 0.82
    assert made["fairness"][0]["groups"] == GROUPS
    assert made["approvals"][0]["by"] == "grace"
    assert made["gate"]["verdict"] == "pass"


def test_a_card_says_what_came_of_compiling() -> None:
    report = {"used": True, "why": "", "rows": 1200, "max_difference": 2.4e-7}
    assert "1200 rows answered alike" in markdown(card(version=VERSION, onnx=report))
    report = {"used": False, "why": "3 of 1200 rows get another label", "rows": 1200, "max_difference": 0.0}
    assert "not used: 3 of 1200 rows" in markdown(card(version=VERSION, onnx=report))
    assert "ONNX" not in markdown(card(version=VERSION))


def test_what_was_not_shown_is_a_limitation() -> None:
    made = card(version=VERSION, report=REPORT, intended_use="teaching")
    said = [each["what"] for each in made["limitations"]]
    assert any("RAC1P = 4" in what for what in said)
    assert "no corner case was tried" in said
    assert not any("intended use" in what for what in said)


def test_a_card_without_gate_or_use_says_so() -> None:
    made = card(version=VERSION)
    assert made["gate"] is None
    assert [each["kind"] for each in made["limitations"]] == ["undocumented", "unmeasured"]
    assert "No gate was run" in markdown(made)


def test_the_same_facts_make_the_same_card() -> None:
    assert card(version=VERSION, report=REPORT) == card(version=replace(VERSION), report=replace(REPORT))


def test_the_page_for_people_tells_the_numbers_and_keeps_its_shape() -> None:
    text = markdown(card(version=VERSION, report=REPORT, intended_use="teaching", approvals=APPROVALS))
    for said in ("# employment 1.0.0", "0.82 to 0.84", "inconclusive (noted)", "grace", "acs@1"):
        assert said in text
    assert "looked \\| at \\<it\\>" in text
    for block in text.split("\n\n"):
        widths = {line.replace("\\|", "").count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(widths) <= 1
