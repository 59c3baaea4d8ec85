"""Counters and quantiles of a process, in both forms they are told."""

import threading

from lambda_api.serving.counters import RECENT, Counters


def test_quantiles_are_those_of_the_newest_requests() -> None:
    counters = Counters()
    for milliseconds in range(10_000):
        counters.observe("/recommend", float(milliseconds))
    (latency,) = counters.snapshot()["latencies"]
    first = 10_000 - RECENT
    assert latency == {
        "route": "/recommend",
        "count": 10_000,
        "p50_ms": first + RECENT // 2,
        "p90_ms": float(first + int(0.9 * RECENT)),
        "p99_ms": float(first + int(0.99 * RECENT)),
    }


def test_no_count_is_lost_between_threads() -> None:
    counters = Counters()
    threads = [
        threading.Thread(target=lambda: [counters.add("fallbacks", "history: timeout") for _ in range(5_000)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.snapshot()["counters"] == {"fallbacks:history: timeout": 40_000}


def test_prometheus_text_is_well_formed() -> None:
    counters = Counters()
    counters.add("requests", 'a "quoted" \\ route', 2)
    counters.add("items_shown", by=3)
    counters.observe("/recommend", 250.0)
    lines = counters.prometheus().splitlines()
    assert "recsys_items_shown_total 3" in lines
    assert 'recsys_requests_total{kind="a \\"quoted\\" \\\\ route"} 2' in lines
    assert 'recsys_request_duration_seconds{route="/recommend",quantile="0.5"} 0.250000' in lines
    assert 'recsys_request_duration_seconds_sum{route="/recommend"} 0.250000' in lines
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types))
