"""Reasons: why each product is shown, checked against the model before they are given.

A reason may name a product of the shopper's past only if the score falls without it: the list is scored again for the
same shopper without any event of that product, all such changed histories in one batch. The model's own account of its
score (`Recommender.contributions`) only proposes which product to check. Where no single product passes the check, the
reason states a fact about the product shown: that it is popular, and where.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.catalogue import UNKNOWN_TIME, AlignedCatalogue, Catalogue
from lambda_api.recommender.contract import Recommender, ScoreArray
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IdMap, IndexArray
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from lambda_api.serving.question import Reason, ReasonCode

NEW_DAYS = 14
"""A product first seen at most this long ago is called new."""

TOP_OF_CATEGORY, TOP_OF_SHOP = 20, 100
"""Best ranks by popularity that are called popular."""

MIN_RELATIVE_DROP = 1e-4
"""Relative fall of a score that counts as caused by a removed product; well above rounding errors."""


@dataclass(frozen=True)
class PopularityRank:
    """Rank of each product by popularity, in the shop and in its category; the same for every shopper.

    Sorted once, on first use.
    """

    recommender: Recommender
    columns: AlignedCatalogue

    @cached_property
    def place_in_shop(self) -> IndexArray:
        """int32 ``[n]``, 0 for the most popular."""
        place = np.empty(len(self.recommender.products), dtype=np.int32)
        place[self.recommender.popular_order] = np.arange(len(place), dtype=np.int32)
        return place

    @cached_property
    def place_in_category(self) -> IndexArray:
        """int32 ``[n]``, 0 for the most popular of each category."""
        return _places_within(self.columns.category, self.place_in_shop)

    @cached_property
    def _place_this_week(self) -> IndexArray:
        sold = self.recommender.sold_this_week(now=0)  # `reason` checks that the week is current
        if sold is None:
            return np.full(len(self.recommender.products), len(self.recommender.products), dtype=np.int32)
        return _places_within(self.columns.category, np.where(sold > 0, -sold, np.inf))

    def reasons(self, product: int, now: int) -> Iterator[Reason]:
        """Reasons that hold for every shopper, the most telling first; none for an unpopular product."""
        category = int(self.columns.category[product])
        if category >= 0:
            name = self.columns.category_names[category]
            sold = self.recommender.sold_this_week(now)
            if sold is not None and sold[product] > 0 and self._place_this_week[product] < TOP_OF_CATEGORY:
                yield Reason("popular_in_category", f"Popular in {name} this week")
        if self.recommender.popularity[product] <= 0:
            return
        if category >= 0 and self.place_in_category[product] < TOP_OF_CATEGORY:
            yield Reason("popular_in_category", f"Popular in {name}")
        if self.place_in_shop[product] < TOP_OF_SHOP:
            yield Reason("popular", "Popular in the shop")


@dataclass(frozen=True, slots=True)
class ScoreAttribution:
    """Which past products raised the scores of ``m`` products of one shopper.

    Attributes:
        past: int32 ``[p]``, products of the shopper.
        parts: float64 ``[m, p]``, contribution of each past product to each score.
        named: int64 ``[m]``, index in ``past`` of the product without which the score falls; -1: none found, or named
            often enough.
    """

    past: IndexArray
    parts: NDArray[np.float64]
    named: NDArray[np.int64]


def attribute_scores(
    recommender: Recommender,
    history: Histories,
    products: IndexArray,
    scores: ScoreArray,
    check: IndexArray | None = None,
) -> ScoreAttribution:
    """For each product (``[m]``, distinct) the past product that contributed most and whose removal lowers the score.

    One changed history is scored for each past product in ``check`` (`Recommender.to_check`). Where that is ``None``,
    those that contributed most to most products are checked, at most `Recommender.variants_per_answer`. A product is
    given the best of these that contributed to it. One past product is named for at most `most_repeated` products,
    beside itself.
    """
    past, parts = recommender.contributions(history, products, scores)
    named = np.full(len(products), -1, dtype=np.int64)
    if len(past) == 0 or len(products) == 0:
        return ScoreAttribution(past, parts, named)
    if check is not None:
        choices = np.searchsorted(past, check)
    else:
        first = np.argmax(parts, axis=1)[parts.max(axis=1) > 0]
        choices, votes = np.unique(first, return_counts=True)
        choices = choices[np.argsort(-votes, kind="stable")][: recommender.variants_per_answer]
    if len(choices) == 0:
        return ScoreAttribution(past, parts, named)
    falls = score_falls(recommender, history, products, scores, past[choices])
    best = np.where(falls.T, parts[:, choices], 0.0)
    left = dict.fromkeys(choices.tolist(), most_repeated(len(products)))
    for row, (product, order) in enumerate(zip(products.tolist(), np.argsort(-best, axis=1).tolist(), strict=True)):
        for at in order:
            cause = int(choices[at])
            itself = int(past[cause]) == product
            if best[row, at] > 0 and (itself or left[cause] > 0):
                named[row] = cause
                left[cause] -= not itself
                break
    return ScoreAttribution(past, parts, named)


def most_repeated(places: int) -> int:
    """Most of ``places`` that are given one reason, a third, where another one is true."""
    return -(-places // 3)


def score_falls(
    recommender: Recommender, history: Histories, products: IndexArray, scores: ScoreArray, without: IndexArray
) -> NDArray[np.bool_]:
    """Whether the ``scores`` of ``products`` (``[m]``) fall when all events of a past product (``[d]``) are removed.

    A shopper without any event left that the model knows has no personal score; that counts as a fall.

    Returns:
        bool ``[d, m]``.
    """
    changed, known = recommender.score_without(history, without, products)
    return (changed < scores - MIN_RELATIVE_DROP * np.abs(scores)) | ~known[:, None]


@dataclass(frozen=True, slots=True)
class _Cause:
    """A product of the past and what the shopper did with it. ``place``: its row in the catalogue, -1 without one."""

    product_id: str
    name: str
    place: int
    purchases: int
    carted: bool
    rated: bool


@dataclass(frozen=True, slots=True)
class ReasonTexts:
    """Texts of reasons for one shopper.

    Attributes:
        columns: ``catalogue`` in the order of ``products``.
        on_show: indices of the products on whose page the list is shown.
        causes: those looked up so far, by product.
    """

    history: Histories
    products: IdMap
    catalogue: Catalogue
    columns: AlignedCatalogue
    on_show: frozenset[int] = frozenset()
    causes: dict[int, _Cause] = field(default_factory=dict)

    def of(self, cause: int, shown: int) -> Reason:
        """The reason why ``shown`` is listed because of ``cause``: the first of these that is true.

        1. It is ``cause`` itself: bought before, in the cart, viewed.
        2. Bought together: ``shown`` is a companion of ``cause``, and the shopper bought ``cause``, has it in the cart
           or has its page open.
        3. New, and of the category of ``cause``.
        4. The strongest event of ``cause``: bought, put into the cart, rated, viewed.
        """
        if cause not in self.causes:
            self.causes[cause] = self._cause(cause)
        past = self.causes[cause]
        if cause == shown:
            return self._again(past)
        acquired = past.purchases > 0 or past.carted or cause in self.on_show
        if acquired and self.catalogue.has_companion(past.place, int(self.columns.place[shown])):
            return Reason("bought_together", f"Bought together with {past.name}", past.product_id)
        if self._is_new(shown) and self._alike(cause, shown):
            return Reason("new_and_similar", f"New, and similar to {past.name}", past.product_id)
        code: ReasonCode = "viewed"
        text = f"Because you viewed {past.name}"
        if past.purchases:
            code, text = "bought", f"Because you bought {past.name}"
        elif past.carted:
            code, text = "carted", f"Because you put {past.name} in your cart"
        elif past.rated:
            text = f"Because you rated {past.name}"
        return Reason(code, text, past.product_id)

    def _cause(self, product: int) -> _Cause:
        own = self.history.products == product
        types, times = self.history.types[own].tolist(), self.history.timestamps[own].tolist()
        product_id = self.products.external([product])[0]
        place = int(self.columns.place[product])
        return _Cause(
            product_id=product_id,
            name=(self.catalogue.name(place) if place >= 0 else None) or product_id,
            place=place,
            purchases=len({at for kind, at in zip(types, times, strict=True) if kind == InteractionType.PURCHASE}),
            carted=InteractionType.ADD_TO_CART in types,
            rated=InteractionType.RATING in types,
        )

    @staticmethod
    def _again(past: _Cause) -> Reason:
        if past.purchases > 1:
            return Reason("buy_again", "You buy this regularly", past.product_id)
        if past.purchases == 1:
            return Reason("buy_again", "You bought this before", past.product_id)
        if past.carted:
            return Reason("carted", "You put this in your cart", past.product_id)
        return Reason("viewed", "You had a look at this", past.product_id)

    def _is_new(self, product: int) -> bool:
        seen = int(self.columns.first_seen[product])
        return seen > UNKNOWN_TIME and self.history.now - seen <= NEW_DAYS * SECONDS_PER_DAY

    def _alike(self, cause: int, shown: int) -> bool:
        category = self.columns.category
        return bool(category[cause] >= 0 and category[cause] == category[shown])


def reasons_for(
    recommender: Recommender,
    popularity_rank: PopularityRank,
    texts: ReasonTexts,
    products: IndexArray,
    scores: ScoreArray,
    personal: bool,
    check: IndexArray | None = None,
) -> tuple[list[Reason], ScoreAttribution]:
    """One reason for each product shown (``[m]``, distinct), and the attribution of their scores.

    A reason is given to at most `most_repeated` products, unless nothing else is true of one.

    Args:
        scores: float32 ``[m]``, by which they were ranked.
        personal: whether the model knows the shopper.
        check: past products that may be named, see `attribute_scores`.
    """
    history = texts.history
    evident = scores > 0 if recommender.zero_means_no_evidence else np.ones(len(products), dtype=bool)
    evident = evident & personal
    attribution = attribute_scores(recommender, history, products[evident], scores[evident], check)
    reasons: list[Reason] = []
    used: Counter[Reason] = Counter()
    row = np.cumsum(evident) - 1
    for place, product in enumerate(products.tolist()):
        named = int(attribution.named[row[place]]) if evident[place] else -1
        if named >= 0:
            reasons.append(texts.of(int(attribution.past[named]), product))
            continue
        led = evident[place] and (len(attribution.past) == 0 or attribution.parts[row[place]].max() > 0)
        unnamed = led and len(attribution.past) == 0  # a trained user vector: personal, and no event can be singled out
        general = [] if unnamed else list(popularity_rank.reasons(product, history.now))
        if led:
            general.append(Reason("for_you", "Chosen for you"))
        last = general[-1] if general else Reason("popular", "Next by popularity")
        reason = next((one for one in general if used[one] < most_repeated(len(products))), last)
        used[reason] += 1
        reasons.append(reason)
    if evident.all():
        return reasons, attribution
    parts = np.zeros((len(products), len(attribution.past)))
    parts[evident] = attribution.parts
    named_of = np.full(len(products), -1, dtype=np.int64)
    named_of[evident] = attribution.named
    return reasons, ScoreAttribution(attribution.past, parts, named_of)


def _places_within(groups: IndexArray, key: NDArray[np.generic]) -> IndexArray:
    """Place of each product within its group by ascending ``key``; int32 ``[n]``."""
    order = np.lexsort((np.asarray(key), groups))
    ordered = groups[order]
    places = np.empty(len(groups), dtype=np.int32)
    places[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return places
