"""Events of payload format 2.0 against the examples of AWS' own guide, case by case, and responses back."""

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_api.local_server.events import (
    HttpRequest,
    MalformedResponse,
    make_authorizer_event,
    make_event,
    split_target,
    status_line,
    to_answer,
)

# "Create AWS Lambda proxy integrations for HTTP APIs", example of format 2.0, as published: without what only a client
# certificate, a JWT authorizer or stage variables bring. Header names are lower case, as the guide says of them all.
PUBLISHED = json.loads("""
{
  "version": "2.0",
  "routeKey": "$default",
  "rawPath": "/my/path",
  "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=value",
  "cookies": ["cookie1", "cookie2"],
  "headers": {"header1": "value1", "header2": "value1,value2"},
  "queryStringParameters": {"parameter1": "value1,value2", "parameter2": "value"},
  "requestContext": {
    "accountId": "123456789012",
    "apiId": "api-id",
    "authorizer": {"lambda": {"exampleKey1": "exampleValue1", "exampleKey2": "exampleValue2"}},
    "domainName": "id.execute-api.us-east-1.amazonaws.com",
    "domainPrefix": "id",
    "http": {"method": "POST", "path": "/my/path", "protocol": "HTTP/1.1", "sourceIp": "IP", "userAgent": "agent"},
    "requestId": "id",
    "routeKey": "$default",
    "stage": "$default",
    "time": "12/Mar/2020:19:03:58 +0000",
    "timeEpoch": 1584039838390
  },
  "body": "Hello from Lambda",
  "pathParameters": {"parameter1": "value1"},
  "isBase64Encoded": false
}
""")  # timeEpoch of the original (1583348638390) is another day than its time; this one is the same moment.

OURS = ("x-forwarded-for", "x-forwarded-port", "x-forwarded-proto", "x-amzn-trace-id", "content-length")


def request(target: str = "/", *headers: tuple[str, str], body: bytes = b"", method: str = "POST") -> HttpRequest:
    return HttpRequest(method, target, headers, body, "HTTP/1.1", "10.0.0.1", 8000)


def event_of(made: HttpRequest, route_key: str = "$default", **parameters: str) -> dict:
    return make_event(made, route_key=route_key, path_parameters=parameters, request_id="id", now_ms=1584039838390)


def test_the_published_example_comes_out_of_the_request_it_describes() -> None:
    made = HttpRequest(
        "POST",
        "/my/path?parameter1=value1&parameter1=value2&parameter2=value",
        (
            ("host", "id.execute-api.us-east-1.amazonaws.com"),
            ("header1", "value1"),
            ("header2", "value1"),
            ("cookie", "cookie1; cookie2"),
            ("header2", "value2"),
            ("user-agent", "agent"),
            ("content-type", "text/plain"),
        ),
        b"Hello from Lambda",
        "HTTP/1.1",
        "IP",
    )
    event = make_event(
        made,
        route_key="$default",
        path_parameters={"parameter1": "value1"},
        request_id="id",
        now_ms=1584039838390,
        authorizer={"exampleKey1": "exampleValue1", "exampleKey2": "exampleValue2"},
    )
    for name in ("accountId", "apiId"):
        event["requestContext"][name] = PUBLISHED["requestContext"][name]
    for name in (*OURS, "host", "user-agent", "content-type"):
        event["headers"].pop(name)
    assert event == PUBLISHED


def test_the_authorizer_gets_the_published_members_and_no_body() -> None:
    # Members of the example of format 2.0 in "Control access to HTTP APIs with AWS Lambda authorizers".
    published = {
        "version", "type", "routeArn", "identitySource", "routeKey", "rawPath", "rawQueryString", "cookies", "headers",
        "queryStringParameters", "requestContext", "pathParameters",
    }  # fmt: skip
    event = event_of(request("/my/path?a=1", ("cookie", "c=1"), body=b"x"), "POST /my/{name}", name="path")
    made = make_authorizer_event(event, ["user1", "123"])
    assert set(made) == published
    assert (made["type"], made["identitySource"]) == ("REQUEST", ["user1", "123"])
    assert re.fullmatch(r"arn:aws:execute-api:[^:]+:\d{12}:[^/]+/\$default/POST/my/path", made["routeArn"])


@pytest.mark.parametrize(
    ("target", "path", "raw_query", "parameters"),
    [
        ("/similar/a%20b", "/similar/a b", "", None),
        ("/similar/%C3%A9t%C3%A9", "/similar/été", "", None),
        ("/similar/a%2Fb", "/similar/a/b", "", None),
        ("/similar/a+b", "/similar/a+b", "", None),
        ("/similar/%FF", "/similar/\ufffd", "", None),
        ("/popular?a=Tea%20%26%20Home", "/popular", "a=Tea%20%26%20Home", {"a": "Tea & Home"}),
        ("/popular?category=a+b", "/popular", "category=a+b", {"category": "a b"}),
        ("/popular?k", "/popular", "k", {"k": ""}),
        ("/popular?k=", "/popular", "k=", {"k": ""}),
        ("/popular?k=1&k=&k=3", "/popular", "k=1&k=&k=3", {"k": "1,,3"}),
        ("/popular?k=1,2&k=3", "/popular", "k=1,2&k=3", {"k": "1,2,3"}),
        ("/popular?K=1&k=2", "/popular", "K=1&k=2", {"K": "1", "k": "2"}),
        ("/popular?a=b=c", "/popular", "a=b=c", {"a": "b=c"}),
        ("/popular?a=1?b=2", "/popular", "a=1?b=2", {"a": "1?b=2"}),
        ("/popular?", "/popular", "", None),
        ("//double//slash", "//double//slash", "", None),
        ("http://elsewhere/popular?k=1", "/popular", "k=1", {"k": "1"}),
        ("http://elsewhere", "/", "", None),
        ("*", "*", "", None),
    ],
)  # fmt: skip
def test_paths_arrive_decoded_and_queries_both_ways(
    target: str, path: str, raw_query: str, parameters: dict[str, str] | None
) -> None:
    event = event_of(request(target))
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == path
    assert event["rawQueryString"] == raw_query
    assert event.get("queryStringParameters") == parameters


def test_duplicate_headers_join_and_those_of_the_connection_stay_behind() -> None:
    event = event_of(
        request(
            "/",
            ("accept", "text/html"),
            ("accept", "*/*;q=0.1"),
            ("connection", "keep-alive, x-a"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("x-forwarded-for", "203.0.113.9"),
            body=b"12345",
        )
    )
    assert event["headers"]["accept"] == "text/html,*/*;q=0.1"
    assert not {"connection", "transfer-encoding", "te", "expect"} & set(event["headers"])
    assert event["headers"]["x-forwarded-for"] == "203.0.113.9, 10.0.0.1"
    assert event["headers"]["content-length"] == "5"


def test_cookies_are_a_list_and_no_header() -> None:
    event = event_of(request("/", ("cookie", "a=1; b=2;; c=x=y "), ("cookie", "d")))
    assert event["cookies"] == ["a=1", "b=2", "c=x=y", "d"]
    assert "cookie" not in event["headers"]
    assert "cookies" not in event_of(request("/"))


@pytest.mark.parametrize(
    ("media_type", "body", "as_text"),
    [
        ("application/json", b'{"a": 1}', True),
        ("application/json; charset=utf-8", "é".encode(), True),
        ("APPLICATION/JSON", b"{}", True),
        ("application/problem+json", b"{}", True),
        ("application/xml", b"<a/>", True),
        ("application/javascript", b"1", True),
        ("text/plain", b"x", True),
        ("application/json", b"\xff\xfe", False),
        ("application/x-www-form-urlencoded", b"a=1", False),
        ("application/octet-stream", b"\x00", False),
        ("image/png", b"\x89PNG", False),
        (None, b"{}", False),
    ],
)
def test_text_stays_text_and_everything_else_is_base64(media_type: str | None, body: bytes, as_text: bool) -> None:
    event = event_of(request("/", *([("content-type", media_type)] if media_type else []), body=body))
    assert event["isBase64Encoded"] is not as_text
    assert (event["body"].encode() if as_text else base64.b64decode(event["body"])) == body


def test_no_body_is_no_member() -> None:
    event = event_of(request("/", ("content-type", "application/json")))
    assert "body" not in event and event["isBase64Encoded"] is False
    assert "pathParameters" not in event and "authorizer" not in event["requestContext"]


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=60), st.binary(max_size=50))
def test_any_target_and_body_make_an_event_that_is_json(target: str, body: bytes) -> None:
    event = event_of(request("/" + target, body=body))
    assert json.loads(json.dumps(event)) == event
    assert event["rawQueryString"] == split_target("/" + target)[1]


@pytest.mark.parametrize(
    ("response", "status", "body"),
    [
        ("Hello from Lambda!", 200, b'"Hello from Lambda!"'),
        ({"message": "Hello from Lambda!"}, 200, b'{"message": "Hello from Lambda!"}'),
        ([1, 2], 200, b"[1, 2]"),
        ({"statusCode": 201, "body": "made"}, 201, b"made"),
        ({"statusCode": "404"}, 404, b""),
        ({"statusCode": 200, "body": "aGk=", "isBase64Encoded": True}, 200, b"hi"),
        ({"statusCode": 200, "body": {"a": 1}}, 200, b'{"a": 1}'),
    ],
)
def test_responses_become_http_as_the_guide_interprets_them(response: object, status: int, body: bytes) -> None:
    answer = to_answer(response)
    assert (answer.status, answer.body) == (status, body)
    assert dict(answer.headers)["content-type"] == "application/json"


def test_cookies_and_headers_of_a_response() -> None:
    answer = to_answer(
        {
            "statusCode": 200,
            "headers": {"Content-Type": "text/plain", "X-Flag": True, "X-Count": 3, "Content-Length": "999", "TE": "x"},
            "cookies": ["a=1; HttpOnly", "b=2"],
            "body": "x",
        }
    )
    assert answer.headers == (
        ("content-type", "text/plain"), ("x-flag", "true"), ("x-count", "3"),
        ("set-cookie", "a=1; HttpOnly"), ("set-cookie", "b=2"),
    )  # fmt: skip


def test_a_line_break_in_a_header_splits_nothing() -> None:
    answer = to_answer({"statusCode": 200, "headers": {"x": "a\r\nset-cookie: b\x00c€"}})
    assert dict(answer.headers)["x"] == "a??set-cookie: b?c?"


@pytest.mark.parametrize(
    "response",
    [
        {"statusCode": "twelve"},
        {"statusCode": True},
        {"statusCode": None},
        {"statusCode": 99},
        {"statusCode": 101},
        {"statusCode": 600},
        {"statusCode": 200, "headers": {"x": ["a"]}},
        {"statusCode": 200, "body": "%%%", "isBase64Encoded": True},
        {"body": object()},
        object(),
    ],
)
def test_a_response_that_is_none_is_said_to_be_none(response: object) -> None:
    with pytest.raises(MalformedResponse):
        to_answer(response)


def test_status_lines() -> None:
    assert status_line(404) == "404 Not Found"
    assert status_line(499) == "499 Bad Request"
