"""Builds JSON responses from the service's answers, in the form that ``models`` documents, and error responses.

Plain dicts instead of models, because a list of a hundred products is written on every request; tests parse every
answer with its model.
"""

import json
from typing import Any

from aws_lambda_powertools.event_handler import Response

from lambda_api.handlers.request_validation import Refusal
from lambda_api.serving.question import RankedItem
from lambda_api.serving.service_answer import ServiceAnswer

JSON = "application/json"
SECURITY_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_response(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response[str]:
    """``content`` as JSON."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(status_code=status, content_type=JSON, body=body, headers=headers)


def error_content(refusal: Refusal) -> dict[str, Any]:
    """The ``error`` of an `ErrorResponse`."""
    error: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
    if refusal.field is not None:
        error["field"] = refusal.field
    if len(refusal.details) > 1:
        error["details"] = [{"field": field, "message": message} for field, message in refusal.details]
    return error


def error_response(refusal: Refusal) -> Response[str]:
    """An `ErrorResponse`; ``api`` adds the request id."""
    return json_response({"error": error_content(refusal)}, refusal.status, dict(refusal.headers))


def list_content(answer: ServiceAnswer, request_id: str) -> dict[str, Any]:
    """A `ListResponse`."""
    content: dict[str, Any] = {
        "recommendations": [_item(item) for item in answer.ranking.items],
        "model_version": answer.model_version,
        "inference_time_ms": answer.timings["total"],
        "request_id": request_id,
    }
    if answer.cause is not None:
        content["fallback"] = answer.cause
    return content


def recommend_content(answer: ServiceAnswer, request_id: str) -> dict[str, Any]:
    """A `RecommendResponse`."""
    content = list_content(answer, request_id) | {"variant": answer.variant}
    return content if answer.shopper_known is None else content | {"shopper_known": answer.shopper_known}


def _item(item: RankedItem) -> dict[str, Any]:
    content: dict[str, Any] = {
        "product_id": item.product_id,
        "score": item.score,
        "reason": item.reason.text,
        "reason_code": item.reason.code,
    }
    if item.reason.product_id is not None:
        content["reason_product_id"] = item.reason.product_id
    if item.product is not None:
        card = item.product
        content["product"] = {
            "product_id": card.product_id,
            "name": card.name,
            "category": card.category,
            "brand": card.brand,
            "price": card.price,
            "available": card.available,
        }
    if item.explanation:
        content["explanation"] = [{"product_id": product, "weight": weight} for product, weight in item.explanation]
    return content
