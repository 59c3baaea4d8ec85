"""The question the service asks of whoever scores, and the ranking it gets back: in this process or over an endpoint.

Put a field here when scoring needs it or tells it. Keep HTTP's own models (``lambda_api.handlers.models``) and how an
answer comes about (``engine``) out. No numpy: this travels through processes that never score.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import TypeAdapter

from lambda_api.errors import RecsysError
from lambda_api.interactions import Event
from lambda_api.product_card import ProductCard

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


_STRICT = {"extra": "forbid", "allow_inf_nan": False}


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


class _Json:
    """Plain dicts and back. Numbers are finite; unknown keys are refused at every level."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-able form: tuples as lists, interaction types as their codes."""
        return _adapter(type(self)).dump_python(self, mode="json")

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Inverse of `to_json`. Raises ``ValueError`` naming the field and the rule."""
        return _adapter(cls).validate_python(content)


@dataclass(frozen=True, slots=True)
class PageContext(_Json):
    """Where the list will be shown. On a product page ``product_ids`` are on show, in the cart they lie in it.

    On both they count as events at the question's ``now`` and are not recommended.
    """

    __pydantic_config__ = _STRICT

    page: Page = "homepage"
    product_ids: tuple[str, ...] = ()
    category: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Filters(_Json):
    """What may be shown. Empty tuples and ``None`` filter nothing; prices are inclusive, in the shop's currency.

    A product whose category, brand or price is unknown does not pass a filter on it.
    """

    __pydantic_config__ = _STRICT

    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    min_price: float | None = None
    max_price: float | None = None
    available_only: bool = True


@dataclass(frozen=True, slots=True)
class Question(_Json):
    """Everything a list of one shopper depends on.

    Attributes:
        user_id: ``""`` for a visitor without one.
        events: what the shopper did, any order.
        now: seconds since 1970 UTC; later events are left out.
        k: length of the list, at least 1.
        exclude_purchased: leave out products with a purchase among ``events``.
        exclude_product_ids: leave these out as well.
        diversity: 0 (the list as ranked, exactly) to 1 (as different from each other as can be).
        explore: share of places, 0 to 1, given to chance; then every item carries its propensity.
        seed: all chance comes from it, so that the same question has the same answer.
        explain: fill `RankedItem.explanation`.
        include_products: fill `RankedItem.product`.
    """

    __pydantic_config__ = _STRICT

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
    explain: bool = False
    include_products: bool = False

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, not {self.k}")
        for name, share in (("diversity", self.diversity), ("explore", self.explore)):
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, not {share}")


@dataclass(frozen=True, slots=True)
class Reason(_Json):
    """Why an item is shown, for people (``text``) and machines; ``product_id`` where it names a product."""

    __pydantic_config__ = _STRICT

    code: ReasonCode
    text: str
    product_id: str | None = None


@dataclass(frozen=True, slots=True)
class RankedItem(_Json):
    """One place of a list.

    Attributes:
        score: comparable within its list only, and not ascending where rules re-ranked it.
        propensity: chance, over all seeds, that this product had this place; ``None`` where
            nothing was left to chance.
        explanation: past products and how much each moved the score, largest first; empty unless asked for.
    """

    __pydantic_config__ = _STRICT

    product_id: str
    score: float
    reason: Reason
    propensity: float | None = None
    product: ProductCard | None = None
    explanation: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Ranking(_Json):
    """A list, best place first.

    Attributes:
        stage: what made it: the model (``ranked``), its candidates without the learned ranker (``candidates``), or
            popularity alone (``popular``).
        personal: whether the shopper's history moved it.
    """

    __pydantic_config__ = _STRICT

    items: tuple[RankedItem, ...]
    stage: Stage
    personal: bool
