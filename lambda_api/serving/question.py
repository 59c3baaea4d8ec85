"""The question that a scorer is asked and the ranking that it returns, in this process or over an endpoint, as JSON.

No numpy: these pass through processes that never score.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from pydantic import TypeAdapter

from lambda_api.errors import RecsysError
from lambda_api.interactions import Event
from lambda_api.product_card import ProductCard
from lambda_api.settings import Settings

Page = Literal["homepage", "product", "cart", "category"]
ReasonCode = Literal[
    "viewed",
    "carted",
    "bought",
    "bought_together",
    "popular_in_category",
    "popular",
    "new_and_similar",
    "buy_again",
    "exploration",
    "similar",
    "for_you",
]
Stage = Literal["ranked", "candidates", "popular"]


class UnknownProduct(RecsysError, ValueError):
    """Neither the model nor the catalogue has the product."""


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


class JsonValue:
    """Conversion to plain dicts and back. Numbers must be finite; unknown keys are refused at every level."""

    __slots__ = ()
    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # noqa: RUF012

    def to_json(self, *, brief: bool = False) -> dict[str, Any]:
        """JSON-able form: tuples as lists, interaction types as their codes; ``brief``: without defaults."""
        return _adapter(type(self)).dump_python(self, mode="json", exclude_defaults=brief)

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Inverse of `to_json`. Raises ``ValueError`` naming field and rule."""
        return _adapter(cls).validate_python(content)

    @classmethod
    def read_json(cls, body: bytes) -> Self:
        """`from_json` of JSON text in UTF-8."""
        return _adapter(cls).validate_json(body)


@dataclass(frozen=True, slots=True)
class PageContext(JsonValue):
    """Where the list will be shown. ``product_ids`` are the products of a product page or in the cart.

    They count as events at the question's ``now`` and are not recommended.
    """

    page: Page = "homepage"
    product_ids: tuple[str, ...] = ()
    category: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Filters(JsonValue):
    """Filters on the products of a list. Empty tuples and ``None`` filter nothing; prices are inclusive.

    A product of unknown category, brand or price does not pass a filter on it.
    """

    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    min_price: float | None = None
    max_price: float | None = None
    available_only: bool = True


@dataclass(frozen=True, slots=True)
class ListRules(JsonValue):
    """What a shop wants of every list, from its settings. Rules give way where a list would get shorter.

    Attributes:
        max_per_category, max_per_brand: most places of one category or brand; ``None`` for no limit.
        freshness: relevance, >= 0, added to a product seen for the first time now (relevance is in [0, 1]).
        fresh_days: half-life of that addition.
        new_products: whether the last place may go to a product younger than the model.
    """

    max_per_category: int | None = None
    max_per_brand: int | None = None
    freshness: float = 0.0
    fresh_days: float = 14.0
    new_products: bool = True

    def __post_init__(self) -> None:
        for name in ("max_per_category", "max_per_brand"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise ValueError(f"{name} must be at least 1 or None, not {limit}")
        if not (self.freshness >= 0 and self.fresh_days > 0):
            raise ValueError("freshness must be >= 0 and fresh_days > 0")


@dataclass(frozen=True, slots=True)
class Question(JsonValue):
    """Everything that a list depends on, besides model and catalogue.

    Attributes:
        user_id: ``""`` for a visitor without one.
        events: what the shopper did, any order.
        now: seconds since 1970 UTC; later events are ignored.
        k: length of the list, at least 1.
        exclude_purchased: leave out products with a purchase among ``events``.
        exclude_product_ids: leave these out too.
        diversity: 0 (exactly as ranked) to 1 (products as different from each other as possible).
        explore: share of places, 0 to 1, filled at random; every item then carries its propensity.
        seed: of the random choice, so that the same question has the same answer.
        rules: the shop's, for every list.
        explain: fill `RankedItem.explanation`.
        include_products: fill `RankedItem.product`.
    """

    user_id: str
    events: tuple[Event, ...]
    now: int
    k: int
    exclude_purchased: bool = True
    exclude_product_ids: tuple[str, ...] = ()
    filters: Filters = Filters()
    context: PageContext = PageContext()
    diversity: float = 0.0
    explore: float = 0.0
    seed: str = ""
    rules: ListRules = ListRules()
    explain: bool = False
    include_products: bool = False

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, not {self.k}")
        for name, share in (("diversity", self.diversity), ("explore", self.explore)):
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, not {share}")

    @classmethod
    def template(cls, settings: Settings, k: int) -> Self:
        """A question as the shop's settings want its lists, of nobody and without events."""
        rules = ListRules(**{field.name: getattr(settings, field.name) for field in fields(ListRules)})
        return cls("", (), 0, k, exclude_purchased=not settings.allow_repeats, rules=rules)


@dataclass(frozen=True, slots=True)
class Reason(JsonValue):
    """Why an item is shown: ``text`` for people, ``code`` for programs, ``product_id`` where it names a product."""

    code: ReasonCode
    text: str
    product_id: str | None = None


@dataclass(frozen=True, slots=True)
class RankedItem(JsonValue):
    """One place of a list.

    Attributes:
        score: comparable within its list only, and not ascending where rules re-ranked it.
        propensity: probability, over all seeds, of this product at this place; ``None`` without exploration.
        explanation: past products and how much each raised the score, largest first; empty unless asked for.
    """

    product_id: str
    score: float
    reason: Reason
    propensity: float | None = None
    product: ProductCard | None = None
    explanation: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Ranking(JsonValue):
    """A list, best place first.

    Attributes:
        stage: ``ranked`` (by the model), ``candidates`` (without its learned ranker) or ``popular``.
        personal: whether the shopper's history took part.
    """

    items: tuple[RankedItem, ...]
    stage: Stage
    personal: bool


Operation = Literal["answer", "answer_unranked", "similar"]


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a scorer is asked: a ``question``, with or without the learned ranker, or ``k`` products similar to one."""

    operation: Operation
    k: int
    question: Question | None = None
    similar_to: str = ""

    @classmethod
    def of(cls, question: Question, operation: Operation = "answer") -> Self:
        """A question; ``answer_unranked`` leaves out the learned ranker."""
        return cls(operation, question.k, question)

    @classmethod
    def of_similar(cls, product_id: str, k: int) -> Self:
        """Similar products."""
        return cls("similar", k, similar_to=product_id)
