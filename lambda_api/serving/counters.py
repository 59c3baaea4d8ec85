"""Counters and latencies of this process for ``/metrics``. Labels are bounded and never hold values from clients."""

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

RECENT = 2_048
"""Latencies kept per route for quantiles."""

QUANTILES = (0.5, 0.9, 0.99)


class Counters:
    """Thread-safe counters by name and label, and latencies by route."""

    def __init__(self) -> None:
        self.started_at = int(time.time())
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._recent: dict[str, deque[float]] = {}
        self._observed: Counter[str] = Counter()
        self._total_ms: dict[str, float] = {}

    def add(self, name: str, label: str = "", by: int = 1) -> None:
        """Add ``by`` to the counter ``name`` with this ``label``."""
        with self._lock:
            self._counts[name, label] += by

    def observe(self, route: str, milliseconds: float) -> None:
        """Record the latency of one request."""
        with self._lock:
            self._recent.setdefault(route, deque(maxlen=RECENT)).append(milliseconds)
            self._observed[route] += 1
            self._total_ms[route] = self._total_ms.get(route, 0.0) + milliseconds

    def snapshot(self) -> dict[str, Any]:
        """Counters as ``name`` or ``name:label``, and quantiles of the newest `RECENT` latencies per route."""
        with self._lock:
            counts = dict(self._counts)
            recent = {route: sorted(values) for route, values in self._recent.items()}
            observed = dict(self._observed)
        return {
            "started_at": self.started_at,
            "prediction_cache_hit_share": self.share("prediction_cache", "hit"),
            "counters": {f"{name}:{label}" if label else name: n for (name, label), n in sorted(counts.items())},
            "latencies": [
                {"route": route, "count": observed[route]}
                | {f"p{round(q * 100)}_ms": round(_quantile(values, q), 3) for q in QUANTILES}
                for route, values in sorted(recent.items())
            ],
        }

    def share(self, name: str, label: str) -> float | None:
        """Share of ``label`` in the counts of ``name``; ``None`` before the first."""
        with self._lock:
            counts = {other: count for (found, other), count in self._counts.items() if found == name}
        return round(counts.get(label, 0) / total, 4) if (total := sum(counts.values())) else None

    def prometheus(self) -> str:
        """The same in Prometheus' text format, version 0.0.4."""
        with self._lock:
            counts = sorted(self._counts.items())
            totals = dict(self._total_ms)
        lines: list[str] = []
        seen: set[str] = set()
        for (name, label), count in counts:
            metric = f"recsys_{name}_total"
            if metric not in seen:
                seen.add(metric)
                lines.append(f"# TYPE {metric} counter")
            lines.append(f"{metric}{_labels({'kind': label} if label else {})} {count}")
        lines.append("# TYPE recsys_request_duration_seconds summary")
        for row in self.snapshot()["latencies"]:
            for q in QUANTILES:
                labels = _labels({"route": row["route"], "quantile": str(q)})
                value = row[f"p{round(q * 100)}_ms"] / 1000
                lines.append(f"recsys_request_duration_seconds{labels} {value:.6f}")
            route = _labels({"route": row["route"]})
            lines.append(f"recsys_request_duration_seconds_sum{route} {totals[row['route']] / 1000:.6f}")
            lines.append(f"recsys_request_duration_seconds_count{route} {row['count']}")
        share = self.share("prediction_cache", "hit")
        if share is not None:
            lines += ["# TYPE recsys_prediction_cache_hit_share gauge", f"recsys_prediction_cache_hit_share {share}"]
        lines.append("# TYPE process_start_time_seconds gauge")
        lines.append(f"process_start_time_seconds {self.started_at}")
        return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = {k: v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for k, v in labels.items()}
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"


def _quantile(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]
