"""Log line, CloudWatch metrics and X-Ray trace of each request. Counters of ``/metrics`` are in ``serving.counters``.

Keys, bodies and user ids are never logged. Metric dimensions are bounded: route, cause and variant, from fixed sets.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from lambda_api.handlers.lambda_start import on_lambda

NAMESPACE = "Recsys"
SERVICE = "recommend-api"
VARIANTS = ("champion", "challenger")
"""Variants with metrics of their own, which the alarms of a rollout read; experiments by hand may name others."""

UNLOGGED = frozenset({"causes", "version_failed"})
"""Notes that stand in the log line otherwise, or for metrics only."""

F = TypeVar("F", bound=Callable[..., Any])

_default_level = "INFO" if on_lambda() else "WARNING"
logger = Logger(
    service=SERVICE, level=os.environ.get("POWERTOOLS_LOG_LEVEL") or os.environ.get("LOG_LEVEL") or _default_level
)

_cold = True


def request_line(request_id: str, route: str, status: int, milliseconds: float, notes: dict[str, Any]) -> None:
    """Write one JSON line with the gateway's request id as correlation id; a warning where something failed."""
    causes = notes.get("causes") or []
    write = logger.warning if causes or status >= 500 else logger.info
    fields = {key: value for key, value in notes.items() if key not in UNLOGGED and value is not None}
    fields.update(correlation_id=request_id, route=route, status=status, latency_ms=round(milliseconds, 3))
    if causes:
        fields["causes"] = causes
    write("answered", extra=fields)


def failure_line(request_id: str, route: str) -> None:
    """Log the current exception with its traceback."""
    logger.exception(
        "the handler failed; the answer is the last resort", extra={"correlation_id": request_id, "route": route}
    )


def emit_metrics(route: str, status: int, milliseconds: float, notes: dict[str, Any]) -> None:
    """Write CloudWatch metrics in embedded format to standard output, on Lambda only."""
    global _cold
    cold, _cold = _cold, False
    if not on_lambda():
        return
    causes = notes.get("causes") or []
    counts = {"ColdStart": int(cold), "ClientError": int(400 <= status < 500), "Fallback": int(bool(causes))}
    for name, key in (("ItemsShown", "items"), ("FeedbackAccepted", "accepted"), ("FeedbackToRetry", "retry")):
        if key in notes:
            counts[name] = notes[key]
    _emit("route", route, counts, {"Latency": milliseconds})
    for cause in causes:
        _emit("cause", cause, {"FallbackByCause": 1}, {})
    if "version_failed" in notes and notes.get("variant") in VARIANTS:
        failed = {"VersionFailed": int(notes["version_failed"])}
        _emit("variant", notes["variant"], failed, {"VariantLatency": milliseconds})


def _emit(dimension: str, value: str, counts: Mapping[str, int], milliseconds: Mapping[str, float]) -> None:
    metrics = EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
    metrics.add_dimension(dimension, value)
    for name, count in counts.items():
        metrics.add_metric(name, MetricUnit.Count, count)
    for name, duration in milliseconds.items():
        metrics.add_metric(name, MetricUnit.Milliseconds, duration)
    metrics.flush_metrics()


def traced(handler: F) -> F:
    """``handler`` inside an X-Ray segment, on Lambda with tracing; elsewhere ``handler`` itself.

    The X-Ray library is slow to import, so it is imported only for tracing.
    """
    disabled = os.environ.get("POWERTOOLS_TRACE_DISABLED", "").lower() in ("1", "true", "yes", "on")
    if not on_lambda() or disabled:
        return handler
    from aws_lambda_powertools import Tracer

    tracer = Tracer(service=SERVICE)
    return cast(F, tracer.capture_lambda_handler(handler, capture_response=False))
