"""The gateway's counters in Prometheus' text format."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

Arm = tuple[str, str, str]  # endpoint, release, arm


@dataclass(slots=True)
class _Counted:
    """One release's requests in one arm."""

    statuses: Counter[int] = field(default_factory=Counter)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0


@dataclass(slots=True)
class Metrics:
    """Labels are bounded: endpoints and releases in the route table, arms, statuses."""

    counted: dict[Arm, _Counted] = field(default_factory=dict)

    def count(self, arm: Arm, status: int, seconds: float) -> None:
        """Count a request by the arm that the user was assigned to, and its status; ``seconds`` the user waited."""
        counted = self.counted.get(arm)
        if counted is None:
            counted = self.counted[arm] = _Counted()
        counted.statuses[status] += 1
        counted.buckets[bisect_left(BUCKETS, seconds)] += 1
        counted.seconds += seconds

    def text(self, gauges: dict[str, float]) -> str:
        arms = sorted(self.counted.items())
        lines = [
            "# HELP windlass_requests_total Requests, by the release and arm the user was assigned to, and its status.",
            "# TYPE windlass_requests_total counter",
        ]
        for arm, counted in arms:
            for status, count in sorted(counted.statuses.items()):
                lines.append(f'windlass_requests_total{{{_labels(arm)},status="{status}"}} {count}')
        lines += [
            "# HELP windlass_request_seconds How long users waited.",
            "# TYPE windlass_request_seconds histogram",
        ]
        for arm, counted in arms:
            labels, total = _labels(arm), 0
            for most, count in zip((*BUCKETS, "+Inf"), counted.buckets, strict=True):
                total += count
                lines.append(f'windlass_request_seconds_bucket{{{labels},le="{most}"}} {total}')
            lines.append(f"windlass_request_seconds_sum{{{labels}}} {counted.seconds:.6f}")
            lines.append(f"windlass_request_seconds_count{{{labels}}} {total}")
        for name, value in gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value:g}"]
        return "\n".join(lines) + "\n"


def _labels(arm: Arm) -> str:
    endpoint, release, name = arm
    return f'endpoint="{endpoint}",release="{release}",arm="{name}"'
