"""The entry point of the HTTP API: gate, routes, and the last resort; the same on Lambda and behind the local server.

Put here what happens around every route. Keep routes in ``shopper_routes`` and ``operator_routes``.

Nothing a client sends and nothing that breaks gives a 5xx: what is left when everything else failed is an empty list,
or the request to send feedback again.
"""

import json
import time
from typing import Any

from lambda_api.handlers import observe, operator_routes, shopper_routes
from lambda_api.handlers.dependencies import on_lambda, serving
from lambda_api.handlers.request_validation import Refusal, Request, read_request, request_id_of
from lambda_api.handlers.resolver import Resolver
from lambda_api.handlers.responses import JSON, SECURITY_HEADERS, error_content
from lambda_api.serving.service import BASELINE

NOTHING = "none"
"""Route of requests that match none, in log and metrics."""

app = Resolver()
shopper_routes.register(app)
operator_routes.register(app)


def answer(event: Any, context: Any) -> dict[str, Any]:
    """Answer one event of an HTTP API (payload format 2.0) as the gateway expects it."""
    started = time.perf_counter()
    request_id = request_id_of(event)
    notes: dict[str, Any] = {}
    request: Request | None = None
    try:
        request = read_request(event, request_id)
        routed = request.event | {"notes": notes, "accept": request.headers.get("accept", "")}
        response = _completed(app.resolve(routed, context), request)
    except Refusal as refusal:
        response = _refusal(refusal, request_id)
    except Exception:  # noqa: BLE001 - logged with its traceback
        observe.failure_line(request_id, request.route if request else NOTHING)
        notes.setdefault("causes", []).append("handler: error")
        response = _last_resort(request, request_id)
    response["headers"] = {**SECURITY_HEADERS, **response.get("headers", {}), "X-Request-Id": request_id}
    _tell(request, request_id, response["statusCode"], (time.perf_counter() - started) * 1000, notes)
    return response


handler = observe.traced(answer)
"""What Lambda and the local server call."""


def _completed(response: dict[str, Any], request: Request) -> dict[str, Any]:
    # Powertools gives a status as an enum, and puts no request id into errors.
    status = response["statusCode"] = int(response["statusCode"])
    if status >= 400:
        content = json.loads(response["body"]) | {"request_id": request.request_id}
        response["body"] = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    if request.head:
        response["body"] = ""
    return response


def _refusal(refusal: Refusal, request_id: str) -> dict[str, Any]:
    if refusal.status == 204:
        return _response(204, "", refusal.headers)
    content = {"error": error_content(refusal), "request_id": request_id}
    return _response(refusal.status, json.dumps(content, ensure_ascii=False), {"Content-Type": JSON, **refusal.headers})


def _last_resort(request: Request | None, request_id: str) -> dict[str, Any]:
    """An answer that needs nothing: every part of it could be written before anything started."""
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
        content = {"started_at": 0, "counters": {}, "latencies": []}
    else:
        return _refusal(Refusal(404, "not_found", "there is nothing at this path; see /docs"), request_id)
    return _response(status, "" if request and request.head else json.dumps(content), {"Content-Type": JSON})


def _event_ids(request: Request) -> list[str]:
    """Ids in a feedback body that could not be handled, as far as they can be read."""
    try:
        content = json.loads(request.event["body"])
        events = content.get("events", [content])
        return [event["event_id"] for event in events if isinstance(event.get("event_id"), str)]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return []


def _response(status: int, body: str, headers: dict[str, str]) -> dict[str, Any]:
    return {"statusCode": status, "body": body, "isBase64Encoded": False, "headers": dict(headers), "cookies": []}


def _tell(request: Request | None, request_id: str, status: int, milliseconds: float, notes: dict[str, Any]) -> None:
    """Log, count, and let work after the reply begin. Failing here must not cost the answer."""
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


if on_lambda():
    # While Lambda initialises: the extension must register before the first request, and the first shopper not wait.
    serving().warm()
