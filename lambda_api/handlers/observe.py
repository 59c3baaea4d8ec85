"""Log line, CloudWatch metrics and X-Ray trace of each request. Counters of ``/metrics`` are in ``serving.counters``.

Keys, bodies and user ids are never logged. Metric dimensions are bounded: route, cause and variant, from fixed sets.
"""

import os
from collections.abc import Callable
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
    metrics = EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
    metrics.add_dimension("route", route)
    metrics.add_metric("Latency", MetricUnit.Milliseconds, milliseconds)
    metrics.add_metric("ColdStart", MetricUnit.Count, int(cold))
    metrics.add_metric("ClientError", MetricUnit.Count, int(400 <= status < 500))
    for name, key in (("ItemsShown", "items"), ("FeedbackAccepted", "accepted"), ("FeedbackToRetry", "retry")):
        if key in notes:
            metrics.add_metric(name, MetricUnit.Count, notes[key])
    metrics.add_metric("Fallback", MetricUnit.Count, int(bool(notes.get("causes"))))
    metrics.flush_metrics()
    for cause in notes.get("causes") or []:
        by_cause = EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
        by_cause.add_dimension("cause", cause)
        by_cause.add_metric("FallbackByCause", MetricUnit.Count, 1)
        by_cause.flush_metrics()
    if "version_failed" in notes and notes.get("variant") in VARIANTS:
        by_variant = EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
        by_variant.add_dimension("variant", notes["variant"])
        by_variant.add_metric("VersionFailed", MetricUnit.Count, int(notes["version_failed"]))
        by_variant.add_metric("VariantLatency", MetricUnit.Milliseconds, milliseconds)
        by_variant.flush_metrics()


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
