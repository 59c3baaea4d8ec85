"""Converts HTTP requests to API Gateway events (payload format 2.0) and handler responses to HTTP. Pure.

Sources: the API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs" and "Control access to
HTTP APIs with AWS Lambda authorizers". Where the guide says nothing, this follows recordings of the live service:
``rawPath`` and path parameters are decoded, the query string is not, and cookies are not among the headers.
"""

import base64
import binascii
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from lambda_api.errors import RecsysError

STAGE: Final = "$default"
API_ID: Final = "local"
ACCOUNT_ID: Final = "000000000000"

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HOP_BY_HOP: Final = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect")
)
"""Headers that belong to one connection (RFC 9110, 7.6.1); gateways do not forward them."""

_TEXT_TYPES: Final = re.compile(
    r"(text/.*|application/(json|javascript|xml)|application/.*\+(json|xml))", re.IGNORECASE
)
"""Media types whose bodies are passed on as text; all others as base64."""

_NOT_IN_A_HEADER: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


class MalformedResponse(RecsysError):
    """A handler returned a response that cannot be turned into HTTP; the message says why."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request: the target percent-encoded, header names in lower case, repeated headers in order."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    protocol: str
    source_ip: str
    port: int = 80

    @property
    def raw_path(self) -> str:
        """The path as sent, percent-encoded."""
        return split_target(self.target)[0]

    @property
    def path(self) -> str:
        """The path, decoded; bytes that are not UTF-8 become U+FFFD."""
        return unquote(self.raw_path, errors="replace")

    @property
    def query(self) -> str:
        """The query string as sent, without its question mark."""
        return split_target(self.target)[1]

    def header(self, name: str) -> str | None:
        """The values of header ``name`` (lower case), joined by commas, or ``None``."""
        return _joined(self.headers).get(name)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A response as HTTP."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a request target (RFC 9112, 3.2): origin form, absolute form or ``*``."""
    if "://" in target and not target.startswith("/"):
        parts = urlsplit(target)
        return parts.path or "/", parts.query
    path, _, query = target.partition("#")[0].partition("?")
    return path, query


def make_event(
    request: HttpRequest,
    *,
    route_key: str,
    path_parameters: Mapping[str, str],
    request_id: str,
    now_ms: int,
    authorizer: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The event of a Lambda integration.

    Args:
        route_key: ``POST /recommend``, or ``$default``.
        path_parameters: decoded, by name.
        request_id: the gateway's; handlers log it.
        now_ms: milliseconds since 1970 UTC.
        authorizer: context that the Lambda authorizer returned.
    """
    host = (request.header("host") or "localhost").rsplit("@", 1)[-1]
    domain = re.sub(r":\d+$", "", host)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": _headers(request),
        "requestContext": {
            "accountId": ACCOUNT_ID,
            "apiId": API_ID,
            "domainName": domain,
            "domainPrefix": domain.split(".", 1)[0],
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": request.header("user-agent") or "",
            },
            "requestId": request_id,
            "routeKey": route_key,
            "stage": STAGE,
            "time": _time(now_ms),
            "timeEpoch": now_ms,
        },
        "isBase64Encoded": False,
    }
    if cookies := _cookies(request):
        event["cookies"] = cookies
    if request.query:
        event["queryStringParameters"] = _joined(parse_qsl(request.query, keep_blank_values=True, errors="replace"))
    if path_parameters:
        event["pathParameters"] = dict(path_parameters)
    if authorizer is not None:
        event["requestContext"]["authorizer"] = {"lambda": dict(authorizer)}
    if request.body:
        event["body"], event["isBase64Encoded"] = _body(request)
    return event


def make_authorizer_event(event: Mapping[str, Any], identity_source: Sequence[str]) -> dict[str, Any]:
    """The event of a REQUEST authorizer for an integration event: no body, but the identity sources."""
    http = event["requestContext"]["http"]
    made = {name: value for name, value in event.items() if name not in ("body", "isBase64Encoded")}
    return made | {
        "type": "REQUEST",
        "routeArn": f"arn:aws:execute-api:local:{ACCOUNT_ID}:{API_ID}/{STAGE}/{http['method']}{http['path']}",
        "identitySource": list(identity_source),
    }


def to_answer(response: object) -> HttpAnswer:
    """A handler's response as HTTP: format 2.0, or a body for status 200 where ``statusCode`` is missing.

    Raises:
        MalformedResponse: an impossible status, headers that are not text, or a body that does not decode.
    """
    if not isinstance(response, Mapping) or "statusCode" not in response:
        return HttpAnswer(200, (("content-type", "application/json"),), _json(response))
    status = _status(response["statusCode"])
    headers = []
    for name, value in (response.get("headers") or {}).items():
        headers.append((str(name).lower(), _header_value(name, value)))
    for cookie in response.get("cookies") or ():
        headers.append(("set-cookie", _header_value("set-cookie", cookie)))
    body = response.get("body")
    if body is None:
        content = b""
    elif not isinstance(body, str):
        content = _json(body)
    elif response.get("isBase64Encoded"):
        try:
            content = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError) as error:
            raise MalformedResponse(f"isBase64Encoded is set, but the body is not base64: {error}") from error
    else:
        content = body.encode("utf-8", errors="replace")
    if not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", "application/json"))
    kept = tuple((name, value) for name, value in headers if name not in _HOP_BY_HOP and name != "content-length")
    return HttpAnswer(status, kept, content)


def _status(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise MalformedResponse(f"statusCode {value!r} is not a number")
    try:
        status = int(value)
    except ValueError as error:
        raise MalformedResponse(f"statusCode {value!r} is not a number") from error
    if not 200 <= status <= 599:
        raise MalformedResponse(f"statusCode {status} is not between 200 and 599")
    return status


def _header_value(name: object, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise MalformedResponse(f"header {name} is {type(value).__name__}, not text")
    # A line break in a value would allow header injection.
    return _NOT_IN_A_HEADER.sub("?", str(value))


def _json(value: object) -> bytes:
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError) as error:
        raise MalformedResponse(f"the response is not JSON: {error}") from error


def _cookies(request: HttpRequest) -> list[str]:
    parts = (part.strip() for name, value in request.headers if name == "cookie" for part in value.split(";"))
    return [part for part in parts if part]


def _headers(request: HttpRequest) -> dict[str, str]:
    made = _joined((name, value) for name, value in request.headers if name not in _HOP_BY_HOP and name != "cookie")
    made["content-length"] = str(len(request.body))
    forwarded = made.get("x-forwarded-for")
    made["x-forwarded-for"] = f"{forwarded}, {request.source_ip}" if forwarded else request.source_ip
    made["x-forwarded-port"] = str(request.port)
    made["x-forwarded-proto"] = "http"
    made.setdefault("x-amzn-trace-id", f"Root=1-{secrets.token_hex(4)}-{secrets.token_hex(12)}")
    return made


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Values by name; those of one name joined by commas."""
    made: dict[str, str] = {}
    for name, value in pairs:
        made[name] = f"{made[name]},{value}" if name in made else value
    return made


def _body(request: HttpRequest) -> tuple[str, bool]:
    media_type = (request.header("content-type") or "").split(";", 1)[0].strip()
    if _TEXT_TYPES.fullmatch(media_type):
        with suppress(UnicodeDecodeError):  # a body that is no text is passed on as base64
            return request.body.decode(), False
    return base64.b64encode(request.body).decode("ascii"), True


def _time(now_ms: int) -> str:
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    return f"{moment.day:02d}/{_MONTHS[moment.month - 1]}/{moment.year}:{moment:%H:%M:%S} +0000"


def status_line(status: int) -> str:
    """``404 Not Found``; an unassigned status gets the phrase of its class."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} {HTTPStatus(status // 100 * 100).phrase}"
