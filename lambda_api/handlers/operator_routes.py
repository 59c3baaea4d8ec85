"""Routes for operators: health, metrics, removal of a shopper, the OpenAPI document and its page.

Health is open, so it holds no secrets.
"""

from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from lambda_api.handlers.dependencies import Serving, serving
from lambda_api.handlers.docs_page import POLICY, page
from lambda_api.handlers.models import ForgetRequest, ForgetResponse, HealthResponse, MetricsResponse
from lambda_api.handlers.openapi_document import answers, document, document_json
from lambda_api.handlers.request_validation import Refusal
from lambda_api.handlers.resolver import Resolver
from lambda_api.handlers.responses import JSON, json_response
from lambda_api.serving.folder_host import LoadedFolder
from lambda_api.state.routing_record import WHOLE, RouteTarget
from lambda_api.state.table import TableUnavailable

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def register(app: Resolver) -> None:
    """Add these routes to ``app``."""

    @app.get(
        "/health",
        summary="Models in service and the state of all dependencies",
        description="200 while the process answers; `status` is `ok` or `degraded`. The state of a dependency is that "
        "of the last call; none is called for this answer.",
        responses=answers(200, "The state of this process.", HealthResponse, ()),
        tags=["operations"],
        operation_id="health",
    )
    def health() -> Response[str]:
        return json_response(health_content(serving()) | {"request_id": app.request_id})

    @app.get(
        "/metrics",
        summary="Counters and latencies of this process",
        description="JSON, or Prometheus' text format where `Accept` asks for `text/plain` or OpenMetrics.",
        responses=_metrics_answers(),
        tags=["operations"],
        operation_id="metrics",
    )
    def metrics() -> Response[str]:
        counters = serving().counters
        accept = app.current_event["accept"]
        if "application/json" not in accept and ("text/plain" in accept or "openmetrics" in accept):
            return Response(status_code=200, content_type=PROMETHEUS, body=counters.prometheus())
        return json_response(counters.snapshot())

    @app.post(
        "/forget",
        summary="Remove a shopper",
        description="Removes the shopper's history at once, so the next list is a new visitor's, and notes the "
        "request. `recsys forget --requested` removes the rest. Safe to repeat.",
        responses=answers(200, "What was removed.", ForgetResponse, (400, 413, 415, 422)),
        tags=["operations"],
        operation_id="forget",
    )
    def forget(body: Annotated[ForgetRequest, Body()]) -> Response[str]:
        try:
            records = serving().history.request_removal(body.user_id)
        except TableUnavailable as error:
            raise Refusal(503, "history_unavailable", "the history cannot be reached; send this again") from error
        return json_response({"user_id": body.user_id, "history_records": records, "request_id": app.request_id})

    @app.get(
        "/openapi.json",
        summary="This document",
        responses={200: {"description": "OpenAPI 3.1.", "content": {JSON: {"schema": {"type": "object"}}}}},
        tags=["operations"],
        operation_id="openapi",
    )
    def openapi() -> Response[str]:
        return Response(status_code=200, content_type=JSON, body=document_json(app))

    @app.get(
        "/docs",
        summary="This document as a page",
        responses={200: {"description": "A page.", "content": {"text/html": {"schema": {"type": "string"}}}}},
        tags=["operations"],
        operation_id="docs",
    )
    def docs() -> Response[str]:
        headers = {"Content-Security-Policy": POLICY}
        html = page(document(app))
        return Response(status_code=200, content_type="text/html; charset=utf-8", body=html, headers=headers)


def health_content(held: Serving) -> dict[str, Any]:
    """A `HealthResponse` without its request id."""
    record = held.service.routing.current()
    loaded = held.bundles.states()
    models: list[dict[str, Any]] = []
    problems: list[str] = []
    if record is None:
        problems.append("routing: no record is known")
    else:
        for variant in (*record.variants, *record.held):
            models.append(_model(variant.name, variant.target, variant.weight / WHOLE, loaded.get(variant.name)))
        if record.shadow is not None:
            models.append(_model("shadow", record.shadow, None, loaded.get("shadow")))
    if held.service.routing.last_error:
        problems.append("routing: the record cannot be read; the last known one is in use")
    catalogue, pointer = held.catalogue.state()
    dependencies = [guard.state for guard in held.guards()]
    problems += [f"{state.name}: {state.status}" for state in dependencies if state.status != "closed"]
    problems += [f"{state.name}: failing" for state in dependencies if state.status == "closed" and state.failures]
    problems += [
        f"bundle of {model['variant']}: {model['loaded_version']} answers in place of {model['model_version']}"
        for model in models
        if model["loaded_version"] not in (None, model["model_version"])
    ]
    return {
        "status": "degraded" if problems else "ok",
        "problems": problems,
        "experiment": None if record is None else record.experiment,
        "models": models,
        "catalogue": None
        if catalogue is None
        else {
            "products": len(catalogue.value),
            "checksum": catalogue.ref.checksum,
            "published_at": None if pointer is None else pointer.published_at,
        },
        "dependencies": [
            {
                "name": state.name,
                "status": state.status,
                "failures": state.failures,
                # Health is open to everybody, and messages may hold addresses and ids.
                "last_error": None if state.last_error is None else state.last_error.partition(":")[0][:80],
                "last_success_age_s": None if state.last_success_age_s is None else round(state.last_success_age_s, 1),
            }
            for state in dependencies
        ],
        "started_at": held.counters.started_at,
    }


def _model(name: str, target: RouteTarget, weight: float | None, loaded: LoadedFolder | None) -> dict[str, Any]:
    return {
        "variant": name,
        "model_version": target.version,
        "weight": weight,
        "loaded_version": None if loaded is None else loaded.ref.version,
        "since": None if loaded is None else loaded.since,
    }


def _metrics_answers() -> dict[int, Any]:
    found = answers(200, "Since this process started.", MetricsResponse, ())
    found[200]["content"]["text/plain"] = {"schema": {"type": "string"}}
    return found
