"""The OpenAPI document and its page: complete, true (schemathesis holds the handler to it), and fit for no network."""

import json
import re
import time
from typing import Any
from urllib.parse import parse_qsl

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection

from lambda_api.handlers import api
from lambda_api.handlers.dependencies import Serving
from lambda_api.handlers.docs_page import POLICY, SCRIPT, STYLE
from lambda_api.handlers.models import FeedbackRequest, RecommendRequest
from lambda_api.handlers.openapi_document import document
from lambda_api.handlers.routes import routes
from tests.handlers.shop import event
from tests.handlers.wsgi import KEY, application, received

schema = schemathesis.openapi.from_wsgi("/openapi.json", application)


def breaks_a_rule_in_words(body: Any) -> bool:
    """Whether ``body`` breaks a rule the document states in words, because a schema cannot."""
    if not isinstance(body, dict):
        return False
    events, filters = body.get("events"), body.get("filters")
    prices = [filters.get(name) for name in ("min_price", "max_price")] if isinstance(filters, dict) else []
    if len(prices) == 2 and all(isinstance(price, int | float) for price in prices) and prices[0] > prices[1]:
        return True
    told = [body, *(events if isinstance(events, list) else [])]
    times = [item.get("timestamp") for item in told if isinstance(item, dict)]
    return any(isinstance(moment, int | float) and moment > time.time() for moment in times)


def is_a_proper_query(text: str) -> bool:
    """Whether what was really sent keeps the document, whatever was made up before parts of it fell away."""
    sent = parse_qsl(text, keep_blank_values=True)
    given = dict(sent)
    return (
        len(given) == len(sent)
        and set(given) <= {"k", "category"}
        and re.fullmatch(r"[1-9][0-9]?|100", given.get("k", "1")) is not None
        and 0 < len(given.get("category", "c")) <= 128
    )


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=60, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_handler_keeps_the_document(case: Any, serving: Serving) -> None:
    headers = {"X-API-Key": KEY}
    if breaks_a_rule_in_words(case.body):
        assert case.call(headers=headers).status_code < 500
        return
    response = case.call(headers=headers)
    if response.status_code == 413:  # a limit of bytes is not in the schema
        return
    # The key is ours, so a request made up to lack it, or to carry a parameter that cannot be written, is a good one.
    fine = case.method == "GET" and response.status_code == 200 and is_a_proper_query(received[0])
    # Of several events the good ones are stored, and the answer names the others.
    fine = fine or (response.status_code == 202 and bool(response.json()["refused"]))
    case.validate_response(response, headers=headers, excluded_checks=[negative_data_rejection] if fine else None)


def test_every_route_is_documented_and_nothing_else() -> None:
    found = {(method.upper(), path) for path, methods in document(api.app)["paths"].items() for method in methods}
    assert found == {(route.method, route.template) for route in routes()}


def test_every_operation_says_what_it_answers_and_whether_it_needs_a_key() -> None:
    content = document(api.app)
    protected = {(route.method.lower(), route.template): route.protected for route in routes()}
    for path, methods in content["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"]
            assert operation["security"] == ([{"ApiKey": []}] if protected[method, path] else [])
            assert ("401" in operation["responses"]) == protected[method, path]
            for status, response in operation["responses"].items():
                assert response["content"], (path, status)
    assert content["components"]["securitySchemes"]["ApiKey"]["name"] == "X-API-Key"


def test_references_lead_somewhere_and_nothing_is_left_over() -> None:
    text = json.dumps(document(api.app))
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert referred == set(document(api.app)["components"]["schemas"])


def test_examples_are_accepted() -> None:
    schemas = document(api.app)["components"]["schemas"]
    for model, name in ((RecommendRequest, "RecommendRequest"), (FeedbackRequest, "FeedbackEvent")):
        for example in schemas[name]["examples"]:
            model.model_validate(example)


def test_the_page_needs_nothing_but_itself(serving: Serving) -> None:
    response = api.handler(event("GET", "/docs", identity=None), None)
    page = response["body"]
    assert response["headers"]["Content-Security-Policy"] == POLICY
    assert f"<style>{STYLE}</style>" in page
    assert page.count("<script") == 1 and f"<script>{SCRIPT}</script>" in page
    assert not re.search(r"<img|<link|<iframe|style=|src=|https?:", page)
    for route in routes():
        assert f"<code>{route.method} {route.template}</code>" in page
    names = set(re.findall(r'href="#(\w+)"', page))
    assert names <= set(re.findall(r'id="(\w+)"', page))
