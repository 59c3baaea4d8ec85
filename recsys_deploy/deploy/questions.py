"""What is asked of new code, and what a right answer is: of a function directly, and of the API at its address.

Put questions and the judging of answers here. Keep asking, waiting and moving aliases out.
"""

import json
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

STRANGER: Final = "recsys-deploy-check"
"""A shopper nobody knows."""

ASKED: Final = 5


def http_event(
    method: str, path: str, body: Mapping[str, Any] | None = None, key: str = "", *, behind_authorizer: bool = False
) -> dict[str, Any]:
    """What an HTTP API hands to a function: payload format 2.0.

    Args:
        behind_authorizer: with what the authorizer says of a key of scope shop; the API answers nobody without.
    """
    authorizer = {"lambda": {"name": STRANGER, "key_id": STRANGER, "scopes": "shop"}}
    headers = {"host": "recsys-deploy", "user-agent": "recsys-deploy"}
    headers |= {"content-type": "application/json"} if body is not None else {}
    headers |= {"x-api-key": key} if key else {}
    return {
        "version": "2.0",
        "type": "REQUEST",
        "routeKey": f"{method} {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "identitySource": [key] if key else [],
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "recsys-deploy",
            "domainName": "recsys-deploy",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "recsys-deploy",
            },
            "requestId": f"recsys-deploy-{time.time_ns()}",
            "routeKey": f"{method} {path}",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime()),
            "timeEpoch": int(time.time() * 1000),
            **({"authorizer": authorizer} if behind_authorizer else {}),
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def question() -> dict[str, Any]:
    """The body of ``POST /recommend`` for `STRANGER`."""
    return {"user_id": STRANGER, "num_recommendations": ASKED, "context": {"page": "homepage"}}


def fault_of_health(status: int, body: Any) -> str | None:
    """What is wrong with an answer of ``GET /health``; ``None``: nothing. ``degraded`` is an answer."""
    if status != 200:
        return f"GET /health answered {status}"
    if not isinstance(body, Mapping) or "status" not in body:
        return "GET /health answered without a status"
    return None


def fault_of_list(status: int, body: Any, models: Collection[str], *, filled: bool) -> str | None:
    """What is wrong with an answer of ``POST /recommend``; ``None``: nothing.

    Args:
        models: versions of which one must have answered; empty: any, the baseline too.
        filled: whether there is something to recommend, so that an empty list is wrong.
    """
    if status != 200:
        return f"POST /recommend answered {status}: {_said(body)}"
    if not isinstance(body, Mapping) or not isinstance(body.get("recommendations"), list):
        return f"POST /recommend answered without a list: {_said(body)}"
    cause = f" ({body['fallback']})" if body.get("fallback") else ""
    if models and body.get("model_version") not in models:
        return (
            f"POST /recommend was answered by {body.get('model_version')}{cause}, not by {' or '.join(sorted(models))}"
        )
    if filled and not body["recommendations"]:
        return f"POST /recommend gave an empty list{cause}"
    return None


def read_json(body: bytes | str) -> Any:
    """The JSON in ``body``; the text itself where it is none."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace") if isinstance(body, bytes) else body


def _said(body: Any) -> str:
    return (body if isinstance(body, str) else json.dumps(body))[:300]
