"""Keys, limits, errors, host names and CORS over real HTTP, before fake handlers in real workers."""

import base64
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_api.handlers import routes
from tests.local_server.processes import Server, running, statuses, talk
from tests.patience import PATIENCE_S, wait_until

LIMIT = 64 * 1024


def test_every_route_reaches_the_handler_under_its_own_key(server: Server) -> None:
    for route in routes.routes():
        path = route.template.replace("{product_id}", "a%20b")
        event = server.request(route.method, path, {} if route.method == "POST" else None).json()["event"]
        assert event["routeKey"] == event["requestContext"]["routeKey"] == route.key
        assert event["rawPath"] == path.replace("%20", " ")
        assert event.get("pathParameters") == ({"product_id": "a b"} if "{" in route.path else None)
        assert ("authorizer" in event["requestContext"]) is route.protected


def test_a_product_id_with_a_slash_is_one_parameter(server: Server) -> None:
    for path in ("/similar/a%2Fb", "/similar/a/b"):
        event = server.request("GET", path).json()["event"]
        assert (event["routeKey"], event["pathParameters"]) == ("GET /similar/{product_id+}", {"product_id": "a/b"})


def test_protected_routes_need_a_key_that_opens_them(server: Server) -> None:
    for route in routes.routes():
        path = route.template.replace("{product_id}", "p")
        body: dict | None = {} if route.method == "POST" else None
        for key, expected in (
            (None, 401),
            ("wrong", 403),
            ("shop-key", 403 if route.scope == "operations" else 200),
            ("operations-key", 200),
        ):
            answer = server.request(route.method, path, body, {"X-API-Key": key or ""})
            assert answer.status == (expected if route.protected else 200), (route.key, key)
            if answer.status != 200:
                assert set(answer.json()) == {"error", "request_id"}


def test_the_authorizer_context_reaches_the_handler(server: Server) -> None:
    event = server.request("GET", "/popular", headers={"X-API-Key": "shop-key"}).json()["event"]
    assert event["requestContext"]["authorizer"] == {"lambda": {"name": "shop-key", "scopes": "shop"}}


def test_an_empty_key_is_no_key(server: Server) -> None:
    answer = talk(server, b"GET /popular HTTP/1.0\r\nX-API-Key: \r\n\r\n")
    assert b" 401 " in answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/recommend/"),
        ("POST", "//recommend"),
        ("POST", "/RECOMMEND"),
        ("PUT", "/recommend"),
        ("HEAD", "/popular"),
        ("OPTIONS", "/recommend"),
        ("GET", "/similar/"),
        ("POST", "/%"),
        ("BREW", "/health"),
    ],
)
def test_what_matches_no_route_goes_to_default_without_a_key(server: Server, method: str, path: str) -> None:
    answer = server.request(method, path, headers={"X-API-Key": ""})
    assert answer.status == 404
    assert method == "HEAD" or answer.json()["error"]["code"] == "not_found"


def test_crashes_show_no_trace_and_keep_the_worker(server: Server) -> None:
    before = sorted(server.workers())
    for path, body, key in (
        ("/recommend", {"crash": True}, "shop-key"),
        ("/recommend", {"return": {"statusCode": "nonsense"}}, "shop-key"),
        ("/recommend", {"return": {"statusCode": 200, "body": "%", "isBase64Encoded": True}}, "shop-key"),
        ("/recommend", {}, "crash"),
        ("/recommend", {}, "nonsense"),
    ):
        answer = server.request("POST", path, body, {"X-API-Key": key})
        assert answer.status == 500
        assert answer.json()["error"]["code"] == "internal_error"
        for word in (b"Traceback", b"secret", b"File ", b"RuntimeError", b"gunicorn"):
            assert word not in answer.body
    assert sorted(server.workers()) == before
    assert "secret of the handler" in server.log.read_text()


def test_bodies_up_to_the_limit_and_not_beyond(server: Server) -> None:
    for size, expected in ((LIMIT, 200), (LIMIT + 1, 413), (10 * LIMIT, 413)):
        filler = b'{"a": "' + b"x" * (size - 9) + b'"}'
        assert len(filler) == size
        answer = server.request("POST", "/recommend", filler, {"Content-Type": "application/json"})
        assert answer.status == expected
        if expected == 413:
            assert answer.json()["error"]["code"] == "body_too_large"


def test_an_announced_length_beyond_the_limit_is_refused_before_it_is_sent(server: Server) -> None:
    head = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nX-API-Key: shop-key\r\nContent-Length: 99999999999\r\n\r\n"
    assert statuses(talk(server, head)) == [413]


def test_a_wrong_key_costs_no_body(server: Server) -> None:
    head = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\nConnection: close\r\n\r\n"
    assert statuses(talk(server, head, half_close=True)) == [401]


def test_bodies_that_are_not_text_arrive_whole(server: Server) -> None:
    sent = bytes(range(256))
    event = server.request("POST", "/recommend", sent, {"Content-Type": "application/octet-stream"}).json()["event"]
    assert event["isBase64Encoded"] and base64.b64decode(event["body"]) == sent


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("localhost.evil.example", 421),
        ("", 421),
    ],
)
def test_only_names_of_this_machine_are_answered_to(server: Server, host: str, expected: int) -> None:
    answer = talk(server, f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert statuses(answer) == [expected]


def test_api_answers_carry_headers_that_bind_browsers(server: Server) -> None:
    headers = server.request("GET", "/health").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "access-control-allow-origin" not in headers
    own = {"return": {"statusCode": 200, "headers": {"Cache-Control": "max-age=5"}, "body": "{}"}}
    assert server.request("POST", "/recommend", own).headers["cache-control"] == "max-age=5"


def test_without_cors_no_preflight_is_granted(server: Server) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    answer = server.request("OPTIONS", "/recommend", headers=asked)
    assert answer.status == 404
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_threads_do_not_mix_up_requests(server: Server) -> None:
    wrong: list[object] = []

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
        for turn in range(25):
            name = f"{number}-{turn}"
            connection.request("GET", f"/similar/{name}?q={name}", headers={"X-API-Key": "shop-key"})
            event = json.loads(connection.getresponse().read())["event"]
            if event["pathParameters"]["product_id"] != name or event["rawQueryString"] != f"q={name}":
                wrong.append(event)
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_access_log_has_one_json_line_per_answer_and_no_secret(server: Server) -> None:
    answer = server.request("GET", "/similar/abc?token=hush", headers={"User-Agent": "x" * 5000})
    request_id = answer.headers["apigw-requestid"]
    lines = wait_until(  # the line is written after the answer
        lambda: [line for line in server.access_lines() if line.get("request_id") == request_id], "it was logged"
    )
    assert len(lines) == 1
    line = lines[0]
    assert (line["method"], line["path"], line["route"]) == ("GET", "/similar/abc", "GET /similar/{product_id+}")
    assert (line["status"], line["client"], len(line["user_agent"])) == (200, "127.0.0.1", 256)
    assert line["duration_ms"] >= 0 and line["worker"] in server.workers()
    assert "hush" not in server.log.read_text() and "operations-key" not in server.log.read_text()


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("cors")
    with running(folder, "--no-static", "--cors-origin", "https://shop.example", workers=1) as started:
        yield started


def test_cors_is_granted_to_named_origins_only(open_server: Server) -> None:
    for origin, granted in (("https://shop.example", True), ("https://evil.example", False)):
        preflight = open_server.request(
            "OPTIONS", "/recommend", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
        )
        assert preflight.status == 204 and preflight.body == b""
        answer = open_server.request("GET", "/health", headers={"Origin": origin})
        for headers in (preflight.headers, answer.headers):
            assert headers.get("access-control-allow-origin") == (origin if granted else None)
            assert headers["vary"] == "origin"
        assert ("access-control-allow-headers" in preflight.headers) is granted


def test_without_static_files_the_root_is_the_handlers(open_server: Server) -> None:
    assert open_server.request("GET", "/").json()["error"]["code"] == "not_found"
