"""A gate report as one page: no script, no request to anywhere, light and dark, every text from outside escaped."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from windlass.domain import clock, digest
from windlass.domain.evidence import CheckResult, Verdict
from windlass.validation.gate import GateReport

_TITLES = {
    "package": ("Package", "The packaged model, started in a worker process as it will serve."),
    "metrics": ("Metrics", "On the evaluation rows. The whole interval must keep to the threshold."),
    "fairness": (
        "Fairness",
        "The largest difference between groups; the upper end of its interval must keep to the threshold. "
        "Groups under the minimum size are shown and decide nothing.",
    ),
    "drift": (
        "Drift",
        "Evaluation rows against training rows. Drift is a change beyond chance, over all columns, "
        "and beyond the least effect.",
    ),
    "latency": ("Latency", "One golden row at a time through the worker's socket; exact binomial intervals."),
    "corner_cases": ("Corner cases", "One typical row, changed in one column at a time."),
}
_SAID = {
    Verdict.PASS: "Every check that decides has passed.",
    Verdict.FAIL: "A check failed: this version may not be released.",
    Verdict.INCONCLUSIVE: "The evidence does not suffice: inconclusive is never a pass.",
    Verdict.ERROR: "A check could not be measured: this version may not be released.",
}
_MARKS = {Verdict.PASS: "✓", Verdict.FAIL: "✕", Verdict.INCONCLUSIVE: "?", Verdict.ERROR: "!"}


def render(report: GateReport, name: str = "") -> str:
    """The page; ``name`` is the report's digest."""
    families: dict[str, list[CheckResult]] = {}
    for result in report.results:
        families.setdefault(result.family, []).append(result)
    sections = "".join(_section(family, results) for family, results in families.items())
    facts = {
        "Version": report.reference,
        "Package": digest.short(report.package),
        "Policy": digest.short(report.policy),
        "Report": digest.short(name),
        "Evaluation rows": f"{report.rows:,}",
        "Run at": clock.text_of(report.at)[:19].replace("T", " ") + " UTC",
        "Took": f"{report.seconds:.1f} s",
        **{key.capitalize(): value for key, value in report.environment.items()},
    }
    title = f"Gate report: {report.reference}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}: {escape(report.verdict.value)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header class="{escape(report.verdict.value)}">
<p class="kind">Gate report</p>
<h1>{escape(report.reference)} {_badge(report.verdict)}</h1>
<p class="said">{escape(_SAID[report.verdict])} {_counts(report.results)}</p>
</header>
<main>
<dl class="facts">{"".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items() if v)}</dl>
{sections}
<section><details><summary>The policy in force</summary><pre>{_json(report.rules)}</pre></details></section>
</main>
</body>
</html>
"""


def _counts(results: Sequence[CheckResult]) -> str:
    said = []
    for verdict in Verdict:
        deciding = sum(result.verdict is verdict and result.blocking for result in results)
        if deciding:
            said.append(f"{deciding} {verdict.value}")
    aside = sum(not result.blocking for result in results)
    noted = f"; {aside} noted that decide{'s' if aside == 1 else ''} nothing" if aside else ""
    return escape(f"{len(results) - aside} checks decide: {', '.join(said) or 'none'}{noted}.")


def _section(family: str, results: Sequence[CheckResult]) -> str:
    title, about = _TITLES.get(family, (family, ""))
    rows = "".join(_row(result) for result in results)
    return f"""<section>
<h2>{escape(title)}</h2>
<p class="about">{escape(about)}</p>
{_plot(family, results)}
<div class="scroll"><table>
<thead><tr><th>Verdict</th><th>Check</th><th class="n">Value</th><th class="n">Interval</th>
<th class="n">Threshold</th><th class="n">n</th><th>What it says</th></tr></thead>
<tbody>{rows}</tbody>
</table></div>
{_failures(results)}
</section>
"""


def _row(result: CheckResult) -> str:
    unit = str(result.details.get("unit", ""))
    aside = "" if result.blocking else ' <span class="aside">decides nothing</span>'
    cells = (
        _number(result.value, unit),
        _interval(result.low, result.high, unit),
        _number(result.threshold, unit),
        f"{result.n:,}" if result.n else "",
    )
    numbers = "".join(f'<td class="n">{escape(cell)}</td>' for cell in cells)
    return (
        f"<tr><td>{_badge(result.verdict)}</td><td>{escape(result.name)}{aside}</td>{numbers}"
        f"<td>{escape(result.summary)}</td></tr>"
    )


def _plot(family: str, results: Sequence[CheckResult]) -> str:
    if family == "metrics":
        marks = [
            _Mark(label=r.name, value=r.value, low=r.low, high=r.high, threshold=r.threshold)
            for r in results
            if r.value is not None
        ]
        return _forest(marks, "Each metric with its interval; the tick is its threshold")
    if family == "fairness":
        return "".join(
            _forest([_group_mark(group) for group in result.details["groups"]], f"{result.name}, with intervals")
            for result in results
            if result.details.get("groups")
        )
    if family == "drift":
        return _bars([r for r in results if r.value is not None])
    return ""


def _group_mark(group: Mapping[str, Any]) -> _Mark:
    return _Mark(
        label=f"{group['group']} (n = {group['n']:,})",
        value=group["rate"],
        low=group["low"],
        high=group["high"],
        faint=not group["large_enough"],
    )


def _failures(results: Iterable[CheckResult]) -> str:
    failures = [failure for result in results for failure in result.details.get("failures", ())]
    if not failures:
        return ""
    listed = "".join(
        f"<li><details><summary>{escape(str(failure['column'] or 'the typical row'))}, "
        f"{escape(str(failure['change']))}: expected {escape(str(failure['expected']))}, "
        f"{escape(str(failure['outcome']))}: {escape(str(failure['said']))}</summary>"
        f"<pre>{_json(failure['row'])}</pre></details></li>"
        for failure in failures
    )
    return f'<h3>Failures, each with the row that shows it</h3><ul class="failures">{listed}</ul>'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """A line of a forest plot. A ``faint`` one is shown and decides nothing."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None = None
    faint: bool = False


_LABEL, _WIDTH, _LINE, _RIGHT = 210.0, 760.0, 26.0, 70.0


def _forest(marks: Sequence[_Mark], caption: str) -> str:
    known = [
        x
        for mark in marks
        for x in (mark.value, mark.low, mark.high, mark.threshold)
        if x is not None and not mark.faint
    ] or [0.0, 1.0]
    first, last, ticks = _axis(min(known), max(known))

    def x(value: float) -> float:
        share = (min(max(value, first), last) - first) / (last - first)
        return _LABEL + share * (_WIDTH - _LABEL - _RIGHT)

    lines = []
    for index, mark in enumerate(marks):
        y = _LINE * index + 18
        parts = [f'<text x="{_LABEL - 12:g}" y="{y + 4:g}" class="label">{escape(_short(mark.label))}</text>']
        if mark.low is not None and mark.high is not None:
            parts.append(f'<line x1="{x(mark.low):.1f}" x2="{x(mark.high):.1f}" y1="{y:g}" y2="{y:g}" class="range"/>')
            # An end that lies beyond the axis gets no cap: the interval goes on.
            parts += [
                f'<line x1="{x(end):.1f}" x2="{x(end):.1f}" y1="{y - 4:g}" y2="{y + 4:g}" class="range"/>'
                for end in (mark.low, mark.high)
                if first <= end <= last
            ]
        if mark.threshold is not None:
            at = x(mark.threshold)
            parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y - 9:g}" y2="{y + 9:g}" class="threshold"/>')
        if mark.value is not None and first <= mark.value <= last:
            parts.append(f'<circle cx="{x(mark.value):.1f}" cy="{y:g}" r="4.5"/>')
        value = escape(_number(mark.value))
        parts.append(f'<text x="{_WIDTH - _RIGHT + 14:g}" y="{y + 4:g}" class="value">{value}</text>')
        lines.append(f'<g class="{"faint" if mark.faint else "mark"}">{"".join(parts)}</g>')
    return _figure(caption, lines, len(marks), [(x(tick), f"{tick:g}") for tick in ticks]) if marks else ""


def _bars(results: Sequence[CheckResult]) -> str:
    if not results:
        return ""
    floor = next((result.threshold for result in results if result.threshold is not None), 0.0)
    known = [result.value or 0.0 for result in results]
    _, last, ticks = _axis(0.0, max([*known, floor * 1.2]))

    def x(value: float) -> float:
        return _LABEL + min(max(value, 0.0), last) / last * (_WIDTH - _LABEL - _RIGHT)

    lines = []
    for index, result in enumerate(results):
        y, value = _LINE * index + 18, result.value or 0.0
        width = max(x(value) - _LABEL, 1.0)
        lines.append(
            f'<g class="bar {escape(result.verdict.value)}">'
            f'<text x="{_LABEL - 12:g}" y="{y + 4:g}" class="label">{escape(_short(result.name))}</text>'
            f'<rect x="{_LABEL:g}" y="{y - 7:g}" width="{width:.1f}" height="14" rx="2"/>'
            f'<text x="{_WIDTH - _RIGHT + 14:g}" y="{y + 4:g}" class="value">{escape(_number(value))}</text></g>'
        )
    at, bottom = x(floor), _LINE * len(results) + 4
    lines.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="2" y2="{bottom:g}" class="threshold"/>')
    caption = "Effect of each column's change; the line is the least effect that counts"
    return _figure(caption, lines, len(results), [(x(tick), f"{tick:g}") for tick in ticks])


def _figure(caption: str, lines: Sequence[str], count: int, ticks: Sequence[tuple[float, str]]) -> str:
    bottom = _LINE * count + 8
    axis = "".join(
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="2" y2="{bottom:g}" class="grid"/>'
        f'<text x="{at:.1f}" y="{bottom + 16:g}" class="tick">{escape(text)}</text>'
        for at, text in ticks
    )
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption><svg viewBox="0 0 {_WIDTH:g} {bottom + 24:g}" role="img" '
        f'aria-label="{escape(caption)}">{axis}{"".join(lines)}</svg></figure>'
    )


def _axis(low: float, high: float) -> tuple[float, float, list[float]]:
    """A range of round numbers around ``low`` to ``high``, and its ticks."""
    width = (high - low) or abs(high) or 1.0
    rough = width / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        last += 1
    return first * step, last * step, [round(index * step, 12) for index in range(first, last + 1)]


def _badge(verdict: Verdict) -> str:
    return f'<span class="badge {escape(verdict.value)}">{_MARKS[verdict]} {escape(verdict.value)}</span>'


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    if value and abs(value) < 1e-4:
        text = f"{value:.1e}"
    else:
        text = f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:,.1f}"
    return f"{text} {unit}".strip()


def _interval(low: float | None, high: float | None, unit: str) -> str:
    if low is None and high is None:
        return ""
    return f"{_number(low) or 'unknown'} to {_number(high) or 'unknown'} {unit}".strip()


def _short(label: str) -> str:
    return label if len(label) <= 30 else label[:29] + "…"


def _json(value: object) -> str:
    return escape(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))


_STYLE = """
:root { --ink: #1b2430; --soft: #5a6675; --line: #dde3ea; --paper: #fff; --back: #f5f7fa; --accent: #2a5fa8;
  --pass: #17743c; --fail: #b3261e; --inconclusive: #8a5a00; --error: #7a2fa0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf1; --soft: #9aa7b5; --line: #313b47; --paper: #1a212a;
  --back: #12171d; --accent: #7fb0f0; --pass: #5fc98a; --fail: #ff8a80; --inconclusive: #e8b350; --error: #d19af0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header, main { max-width: 1080px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 32px; }
.kind { margin: 0; color: var(--soft); text-transform: uppercase; letter-spacing: .08em; font-size: 12px; }
h1 { margin: 4px 0; font-size: 28px; display: flex; align-items: center; gap: 14px; flex-wrap: wrap; }
h1 .badge { font-size: 17px; padding: 3px 14px; }
h2 { margin: 0; font-size: 19px; } h3 { margin: 16px 0 4px; font-size: 15px; }
.said, .about { margin: 4px 0 12px; color: var(--soft); }
section, .facts { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin: 16px 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 10px 20px; }
.facts dt { color: var(--soft); font-size: 12px; } .facts dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 7px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: 12px; white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
td:first-child, .n { white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
.badge { display: inline-block; border: 1px solid currentColor; border-radius: 999px; padding: 0 9px; font-size: 12.5px;
  font-weight: 600; white-space: nowrap; }
.badge.pass { color: var(--pass); } .badge.fail { color: var(--fail); }
.badge.inconclusive { color: var(--inconclusive); } .badge.error { color: var(--error); }
.aside { color: var(--soft); font-size: 12px; white-space: nowrap; }
figure { margin: 8px 0 16px; } figcaption { color: var(--soft); font-size: 13px; }
svg { width: 100%; max-width: 860px; height: auto; display: block; }
svg text { fill: var(--ink); font: 12.5px system-ui, sans-serif; }
svg .label { text-anchor: end; } svg .tick { text-anchor: middle; fill: var(--soft); font-size: 11px; }
svg .value { font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .range { stroke: var(--accent); stroke-width: 2; } svg circle { fill: var(--accent); }
svg .threshold { stroke: var(--fail); stroke-width: 2; stroke-dasharray: 4 3; }
svg .faint { opacity: .45; } svg .faint .range { stroke-dasharray: 3 3; }
svg .bar rect { fill: var(--accent); } svg .bar.fail rect { fill: var(--fail); }
svg .bar.inconclusive rect { fill: var(--inconclusive); }
pre { overflow: auto; font-size: 12.5px; margin: 8px 0 0; }
summary { cursor: pointer; overflow-wrap: anywhere; } .failures { padding-left: 18px; margin: 4px 0 0; }
"""
