"""A line of the table: what was measured, what is to be reached, and how it is printed."""

from __future__ import annotations

import statistics
import textwrap
from dataclasses import asdict, dataclass, field
from typing import Any

Machine = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Goal:
    """``at_most`` and ``at_least`` are in the figure's unit; the peer's figure over ours is at least ``faster``, and
    ours over the peer's at most ``times``. Of rates (units of /s) it is the other way round."""

    at_most: float | None = None
    at_least: float | None = None
    faster: float | None = None
    times: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians are compared; every repetition is kept. ``unit`` is s, ms, MB, or a rate: /s, MB/s, GB/s; without a
    peer, ``theirs`` is empty."""

    work: str
    unit: str
    ours: list[float]
    peer: str = ""
    theirs: list[float] = field(default_factory=list)
    goal: Goal = field(default_factory=Goal)
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.ours)

    @property
    def other(self) -> float | None:
        return statistics.median(self.theirs) if self.theirs else None

    @property
    def faster(self) -> float | None:
        """How many times the peer's figure is ours; of rates, how many times ours is the peer's."""
        if self.other is None or self.value <= 0 or self.other <= 0:
            return None
        return self.value / self.other if self.unit.endswith("/s") else self.other / self.value

    @property
    def reached(self) -> bool | None:
        """None: there is nothing to reach, or only the peer that is missing could say."""
        goal, answers = self.goal, list[bool]()
        if goal.at_most is not None:
            answers.append(self.value <= goal.at_most)
        if goal.at_least is not None:
            answers.append(self.value >= goal.at_least)
        if goal.faster is not None and self.faster is not None:
            answers.append(self.faster >= goal.faster)
        if goal.times is not None and self.faster is not None:
            answers.append(1 / self.faster <= goal.times)
        if not all(answers):
            return False
        unknown = self.faster is None and (goal.faster is not None or goal.times is not None)
        return None if unknown or not answers else True


def as_json(figure: Figure) -> dict[str, Any]:
    return {
        **asdict(figure), "median": figure.value, "peer_median": figure.other, "ratio": figure.faster,
        "reached": figure.reached,
    }  # fmt: skip


def from_json(given: dict[str, Any]) -> Figure:
    kept = {name: given[name] for name in ("work", "unit", "ours", "peer", "theirs", "note")}
    return Figure(**kept, goal=Goal(**given["goal"]))


def _number(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f} {unit}"


def _goal(figure: Figure) -> str:
    goal, parts = figure.goal, list[str]()
    if goal.at_most is not None:
        parts.append(f"≤ {goal.at_most:g} {figure.unit}")
    if goal.at_least is not None:
        parts.append(f"≥ {goal.at_least:g} {figure.unit}")
    if goal.faster is not None:
        parts.append(f"≥ {goal.faster:g}x faster")
    if goal.times is not None:
        parts.append("≤ its time" if goal.times == 1 else f"≤ {goal.times:g}x its time")
    return ", ".join(parts)


def _ratio(faster: float | None, of: str) -> str:
    if faster is None:
        return ""
    if faster >= 1:
        return f"{faster:.1f}x faster"
    return f"{faster:.2f}x its rate" if of == "rate" else f"{1 / faster:.2f}x its time"


HEADINGS = ("work", "ours", "peer", "the peer's", "ours is", "to reach", "reached")


def cells(figure: Figure) -> tuple[str, ...]:
    return (
        figure.work,
        _number(figure.value, figure.unit),
        figure.peer,
        "" if figure.other is None else _number(figure.other, figure.unit),
        _ratio(figure.faster, "rate" if figure.unit.endswith("/s") else "time") if figure.unit.endswith("s") else "",
        _goal(figure),
        {True: "yes", False: "NO", None: ""}[figure.reached],
    )


def table(figures: list[Figure]) -> str:
    rows = [HEADINGS, *map(cells, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def markdown(document: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md, of a document that a run wrote."""
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    about = (
        f"`{document['command']}`, medians of {document['runs']} runs, ours and the peers in turn, whole processes, on "
        f"{document['date']}. {machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']} GB, "
        f"{machine['system']}, {machine['filesystem']}; load before it: {machine['load_before']}; {versions}."
    )
    warning = ""
    if document["scale"] != 1:
        warning = f"Of {document['scale']:g} times the work: **not** the figures that are to be reached."
    return section("## Versioning", about, warning, document)


def section(title: str, about: str, warning: str, document: dict[str, Any]) -> str:
    """A section of docs/benchmarks.md: what was measured and how, a warning if there is one, the table, the notes."""
    figures = [from_json(each) for each in document["figures"]]
    lines = [title, "", *textwrap.wrap(about, 120, break_on_hyphens=False, break_long_words=False), ""]
    lines += [warning, ""] if warning else []
    lines += [f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
    lines += [f"| {' | '.join(cells(figure))} |" for figure in figures]
    lines += [""]
    lines += [f"- {figure.work}: {figure.note}" for figure in figures if figure.note]
    lines += [f"- not measured: {text}" for text in document["left_out"]]
    return "\n".join(lines).rstrip() + "\n"
