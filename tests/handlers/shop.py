"""A small served shop and the events that reach its API. Shared by tests of handlers and of the service."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from lambda_api.handlers import api

EVENTS = Path(__file__).parent / "events"
IDENTITY = {"name": "test", "key_id": "k1", "scopes": "operations shop"}


@lru_cache
def template(name: str) -> str:
    """A recorded event of the gateway, as text."""
    return (EVENTS / f"{name}.json").read_text(encoding="utf-8")


def event(
    method: str,
    path: str,
    body: Any = None,
    *,
    query: str = "",
    headers: dict[str, str] | None = None,
    identity: dict[str, str] | None = IDENTITY,
    request_id: str = "JKJaXmPLvHcESHA=",
    replace: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What HTTP API sends for a request (payload format 2.0).

    ``body``: text as it is, anything else as JSON. ``replace``: top-level fields to send instead.
    """
    found: dict[str, Any] = json.loads(template("http_api_v2"))
    found |= {"rawPath": path, "rawQueryString": query, "routeKey": "$default"}
    found["requestContext"] |= {"requestId": request_id}
    found["requestContext"]["http"] |= {"method": method, "path": path}
    if identity is not None:
        found["requestContext"]["authorizer"] = {"lambda": identity}
    if body is not None:
        found["body"] = body if isinstance(body, str) else json.dumps(body)
    found["headers"] |= headers or {}
    return found | (replace or {})


def call(method: str, path: str, body: Any = None, **options: Any) -> tuple[int, dict[str, Any]]:
    """Status and parsed body of what the handler answers."""
    response = api.handler(event(method, path, body, **options), None)
    return response["statusCode"], json.loads(response["body"] or "{}")
