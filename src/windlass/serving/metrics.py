"""The gateway's counters in Prometheus' text format."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(slots=True)
class Metrics:
    """Labels are bounded: endpoints and releases in the route table, arms, statuses."""

    requests: Counter[tuple[str, str, str, int]] = field(default_factory=Counter)
    buckets: dict[str, list[int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def count(self, endpoint: str, release: str, arm: str, status: int, seconds: float) -> None:
        self.requests[endpoint, release, arm, status] += 1
        counts = self.buckets.setdefault(endpoint, [0] * (len(BUCKETS) + 1))
        counts[next((i for i, most in enumerate(BUCKETS) if seconds <= most), len(BUCKETS))] += 1
        self.seconds[endpoint] = self.seconds.get(endpoint, 0.0) + seconds

    def text(self, gauges: dict[str, float]) -> str:
        lines = [
            "# HELP windlass_requests_total Requests, by the release and arm the user was assigned to, and its status.",
            "# TYPE windlass_requests_total counter",
        ]
        for (endpoint, release, arm, status), count in sorted(self.requests.items()):
            labels = f'endpoint="{endpoint}",release="{release}",arm="{arm}",status="{status}"'
            lines.append(f"windlass_requests_total{{{labels}}} {count}")
        lines += [
            "# HELP windlass_request_seconds How long users waited.",
            "# TYPE windlass_request_seconds histogram",
        ]
        for endpoint, counts in sorted(self.buckets.items()):
            total = 0
            for most, count in zip((*BUCKETS, "+Inf"), counts, strict=True):
                total += count
                lines.append(f'windlass_request_seconds_bucket{{endpoint="{endpoint}",le="{most}"}} {total}')
            lines.append(f'windlass_request_seconds_sum{{endpoint="{endpoint}"}} {self.seconds[endpoint]:.6f}')
            lines.append(f'windlass_request_seconds_count{{endpoint="{endpoint}"}} {total}')
        for name, value in gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value:g}"]
        return "\n".join(lines) + "\n"
