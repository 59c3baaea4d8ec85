"""The handler as a WSGI application: what the gateway does around it, in a few lines, for tools that speak HTTP."""

import base64
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from lambda_api.handlers import api
from tests.handlers.shop import IDENTITY, event

KEY = "test-key"
received: list[str] = [""]
"""The query of the newest request as it came: clients drop and change parts of what they were asked to send."""


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """See PEP 3333. A wrong key is refused as the authorizer would; a missing one by the handler itself."""
    received[:] = [environ.get("QUERY_STRING", "")]
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    key = headers.get("x-api-key")
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    sent = event(
        environ["REQUEST_METHOD"],
        quote(environ["PATH_INFO"].encode("latin-1")),
        query=environ.get("QUERY_STRING", ""),
        identity=IDENTITY if key == KEY else None,
        replace={"headers": headers, "body": base64.b64encode(body).decode(), "isBase64Encoded": True},
    )
    response = api.handler(sent, None)
    status = HTTPStatus(response["statusCode"])
    start_response(f"{status.value} {status.phrase}", list(response["headers"].items()))
    return [response["body"].encode()]
