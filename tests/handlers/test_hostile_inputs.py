"""What strangers send, and what they get: one line each. The documentation quotes this list.

Every answer is JSON with a code and, where a field is at fault, its name; none is a 5xx, none shows a traceback.
"""

import base64
import json
from typing import Any, NamedTuple

import pytest

from lambda_api.handlers import api
from lambda_api.handlers.dependencies import Serving
from lambda_api.handlers.models import ErrorResponse
from tests.handlers.shop import event

EVENT = {"event_id": "e1", "user_id": "u1", "product_id": "p1", "event_type": "view"}
KILOBYTE = "x" * 1024


class Hostile(NamedTuple):
    """``request``: method, path, body, and options of `event`. ``field``: of the error; ``None`` where none is."""

    name: str
    request: tuple[Any, ...]
    status: int
    field: str | None = None


def recommend(**fields: Any) -> tuple[Any, ...]:
    return ("POST", "/recommend", {"user_id": "u1"} | fields)


def feedback(**fields: Any) -> tuple[Any, ...]:
    return ("POST", "/feedback", EVENT | fields)


def raw(text: str, path: str = "/recommend", **options: Any) -> tuple[Any, ...]:
    return ("POST", path, text, options)


def encoded(content: bytes) -> tuple[Any, ...]:
    return raw(base64.b64encode(content).decode(), replace={"isBase64Encoded": True})


def typed(content_type: str) -> tuple[Any, ...]:
    return raw('{"user_id": "u1"}', headers={"content-type": content_type})


def get(path: str, query: str = "", **options: Any) -> tuple[Any, ...]:
    return ("GET", path, None, {"query": query} | options)


HOSTILE = [
    # The body as a whole
    Hostile("no body", ("POST", "/recommend"), 400, "body"),
    Hostile("empty body", raw(""), 400, "body"),
    Hostile("spaces", raw("   "), 400, "body"),
    Hostile("not JSON", raw("user_id=u1"), 400, "body"),
    Hostile("cut off", raw('{"user_id": "u1"'), 400, "body"),
    Hostile("two objects", raw('{"user_id": "u1"}{"user_id": "u2"}'), 400, "body"),
    Hostile("comment", raw('{"user_id": "u1"} // mine'), 400, "body"),
    Hostile("single quotes", raw("{'user_id': 'u1'}"), 400, "body"),
    Hostile("trailing comma", raw('{"user_id": "u1",}'), 400, "body"),
    Hostile("a list", raw('[{"user_id": "u1"}]'), 422, "body"),
    Hostile("a string", raw('"u1"'), 422, "body"),
    Hostile("null", raw("null"), 422, "body"),
    Hostile("a number", raw("1"), 422, "body"),
    Hostile("a key twice", raw('{"user_id": "u1", "user_id": "u2"}'), 400, "body"),
    Hostile("a key twice, inside", raw('{"user_id": "u1", "context": {"page": "cart", "page": "cart"}}'), 400, "body"),
    Hostile("NaN", raw('{"user_id": "u1", "diversity": NaN}'), 400, "body"),
    Hostile("Infinity", raw('{"user_id": "u1", "diversity": Infinity}'), 400, "body"),
    Hostile("-Infinity", raw('{"user_id": "u1", "filters": {"min_price": -Infinity}}'), 400, "body"),
    Hostile("1e999", raw('{"user_id": "u1", "diversity": 1e999}'), 400, "body"),
    Hostile("5,000 digits", raw('{"user_id": "u1", "num_recommendations": ' + "9" * 5000 + "}"), 400, "body"),
    Hostile("19 digits", raw('{"user_id": "u1", "num_recommendations": 9223372036854775808}'), 400, "body"),
    Hostile("30,000 nested lists", raw("[" * 30_000 + "]" * 30_000), 400, "body"),
    Hostile("5,000 nested objects", raw('{"a":' * 5000 + "1" + "}" * 5000), 400, "body"),
    Hostile("control character in a string", raw('{"user_id": "a\u0001b"}'), 400, "body"),
    Hostile("64 KB and a byte", raw(json.dumps({"user_id": "u1"}).ljust(65_537)), 413, "body"),
    Hostile("a megabyte", raw("x" * 1_000_000), 413, "body"),
    Hostile("a megabyte in base64", encoded(b"x" * 1_000_000), 413, "body"),
    Hostile("64 KB and a byte in base64", encoded(b" " * 65_537), 413, "body"),
    Hostile(
        "30,000 characters of 3 bytes", raw(json.dumps({"user_id": "€" * 30_000}, ensure_ascii=False)), 413, "body"
    ),
    Hostile("a length header too large", raw("{}", headers={"content-length": "99999999999999999999"}), 413, "body"),
    Hostile("broken base64", raw("{]", replace={"isBase64Encoded": True}), 400, "body"),
    Hostile("Latin-1", encoded('{"user_id": "Zoë"}'.encode("latin-1")), 400, "body"),
    Hostile("UTF-16", encoded('{"user_id": "u1"}'.encode("utf-16")), 400, "body"),
    Hostile("half a surrogate pair, as text", raw('{"user_id": "\ud800"}'), 400, "body"),
    Hostile("half a surrogate pair, escaped", raw('{"user_id": "\\ud800"}'), 422, "user_id"),
    Hostile("body not text", ("POST", "/recommend", None, {"replace": {"body": {"user_id": "u1"}}}), 400, "body"),
    # What it claims to be
    Hostile("text/plain", typed("text/plain"), 415, "content-type"),
    Hostile("XML", typed("application/xml"), 415, "content-type"),
    Hostile("multipart form", typed("multipart/form-data; boundary=x"), 415, "content-type"),
    Hostile("almost JSON", typed("application/jsonp"), 415, "content-type"),
    Hostile("JSON in Latin-1", typed("application/json; charset=latin-1"), 415, "content-type"),
    # Fields of /recommend
    Hostile("no user", raw("{}"), 422, "user_id"),
    Hostile("user null", recommend(user_id=None), 422, "user_id"),
    Hostile("user a number", recommend(user_id=12), 422, "user_id"),
    Hostile("user a list", recommend(user_id=["u1"]), 422, "user_id"),
    Hostile("user an object", recommend(user_id={"$ne": ""}), 422, "user_id"),
    Hostile("user empty", recommend(user_id=""), 422, "user_id"),
    Hostile("user of 513 characters", recommend(user_id="u" * 513), 422, "user_id"),
    Hostile("user of 50 KB", recommend(user_id=KILOBYTE * 50), 422, "user_id"),
    Hostile("user with a line break", recommend(user_id="u1\nadmin: true"), 422, "user_id"),
    Hostile("user with NUL", recommend(user_id="u1\u0000"), 422, "user_id"),
    Hostile("user with an escape sequence", recommend(user_id="\u001b[31mred"), 422, "user_id"),
    Hostile("unknown field", recommend(limit=10), 422, "limit"),
    Hostile("unknown field inside", recommend(filters={"colour": "red"}), 422, "filters.colour"),
    Hostile("__proto__", recommend(__proto__={"admin": True}), 422, "__proto__"),
    Hostile("0 recommendations", recommend(num_recommendations=0), 422, "num_recommendations"),
    Hostile("101 recommendations", recommend(num_recommendations=101), 422, "num_recommendations"),
    Hostile("-1 recommendations", recommend(num_recommendations=-1), 422, "num_recommendations"),
    Hostile('"10" recommendations', recommend(num_recommendations="10"), 422, "num_recommendations"),
    Hostile("10.5 recommendations", recommend(num_recommendations=10.5), 422, "num_recommendations"),
    Hostile("true recommendations", recommend(num_recommendations=True), 422, "num_recommendations"),
    Hostile("null recommendations", recommend(num_recommendations=None), 422, "num_recommendations"),
    Hostile("exclude_purchased 1", recommend(exclude_purchased=1), 422, "exclude_purchased"),
    Hostile('exclude_purchased "yes"', recommend(exclude_purchased="yes"), 422, "exclude_purchased"),
    Hostile("501 exclusions", recommend(exclude_product_ids=["p"] * 501), 422, "exclude_product_ids"),
    Hostile("exclusions a string", recommend(exclude_product_ids="p1"), 422, "exclude_product_ids"),
    Hostile("an exclusion of null", recommend(exclude_product_ids=["p1", None]), 422, "exclude_product_ids.1"),
    Hostile("an exclusion of nothing", recommend(exclude_product_ids=[""]), 422, "exclude_product_ids.0"),
    Hostile("filters a list", recommend(filters=[]), 422, "filters"),
    Hostile("filters null", recommend(filters=None), 422, "filters"),
    Hostile("51 categories", recommend(filters={"categories": ["c"] * 51}), 422, "filters.categories"),
    Hostile("negative price", recommend(filters={"min_price": -1}), 422, "filters.min_price"),
    Hostile("price as text", recommend(filters={"max_price": "9.99"}), 422, "filters.max_price"),
    Hostile("price true", recommend(filters={"max_price": True}), 422, "filters.max_price"),
    Hostile("prices upside down", recommend(filters={"min_price": 9, "max_price": 1}), 422, "filters.min_price"),
    Hostile("unknown page", recommend(context={"page": "checkout"}), 422, "context.page"),
    Hostile("51 products on the page", recommend(context={"product_ids": ["p"] * 51}), 422, "context.product_ids"),
    Hostile("device a novel", recommend(context={"device": KILOBYTE}), 422, "context.device"),
    Hostile("device with tabs", recommend(context={"device": "a\tb"}), 422, "context.device"),
    Hostile("diversity 1.01", recommend(diversity=1.01), 422, "diversity"),
    Hostile("diversity -0.1", recommend(diversity=-0.1), 422, "diversity"),
    Hostile("diversity as text", recommend(diversity="0.5"), 422, "diversity"),
    Hostile("explain null", recommend(explain=None), 422, "explain"),
    Hostile("101 events", recommend(events=[{"product_id": "p", "event_type": "view"}] * 101), 422, "events"),
    Hostile(
        "event of unknown type", recommend(events=[{"product_id": "p", "event_type": "x"}]), 422, "events.0.event_type"
    ),
    Hostile("event without product", recommend(events=[{"event_type": "view"}]), 422, "events.0.product_id"),
    Hostile(
        "event next year",
        recommend(events=[{"product_id": "p", "event_type": "view", "timestamp": 4_000_000_000}]),
        422,
        "events.0.timestamp",
    ),
    # Fields of /feedback
    Hostile("no events", raw('{"events": []}', "/feedback"), 422, "events"),
    Hostile("51 events", ("POST", "/feedback", {"events": [EVENT] * 51}), 422, "events"),
    Hostile("events an object", ("POST", "/feedback", {"events": EVENT}), 422, "events"),
    Hostile("events and fields", ("POST", "/feedback", {"events": [EVENT], "user_id": "u1"}), 422, "user_id"),
    Hostile("no event id", ("POST", "/feedback", {**EVENT, "event_id": ""}), 422, "event_id"),
    Hostile("event id a number", feedback(event_id=1), 422, "event_id"),
    Hostile("all events broken", ("POST", "/feedback", {"events": [{}, 7]}), 422, "events.0.event_id"),
    Hostile("id with a tab inside", feedback(product_id="a\tb"), 422, "product_id"),
    Hostile("id of 513 characters", feedback(product_id="x" * 513), 422, "product_id"),
    Hostile("id of white space", feedback(user_id=" \u00a0 "), 422, "user_id"),
    Hostile("type purchased", feedback(event_type="purchased"), 422, "event_type"),
    Hostile("type in capitals", feedback(event_type="VIEW"), 422, "event_type"),
    Hostile("rating without one", feedback(event_type="rating"), 422, "rating"),
    Hostile("rating of 11", feedback(event_type="rating", rating=11), 422, "rating"),
    Hostile("time in milliseconds", feedback(timestamp=1_790_000_000_000), 422, "timestamp"),
    Hostile("time tomorrow", feedback(timestamp=4_000_000_000), 422, "timestamp"),
    Hostile("time before 1970", feedback(timestamp=-1), 422, "timestamp"),
    Hostile("time as text", feedback(timestamp="2026-01-01"), 422, "timestamp"),
    Hostile("time with a fraction", feedback(timestamp=1.5), 422, "timestamp"),
    Hostile("quantity 0", feedback(quantity=0), 422, "quantity"),
    Hostile("quantity 1.5", feedback(quantity=1.5), 422, "quantity"),
    Hostile("negative price of an event", feedback(price=-0.01), 422, "price"),
    Hostile("price of 1e300", feedback(price=1e300), 422, "price"),
    # Paths, methods and queries
    Hostile("unknown path", get("/admin"), 404),
    Hostile("root", get("/"), 404),
    Hostile("slash at the end", ("POST", "/recommend/", {"user_id": "u1"}), 404),
    Hostile("capitals in the path", ("POST", "/Recommend", {"user_id": "u1"}), 404),
    Hostile("upwards", get("/docs/../metrics"), 404),
    Hostile("upwards, encoded", get("/%2e%2e/state.sqlite3"), 404),
    Hostile("a path of 20 KB", get("/similar/" + KILOBYTE * 20), 404),
    Hostile("surrogates in the path", get("/similar/\ud800"), 400, "path"),
    Hostile("similar to nothing", get("/similar/"), 404),
    Hostile("similar to an unknown product", get("/similar/no-such-product"), 404, "product_id"),
    Hostile("similar to a line break", get("/similar/a%0Ab"), 404, "product_id"),
    Hostile("similar to broken UTF-8", get("/similar/%ff%fe"), 404, "product_id"),
    Hostile("similar to 513 characters", get("/similar/" + "p" * 513), 422, "product_id"),
    Hostile("similar to upwards", get("/similar/..%2f..%2fetc%2fpasswd"), 404, "product_id"),
    Hostile("GET /recommend", get("/recommend"), 405),
    Hostile("PUT /feedback", ("PUT", "/feedback", EVENT), 405),
    Hostile("POST /health", ("POST", "/health", {}), 405),
    Hostile("invented method", ("BREW", "/recommend", {}), 405),
    Hostile("no method", ("", "/recommend", {}), 405),
    Hostile("k=0", get("/popular", "k=0"), 422, "k"),
    Hostile("k=101", get("/popular", "k=101"), 422, "k"),
    Hostile("k=ten", get("/popular", "k=ten"), 422, "k"),
    Hostile("k=1_0", get("/popular", "k=1_0"), 422, "k"),
    Hostile("k in Arabic digits", get("/popular", "k=%D9%A1%D9%A0"), 422, "k"),
    Hostile("k empty", get("/popular", "k="), 422, "k"),
    Hostile("k twice", get("/popular", "k=1&k=2"), 422, "k"),
    Hostile("unknown parameter", get("/popular", "limit=1"), 422, "limit"),
    Hostile("21 parameters", get("/popular", "&".join(["k=1"] * 21)), 422, "query"),
    Hostile("query in broken UTF-8", get("/popular", "category=%ff"), 422, "query"),
    Hostile("category empty", get("/popular", "category="), 422, "category"),
    Hostile("category with a line break", get("/popular", "category=a%0Ab"), 422, "category"),
    # Keys, and events that are none of the gateway's
    Hostile("no key", ("POST", "/recommend", {"user_id": "u1"}, {"identity": None}), 401, "x-api-key"),
    Hostile("key of a shop on /metrics", get("/metrics", identity={"scopes": "shop"}), 403, "x-api-key"),
    Hostile("key without a scope", get("/popular", identity={"scopes": ""}), 403, "x-api-key"),
    Hostile("headers null", ("POST", "/recommend", {}, {"replace": {"headers": None}}), 422, "user_id"),
    Hostile("no request context", get("/popular", replace={"requestContext": None}), 405),
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_request_is_refused_with_field_and_rule(hostile: Hostile, serving: Serving) -> None:
    method, path, *rest = hostile.request
    body = rest[0] if rest else None
    options = rest[1] if len(rest) > 1 else {}
    response = api.handler(event(method, path, body, **options), None)
    content = ErrorResponse.model_validate_json(response["body"])
    assert (response["statusCode"], content.error.field) == (hostile.status, hostile.field), content
    assert content.error.message
    assert content.request_id
    assert "Traceback" not in response["body"]


def test_the_list_is_as_long_as_promised_and_names_are_distinct() -> None:
    assert len(HOSTILE) >= 60
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE)
