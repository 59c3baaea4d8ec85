"""Lambda entry point of the HTTP API; the local server calls it too. Validates, routes and answers every request.

No request and no internal failure gives a 5xx: when everything else fails, `_last_resort` answers with an empty list,
or asks to send feedback again.
"""

import json
import time
from typing import Any

from lambda_api.handlers import observe, operator_routes, shopper_routes
from lambda_api.handlers.dependencies import serving, start_fresh
from lambda_api.handlers.lambda_start import prepare_on_lambda
from lambda_api.handlers.request_validation import Refusal, Request, read_request, request_id_of
from lambda_api.handlers.resolver import Resolver
from lambda_api.handlers.responses import JSON, SECURITY_HEADERS, error_content
from lambda_api.serving.service_answer import BASELINE

NOTHING = "none"
"""Route of unmatched requests, in log and metrics."""

app = Resolver()
shopper_routes.register(app)
operator_routes.register(app)


def answer(event: Any, context: Any) -> dict[str, Any]:
    """Answer one event of an HTTP API (payload format 2.0)."""
    started = time.perf_counter()
    request_id = request_id_of(event)
    notes: dict[str, Any] = {}
    request: Request | None = None
    try:
        request = read_request(event, request_id)
        _spend(request)
        routed = request.event | {"notes": notes, "accept": request.headers.get("accept", "")}
        response = _completed(app.resolve(routed, context), request)
    except Refusal as refusal:
        response = _refusal(refusal, request_id)
    except Exception:  # noqa: BLE001 - logged with its traceback
        observe.failure_line(request_id, request.route if request else NOTHING)
        notes.setdefault("causes", []).append("handler: error")
        response = _last_resort(request, request_id)
    response["headers"] = {**SECURITY_HEADERS, **response.get("headers", {}), "X-Request-Id": request_id}
    _record(request, request_id, response["statusCode"], (time.perf_counter() - started) * 1000, notes)
    return response


handler = observe.traced(answer)
"""Called by Lambda and by the local server."""


def _completed(response: dict[str, Any], request: Request) -> dict[str, Any]:
    # Powertools gives a status as an enum, and puts no request id into errors.
    status = response["statusCode"] = int(response["statusCode"])
    if status >= 400:
        content = json.loads(response["body"]) | {"request_id": request.request_id}
        response["body"] = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    if request.head:
        response["body"] = ""
    return response


def _spend(request: Request) -> None:
    """Count the request for the quota of its key. Raises `Refusal` when the quota of the day is used up."""
    if request.quota is None:
        return
    wait_s = serving().key_usage.spend(request.quota)
    if wait_s is not None:
        rule = f"this key has made its {request.quota.requests_per_day} requests of today (UTC)"
        raise Refusal(429, "quota_exceeded", rule, "x-api-key", headers={"Retry-After": str(wait_s)})


def _refusal(refusal: Refusal, request_id: str) -> dict[str, Any]:
    if refusal.status == 204:
        return _response(204, "", refusal.headers)
    content = {"error": error_content(refusal), "request_id": request_id}
    return _response(refusal.status, json.dumps(content, ensure_ascii=False), {"Content-Type": JSON, **refusal.headers})


def _last_resort(request: Request | None, request_id: str) -> dict[str, Any]:
    """A constant answer in the form of the route, which depends on nothing that may have failed."""
    route = request.route if request else NOTHING
    empty = {
        "recommendations": [],
        "model_version": BASELINE,
        "inference_time_ms": 0.0,
        "request_id": request_id,
        "fallback": "handler: error",
    }
    status = 200
    if route == "/recommend":
        content: dict[str, Any] = {**empty, "variant": NOTHING}
    elif route in ("/popular", "/similar/{product_id}"):
        content = empty
    elif route == "/feedback" and request is not None:
        status = 202
        content = {"accepted": 0, "duplicates": 0, "retry": _event_ids(request), "request_id": request_id}
    elif route == "/health":
        content = {"status": "degraded", "problems": ["handler: error"], "experiment": None, "models": []}
        content |= {"catalogue": None, "dependencies": [], "started_at": 0, "request_id": request_id}
    elif route == "/metrics":
        content = {"started_at": 0, "prediction_cache_hit_share": None, "counters": {}, "latencies": []}
    elif route == "/forget":
        return _refusal(Refusal(503, "history_unavailable", "the shopper was not removed; send this again"), request_id)
    else:
        return _refusal(Refusal(404, "not_found", "there is nothing at this path; see /docs"), request_id)
    return _response(status, "" if request and request.head else json.dumps(content), {"Content-Type": JSON})


def _event_ids(request: Request) -> list[str]:
    """Event ids in a feedback body, as far as it can be parsed."""
    try:
        content = json.loads(request.event["body"])
        events = content.get("events", [content])
        return [event["event_id"] for event in events if isinstance(event.get("event_id"), str)]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return []


def _response(status: int, body: str, headers: dict[str, str]) -> dict[str, Any]:
    return {"statusCode": status, "body": body, "isBase64Encoded": False, "headers": dict(headers), "cookies": []}


def _record(request: Request | None, request_id: str, status: int, milliseconds: float, notes: dict[str, Any]) -> None:
    """Log and count the request, and start the work after the reply. Failures are logged only."""
    route = request.route if request else NOTHING
    try:
        observe.request_line(request_id, route, status, milliseconds, notes)
        observe.emit_metrics(route, status, milliseconds, notes)
        held = serving()
        held.counters.observe(route, milliseconds)
        held.counters.add("requests", f"{route} {status}")
        held.after_reply.request_finished()
    except Exception:  # noqa: BLE001 - logged with its traceback
        observe.failure_line(request_id, route)


# During initialisation, because the extension must register before the first request.
prepare_on_lambda(start_fresh)
