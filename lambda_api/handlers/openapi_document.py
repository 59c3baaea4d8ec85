"""The OpenAPI document: derived from the routes by Powertools, completed with errors, keys and examples; cached."""

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter

from lambda_api.handlers.models import ErrorResponse, Identifier
from lambda_api.handlers.routes import KEY_HEADER, routes

if TYPE_CHECKING:
    from lambda_api.handlers.resolver import Resolver

TITLE = "Recsys"
VERSION = "1.0.0"
DESCRIPTION = """Recommendations for a shop.

Every answer is JSON in UTF-8 and carries `request_id`. Errors have one form: `error.code` for programs,
`error.message` for people, `error.field` for the field at fault. Unknown fields and numbers in quotes are refused, and
a body has at most 64 KB. Failures behind the API give no error: `/recommend` answers with the next best list and names
the failure in `fallback`.

Rules that the schema cannot state: `filters.min_price` does not exceed `filters.max_price`; a `timestamp` lies at most
five minutes ahead; no key of a JSON object is given twice; whole numbers have at most 18 digits."""

ERRORS: dict[int, str] = {
    400: "The body is not JSON (RFC 8259) in UTF-8.",
    401: "No API key.",
    403: "The key is unknown, expired or revoked, or lacks the scope.",
    404: "No such product.",
    413: "The body is longer than 64 KB.",
    415: "The Content-Type is not JSON in UTF-8, or the body is compressed.",
    429: "Too many requests, or the key has made all its requests of the day; Retry-After says when the next may come.",
    503: "API keys cannot be checked at the moment; try again.",
    422: "A field breaks a rule; the answer names field and rule.",
}

ERROR_EXAMPLE = {
    "error": {
        "code": "invalid_request",
        "message": "num_recommendations: Input should be less than or equal to 100",
        "field": "num_recommendations",
    },
    "request_id": "8f14e45fceea167a",
}


def answers(status: int, meaning: str, model: type[BaseModel], errors: tuple[int, ...]) -> dict[int, Any]:
    """Responses of an operation: success and its own errors; those of the key are added to all protected ones."""
    found: dict[int, Any] = {
        status: {"description": meaning, "content": {"application/json": {"model": model}}},
    }
    for code in errors:
        found[code] = {"description": ERRORS[code], "content": {"application/json": {"model": ErrorResponse}}}
    return found


def document(app: "Resolver") -> dict[str, Any]:
    """The document as plain values."""
    found: dict[str, Any] = json.loads(document_json(app))
    return found


@lru_cache(maxsize=1)
def document_json(app: "Resolver") -> str:
    """The document as JSON."""
    schema = app.get_openapi_json_schema(title=TITLE, version=VERSION, description=DESCRIPTION)
    content: dict[str, Any] = json.loads(schema)
    content["info"].pop("summary", None)
    content["servers"] = [{"url": "/"}]
    content["tags"] = [
        {"name": "shop", "description": "For shops; a key with the scope `shop`."},
        {
            "name": "operations",
            "description": "For operators; `/metrics` and `/forget` need a key for `operations`.",
        },
    ]
    components = content.setdefault("components", {})
    components["securitySchemes"] = {"ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
    for unused in ("HTTPValidationError", "ValidationError", "ResponseValidationError"):
        components["schemas"].pop(unused, None)
    components["schemas"]["ErrorResponse"]["examples"] = [ERROR_EXAMPLE]
    # Routes get the id percent-encoded; the document describes the id itself.
    product = next(p for p in content["paths"]["/similar/{product_id}"]["get"]["parameters"] if p["in"] == "path")
    product["schema"] = TypeAdapter(Identifier).json_schema()
    content["paths"] = {route.template: content["paths"][route.template] for route in routes()}
    for route in routes():
        operation = content["paths"][route.template][route.method.lower()]
        _complete(operation, protected=route.protected)
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _complete(operation: dict[str, Any], *, protected: bool) -> None:
    responses = operation["responses"]
    # Powertools adds a 422 in its own form to every operation.
    for code in list(responses):
        if "HTTPValidationError" in json.dumps(responses[code]):
            del responses[code]
    operation["security"] = [{"ApiKey": []}] if protected else []
    if protected:
        error = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
        for code in (401, 403, 429, 503):
            responses[str(code)] = {"description": ERRORS[code], "content": error}
    operation["responses"] = dict(sorted(responses.items()))


assert KEY_HEADER == "x-api-key", "the security scheme below names another header"
