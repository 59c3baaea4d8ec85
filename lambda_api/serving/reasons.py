"""Reasons: why each product is shown, computed from what moved its score, and checked before it is said.

Put a new kind of reason here, with the condition under which it is true. Keep how lists come about (``engine``) out.

A reason may name a product of the shopper's past only if the score really falls without it: the list is scored once
more for the same shopper without any event of that product, all such changed histories in one batch. What a model says
of its own score (`Recommender.contributions`) only tells where to look. Where no single product carries the score the
reason falls back to what is true of the product itself: that it is popular, and where.
"""

from dataclasses import dataclass
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
"""A product the shop first saw so recently is called new."""

TOP_OF_CATEGORY, TOP_OF_SHOP = 20, 100
"""Places by popularity down to which a product is called popular."""

FALL = 1e-4
"""Part of a score that must be lost before an event is said to have moved it: well above rounding."""


@dataclass(frozen=True)
class Standing:
    """What is true of each product whoever asks: its place by popularity in the shop and in its category.

    Everything is sorted once, when it is first asked for.
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
        sold = self.recommender.sold_this_week(now=0)  # whether it still is this week is asked for each reason
        if sold is None:
            return np.full(len(self.recommender.products), len(self.recommender.products), dtype=np.int32)
        return _places_within(self.columns.category, np.where(sold > 0, -sold, np.inf))

    def reason(self, product: int, now: int) -> Reason | None:
        """A reason for one product that holds for every shopper; ``None`` where nothing of note is true of it."""
        category = int(self.columns.category[product])
        if category >= 0:
            name = self.columns.category_names[category]
            sold = self.recommender.sold_this_week(now)
            if sold is not None and sold[product] > 0 and self._place_this_week[product] < TOP_OF_CATEGORY:
                return Reason("popular_in_category", f"Popular in {name} this week")
        if self.recommender.popularity[product] <= 0:
            return None
        if category >= 0 and self.place_in_category[product] < TOP_OF_CATEGORY:
            return Reason("popular_in_category", f"Popular in {name}")
        if self.place_in_shop[product] < TOP_OF_SHOP:
            return Reason("popular", "Popular in the shop")
        return None


@dataclass(frozen=True, slots=True)
class Moved:
    """What moved the scores of ``m`` products of one shopper.

    Attributes:
        past: int32 ``[p]``, products of the shopper.
        parts: float64 ``[m, p]``, how much each moved each score.
        named: int64 ``[m]``, the place in ``past`` whose absence makes the score fall, -1 where none was found to.
    """

    past: IndexArray
    parts: NDArray[np.float64]
    named: NDArray[np.int64]


def what_moved(recommender: Recommender, history: Histories, products: IndexArray, scores: ScoreArray) -> Moved:
    """For each product (``[m]``, distinct) the past product that moved its score most, and without which it falls.

    At most `Recommender.variants_per_answer` changed histories are scored, those named by most products first; other
    products fall back to the best of these that moved them too.
    """
    past, parts = recommender.contributions(history, products, scores)
    named = np.full(len(products), -1, dtype=np.int64)
    if len(past) == 0 or len(products) == 0:
        return Moved(past, parts, named)
    first = np.argmax(parts, axis=1)[parts.max(axis=1) > 0]
    choices, votes = np.unique(first, return_counts=True)
    choices = choices[np.argsort(-votes, kind="stable")][: recommender.variants_per_answer]
    if len(choices) == 0:
        return Moved(past, parts, named)
    falls = score_falls(recommender, history, products, scores, past[choices])
    best = np.where(falls.T, parts[:, choices], 0.0)
    at = np.argmax(best, axis=1)
    found = best[np.arange(len(products)), at] > 0
    named[found] = choices[at[found]]
    return Moved(past, parts, named)


def score_falls(
    recommender: Recommender, history: Histories, products: IndexArray, scores: ScoreArray, without: IndexArray
) -> NDArray[np.bool_]:
    """Whether the ``scores`` of ``products`` (``[m]``) fall when a past product (``[d]``) had never been touched.

    A shopper of whom nothing is left that the model knows has no score of their own any more: that is a fall too.

    Returns:
        bool ``[d, m]``.
    """
    changed, known = recommender.score_without(history, without, products)
    return (changed < scores - FALL * np.abs(scores)) | ~known[:, None]


@dataclass(frozen=True, slots=True)
class Wording:
    """Words for reasons of one shopper.

    Attributes:
        columns: ``catalogue`` in the order of ``products``.
        on_show: indices of the products whose own page the list is for.
    """

    history: Histories
    products: IdMap
    catalogue: Catalogue
    columns: AlignedCatalogue
    on_show: frozenset[int] = frozenset()

    def of(self, cause: int, shown: int) -> Reason:
        """The reason that ``shown`` is listed because of ``cause``: the first of these that is true.

        1. It is ``cause`` itself: bought before, in the cart, looked at.
        2. Bought together: ``shown`` is a companion of ``cause``, which the shopper bought, put into the cart or has
           open on a product page. Of what was only looked at some other time, that they looked at it says more.
        3. New, and of the category of ``cause``.
        4. What the shopper did with ``cause``, the firmest first: bought, put into the cart, rated, viewed.
        """
        own = self.history.products == cause
        types, times = self.history.types[own], self.history.timestamps[own]
        bought = types == InteractionType.PURCHASE
        carted = bool((types == InteractionType.ADD_TO_CART).any())
        cause_id = self.products.external([cause])[0]
        place = int(self.columns.place[cause])
        name = (self.catalogue.name(place) if place >= 0 else None) or cause_id
        if cause == shown:
            return self._again(cause_id, len(np.unique(times[bought])), carted)
        acquired = bool(bought.any()) or carted or cause in self.on_show
        if acquired and self.catalogue.has_companion(place, int(self.columns.place[shown])):
            return Reason("bought_together", f"Bought together with {name}", cause_id)
        if self._is_new(shown) and self._alike(cause, shown):
            return Reason("new_and_similar", f"New, and similar to {name}", cause_id)
        code: ReasonCode = "viewed"
        text = f"Because you viewed {name}"
        if bought.any():
            code, text = "bought", f"Because you bought {name}"
        elif carted:
            code, text = "carted", f"Because you put {name} in your cart"
        elif (types == InteractionType.RATING).any():
            text = f"Because you rated {name}"
        return Reason(code, text, cause_id)

    @staticmethod
    def _again(product_id: str, purchases: int, carted: bool) -> Reason:
        if purchases > 1:
            return Reason("buy_again", "You buy this regularly", product_id)
        if purchases == 1:
            return Reason("buy_again", "You bought this before", product_id)
        if carted:
            return Reason("carted", "You put this in your cart", product_id)
        return Reason("viewed", "You had a look at this", product_id)

    def _is_new(self, product: int) -> bool:
        seen = int(self.columns.first_seen[product])
        return seen > UNKNOWN_TIME and self.history.now - seen <= NEW_DAYS * SECONDS_PER_DAY

    def _alike(self, cause: int, shown: int) -> bool:
        category = self.columns.category
        return bool(category[cause] >= 0 and category[cause] == category[shown])


def reasons_for(
    recommender: Recommender,
    standing: Standing,
    wording: Wording,
    products: IndexArray,
    scores: ScoreArray,
    personal: bool,
) -> tuple[list[Reason], Moved]:
    """One reason for each product shown (``[m]``, distinct), and what moved their scores.

    Args:
        scores: float32 ``[m]``, by which they were ranked.
        personal: whether the model knows the shopper.
    """
    history = wording.history
    evident = scores > 0 if recommender.zero_means_no_evidence else np.ones(len(products), dtype=bool)
    evident = evident & personal
    moved = what_moved(recommender, history, products[evident], scores[evident])
    reasons: list[Reason] = []
    row = np.cumsum(evident) - 1
    for place, product in enumerate(products.tolist()):
        named = int(moved.named[row[place]]) if evident[place] else -1
        if named >= 0:
            reasons.append(wording.of(int(moved.past[named]), product))
            continue
        led = evident[place] and (len(moved.past) == 0 or moved.parts[row[place]].max() > 0)
        general = standing.reason(product, history.now)
        unnamed = led and len(moved.past) == 0  # a trained user vector: personal, and no event can be singled out
        if general is not None and not unnamed:
            reasons.append(general)
        elif led:
            reasons.append(Reason("for_you", "Chosen for you"))
        else:
            reasons.append(Reason("popular", "Next by popularity"))
    if evident.all():
        return reasons, moved
    parts = np.zeros((len(products), len(moved.past)))
    parts[evident] = moved.parts
    named_of = np.full(len(products), -1, dtype=np.int64)
    named_of[evident] = moved.named
    return reasons, Moved(moved.past, parts, named_of)


def _places_within(groups: IndexArray, key: NDArray[np.generic]) -> IndexArray:
    """Place of each product within its group by ascending ``key``; int32 ``[n]``."""
    order = np.lexsort((np.asarray(key), groups))
    ordered = groups[order]
    places = np.empty(len(groups), dtype=np.int32)
    places[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return places
