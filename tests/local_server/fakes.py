"""Handlers with the signatures of the real ones, which do what the request's body says. Run inside real workers."""

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

KEYS = {"shop-key": "shop", "operations-key": "shop operations"}


def authorizer(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Knows two keys; one of them opens everything."""
    key, route_key = event["identitySource"]
    scopes = KEYS.get(key, "")
    if key == "crash":
        raise RuntimeError("secret of the authorizer")
    if key == "nonsense":
        return {"answer": 42}
    needed = "operations" if route_key in ("GET /metrics", "POST /forget") else "shop"
    return {"isAuthorized": needed in scopes.split(), "context": {"name": key, "scopes": scopes}}


def handler(event: dict[str, Any], context: Any) -> Any:
    """Returns the event, unless the body asks for something else."""
    if event["routeKey"] == "$default":
        return {"statusCode": 404, "body": json.dumps({"error": {"code": "not_found", "message": event["rawPath"]}})}
    body = event.get("body") or "{}"
    if event["isBase64Encoded"]:
        body = base64.b64decode(body).decode("latin-1")
    try:
        order = json.loads(body)
    except ValueError:
        order = {}
    if "sleep" in order:
        time.sleep(order["sleep"])
    if order.get("crash"):
        raise RuntimeError("secret of the handler")
    if "return" in order:
        return order["return"]
    return {"statusCode": 200, "body": json.dumps({"event": event, "pid": os.getpid()})}


class Lifecycle:
    """Leaves a line in a file for every call, as the real one flushes what waits after replies."""

    def _note(self, what: str) -> None:
        folder = os.environ.get("FAKE_LIFECYCLE")
        if folder:
            (Path(folder) / f"{os.getpid()}.{what}").write_text("")

    def warm(self) -> None:
        self._note("warm")

    def close(self, timeout_s: float = 5.0) -> bool:
        self._note("close")
        return True


def lifecycle() -> Lifecycle:
    """What ``ServerOptions.lifecycle`` names."""
    return Lifecycle()
