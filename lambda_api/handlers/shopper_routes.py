"""Routes for shops: recommend, feedback, similar, popular. Requests become questions, answers become responses."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Path, Query

from lambda_api.handlers.dependencies import serving
from lambda_api.handlers.models import (
    FeedbackEvent,
    FeedbackRequest,
    FeedbackResponse,
    Label,
    ListResponse,
    RecommendRequest,
    RecommendResponse,
)
from lambda_api.handlers.openapi_document import answers
from lambda_api.handlers.request_validation import MAX_PATH_CHARACTERS, Refusal, product_id_candidates
from lambda_api.handlers.resolver import Resolver
from lambda_api.handlers.responses import json_response, list_content, recommend_content
from lambda_api.ids_rule import ID_RULE, normalise_id
from lambda_api.interactions import Event, InteractionType
from lambda_api.serving.question import Filters, PageContext, Question, UnknownProduct
from lambda_api.serving.service_answer import ServiceAnswer
from lambda_api.settings import Settings
from lambda_api.state.history import StoredEvent, TimestampRefused, accepted_timestamp

Length = Annotated[int, Query(ge=1, le=100, description="Length of the list.")]


def register(app: Resolver) -> None:
    """Add these routes to ``app``."""

    @app.post(
        "/recommend",
        summary="Products for a shopper",
        description="Reacts to the last event. Answers 200 even when a dependency fails; `fallback` names the cause.",
        responses=answers(200, "The list, best first.", RecommendResponse, (400, 413, 415, 422)),
        tags=["shop"],
        operation_id="recommend",
    )
    def recommend(body: Annotated[RecommendRequest, Body()]) -> Response[str]:
        service = serving().service
        now = service.now
        events = [
            Event(
                event.product_id,
                InteractionType.from_label(event.event_type),
                _timestamp(event.timestamp, now, f"events.{place}.timestamp"),
            )
            for place, event in enumerate(body.events)
        ]
        answer = service.recommend(question_of(body, now, serving().settings), events, app.request_id)
        _note(app, answer)
        return json_response(recommend_content(answer, app.request_id))

    @app.post(
        "/feedback",
        summary="Report events of shoppers",
        description="One event or up to 50. Safe to repeat: events are known by `event_id`. Events named in "
        "`retry` could not be stored: send them again. Events named in `refused` break a rule and do not affect the "
        "others; 422 where no event is valid.",
        responses=answers(202, "What became of each event.", FeedbackResponse, (400, 413, 415, 422)),
        status_code=202,
        tags=["shop"],
        operation_id="feedback",
    )
    def feedback(body: Annotated[FeedbackRequest, Body()]) -> Response[str]:
        held = serving()
        valid, refused = _validated(body, held.service.now)
        if not valid:
            problems = [(row["field"], row["message"]) for row in refused]
            raise Refusal(422, "invalid_request", problems[0][1], problems[0][0], tuple(problems))
        outcome = held.feedback.take(list(valid.values()))
        unknown = held.unknown_products([event.product_id for event in valid.values()])
        app.notes.update(accepted=outcome.accepted, duplicates=outcome.duplicates, retry=len(outcome.retry))
        app.notes["causes"] = [outcome.cause] if outcome.cause else []
        content = {
            "accepted": outcome.accepted,
            "duplicates": outcome.duplicates,
            "retry": list(outcome.retry),
            "refused": refused,
            "unknown_products": [
                {"index": place, "event_id": event.event_id, "product_id": event.product_id}
                for place, event in valid.items()
                if event.product_id in unknown
            ],
            "request_id": app.request_id,
        }
        return json_response(content, 202)

    @app.get(
        "/similar/<product_id>",
        summary="Products similar to one",
        responses=answers(200, "The list, most similar first.", ListResponse, (404, 422)),
        tags=["shop"],
        operation_id="similar",
    )
    def similar(
        product_id: Annotated[str, Path(min_length=1, max_length=MAX_PATH_CHARACTERS, description="Percent-encoded.")],
        k: Length = 10,
    ) -> Response[str]:
        candidates = _identifiers(product_id_candidates(product_id))
        for place, candidate in enumerate(candidates):
            try:
                answer = serving().service.similar(candidate, k, app.request_id)
            except UnknownProduct:
                if place == len(candidates) - 1:
                    raise Refusal(404, "unknown_product", "no such product", "product_id") from None
            else:
                break
        _note(app, answer)
        return json_response(list_content(answer, app.request_id))

    @app.get(
        "/popular",
        summary="Popular products of the shop or of a category",
        description="Empty for an unknown category.",
        responses=answers(200, "The list, most popular first.", ListResponse, (422,)),
        tags=["shop"],
        operation_id="popular",
    )
    def popular(category: Annotated[Label | None, Query()] = None, k: Length = 10) -> Response[str]:
        answer = serving().service.popular(category, k, app.request_id)
        _note(app, answer)
        return json_response(list_content(answer, app.request_id))


def question_of(body: RecommendRequest, now: int, settings: Settings) -> Question:
    """The question a request asks of a shop with these ``settings``, before history.

    Raises:
        Refusal: 422 for a minimum price above the maximum.
    """
    wanted = body.filters
    if wanted.min_price is not None and wanted.max_price is not None and wanted.min_price > wanted.max_price:
        rule = "must not exceed filters.max_price"
        raise Refusal(422, "invalid_request", f"filters.min_price: {rule}", "filters.min_price")
    context, like = body.context, Question.template(settings, body.num_recommendations)
    return replace(
        like,
        user_id=body.user_id,
        now=now,
        exclude_purchased=like.exclude_purchased if body.exclude_purchased is None else body.exclude_purchased,
        exclude_product_ids=tuple(body.exclude_product_ids),
        filters=Filters(
            tuple(wanted.categories),
            tuple(wanted.brands),
            wanted.min_price,
            wanted.max_price,
            wanted.available_only,
        ),
        context=PageContext(context.page, tuple(context.product_ids), context.category, context.device),
        diversity=body.diversity,
        explain=body.explain,
        include_products=body.include_products,
    )


def _validated(body: FeedbackRequest, now: int) -> tuple[dict[int, StoredEvent], list[dict[str, Any]]]:
    """The valid events by their place in the body, and the others as `RefusedEvent` rows."""
    prefix = "" if isinstance(body.root, FeedbackEvent) else "events.{}."
    valid: dict[int, StoredEvent] = {}
    refused: list[dict[str, Any]] = []
    for place, event in enumerate(body.events):
        where = prefix.format(place)
        try:
            if isinstance(event, FeedbackEvent):
                valid[place] = stored_event(event, now, where)
                continue
            problems = [(f"{where}{field}".rstrip("."), rule) for field, rule in event.problems]
        except Refusal as refusal:
            problems = [(refusal.field or where, refusal.message.partition(": ")[2])]
        for field, rule in problems:
            row = {"index": place, "field": field, "message": f"{field}: {rule}"}
            refused.append(row | ({"event_id": event.event_id} if event.event_id else {}))
    return valid, refused


def stored_event(event: FeedbackEvent, now: int, where: str) -> StoredEvent:
    """The event as it is stored. ``where``: path of the event in the body.

    Raises:
        Refusal: 422 for an impossible time, or an event ``rating`` without a rating.
    """
    if event.event_type == "rating" and event.rating is None:
        field = f"{where}rating"
        raise Refusal(422, "invalid_request", f"{field}: is required where event_type is rating", field)
    return StoredEvent(
        event_id=event.event_id,
        user_id=event.user_id,
        product_id=event.product_id,
        interaction_type=InteractionType.from_label(event.event_type),
        timestamp=_timestamp(event.timestamp, now, f"{where}timestamp"),
        rating=event.rating,
        price=event.price,
        quantity=event.quantity,
        request_id=event.request_id,
    )


def _timestamp(given: int | None, now: int, field: str) -> int:
    try:
        return accepted_timestamp(given, now)
    except TimestampRefused as error:
        rule = str(error).removeprefix("timestamp ")
        raise Refusal(422, "invalid_request", f"{field}: {rule}", field) from None


def _identifiers(candidates: Sequence[str]) -> list[str]:
    """Those of ``candidates`` that may be ids. Raises `Refusal` (422) when there is none."""
    found: list[str] = []
    for candidate in candidates:
        with suppress(ValueError):
            found.append(normalise_id(candidate))
    if not found:
        raise Refusal(422, "invalid_request", f"product_id: {ID_RULE}", "product_id")
    return found


def _note(app: Resolver, answer: ServiceAnswer) -> None:
    notes: dict[str, Any] = app.notes
    notes.update(
        model_version=answer.model_version,
        variant=answer.variant,
        items=len(answer.ranking.items),
        stage=answer.ranking.stage,
        timings=answer.timings,
        causes=answer.cause.split("; ") if answer.cause else [],
    )
    if answer.exposure.list_kind == "recommend":
        notes["version_failed"] = answer.version_failed
