"""The REQUEST authorizer of the HTTP API (payload format 2.0, simple response): who may call which route.

Put the rule of routes and scopes here. Keep keys themselves in ``lambda_api.state.api_keys``.

It is a function of its own, in front of every route but the open ones, so it imports neither numpy nor Powertools.
Whatever goes wrong in here is a refusal, never an error: API Gateway would turn an error into a 500. A request without
the header never gets here (identity source missing: 401); a refusal becomes 403. Let API Gateway cache its answers for
at most 30 s, by key *and* route (``$context.routeKey``), or a shop's key would open ``/metrics`` from the cache.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from lambda_api.state.api_keys import ApiKeys

HEADER = "x-api-key"
MAX_KEY_LENGTH = 200
PATIENCE_S = 1.0
OPERATIONS_ONLY = frozenset({"metrics"})
"""First segments of paths that need the scope ``operations``."""
log = logging.getLogger(__name__)

DENIED: Mapping[str, Any] = {"isAuthorized": False, "context": {}}


class Authorizer:
    """Answers authorizer events from the keys of one table.

    Args:
        keys: verifies them.
        now: seconds since 1970 UTC, for expiry.
    """

    def __init__(self, keys: ApiKeys, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._now = now

    def __call__(self, event: Any) -> dict[str, Any]:
        """``{"isAuthorized": bool, "context": {...}}``; never raises.

        The context of an accepted request holds ``name``, ``key_id`` and ``scopes`` (sorted, separated by spaces);
        the handler finds it under ``requestContext.authorizer.lambda``.
        """
        try:
            plain = _key_of(event)
            identity = None if plain is None else self._keys.verify(plain, self._now())
            if identity is None:
                log.info("request refused: %s", "no single API key" if plain is None else "API key not valid")
                return dict(DENIED)
            if not may_call(identity.scopes, event):
                log.info("request refused: key %s (%s) lacks the scope", identity.key_id, identity.name)
                return dict(DENIED)
        except Exception as error:  # noqa: BLE001 - see the module; the type alone, its text may hold the header
            log.error("request refused: the authorizer failed with %s", type(error).__name__)
            return dict(DENIED)
        scopes = " ".join(sorted(identity.scopes))
        return {
            "isAuthorized": True,
            "context": {"name": identity.name, "key_id": identity.key_id, "scopes": scopes},
        }


def may_call(scopes: frozenset[str], event: Mapping[str, Any]) -> bool:
    """Whether these scopes suffice for the event's route; ``operations`` includes ``shop``."""
    if "operations" in scopes:
        return True
    return "shop" in scopes and _first_segment(event) not in OPERATIONS_ONLY


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Lambda entry point; keys come from the table that this process's settings name. Never raises."""
    try:
        authorizer = _from_settings()
    except Exception as error:  # noqa: BLE001 - unreadable settings refuse everybody, in words, and are read again
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


def _key_of(event: Any) -> str | None:
    """The one key the request carries. Header names differ in case between gateways; repeated headers arrive joined
    by commas, which no key contains, or under two spellings: both are refused."""
    headers = event.get("headers") if isinstance(event, Mapping) else None
    if not isinstance(headers, Mapping):
        return None
    given = [value for name, value in headers.items() if isinstance(name, str) and name.lower() == HEADER]
    if len(given) != 1 or not isinstance(given[0], str) or len(given[0]) > MAX_KEY_LENGTH:
        return None
    return given[0].strip(" \t") or None


def _first_segment(event: Mapping[str, Any]) -> str:
    """Of the path behind the stage, decoded; in doubt (a path with odd slashes or dots) the segment that matters."""
    http = event.get("requestContext") or {}
    stage = http.get("stage") or "$default"
    segments = [
        part.casefold() for part in unquote(str(event.get("rawPath") or "")).split("/") if part not in ("", ".")
    ]
    if stage != "$default" and segments and segments[0] == str(stage).casefold():
        segments = segments[1:]
    if ".." in segments:  # no route of ours has any; refuse what it may resolve to
        return next((part for part in segments if part in OPERATIONS_ONLY), "")
    return segments[0].split(";")[0].strip() if segments else ""
