"""An HTTP API as a server, with the routes, integrations, authorizers and CORS that were deployed to API Gateway.

It decides what API Gateway decides: which route, whether to call the authorizer or use its cached answer, and which
alias of which function. Not simulated: throttling, the access log, limits of sizes.

Source: the API Gateway developer guide, "Working with HTTP APIs". Events are made by
``lambda_api.local_server.events``, which has its own tests.
"""

import http.server
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from lambda_api.local_server.events import HttpAnswer, HttpRequest, make_authorizer_event, make_event, to_answer

FUNCTION_OF = re.compile(r":lambda:path/2015-03-31/functions/(?P<arn>.+)/invocations$")


@dataclass(frozen=True)
class Route:
    """A deployed route: ``GET /similar/{product_id+}`` and what answers it."""

    key: str
    function: str
    authorizer: Mapping[str, Any] | None

    @property
    def method(self) -> str:
        """``ANY`` and ``$default`` as they are."""
        return self.key.split(" ", 1)[0]

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """Full matches before greedy ones, ``ANY`` and ``$default`` last."""
        return self.key == "$default", "+}" in self.key, self.method == "ANY"

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Path parameters, or ``None`` where it is not this route."""
        if self.key == "$default":
            return {}
        wanted, pattern = self.key.split(" ", 1)
        if wanted not in (method, "ANY"):
            return None
        names = re.sub(r"\\{(\w+)\\\+\\}", r"(?P<\1>.+)", re.escape(pattern))
        found = re.fullmatch(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", names), path)
        return found.groupdict() if found else None


@dataclass
class Front:
    """The API ``api_id`` of one account.

    Attributes:
        invocations: names of functions that were invoked, in order; authorizers too.
    """

    api_id: str
    gateway: Any
    functions: Any
    url: str = ""
    invocations: list[str] = field(default_factory=list)
    _remembered: dict[tuple[str, ...], tuple[float, dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        integrations = {i["IntegrationId"]: i for i in self.gateway.get_integrations(ApiId=self.api_id)["Items"]}
        (stage,) = self.gateway.get_stages(ApiId=self.api_id)["Items"]
        assert stage["StageName"] == "$default" and stage["AutoDeploy"], stage
        self.cors = self.gateway.get_api(ApiId=self.api_id).get("CorsConfiguration") or {}
        routes = []
        for route in self.gateway.get_routes(ApiId=self.api_id)["Items"]:
            integration = integrations[route["Target"].removeprefix("integrations/")]
            assert integration["IntegrationType"] == "AWS_PROXY" and integration["PayloadFormatVersion"] == "2.0"
            authorizer = None
            if route["AuthorizationType"] == "CUSTOM":
                authorizer = self.gateway.get_authorizer(ApiId=self.api_id, AuthorizerId=route["AuthorizerId"])
                assert authorizer["AuthorizerPayloadFormatVersion"] == "2.0" and authorizer["EnableSimpleResponses"]
            routes.append(Route(route["RouteKey"], _function(integration["IntegrationUri"]), authorizer))
        self.routes = sorted(routes, key=lambda route: route.rank)

    def answer(self, request: HttpRequest) -> HttpAnswer:
        """What a client is sent."""
        if (preflight := self._preflight(request)) is not None:
            return preflight
        matches = ((one, one.match(request.method, unquote(request.raw_path))) for one in self.routes)
        route, parameters = next(((one, found) for one, found in matches if found is not None), (None, None))
        if route is None or parameters is None:
            return _message(404, "Not Found")
        event = make_event(
            request,
            route_key=route.key,
            path_parameters=parameters,
            request_id=str(uuid.uuid4()),
            now_ms=time.time_ns() // 1_000_000,
        )
        event["requestContext"]["apiId"] = self.api_id
        if route.authorizer is not None:
            identity = _identity(route.authorizer["IdentitySource"], request, route.key)
            if identity is None:
                return _message(401, "Unauthorized")
            verdict = self._verdict(route.authorizer, event, identity)
            if verdict is None:
                return _message(500, "Internal Server Error")
            if not verdict["isAuthorized"]:
                return _message(403, "Forbidden")
            event["requestContext"]["authorizer"] = {"lambda": verdict.get("context") or {}}
        answered, error = self._invoke(route.function, event)
        return _message(500, "Internal Server Error") if error else to_answer(answered)

    def _verdict(
        self, authorizer: Mapping[str, Any], event: dict[str, Any], identity: list[str]
    ) -> dict[str, Any] | None:
        key = (authorizer["AuthorizerId"], *identity)
        until, verdict = self._remembered.get(key, (0.0, {}))
        if time.monotonic() < until:
            return verdict
        answered, error = self._invoke(_function(authorizer["AuthorizerUri"]), make_authorizer_event(event, identity))
        if error or not isinstance(answered, dict) or not isinstance(answered.get("isAuthorized"), bool):
            return None
        self._remembered[key] = time.monotonic() + authorizer["AuthorizerResultTtlInSeconds"], answered
        return answered

    def _invoke(self, function: str, event: dict[str, Any]) -> tuple[Any, bool]:
        self.invocations.append(function.split(":function:")[1])
        answer = self.functions.invoke(FunctionName=function, Payload=json.dumps(event))
        return json.loads(answer["Payload"].read()), "FunctionError" in answer

    def _preflight(self, request: HttpRequest) -> HttpAnswer | None:
        origin = request.header("origin")
        if request.method != "OPTIONS" or not self.cors or origin is None:
            return None
        if origin not in self.cors["AllowOrigins"]:
            return HttpAnswer(204, (), b"")
        allowed = (
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", ",".join(self.cors["AllowMethods"])),
            ("access-control-allow-headers", ",".join(self.cors["AllowHeaders"])),
        )
        return HttpAnswer(204, allowed, b"")


@contextmanager
def serving(front: Front) -> Iterator[Front]:
    """``front`` on a port of 127.0.0.1; ``front.url`` says which."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = HttpRequest(
                self.command,
                self.path,
                [(name.lower(), value) for name, value in self.headers.items()],
                body,
                self.request_version,
                self.client_address[0],
            )
            answer = front.answer(request)
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = _answer

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nobody reads it."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    front.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _function(uri: str) -> str:
    found = FUNCTION_OF.search(uri)
    assert found, f"no function stands behind {uri}"
    return found["arn"]


def _identity(sources: list[str], request: HttpRequest, route_key: str) -> list[str] | None:
    """The value of each identity source; ``None`` where one is missing, which is a 401."""
    values = []
    for source in sources:
        if source == "$context.routeKey":
            values.append(route_key)
        elif source.startswith("$request.header."):
            value = request.header(source.removeprefix("$request.header.").lower())
            if not value:
                return None
            values.append(value)
        else:
            raise AssertionError(f"not understood here: identity source {source}")
    return values


def _message(status: int, text: str) -> HttpAnswer:
    return HttpAnswer(status, (("content-type", "application/json"),), json.dumps({"message": text}).encode())
