"""Events nobody thought of: whatever they hold, the answer is one the gateway can pass on, and never a 5xx."""

import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lambda_api.handlers import api
from lambda_api.handlers.dependencies import Serving
from lambda_api.handlers.models import ErrorResponse
from lambda_api.handlers.request_validation import Refusal, parse_json
from lambda_api.handlers.routes import routes
from tests.handlers.shop import event

PATHS = [route.template for route in routes()] + ["/similar/p", "/", "/recommend/", "/%00", "//health"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
RECOMMEND = [
    "user_id",
    "num_recommendations",
    "exclude_purchased",
    "exclude_product_ids",
    "filters",
    "context",
    "events",
]
FEEDBACK = ["events", "event_id", "user_id", "product_id", "event_type", "timestamp", "rating", "price", "request_id"]
LIKELY = st.dictionaries(st.sampled_from(RECOMMEND + FEEDBACK), JSON, max_size=6) | st.fixed_dictionaries(
    {"user_id": st.text(min_size=1, max_size=8)},
    optional={"num_recommendations": st.integers(-2, 120), "events": JSON, "filters": JSON, "context": JSON},
)
BODY = st.text(max_size=60) | (LIKELY | JSON).map(lambda content: json.dumps(content, default=str)) | st.none()
HEADERS = st.none() | st.dictionaries(
    st.sampled_from(["content-type", "Content-Length", "accept"]), st.none() | st.text(max_size=20)
)
NOTHING_WRITTEN = settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def check(sent: Any) -> None:
    response = api.handler(sent, None)
    assert 200 <= response["statusCode"] < 500
    assert isinstance(response["body"], str)
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in response["headers"].items())
    json.dumps(response)
    if response["statusCode"] >= 400 and response["body"]:  # HEAD has none
        ErrorResponse.model_validate_json(response["body"])
    assert "Traceback" not in response["body"]


@NOTHING_WRITTEN
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "get", ""]) | st.text(max_size=5),
    path=st.sampled_from(PATHS) | st.text(max_size=30).map(lambda text: "/similar/" + text) | st.text(max_size=20),
    body=BODY,
    query=st.sampled_from(["", "k=5", "k=5&k=6", "category=a,b", "k=%zz"]) | st.text(max_size=30),
    headers=HEADERS,
    base64=st.booleans(),
)
@example(method="GET", path="/similar/\udc80", body=None, query="\udc80", headers=None, base64=False)
def test_odd_requests(
    serving: Serving, method: str, path: str, body: str | None, query: str, headers: Any, base64: bool
) -> None:
    replace = {"headers": headers or {}, "isBase64Encoded": base64}
    check(event(method, path, body, query=query, replace=replace))


@NOTHING_WRITTEN
@given(body=BODY, path=st.sampled_from(["/recommend", "/feedback"]))
def test_odd_bodies(serving: Serving, body: str | None, path: str) -> None:
    check(event("POST", path, body))


@NOTHING_WRITTEN
@given(
    sent=JSON
    | st.dictionaries(st.sampled_from(["headers", "requestContext", "rawPath", "body", "rawQueryString"]), JSON)
)
def test_what_is_hardly_an_event(serving: Serving, sent: Any) -> None:
    check(sent)


@settings(max_examples=500)
@given(text=st.text(max_size=40) | JSON.map(lambda content: json.dumps(content, default=str)))
def test_json_is_read_as_python_reads_it_or_refused(text: str) -> None:
    try:
        content = parse_json(text)
    except Refusal as refusal:
        assert refusal.status in (400, 422)
        return
    assert content == json.loads(text)
