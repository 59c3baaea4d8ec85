"""The WSGI application in place of API Gateway: routes, API key, limits, CORS, security headers, access log.

``events`` holds the form of events and answers; ``lambda_api.handlers`` decides what a request means.
"""

import json
import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from gunicorn.http.errors import ParseException

from lambda_api.errors import RecsysError
from lambda_api.handlers import routes
from lambda_api.handlers.request_validation import MAX_BODY_BYTES
from lambda_api.local_server.events import (
    HttpAnswer,
    HttpRequest,
    MalformedResponse,
    make_authorizer_event,
    make_event,
    status_line,
    to_answer,
)
from lambda_api.local_server.options import ServerOptions
from lambda_api.local_server.static_files import StaticFiles

Handler = Callable[[dict[str, Any], Any], Any]
Environ = dict[str, Any]

ROUTE_KEY: Final = "recsys.route_key"
"""Entry of the WSGI environment: the route, for the access log."""

LONGEST_FIELD: Final = 256
"""Characters kept of a logged field that a client chooses."""

API_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Headers of every answer of the API, unless the handler sets them."""

INTEGRATION_TIMEOUT_MS: Final = 30_000
"""Time that HTTP APIs allow a function; a handler may ask how much is left."""

HANDLERS: Final = 4
"""Requests of one worker in the handler at a time. More threads than that wait for clients; scoring is CPU work, and
more of it at once would only make each list take longer than its time budget."""

_log = logging.getLogger("recsys.local_server")


class StartResponse(Protocol):
    """WSGI's ``start_response`` (PEP 3333), as far as it is used here."""

    def __call__(self, status: str, headers: list[tuple[str, str]], /) -> object: ...


class Refused(RecsysError):
    """The gateway itself answers with an error; the handler is not called."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass
class LocalContext:
    """The context argument of a Lambda handler: the members that Powertools and the handlers read."""

    aws_request_id: str
    function_name: str = "recsys-local"
    function_version: str = "$LATEST"
    invoked_function_arn: str = "arn:aws:lambda:local:000000000000:function:recsys-local"
    memory_limit_in_mb: int = 1024
    log_group_name: str = "/aws/lambda/recsys-local"
    log_stream_name: str = "local"
    _began: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds left of `INTEGRATION_TIMEOUT_MS`."""
        return max(0, INTEGRATION_TIMEOUT_MS - int((time.monotonic() - self._began) * 1000))


class Gateway:
    """The WSGI application. Thread-safe.

    Args:
        handler: of the API, called for every route and for requests that match none.
        authorizer: of protected routes, with simple responses.
        static: files for requests that match no route, or ``None``.
        options: CORS and host names.
    """

    def __init__(
        self, handler: Handler, authorizer: Handler, static: StaticFiles | None, options: ServerOptions
    ) -> None:
        self._handler = handler
        self._authorizer = authorizer
        self._static = static
        self._options = options
        self._handling = threading.Semaphore(HANDLERS)
        self._hosts = frozenset(host.lower() for host in options.allowed_hosts)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; an unexpected error becomes a 500 without details, and a traceback in the log."""
        began = time.perf_counter()
        request_id = str(uuid.uuid4())
        environ[ROUTE_KEY] = None

        def start(status: str, headers: list[tuple[str, str]]) -> object:
            sent = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
            access_line(environ, request_id, int(status[:3]), sent, time.perf_counter() - began)
            return start_response(status, headers)

        try:
            request = _request(environ)
            self._check_host(request)
            if (preflight := self._preflight(request)) is not None:
                return _send(environ, start, preflight)
            found = routes.match(request.method, request.path)
            environ[ROUTE_KEY] = found[0].key if found else routes.DEFAULT
            if found is None and self._static is not None and request.method in ("GET", "HEAD"):
                served = self._static.answer(environ, start)
                if served is not None:
                    return served
            answer = self._invoke(environ, request, found, request_id)
        except Refused as refusal:
            answer = error_answer(refusal.status, refusal.code, str(refusal), request_id)
        except Exception:  # noqa: BLE001 - logged with its traceback
            _log.exception("request %s failed", request_id)
            answer = error_answer(500, "internal_error", "internal error; the server's log has the details", request_id)
        return _send(environ, start, self._finished(answer, environ, request_id))

    def _invoke(
        self, environ: Environ, request: HttpRequest, found: tuple[routes.Route, dict[str, str]] | None, request_id: str
    ) -> HttpAnswer:
        route, parameters = found if found else (None, {})
        context = LocalContext(request_id)
        key = request.header(routes.KEY_HEADER)
        if route is not None and route.protected and not key:
            # API Gateway answers this itself, without asking the authorizer.
            raise Refused(401, "unauthorized", "the header X-API-Key is missing")
        request = replace(request, body=read_body(environ))
        event = make_event(
            request,
            route_key=environ[ROUTE_KEY],
            path_parameters=parameters,
            request_id=request_id,
            now_ms=time.time_ns() // 1_000_000,
        )
        if route is not None and route.protected:
            identity = [key or "", route.key]
            verdict = self._authorizer(make_authorizer_event(event, identity), context)
            if not isinstance(verdict, Mapping) or not isinstance(verdict.get("isAuthorized"), bool):
                raise MalformedResponse("the authorizer's response has no isAuthorized")
            if not verdict["isAuthorized"]:
                raise Refused(
                    403, "forbidden", "the API key is unknown, expired or revoked, or lacks this route's scope"
                )
            event["requestContext"]["authorizer"] = {"lambda": dict(verdict.get("context") or {})}
        with self._handling:
            return to_answer(self._handler(event, context))

    def _check_host(self, request: HttpRequest) -> None:
        host = request.header("host")
        if host is None:
            if request.protocol == "HTTP/1.1":
                raise Refused(400, "no_host", "HTTP/1.1 requests need a Host header")
            return
        name = host.lower() if host.endswith("]") else host.lower().rsplit(":", 1)[0]
        if self._hosts and name not in self._hosts:
            raise Refused(421, "unknown_host", "this Host name is not accepted; see --allow-host")

    def _preflight(self, request: HttpRequest) -> HttpAnswer | None:
        if request.method != "OPTIONS" or not self._options.cors_origins:
            return None
        if request.header("origin") is None or request.header("access-control-request-method") is None:
            return None
        allowed = (
            ("access-control-allow-methods", "GET,POST"),
            ("access-control-allow-headers", "content-type,x-api-key"),
            ("access-control-max-age", "600"),
        )
        origin = self._allowed_origin(request.header("origin"))
        granted = any(name == "access-control-allow-origin" for name, _ in origin)
        return HttpAnswer(204, (*origin, *(allowed if granted else ())), b"")

    def _allowed_origin(self, origin: str | None) -> tuple[tuple[str, str], ...]:
        origins = self._options.cors_origins
        if not origins or origin is None:
            return ()
        if "*" in origins:
            return (("access-control-allow-origin", "*"),)
        vary = ("vary", "origin")
        return (("access-control-allow-origin", origin), vary) if origin in origins else (vary,)

    def _finished(self, answer: HttpAnswer, environ: Environ, request_id: str) -> HttpAnswer:
        given = {name for name, _ in answer.headers}
        added = [(name, value) for name, value in API_HEADERS.items() if name not in given]
        added.append(("apigw-requestid", request_id))
        return HttpAnswer(
            answer.status, (*answer.headers, *added, *self._allowed_origin(environ.get("HTTP_ORIGIN"))), answer.body
        )


def read_body(environ: Mapping[str, Any]) -> bytes:
    """The whole body. Raises `Refused` where it is too long, incomplete, badly framed or too slow."""
    announced = environ.get("CONTENT_LENGTH")
    length = int(announced) if announced else None
    body = b""
    if length is None or length <= MAX_BODY_BYTES:
        try:
            body = environ["wsgi.input"].read(MAX_BODY_BYTES + 1)
        except (BlockingIOError, TimeoutError) as error:
            raise Refused(408, "request_timeout", "the body did not arrive in time") from error
        except (OSError, ParseException) as error:
            raise Refused(400, "malformed_body", "the body is not framed as its headers say") from error
    if max(length or 0, len(body)) > MAX_BODY_BYTES:
        raise Refused(413, "body_too_large", f"the body is longer than {MAX_BODY_BYTES} bytes")
    if length is not None and len(body) < length:
        raise Refused(400, "incomplete_body", f"the body ended after {len(body)} of {length} bytes")
    return body


def access_line(environ: Environ, request_id: str, status: int, sent: int, seconds: float) -> None:
    """Write one JSON line to standard output; it holds no key, body or query string."""
    now = time.time()
    fields = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z",
        "kind": "access",
        "worker": os.getpid(),
        "request_id": request_id,
        "client": environ.get("REMOTE_ADDR"),
        "method": environ["REQUEST_METHOD"][:LONGEST_FIELD],
        "path": environ["RAW_URI"].partition("?")[0][:LONGEST_FIELD],
        "route": environ[ROUTE_KEY],
        "status": status,
        "bytes": sent,
        "duration_ms": round(seconds * 1000, 2),
        "user_agent": environ.get("HTTP_USER_AGENT", "")[:LONGEST_FIELD],
    }
    # One write per line: workers share the stream.
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def error_answer(status: int, code: str, message: str, request_id: str) -> HttpAnswer:
    """An error in the form of all errors of the API."""
    body = json.dumps({"error": {"code": code, "message": message}, "request_id": request_id}).encode()
    return HttpAnswer(status, (("content-type", "application/json"),), body)


def _request(environ: Environ) -> HttpRequest:
    headers = [
        (name[5:].lower().replace("_", "-"), value)
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    ]
    for variable, name in (("CONTENT_TYPE", "content-type"), ("CONTENT_LENGTH", "content-length")):
        if environ.get(variable):
            headers.append((name, environ[variable]))
    return HttpRequest(
        method=environ["REQUEST_METHOD"],
        target=environ["RAW_URI"],
        headers=headers,
        body=b"",
        protocol=environ["SERVER_PROTOCOL"],
        source_ip=environ.get("REMOTE_ADDR", ""),
        port=int(environ.get("SERVER_PORT") or 80),
    )


def _send(environ: Environ, start_response: StartResponse, answer: HttpAnswer) -> Iterable[bytes]:
    headers = list(answer.headers)
    if answer.status not in (204, 304):
        headers.append(("content-length", str(len(answer.body))))
    start_response(status_line(answer.status), headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" or answer.status in (204, 304) else [answer.body]
