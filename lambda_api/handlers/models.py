"""Request and response models of the HTTP API; the OpenAPI document and the Python client are made from them.

Validation is strict: ``"10"`` is not a number, unknown fields are errors, and NaN and infinity are refused. Length
limits bound the cost of one request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from lambda_api.ids_rule import ID_PATTERN, MAX_ID_LENGTH, normalise_id
from lambda_api.serving.question import Page, ReasonCode

_PLAIN = r"^[^\u0000-\u001f\u007f-\u009f]+$"
"""Without control characters, because names are printed in logs and on pages."""

Identifier = Annotated[
    str,
    AfterValidator(normalise_id),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH, "pattern": ID_PATTERN}),
]
"""An id by the rule of `lambda_api.ids_rule`; white space around it is removed."""

Label = Annotated[str, Field(min_length=1, max_length=200, pattern=_PLAIN)]
"""Name of a category or brand: 1 to 200 characters without control characters."""

Timestamp = Annotated[
    # The upper limit is in the schema only: times in the future, milliseconds among them, are refused with a hint.
    int, Field(ge=0, json_schema_extra={"maximum": 253_402_300_799}, description="Seconds since 1970 UTC; not future.")
]
Price = Annotated[float, Field(ge=0, le=1e12, description="In the shop's currency.")]
EventType = Literal["view", "add_to_cart", "purchase", "rating"]


class Strict(BaseModel):
    """Base of all models here: unknown fields are refused, values are not converted, numbers are finite; immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True, protected_namespaces=())


class FiltersIn(Strict):
    """Filters on the products of a list. Empty lists and absent prices filter nothing; prices are inclusive."""

    categories: list[Label] = Field(default=[], max_length=50)
    brands: list[Label] = Field(default=[], max_length=50)
    min_price: Price | None = None
    max_price: Price | None = None
    available_only: bool = True


class ContextIn(Strict):
    """Where the list will be shown."""

    page: Page = "homepage"
    product_ids: list[Identifier] = Field(
        default=[], max_length=50, description="Products shown (page `product`) or in the cart (page `cart`)."
    )
    category: Label | None = Field(default=None, description="The category shown (page `category`).")
    device: Annotated[str, Field(max_length=64, pattern=_PLAIN)] | None = None


class EventIn(Strict):
    """A recent event of the shopper that may not have been sent to `/feedback` yet."""

    product_id: Identifier
    event_type: EventType
    timestamp: Timestamp | None = Field(default=None, description="Seconds since 1970 UTC. Default: now.")


class RecommendRequest(Strict):
    """Body of `POST /recommend`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "user_id": "user_123",
                    "num_recommendations": 10,
                    "exclude_purchased": True,
                    "context": {"page": "homepage", "device": "mobile"},
                    "diversity": 0.3,
                    "explain": True,
                }
            ]
        }
    )

    user_id: Identifier
    num_recommendations: int = Field(default=10, ge=1, le=100)
    exclude_purchased: bool | None = Field(
        default=None, description="Leave out products that the shopper bought. Default: as the shop's lists are made."
    )
    exclude_product_ids: list[Identifier] = Field(default=[], max_length=500)
    filters: FiltersIn = FiltersIn()
    include_products: bool = Field(default=False, description="Send name, category, brand and price of each product.")
    context: ContextIn = ContextIn()
    diversity: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="0: as ranked by the model; 1: products as different from each other as possible.",
    )
    explain: bool = Field(default=False, description="Add the past products that raised each score, and by how much.")
    events: list[EventIn] = Field(default=[], max_length=100)


class FeedbackEvent(Strict):
    """One event of a shopper. Sending it twice is safe: events are known by `event_id`."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"event_type": {"const": "rating"}}, "required": ["event_type"]},
            "then": {"required": ["rating"], "properties": {"rating": {"type": "number"}}},
            "examples": [
                {"event_id": "e-1", "user_id": "user_123", "product_id": "85099B", "event_type": "view"},
            ],
        }
    )

    event_id: Identifier
    user_id: Identifier
    product_id: Identifier
    event_type: EventType
    timestamp: Timestamp | None = Field(default=None, description="Seconds since 1970 UTC. Default: now.")
    rating: Annotated[float, Field(ge=0, le=10)] | None = Field(
        default=None, description="Required where `event_type` is `rating`."
    )
    price: Price | None = Field(default=None, description="Paid or shown, for one piece.")
    quantity: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    request_id: Identifier | None = Field(
        default=None, description="`request_id` of the list that led to this event, if one did."
    )


@dataclass(frozen=True, slots=True)
class InvalidEvent:
    """An event of a batch that breaks a rule: (field, rule) of every problem, and its id where it has one."""

    event_id: str | None
    problems: tuple[tuple[str, str], ...]


def _event_or_problems(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError as error:
        given = value.get("event_id") if isinstance(value, dict) else None
        return InvalidEvent(given if isinstance(given, str) else None, problems_of(error))


def problems_of(error: ValidationError) -> tuple[tuple[str, str], ...]:
    """Path to the field and rule of every problem."""
    return tuple((".".join(map(str, one["loc"])), rule_of(one)) for one in error.errors(include_url=False))


def rule_of(problem: Mapping[str, Any]) -> str:
    """The rule that a problem of pydantic names, in the API's words."""
    return {"extra_forbidden": "unknown field", "missing": "is required"}.get(problem["type"]) or str(
        problem["msg"]
    ).removeprefix("Value error, ")


class FeedbackBatch(Strict):
    """Several events at once. Invalid ones are named in `refused` and do not affect the others."""

    events: list[Annotated[FeedbackEvent, WrapValidator(_event_or_problems)]] = Field(min_length=1, max_length=50)


def _batch_or_event(content: Any) -> str:
    given = content if isinstance(content, dict) else getattr(content, "__dict__", {})
    return "batch" if "events" in given else "event"


class FeedbackRequest(
    RootModel[
        Annotated[
            Annotated[FeedbackBatch, Tag("batch")] | Annotated[FeedbackEvent, Tag("event")],
            Discriminator(_batch_or_event),
        ]
    ]
):
    """Body of `POST /feedback`: `{"events": [...]}`, or one event."""

    @property
    def events(self) -> Sequence[FeedbackEvent | InvalidEvent]:
        """The events in the order sent; only batches hold invalid ones."""
        return self.root.events if isinstance(self.root, FeedbackBatch) else [self.root]


class ProductOut(Strict):
    """A product as the shop shows it; `null` is unknown."""

    product_id: str
    name: str | None
    category: str | None
    brand: str | None
    price: float | None
    available: bool


class InfluenceOut(Strict):
    """A past product and how much it raised the score."""

    product_id: str
    weight: float


class RecommendationOut(Strict):
    """One place of a list."""

    product_id: str
    score: float = Field(description="Comparable within its list only.")
    reason: str = Field(description="A sentence for the shopper: 'Because you viewed ...'.")
    reason_code: ReasonCode
    reason_product_id: str | None = Field(default=None, description="The product that the reason names.")
    product: ProductOut | None = Field(default=None, description="With `include_products`.")
    explanation: list[InfluenceOut] | None = Field(default=None, description="With `explain`; largest first.")


class RecommendResponse(Strict):
    """Answer of `POST /recommend`. Fields without a value are left out."""

    recommendations: list[RecommendationOut] = Field(description="Best first; never longer than asked for.")
    model_version: str = Field(description="`baseline` where no model answered.")
    inference_time_ms: float = Field(ge=0)
    request_id: str = Field(description="Send it with feedback that this list led to.")
    variant: str = Field(description="Variant of the experiment that this shopper is in.")
    shopper_known: bool | None = Field(
        default=None, description="Whether any event of this shopper is known; absent if the history cannot be read."
    )
    fallback: str | None = Field(
        default=None, description="Cause of a failure, where the list is not the best possible."
    )


class ListResponse(Strict):
    """Answer of `GET /similar/{product_id}` and `GET /popular`. Fields without a value are left out."""

    recommendations: list[RecommendationOut]
    model_version: str
    inference_time_ms: float = Field(ge=0)
    request_id: str
    fallback: str | None = None


class RefusedEvent(Strict):
    """An event that breaks a rule and was not stored."""

    index: int = Field(ge=0, description="Place in `events`, from 0.")
    event_id: str | None = None
    field: str
    message: str = Field(description="The rule, with the field in front.")


class UnknownProductEvent(Strict):
    """A stored event whose product is not in the catalogue: new, misspelt or removed. It is not recommended."""

    index: int = Field(ge=0, description="Place in `events`, from 0.")
    event_id: str
    product_id: str


class FeedbackResponse(Strict):
    """Answer of `POST /feedback`: every event is accepted, a duplicate, or named in `retry` or `refused`."""

    accepted: int = Field(ge=0, description="Events stored for the first time.")
    duplicates: int = Field(ge=0, description="Events stored before, or twice in this body.")
    retry: list[str] = Field(description="Ids of events that could not be stored: send them again.")
    refused: list[RefusedEvent] = Field(default=[], description="Events that break a rule; sending again is useless.")
    unknown_products: list[UnknownProductEvent] = Field(
        default=[], description="Stored events of products that the catalogue does not have."
    )
    request_id: str


class ServedModel(Strict):
    """A model version in service."""

    variant: str
    model_version: str
    weight: float | None = Field(default=None, description="Share of shoppers, 0 to 1; none for the shadow.")
    loaded_version: str | None = Field(
        description="Version loaded in this process; null before the first request, and for endpoints."
    )
    since: int | None = Field(description="Start of its service in this process, seconds since 1970 UTC.")


class DependencyState(Strict):
    """State of one dependency in this process."""

    name: str
    status: Literal["closed", "open", "half_open"] = Field(description="`closed` is healthy; `open` is not called.")
    failures: int = Field(ge=0, description="In a row.")
    last_error: str | None
    last_success_age_s: float | None


class CatalogueState(Strict):
    """The catalogue in service."""

    products: int
    checksum: str
    published_at: int | None


class HealthResponse(Strict):
    """Answer of `GET /health`; always 200 while the process answers."""

    status: Literal["ok", "degraded"]
    problems: list[str] = Field(description="Reasons for `degraded`.")
    experiment: str | None
    models: list[ServedModel]
    catalogue: CatalogueState | None
    dependencies: list[DependencyState]
    started_at: int
    request_id: str


class Latency(Strict):
    """Latency of one route in this process, milliseconds, over its most recent requests."""

    route: str
    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float


class MetricsResponse(Strict):
    """Answer of `GET /metrics`: counters of this process since it started."""

    started_at: int
    prediction_cache_hit_share: float | None = Field(
        default=None, description="Share of lists given from the cache, 0 to 1; null before the first question."
    )
    counters: dict[str, int]
    latencies: list[Latency]


class ForgetRequest(Strict):
    """Body of `POST /forget`."""

    user_id: Identifier = Field(description="The shopper to remove.")


class ForgetResponse(Strict):
    """Answer of `POST /forget`."""

    user_id: Identifier
    history_records: int = Field(ge=0, description="Records removed from the history that lists are made of.")
    request_id: str


class ErrorDetail(Strict):
    """One of several problems."""

    field: str
    message: str


class ErrorBody(Strict):
    """The error, for programs (`code`, `field`) and people (`message`)."""

    code: str
    message: str
    field: str | None = Field(
        default=None, description="Path to the field, as `filters.min_price` or `events.0.rating`."
    )
    details: list[ErrorDetail] | None = Field(default=None, description="Every problem, where there are several.")


class ErrorResponse(Strict):
    """Every answer of 400 and above."""

    error: ErrorBody
    request_id: str
