"""Validates and normalises the request before routing; errors name the field and the rule.

Checks what must hold before a body is parsed: method, path, sizes, encodings, JSON, query syntax. What a field may hold
is in ``lambda_api.handlers.models``. Powertools alone would accept a JSON array in place of an object (taking its first
element), duplicate keys, ``NaN``, form data and bodies of any size, and would fail on absent headers.
"""

import base64
import binascii
import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn
from urllib.parse import parse_qsl, quote, unquote

from lambda_api.errors import RecsysError
from lambda_api.handlers.routes import Route, routes
from lambda_api.state.key_usage import KeyQuota

MAX_BODY_BYTES = 64 * 1024
MAX_INTEGER_DIGITS = 18
MAX_PATH_CHARACTERS = 8_000
"""Enough for an id of `MAX_ID_LENGTH` characters, percent-encoded."""
SIMILAR = "/similar/{product_id}"
_SIMILAR_PREFIX = SIMILAR.partition("{")[0]

QUERY: dict[str, frozenset[str]] = {
    "/similar/{product_id}": frozenset({"k"}),
    "/popular": frozenset({"category", "k"}),
}
"""Query parameters by path; other paths have none."""

_JSON_TYPE = re.compile(r"application/(?:[\w.+-]+\+)?json", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.=:-]{1,128}", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,6}", re.ASCII)


class Refusal(RecsysError):
    """A refused request: HTTP ``status``, a ``code`` for programs, and the field at fault if there is one.

    ``details`` holds every problem as (field, message), where there are several.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        details: tuple[tuple[str, str], ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.details = details
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Request:
    """A validated request.

    Attributes:
        request_id: API Gateway's, or one made here.
        route: its template (`lambda_api.handlers.routes.Route`).
        head: a HEAD request.
        headers: lower-case names.
        event: payload 2.0 with every field that the resolver reads; its path is percent-encoded.
        quota: of the API key; ``None``: it has none, or the route needs no key.
    """

    request_id: str
    route: str
    head: bool
    headers: dict[str, str]
    event: dict[str, Any]
    quota: KeyQuota | None = None


def request_id_of(event: Any) -> str:
    """API Gateway's request id, or a new one where it is missing or malformed."""
    given = _mapping(_mapping(event).get("requestContext")).get("requestId")
    return given if isinstance(given, str) and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def read_request(event: Any, request_id: str) -> Request:
    """Validate ``event``.

    Raises:
        Refusal: it matches no route or breaks a rule. Status 204 is the answer to ``OPTIONS``.
    """
    event = _mapping(event)
    context = _mapping(event.get("requestContext"))
    http = _mapping(context.get("http"))
    headers = {
        name.lower(): value
        for name, value in _mapping(event.get("headers")).items()
        if isinstance(name, str) and isinstance(value, str)
    }
    path = _path(event, context, http)
    route, head = _route(_text(http.get("method")).upper(), path)
    quota = _require_key(route, context)
    method, template = route.method, route.template
    body = _body(event, headers) if method == "POST" else None
    normal = {
        "version": "2.0",
        "routeKey": route.key,
        "rawPath": _SIMILAR_PREFIX + quote(path[len(_SIMILAR_PREFIX) :], safe="") if template == SIMILAR else path,
        "rawQueryString": "",
        "queryStringParameters": _query(event, template),
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": method, "path": path}, "requestId": request_id, "stage": "$default"},
        "body": body,
        "isBase64Encoded": False,
    }
    return Request(request_id, template, head, headers, normal, quota)


def parse_json(text: str) -> dict[str, Any]:
    """Parse a JSON object strictly (RFC 8259).

    Raises:
        Refusal: 400 for invalid JSON, duplicate keys, and numbers beyond float64 or 18 digits; 422 for JSON other than
            an object.
    """
    try:
        content = _DECODER.decode(text)
    except RecursionError:
        raise _malformed("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"is not valid JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(content, dict):
        raise Refusal(422, "invalid_request", "the body must be a JSON object", "body")
    return content


def product_id_candidates(encoded: str) -> tuple[str, ...]:
    """Possible product ids of a path parameter: API Gateway decodes paths, other servers do not."""
    once = unquote(encoded)
    twice = unquote(once)
    return (once,) if twice == once else (once, twice)


def _route(method: str, path: str) -> tuple[Route, bool]:
    """The route of ``path``, and whether it is a HEAD request."""
    template = SIMILAR if path.startswith(_SIMILAR_PREFIX) and path != _SIMILAR_PREFIX else path
    known = {route.method: route for route in routes() if route.template == template}
    if not known or path == SIMILAR:
        raise Refusal(404, "not_found", "there is nothing at this path; see /docs")
    allowed = ", ".join([*known, *(["HEAD"] if "GET" in known else []), "OPTIONS"])
    if method == "OPTIONS":
        raise Refusal(204, "options", "", headers={"Allow": allowed})
    head = method == "HEAD" and "GET" in known
    route = known.get("GET" if head else method)
    if route is None:
        raise Refusal(405, "method_not_allowed", f"this path answers {allowed}", headers={"Allow": allowed})
    return route, head


def _require_key(route: Route, context: Mapping[str, Any]) -> KeyQuota | None:
    """The key's quota. Raises `Refusal` unless the authorizer accepted the request."""
    if route.scope is None:
        return None
    identity = _mapping(_mapping(context.get("authorizer")).get("lambda"))
    if identity.get("unavailable"):
        rule = "API keys cannot be checked at the moment; try again"
        raise Refusal(503, "keys_unavailable", rule, headers={"Retry-After": "2"})
    if not identity:
        raise Refusal(401, "unauthorised", "send a valid API key", "x-api-key", headers={"WWW-Authenticate": "ApiKey"})
    scopes = _text(identity.get("scopes")).split()
    if route.scope not in scopes and "operations" not in scopes:
        raise Refusal(403, "forbidden", f"this key lacks the scope {route.scope}", "x-api-key")
    quota = _text(identity.get("requests_per_day"))
    return KeyQuota(_text(identity.get("key_id")), int(quota)) if quota.isdecimal() else None


def _path(event: Mapping[str, Any], context: Mapping[str, Any], http: Mapping[str, Any]) -> str:
    path = _text(event.get("rawPath")) or _text(http.get("path")) or "/"
    stage = _text(context.get("stage"))
    if stage and stage != "$default" and path.startswith(f"/{stage}/"):
        path = path[len(stage) + 1 :]
    if len(path) > MAX_PATH_CHARACTERS:
        raise Refusal(404, "not_found", "there is nothing at this path; see /docs")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise Refusal(400, "malformed_path", "the path is not valid UTF-8", "path") from None
    return path


def _body(event: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    _require_json_type(headers.get("content-type", ""))
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        rule = f"the body is compressed (Content-Encoding: {_printable(encoding)}); send it uncompressed"
        raise Refusal(415, "unsupported_encoding", rule, "content-encoding", headers={"Accept-Encoding": "identity"})
    declared = headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 9 or int(declared) > MAX_BODY_BYTES):
        raise _too_large()
    body = event.get("body")
    if body is None or body == "":
        raise _malformed("is empty; send a JSON object")
    if not isinstance(body, str):
        raise _malformed("is not text; send a JSON object")
    # Base64 takes four characters for three bytes, so longer texts are refused without decoding.
    if len(body) > (MAX_BODY_BYTES * 4 // 3 + 4 if event.get("isBase64Encoded") else MAX_BODY_BYTES):
        raise _too_large()
    try:
        content = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
        if content.startswith(b"\x1f\x8b"):
            raise _malformed("is compressed with gzip; send it uncompressed")
        text = content.decode()
    except (binascii.Error, ValueError):  # UnicodeError is a ValueError
        raise _malformed("is not valid UTF-8, or not the base64 it claims to be") from None
    if len(content) > MAX_BODY_BYTES:
        raise _too_large()
    return text.removeprefix("\ufeff")


@lru_cache(maxsize=64)
def _require_json_type(content_type: str) -> None:
    name, *parameters = (part.strip().lower() for part in content_type.split(";"))
    # curl -d sends the form type by default. Browsers cannot send it to another origin with an X-API-Key header.
    known = not name or _JSON_TYPE.fullmatch(name) or name == "application/x-www-form-urlencoded"
    charsets = [p.partition("=")[2].strip('"') for p in parameters if p.startswith("charset=")]
    if not known or any(charset not in ("utf-8", "utf8") for charset in charsets):
        raise Refusal(
            415,
            "unsupported_media_type",
            "send application/json in UTF-8",
            "content-type",
            headers={"Accept-Post": _JSON},
        )


_JSON = "application/json"


def _query(event: Mapping[str, Any], template: str) -> dict[str, str]:
    allowed = QUERY.get(template)
    if not allowed:
        # Monitors and caches add parameters of their own to open pages; they are ignored.
        return {}
    found: dict[str, str] = {}
    for name, value in _query_pairs(event):
        if name not in allowed:
            known = " and ".join(sorted(allowed))
            raise _bad_query(_printable(name), f"unknown query parameter; this path takes {known}")
        if name in found:
            raise _bad_query(name, "is given more than once")
        if name == "k" and not _DIGITS.fullmatch(value):
            raise _bad_query(name, "must be a whole number, 1 to 100")
        found[name] = value
    return found


def _query_pairs(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    raw = event.get("rawQueryString")
    if not isinstance(raw, str) or not raw:
        given = _mapping(event.get("queryStringParameters"))
        return [(str(name), value if isinstance(value, str) else "") for name, value in given.items()]
    try:
        raw.encode()
        return parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=20)
    except UnicodeError:
        raise _bad_query("query", "is not valid UTF-8") from None
    except ValueError:
        raise _bad_query("query", "has too many parameters") from None


def _bad_query(field: str, rule: str) -> Refusal:
    return Refusal(422, "invalid_request", f"{field}: {rule}", field)


def _malformed(rule: str) -> Refusal:
    return Refusal(400, "malformed_json", f"the body {rule}", "body")


def _too_large() -> Refusal:
    return Refusal(413, "body_too_large", f"the body is longer than {MAX_BODY_BYTES} bytes; send fewer items", "body")


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() and not "\ud800" <= c <= "\udfff" else "?" for c in name[:60])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _malformed(f"gives the key {_printable(name)!r} twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise _malformed(f"holds a whole number of more than {MAX_INTEGER_DIGITS} digits")
    return int(digits)


def _real(digits: str) -> float | int:
    number = float(digits)
    if math.isinf(number):
        raise _malformed("holds a number beyond what a float64 can hold")
    # For JSON schemas 10.0 is the integer 10, and some languages write it so.
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _constant(name: str) -> NoReturn:
    raise _malformed(f"holds {name}, which is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_constant)
