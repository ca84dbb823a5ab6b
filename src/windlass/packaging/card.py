"""The model card: what a version is for, made of, worth and not good at; for machines (``card``) and people.

Format 1, after Mitchell et al., "Model Cards for Model Reporting" (arXiv 1810.03993). Nothing in it is written by
hand but the intended use: the rest is what the records say, and what they do not say is named as a limitation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from windlass.domain import clock
from windlass.domain.evidence import CheckResult, Verdict
from windlass.registry.models import Version
from windlass.validation.gate import GateReport

SCHEMA = "windlass/model-card"
FORMAT = 1


def card(
    *,
    version: Version,
    signature: Mapping[str, Any] | None = None,
    onnx: Mapping[str, Any] | None = None,
    report: GateReport | None = None,
    report_digest: str = "",
    intended_use: str = "",
    environment: Mapping[str, Any] | None = None,
    approvals: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The card of a version, from its record, its latest gate report and who approved it.

    ``approvals`` each have ``actor``, ``at`` (microseconds) and ``reason``, and are of this report. ``environment``
    is what is known of it beyond its digest (interpreter, platform, distributions). ``onnx`` is the package's report of
    compiling it.
    """
    results = report.results if report else ()
    return {
        "schema": SCHEMA,
        "format": FORMAT,
        "model": version.model,
        "version": version.semver,
        "number": version.number,
        "package": version.package,
        "registered": {"at": clock.text_of(version.at), "by": version.actor, "because": version.why},
        "intended_use": intended_use,
        "signature": dict(signature) if signature else {"digest": version.signature},
        "onnx": dict(onnx) if onnx else None,
        "data": [{"snapshot": name, "digest": tree} for name, tree in sorted(version.origin.data.items())],
        "training": {
            "run": version.run,
            "commit": version.commit,
            "code": version.origin.code,
            "config": dict(version.origin.config),
            "seed": version.origin.seed,
            "metrics": dict(version.metrics),
        },
        "environment": {"digest": version.origin.environment, **(environment or {})},
        "gate": _gate(report, report_digest),
        "metrics": [_measured(result) for result in _of(results, "metrics")],
        "fairness": [_compared(result) for result in _of(results, "fairness") if "groups" in result.details],
        "limitations": _limitations(report, intended_use),
        "approvals": [
            {"by": str(each["actor"]), "at": clock.text_of(each["at"]), "reason": str(each.get("reason", ""))}
            for each in approvals
        ],
    }


def _gate(report: GateReport | None, report_digest: str) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "verdict": report.verdict.value,
        "report": report_digest,
        "policy": report.policy,
        "at": clock.text_of(report.at),
        "rows": report.rows,
        "ran_on": dict(report.environment),
        "checks": [{"family": r.family, "decides": r.blocking, **_measured(r)} for r in report.results],
    }


def _measured(result: CheckResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "verdict": result.verdict.value,
        "value": result.value,
        "low": result.low,
        "high": result.high,
        "threshold": result.threshold,
        "n": result.n,
    }


def _compared(result: CheckResult) -> dict[str, Any]:
    details = result.details
    return {
        **_measured(result),
        "metric": details.get("metric"),
        "column": details.get("column"),
        "confidence": details.get("confidence"),
        "groups": [dict(group) for group in details["groups"]],
    }


def _limitations(report: GateReport | None, intended_use: str) -> list[dict[str, str]]:
    """What was found wanting, and what was not looked at."""
    found = [] if intended_use else [{"kind": "undocumented", "what": "no intended use is stated"}]
    if report is None:
        return [*found, {"kind": "unmeasured", "what": "no gate was run on this version"}]
    for result in report.results:
        what = f"{result.family}, {result.name}: {result.summary}"
        if result.verdict is not Verdict.PASS:
            found.append({"kind": result.verdict.value, "what": what})
        elif result.details.get("failures"):
            found.append({"kind": "tolerated", "what": what})
    families = {result.family for result in report.results}
    for family, lacking in _FAMILIES.items():
        if family not in families:
            found.append({"kind": "unmeasured", "what": lacking})
    return found


_FAMILIES = {
    "metrics": "no metric is held against a floor",
    "fairness": "no group is compared with another",
    "corner_cases": "no corner case was tried",
}


def markdown(card: Mapping[str, Any]) -> str:
    """A card for people."""
    gate, training = card["gate"], card["training"]
    parts = [
        f"# {_text(card['model'])} {_text(card['version'])}\n",
        _text(card["intended_use"]) or "No intended use is stated.",
        "",
        "## What it is made of\n",
        *_table(
            ("part", "is"),
            [
                ("package", card["package"]),
                *(("data", f"{each['snapshot']} ({each['digest']})") for each in card["data"]),
                ("commit", training["commit"]),
                ("run", training["run"]),
                ("seed", training["seed"]),
                ("environment", card["environment"]["digest"]),
                *([("compiled", compiled_text(card["onnx"]))] if card.get("onnx") else []),
                ("registered", f"{card['registered']['at']} by {card['registered']['by']}"),
            ],
        ),
        "\n## What it is worth\n",
    ]
    if gate is None:
        parts.append("No gate was run on this version.")
    else:
        parts.append(f"Gate: **{gate['verdict']}** on {gate['rows']} rows, {gate['at']}.\n")
        parts += _table(
            ("check", "verdict", "value", "interval", "threshold", "n"),
            [
                (
                    f"{each['family']}: {each['name']}",
                    each["verdict"] if each["decides"] else f"{each['verdict']} (noted)",
                    _number(each["value"]),
                    _interval(each),
                    _number(each["threshold"]),
                    each["n"] or "",
                )
                for each in gate["checks"]
            ],
        )
    for compared in card["fairness"]:
        parts.append(f"\n### {_text(compared['name'])}\n")
        parts += _table(
            ("group", "rows", "rate", "interval", "compared"),
            [
                (
                    each["group"],
                    each["n"],
                    _number(each["rate"]),
                    _interval(each),
                    "yes" if each["large_enough"] else "no",
                )
                for each in compared["groups"]
            ],
        )
    parts.append("\n## What it is not good at, or not known to be\n")
    parts += [f"- {_text(each['kind'])}: {_text(each['what'])}" for each in card["limitations"]] or ["- nothing found"]
    parts.append("\n## Who approved it\n")
    parts += [
        f"- {_text(each['by'])}, {each['at']}" + (f": {_text(each['reason'])}" if each["reason"] else "")
        for each in card["approvals"]
    ] or ["- nobody yet"]
    return "\n".join(parts) + "\n"


def compiled_text(onnx: Mapping[str, Any]) -> str:
    """What came of compiling to ONNX, in a line."""
    if not onnx["used"]:
        return f"to ONNX, not used: {onnx['why']}"
    return f"to ONNX: {onnx['rows']} rows answered alike, probabilities within {onnx['max_difference']:.2g}"


def _of(results: Iterable[CheckResult], family: str) -> list[CheckResult]:
    return [result for result in results if result.family == family]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return lines + ["| " + " | ".join(_text(cell) for cell in row) + " |" for row in rows]


def _text(value: object) -> str:
    """A value that cannot break out of its line, its cell or into markup."""
    text = " ".join(str(value).split())
    for mark in "\\|<>*_`[]":
        text = text.replace(mark, f"\\{mark}")
    return text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _interval(measured: Mapping[str, Any]) -> str:
    low, high = measured["low"], measured["high"]
    return "" if low is None and high is None else f"{_number(low) or '?'} to {_number(high) or '?'}"
