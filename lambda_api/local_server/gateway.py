"""What API Gateway does between a client and the handlers, as a WSGI application: routes, key, limits, CORS, headers.

Put here what the gateway decides before and after a handler. Keep the look of events (``events``), the reading of
sockets (``worker``) and what a request means (``lambda_api.handlers``) out.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gunicorn.http.errors import ParseException

from lambda_api.errors import RecsysError
from lambda_api.handlers import routes
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

REQUEST_ID: Final = "recsys.request_id"
ROUTE_KEY: Final = "recsys.route_key"
FORCE_CLOSE: Final = "recsys.force_close"
"""Entries of the WSGI environment: for the access log, and (from the worker) to end the connection after an answer."""

API_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Headers of every answer of the API whose handler did not choose its own."""

INTEGRATION_TIMEOUT_MS: Final = 30_000
"""What HTTP APIs allow a function; a handler may ask how much is left."""

_log = logging.getLogger("recsys.local_server")


class StartResponse(Protocol):
    """WSGI's ``start_response`` (PEP 3333), as far as it is used here."""

    def __call__(self, status: str, headers: list[tuple[str, str]], /) -> object: ...


class Refused(RecsysError):
    """The gateway answers itself. ``close``: the connection is of no more use, its next bytes mean nothing."""

    def __init__(self, status: int, code: str, message: str, *, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.close = close


@dataclass
class LocalContext:
    """The second argument of a Lambda handler, as far as Powertools and handlers read it."""

    aws_request_id: str
    function_name: str = "recsys-local"
    function_version: str = "$LATEST"
    invoked_function_arn: str = "arn:aws:lambda:local:000000000000:function:recsys-local"
    memory_limit_in_mb: int = 1024
    log_group_name: str = "/aws/lambda/recsys-local"
    log_stream_name: str = "local"
    _began: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds left of the gateway's own limit."""
        return max(0, INTEGRATION_TIMEOUT_MS - int((time.monotonic() - self._began) * 1000))


class Gateway:
    """The WSGI application. Called by several threads at once.

    Args:
        handler: of the API, for every route and for what matches none.
        authorizer: of protected routes; simple responses.
        static: files for what matches no route, or ``None``.
        options: limits, CORS, host names.
    """

    def __init__(
        self, handler: Handler, authorizer: Handler, static: StaticFiles | None, options: ServerOptions
    ) -> None:
        self._handler = handler
        self._authorizer = authorizer
        self._static = static
        self._options = options
        self._hosts = frozenset(host.lower() for host in options.allowed_hosts)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; whatever happens, with HTTP and without a stack trace."""
        request_id = environ[REQUEST_ID] = str(uuid.uuid4())
        try:
            request = _request(environ)
            self._check_host(request)
            if (preflight := self._preflight(request)) is not None:
                return _send(environ, start_response, preflight)
            found = routes.match(request.method, request.path)
            environ[ROUTE_KEY] = found[0].key if found else routes.DEFAULT
            if found is None and self._static is not None and request.method in ("GET", "HEAD"):
                served = self._static.answer(environ, start_response)
                if served is not None:
                    environ[ROUTE_KEY] = "static"
                    return served
            answer = self._invoke(environ, request, found, request_id)
        except Refused as refusal:
            if refusal.close:
                environ.get(FORCE_CLOSE, _do_nothing)()
            answer = error_answer(refusal.status, refusal.code, str(refusal), request_id)
        except Exception:  # noqa: BLE001 - whatever failed, the client gets HTTP and the log gets the reason
            _log.exception("request %s failed", request_id)
            answer = error_answer(500, "internal_error", "something failed here; the log has the details", request_id)
        return _send(environ, start_response, self._finished(answer, environ, request_id))

    def _invoke(
        self, environ: Environ, request: HttpRequest, found: tuple[routes.Route, dict[str, str]] | None, request_id: str
    ) -> HttpAnswer:
        route, parameters = found if found else (None, {})
        context = LocalContext(request_id)
        key = request.header(routes.KEY_HEADER)
        if route is not None and route.protected and not key:
            # As the gateway does, without asking the authorizer.
            raise Refused(401, "unauthorized", "the header X-API-Key is missing")
        request = _with_body(request, read_body(environ, self._options.body_limit))
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
                raise Refused(403, "forbidden", "this key does not open this route, or is unknown, expired or revoked")
            event["requestContext"]["authorizer"] = {"lambda": dict(verdict.get("context") or {})}
        return to_answer(self._handler(event, context))

    def _check_host(self, request: HttpRequest) -> None:
        host = request.header("host")
        if host is None:
            if request.protocol == "HTTP/1.1":
                raise Refused(400, "no_host", "HTTP/1.1 requests need a Host header", close=True)
            return
        name = host.lower() if host.endswith("]") else host.lower().rsplit(":", 1)[0]
        if self._hosts and name not in self._hosts:
            raise Refused(421, "unknown_host", "this server answers to other names; see --allow-host", close=True)

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


def read_body(environ: Mapping[str, Any], limit: int) -> bytes:
    """The whole body, or `Refused`: too long (413, at once where the length is announced), cut off, or too slow."""
    too_long = f"the body is longer than {limit} bytes"
    announced = environ.get("CONTENT_LENGTH")
    length = int(announced) if announced else None
    if length is not None and length > limit:
        raise Refused(413, "body_too_large", too_long, close=True)
    try:
        body: bytes = environ["wsgi.input"].read(limit + 1)
    except TimeoutError as error:
        raise Refused(408, "request_timeout", "the body did not arrive in time", close=True) from error
    except (OSError, ParseException) as error:
        raise Refused(400, "malformed_body", "the body is not framed as its headers say", close=True) from error
    if len(body) > limit:
        raise Refused(413, "body_too_large", too_long, close=True)
    if length is not None and len(body) < length:
        raise Refused(400, "incomplete_body", f"the body ended after {len(body)} of {length} bytes", close=True)
    return body


def error_answer(status: int, code: str, message: str, request_id: str) -> HttpAnswer:
    """An error in the shape of every other error of the API."""
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


def _with_body(request: HttpRequest, body: bytes) -> HttpRequest:
    return HttpRequest(
        request.method, request.target, request.headers, body, request.protocol, request.source_ip, request.port
    )


def _send(environ: Environ, start_response: StartResponse, answer: HttpAnswer) -> Iterable[bytes]:
    headers = list(answer.headers)
    if answer.status not in (204, 304):
        headers.append(("content-length", str(len(answer.body))))
    start_response(status_line(answer.status), headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" or answer.status in (204, 304) else [answer.body]


def _do_nothing() -> None:
    """Where no worker stands behind, as in a test of this module alone, there is no connection to end."""
