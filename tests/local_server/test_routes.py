"""The one table of routes: what it matches, and that handlers and document know no other routes."""

import json

import pytest

from lambda_api.handlers import routes
from lambda_api.handlers.api import handler
from lambda_api.local_server.events import HttpRequest, make_event
from lambda_api.local_server.gateway import LocalContext


@pytest.mark.parametrize(
    ("method", "path", "key", "parameters"),
    [
        ("POST", "/recommend", "POST /recommend", {}),
        ("GET", "/similar/a b", "GET /similar/{product_id+}", {"product_id": "a b"}),
        ("GET", "/similar/a/b", "GET /similar/{product_id+}", {"product_id": "a/b"}),
        ("GET", "/similar/{product_id}", "GET /similar/{product_id+}", {"product_id": "{product_id}"}),
        ("GET", "/health", "GET /health", {}),
    ],
)
def test_requests_find_their_route(method: str, path: str, key: str, parameters: dict[str, str]) -> None:
    found = routes.match(method, path)
    assert found is not None and (found[0].key, found[1]) == (key, parameters)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/recommend"), ("post", "/recommend"), ("POST", "/recommend/"), ("POST", "/Recommend"),
        ("POST", "recommend"), ("POST", "//recommend"), ("GET", "/similar"), ("GET", "/similar/"),
        ("GET", ""), ("GET", "/"), ("HEAD", "/health"), ("OPTIONS", "/health"),
    ],
)  # fmt: skip
def test_everything_else_goes_to_default(method: str, path: str) -> None:
    assert routes.match(method, path) is None


def test_two_routes_are_for_operators_and_default_is_no_route() -> None:
    assert {route.key for route in routes.routes() if route.scope == "operations"} == {"GET /metrics", "POST /forget"}
    assert routes.DEFAULT not in {route.key for route in routes.routes()}


def test_the_document_describes_exactly_the_routes_of_the_table() -> None:
    request = HttpRequest("GET", "/openapi.json", (("host", "localhost"),), b"", "HTTP/1.1", "127.0.0.1")
    event = make_event(request, route_key="GET /openapi.json", path_parameters={}, request_id="r", now_ms=1)
    document = json.loads(handler(event, LocalContext("r"))["body"])
    described = {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    own = {"GET /openapi.json", "GET /docs"}
    assert set(described) | own == {f"{route.method} {route.template}" for route in routes.routes()}
    opens = {f"{route.method} {route.template}": route.scope is None for route in routes.routes()}
    for key, operation in described.items():
        open_to_all = not operation.get("security", document.get("security"))
        assert open_to_all is opens[key], key


def test_default_is_no_way_round_the_key() -> None:
    for path in (
        "/recommend",
        "/recommend/",
        "//recommend",
        "/%72ecommend",
        "/metrics",
        "/forget",
        "/similar/a/b",
        "/popular",
    ):
        for method in ("GET", "POST", "HEAD"):
            request = HttpRequest(
                method, path, (("host", "localhost"), ("content-type", "application/json")), b'{"user_id": "u"}',
                "HTTP/1.1", "127.0.0.1",
            )  # fmt: skip
            event = make_event(request, route_key=routes.DEFAULT, path_parameters={}, request_id="r", now_ms=1)
            assert handler(event, LocalContext("r"))["statusCode"] in (401, 403, 404, 405), (method, path)
