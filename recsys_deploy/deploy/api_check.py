"""Checks that new code and the deployed API answer correctly: the requests, and what a correct answer is."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

CHECK_USER: Final = "recsys-deploy-check"
"""A shopper without a history."""

LENGTH: Final = 5

PAUSES_S: Final = (1, 2, 4, 8, 8, 10, 10, 10)
"""Between attempts: 53 s in all. A warm function caches its route for 30 s, the gateway the authorizer's answer too."""

TIMEOUT_S: Final = 35.0
"""API Gateway gives up after 30 s."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status and body of an answer."""

    status: int
    body: bytes


class HttpCall(Protocol):
    """Sends one HTTP request; raises ``OSError`` where nobody answers."""

    def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> HttpAnswer: ...


def call(method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout_s: float) -> HttpAnswer:
    """`HttpCall` over the network, to ``https`` addresses only; every status is an answer, not an error."""
    if not url.startswith("https://"):
        raise ValueError(f"{url} is not an https address")
    request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return HttpAnswer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        return HttpAnswer(error.code, error.read())


def fault_of_api(
    http: HttpCall,
    url: str,
    key: str,
    models: Collection[str],
    *,
    filled: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """Call ``GET /health`` and ``POST /recommend`` until both are correct; the last fault, or ``None``.

    Args:
        http: sends requests.
        url: of the API, without a slash at the end.
        key: API key of scope shop.
        models: versions of which one must answer; empty: any, also the baseline.
        filled: whether there are products to recommend, so that an empty list is wrong.
        sleep: waits between attempts.
    """
    return last_fault(lambda: _call_once(http, url, key, models, filled), PAUSES_S, sleep)


def last_fault(ask: Callable[[], str | None], pauses_s: Sequence[float], sleep: Callable[[float], None]) -> str | None:
    """Ask until there is no fault, at most once more than there are pauses; the last fault, or ``None``."""
    for pause in pauses_s:
        if ask() is None:
            return None
        sleep(pause)
    return ask()


def _call_once(http: HttpCall, url: str, key: str, models: Collection[str], filled: bool) -> str | None:
    headers = {"accept": "application/json"}
    try:
        health = http("GET", f"{url}/health", headers, None, TIMEOUT_S)
        if fault := fault_of_health(health.status, read_json(health.body)):
            return fault
        headers |= {"content-type": "application/json", "x-api-key": key}
        answer = http("POST", f"{url}/recommend", headers, json.dumps(question()).encode(), TIMEOUT_S)
    except OSError as error:
        return f"{url} does not answer: {error}"
    return fault_of_list(answer.status, read_json(answer.body), models, filled=filled)


def http_event(
    method: str, path: str, body: Mapping[str, Any] | None = None, key: str = "", *, behind_authorizer: bool = False
) -> dict[str, Any]:
    """The event that an HTTP API gives to a function, payload format 2.0.

    Args:
        behind_authorizer: add the authorizer's answer for a key of scope shop; the API answers nobody without it.
    """
    authorizer = {"lambda": {"name": CHECK_USER, "key_id": CHECK_USER, "scopes": "shop"}}
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
    """The body of ``POST /recommend`` for `CHECK_USER`."""
    return {"user_id": CHECK_USER, "num_recommendations": LENGTH, "context": {"page": "homepage"}}


def fault_of_health(status: int, body: Any) -> str | None:
    """The fault of an answer of ``GET /health``, or ``None``. The status ``degraded`` is no fault."""
    if status != 200:
        return f"GET /health answered {status}"
    if not isinstance(body, Mapping) or "status" not in body:
        return "GET /health answered without a status"
    return None


def fault_of_list(status: int, body: Any, models: Collection[str], *, filled: bool) -> str | None:
    """The fault of an answer of ``POST /recommend``, or ``None``; arguments as of `fault_of_api`."""
    text = (body if isinstance(body, str) else json.dumps(body))[:300]
    if status != 200:
        return f"POST /recommend answered {status}: {text}"
    if not isinstance(body, Mapping) or not isinstance(body.get("recommendations"), list):
        return f"POST /recommend answered without a list: {text}"
    cause = f" ({body['fallback']})" if body.get("fallback") else ""
    if models and body.get("model_version") not in models:
        answered = body.get("model_version")
        return f"POST /recommend was answered by {answered}{cause}, not by {' or '.join(sorted(models))}"
    if filled and not body["recommendations"]:
        return f"POST /recommend gave an empty list{cause}"
    return None


def read_json(body: bytes | str) -> Any:
    """The JSON in ``body``, or the text itself if it is not JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace") if isinstance(body, bytes) else body
