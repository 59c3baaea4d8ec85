"""REQUEST authorizer of the HTTP API (payload format 2.0, simple responses): which API key may call which route.

A Lambda function of its own in front of all protected routes, so it imports neither numpy nor Powertools. Every failure
is a refusal, because API Gateway would turn an exception into a 500. A request without the header does not get here
(API Gateway answers 401); a refusal becomes 403. Let API Gateway cache answers for at most 30 s, by key *and* route
(``$context.routeKey``); by key alone, a cached answer for a shop's key would open ``/metrics``.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from lambda_api.handlers.lambda_start import prepare_on_lambda
from lambda_api.state.api_keys import ApiKeys, KeysUnavailable

HEADER = "x-api-key"
MAX_KEY_LENGTH = 200
PATIENCE_S = 1.0
OPERATIONS_ONLY = frozenset({"metrics", "forget"})
"""First path segments that need the scope ``operations``."""
log = logging.getLogger(__name__)

DENIED: Mapping[str, Any] = {"isAuthorized": False, "context": {}}

UNAVAILABLE: Mapping[str, Any] = {"isAuthorized": True, "context": {"unavailable": "true", "scopes": ""}}
"""While keys cannot be read: lets the request reach the handler, which answers 503 (`request_validation`).

A simple response can only allow or refuse, and a refusal (403) would tell clients that a valid key is wrong.
"""


class Authorizer:
    """Answers authorizer events.

    Args:
        keys: verifies keys.
        now: seconds since 1970 UTC, for expiry.
    """

    def __init__(self, keys: ApiKeys, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._now = now

    def connect(self) -> None:
        """Connect to the table of keys. Raises `lambda_api.state.table.TableUnavailable`."""
        self._keys.connect()

    def __call__(self, event: Any) -> dict[str, Any]:
        """``{"isAuthorized": bool, "context": {...}}``; never raises.

        The context of an accepted request holds ``name``, ``key_id``, ``scopes`` (sorted, separated by spaces) and, of
        a key with a quota, ``requests_per_day`` (in digits); the handler finds it under
        ``requestContext.authorizer.lambda``.
        """
        try:
            plain = _key_of(event)
            key = None if plain is None else self._keys.verify(plain, self._now())
            if key is None:
                log.info("request refused: %s", "no single API key" if plain is None else "API key not valid")
                return dict(DENIED)
            if not may_call(key.scopes, event):
                log.info("request refused: key %s (%s) lacks the scope", key.key_id, key.name)
                return dict(DENIED)
        except KeysUnavailable:
            return dict(UNAVAILABLE)
        except Exception as error:  # noqa: BLE001 - refused; only the type is logged, since the message may hold the key
            log.error("request refused: the authorizer failed with %s", type(error).__name__)
            return dict(DENIED)
        context = {"name": key.name, "key_id": key.key_id, "scopes": " ".join(sorted(key.scopes))}
        if key.requests_per_day is not None:
            context["requests_per_day"] = str(key.requests_per_day)
        return {"isAuthorized": True, "context": context}


def may_call(scopes: frozenset[str], event: Mapping[str, Any]) -> bool:
    """Whether these scopes allow the event's route; ``operations`` includes ``shop``."""
    if "operations" in scopes:
        return True
    return "shop" in scopes and _first_segment(event) not in OPERATIONS_ONLY


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Lambda entry point, with the keys of the configured table. Never raises."""
    try:
        authorizer = _from_settings()
    except Exception as error:  # noqa: BLE001 - logged; every request is refused until the settings can be read
        log.error("request refused: the authorizer cannot be set up: %s: %s", type(error).__name__, error)
        return dict(DENIED)
    return authorizer(event)


@lru_cache(maxsize=1)
def _from_settings() -> Authorizer:
    from lambda_api.serving.guard import Guard
    from lambda_api.settings import current_settings
    from lambda_api.state.open_table import open_table

    table = open_table(current_settings(), "api_keys", patience_s=PATIENCE_S)
    return Authorizer(ApiKeys(table, guard=Guard("api_keys", PATIENCE_S)))


def _start_fresh() -> None:
    """Open the table with a first read, which takes a second of CPU: too long for the first request. Never raises."""
    _from_settings.cache_clear()
    try:
        _from_settings().connect()
    except Exception as error:  # noqa: BLE001 - `handler` tries again and refuses requests meanwhile
        log.error("the authorizer cannot be set up yet: %s: %s", type(error).__name__, error)


def _key_of(event: Any) -> str | None:
    """The key of the request, ``None`` unless there is exactly one. Header names differ in case between gateways;
    repeated headers are joined by commas, which no key contains, or appear in two spellings."""
    headers = event.get("headers") if isinstance(event, Mapping) else None
    if not isinstance(headers, Mapping):
        return None
    given = [value for name, value in headers.items() if isinstance(name, str) and name.lower() == HEADER]
    if len(given) != 1 or not isinstance(given[0], str) or len(given[0]) > MAX_KEY_LENGTH:
        return None
    return given[0].strip(" \t") or None


def _first_segment(event: Mapping[str, Any]) -> str:
    """First segment of the decoded path without the stage; for paths with ``..`` a protected one if there is any."""
    http = event.get("requestContext") or {}
    stage = http.get("stage") or "$default"
    segments = [
        part.casefold() for part in unquote(str(event.get("rawPath") or "")).split("/") if part not in ("", ".")
    ]
    if stage != "$default" and segments and segments[0] == str(stage).casefold():
        segments = segments[1:]
    if ".." in segments:  # no route has one
        return next((part for part in segments if part in OPERATIONS_ONLY), "")
    return segments[0].split(";")[0].strip() if segments else ""


prepare_on_lambda(_start_fresh)
