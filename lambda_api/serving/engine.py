"""Makes a list from one recommender and one catalogue: events, exclusions, filters, candidate pool, rules, reasons.

Scoring is in ``lambda_api.recommender``, its rules in ``lambda_api.recommender.rules``, fallbacks in ``service``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from lambda_api.interactions import Event, InteractionType
from lambda_api.product_card import ProductCard
from lambda_api.recommender import rules as rerank
from lambda_api.recommender.catalogue import AlignedCatalogue, Catalogue
from lambda_api.recommender.contract import Recommender, ScoreArray
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IndexArray
from lambda_api.serving.new_products import NewProducts
from lambda_api.serving.question import (
    Filters,
    Invocation,
    ListRules,
    Question,
    RankedItem,
    Ranking,
    Reason,
    Stage,
    UnknownProduct,
)
from lambda_api.serving.reasons import PopularityRank, ReasonTexts, ScoreAttribution, reasons_for

FILTERS_KEPT = 64
"""Cached masks of recent filters, one byte per product each."""

POOL_PER_PLACE, LEAST_POOL, MOST_POOL = 5, 50, 500
"""Candidates that rules choose from: per place of the list, minimum and maximum."""

EXPLAINED = 5
"""Maximum length of `RankedItem.explanation`."""

LEAST_PLACES_FOR_NEW = 5
"""Shorter lists give no place to a new product."""


@dataclass(frozen=True, slots=True)
class _Pool:
    """Products of the list, best first, and how each was chosen."""

    products: IndexArray
    scores: ScoreArray
    propensity: NDArray[np.float64] | None
    by_chance: NDArray[np.bool_]


class Engine:
    """Answers with one recommender over one catalogue. Thread-safe.

    Products of the recommender that are missing in the catalogue count as unavailable: they are shown only where a
    question allows unavailable products, and without a card. Without a catalogue (``None``) all products count as
    available, and filters on category, brand or price match nothing.

    The products of a product or cart page count as viewed or put into the cart at the question's ``now``, and are not
    listed. On a category page with a category of the catalogue the list is limited to it, unless `Filters.categories`
    is set.
    """

    def __init__(self, recommender: Recommender, catalogue: Catalogue | None) -> None:
        self.recommender = recommender
        self._has_catalogue = catalogue is not None
        self.catalogue = Catalogue.from_columns([], [], [], [], [], [], []) if catalogue is None else catalogue
        self._mask = lru_cache(maxsize=FILTERS_KEPT)(self._build_mask)
        self._catalogue_mask = lru_cache(maxsize=FILTERS_KEPT)(self._build_catalogue_mask)

    @cached_property
    def columns(self) -> AlignedCatalogue:
        """The catalogue in the order of the recommender's products."""
        return self.catalogue.aligned(self.recommender.products)

    @cached_property
    def popularity_rank(self) -> PopularityRank:
        """Ranks by popularity, for reasons."""
        return PopularityRank(self.recommender, self.columns)

    @cached_property
    def _new(self) -> NewProducts:
        return NewProducts(self.catalogue, self.recommender.products)

    @cached_property
    def _unranked(self) -> Recommender:
        return self.recommender.without_ranker()

    def ask(self, asked: Invocation) -> Ranking:
        """`answer`, `answer_unranked` or `similar`. Raises `UnknownProduct`."""
        if asked.question is None:
            return self.similar(asked.similar_to, asked.k)
        return self.answer(asked.question) if asked.operation == "answer" else self.answer_unranked(asked.question)

    def answer(self, question: Question) -> Ranking:
        """The list; shorter than ``k`` only where fewer products qualify."""
        return self._answer(question, self.recommender)

    def answer_unranked(self, question: Question) -> Ranking:
        """The list without the learned ranker; for models without one the same as `answer`."""
        return self._answer(question, self._unranked)

    def similar(self, product_id: str, k: int) -> Ranking:
        """The ``k`` products most similar to one, by the model; then the most popular of its category.

        Raises:
            UnknownProduct: neither the model nor the catalogue has it.
        """
        own = int(self.recommender.products.indices([product_id])[0])
        card = self.catalogue.card(product_id)
        if own < 0 and card is None:
            raise UnknownProduct(f"no product {product_id!r}; ids are those of the shop's catalogue")
        allowed = self._mask(Filters())
        found = np.empty(0, dtype=np.int32)
        scores = np.empty(0, dtype=np.float32)
        if own >= 0 and self.recommender.knows_likeness:
            # Unavailable products are removed afterwards, so more are asked for.
            near = self.recommender.similar_items(np.array([own], dtype=np.int32), k + LEAST_POOL)
            usable = near.products[0] >= 0
            found, scores = near.products[0][usable], near.scores[0][usable]
            if allowed is not None:
                found, scores = found[allowed[found]], scores[allowed[found]]
            found, scores = found[:k], scores[:k]
        name = (card.name if card else None) or product_id
        items = [
            RankedItem(self._id(product), float(score), Reason("similar", f"Similar to {name}", product_id))
            for product, score in zip(found.tolist(), scores.tolist(), strict=True)
        ]
        if len(items) < k and card is not None and card.category is not None:
            items += self._popular_items(k - len(items), card.category, np.append(found, own))
        return Ranking(tuple(map(self._with_card, items)), "ranked" if len(found) else "popular", personal=False)

    def _answer(self, question: Question, recommender: Recommender) -> Ranking:
        products = recommender.products
        events = (*question.events, *self._page_events(question))
        history = Histories.from_events([events], question.now, products, [question.user_id])
        filters = self._filters(question)
        exclude = self._excluded(question, events)
        personal = bool(recommender.knows(history)[0])
        check = recommender.to_check(history) if personal else None
        pool = self._pool(question, recommender, history, filters, exclude)
        texts = ReasonTexts(history, products, self.catalogue, self.columns, self._on_show(question))
        reasons, attribution = reasons_for(
            recommender, self.popularity_rank, texts, pool.products, pool.scores, personal, check
        )
        items = self._items(question, pool, reasons, attribution)
        items = self._with_new(question, events, filters, items)
        if question.include_products:
            items = [self._with_card(item) for item in items]
        stage: Stage = "popular"
        if personal:
            stage = "ranked" if recommender is self.recommender else "candidates"
        return Ranking(tuple(items), stage, personal)

    def _pool(
        self,
        question: Question,
        recommender: Recommender,
        history: Histories,
        filters: Filters,
        exclude: Sequence[str],
    ) -> _Pool:
        """The list's products, ranked and reordered by the rules that apply."""
        rules, k = question.rules, question.k
        ruled = question.diversity > 0 or rules.freshness > 0 or rules.max_per_category or rules.max_per_brand
        wide = bool(ruled) or question.explore > 0
        most = max(MOST_POOL, k)
        size = min(max(k * POOL_PER_PLACE, LEAST_POOL), most) if wide else k
        banned = recommender.products.indices(exclude)
        excluded, mask = Ragged.from_rows([banned[banned >= 0]]), self._mask(filters)
        products, scores = _best(recommender, history, size, excluded, mask)
        if not wide:
            return _Pool(products, scores, None, np.zeros(len(products), dtype=bool))
        order, overflow = self._reordered(question, recommender, products)
        if len(order) < k and len(overflow) and size < most:
            # The limits leave too few of these products: look further down.
            products, scores = _best(recommender, history, most, excluded, mask)
            order, overflow = self._reordered(question, recommender, products)
        if len(order) < k:
            order, overflow = np.concatenate([order, overflow])[:k], overflow[:0]
        if question.explore == 0:
            chosen = order[:k]
            return _Pool(products[chosen], scores[chosen], None, np.zeros(len(chosen), dtype=bool))
        result = rerank.explored(order, k, question.explore, rerank.seeded(question.seed))
        return _Pool(products[result.order], scores[result.order], result.propensity, result.by_chance)

    def _reordered(
        self, question: Question, recommender: Recommender, products: IndexArray
    ) -> tuple[rerank.Order, rerank.Order]:
        """The pool in order of freshness, diversity and caps; and the products that the caps remove."""
        rules, columns = question.rules, self.columns
        relevance = rerank.relevance_of_places(len(products))
        order = np.arange(len(products), dtype=np.int64)
        if rules.freshness > 0:
            relevance = rerank.freshened(
                relevance, columns.first_seen[products], question.now, rules.freshness, rules.fresh_days
            )
            order = np.argsort(-relevance, kind="stable")
        if question.diversity > 0:
            alike = self.likeness(recommender, products[order])
            value = np.clip(relevance[order], 0.0, 1.0)
            capped = rules.max_per_category is not None or rules.max_per_brand is not None
            order = order[rerank.diversified(value, alike, question.diversity, len(order) if capped else question.k)]
        within, beyond = rerank.capped(order, columns.category[products], rules.max_per_category)
        within, also_beyond = rerank.capped(within, columns.brand[products], rules.max_per_brand)
        return within, np.concatenate([also_beyond, beyond])

    def likeness(self, recommender: Recommender, products: IndexArray) -> NDArray[np.float64]:
        """Similarity of products (``[m]``): half by behaviour, half by category and brand; ``[m, m]``."""
        category, brand = self.columns.category[products], self.columns.brand[products]
        same_category = (category[:, None] == category) & (category >= 0)
        same_brand = (brand[:, None] == brand) & (brand >= 0)
        return 0.5 * recommender.likeness(products) + 0.25 * same_category + 0.25 * same_brand

    def _items(
        self, question: Question, pool: _Pool, reasons: list[Reason], attribution: ScoreAttribution
    ) -> list[RankedItem]:
        ids = self.recommender.products.external(pool.products)
        explanations = self._explanations(attribution) if question.explain else [()] * len(ids)
        items = []
        for place, (product_id, reason) in enumerate(zip(ids, reasons, strict=True)):
            if pool.by_chance[place]:
                reason = Reason("exploration", "Something different to try")
            items.append(
                RankedItem(
                    product_id=product_id,
                    score=float(pool.scores[place]),
                    reason=reason,
                    propensity=None if pool.propensity is None else float(pool.propensity[place]),
                    explanation=explanations[place],
                )
            )
        return items

    def _explanations(self, attribution: ScoreAttribution) -> list[tuple[tuple[str, float], ...]]:
        ids = self.recommender.products.external(attribution.past)
        explanations = []
        for parts in attribution.parts:
            best = np.argsort(-parts, kind="stable")[:EXPLAINED]
            explanations.append(tuple((ids[at], float(parts[at])) for at in best if parts[at] > 0))
        return explanations

    def _with_new(
        self, question: Question, events: Sequence[Event], filters: Filters, items: list[RankedItem]
    ) -> list[RankedItem]:
        """The list, with its last place given to a new product that the model does not know, if one fits."""
        if not (question.rules.new_products and events and len(items) >= LEAST_PLACES_FOR_NEW) or question.explore > 0:
            return items
        looked_at = [event.product_id for event in sorted(events, key=lambda event: -event.timestamp)]
        found = self._new.best(looked_at, self._catalogue_mask(filters), question.now, question.exclude_product_ids)
        if found is None or not self._fits(found.place, items[:-1], question.rules):
            return items
        cause = self.catalogue.card_at(found.similar_to)
        new = RankedItem(
            product_id=self.catalogue.products.external([found.place])[0],
            score=items[-1].score,
            reason=Reason("new_and_similar", f"New, and similar to {cause.name}", cause.product_id),
        )
        return [*items[:-1], new]

    def _fits(self, place: int, others: Sequence[RankedItem], rules: ListRules) -> bool:
        """Whether the product at ``place`` of the catalogue beside ``others`` keeps the limits."""
        places = self.catalogue.products.indices([item.product_id for item in others])
        groups = ((self.catalogue.category, rules.max_per_category), (self.catalogue.brand, rules.max_per_brand))
        return all(
            limit is None or codes[place] < 0 or np.sum(codes[places[places >= 0]] == codes[place]) < limit
            for codes, limit in groups
        )

    def _page_events(self, question: Question) -> tuple[Event, ...]:
        kind = {"product": InteractionType.VIEW, "cart": InteractionType.ADD_TO_CART}.get(question.context.page)
        if kind is None:
            return ()
        return tuple(Event(product_id, kind, question.now) for product_id in question.context.product_ids)

    def _on_show(self, question: Question) -> frozenset[int]:
        """Indices of the products on whose page the list is shown."""
        if question.context.page != "product":
            return frozenset()
        return frozenset(self.recommender.products.indices(question.context.product_ids).tolist())

    def _filters(self, question: Question) -> Filters:
        context, filters = question.context, question.filters
        known = context.category is not None and context.category in self._category_codes
        if context.page == "category" and context.category and known and not filters.categories:
            return replace(filters, categories=(context.category,))
        return filters

    def _excluded(self, question: Question, events: Sequence[Event]) -> list[str]:
        excluded = [*question.exclude_product_ids]
        if question.context.page in ("product", "cart"):
            excluded += question.context.product_ids
        if question.exclude_purchased:
            excluded += [event.product_id for event in events if event.interaction_type == InteractionType.PURCHASE]
        return excluded

    def _popular_items(self, k: int, category: str, taken: IndexArray) -> list[RankedItem]:
        """The ``k`` most popular available products of a category that are not ``taken``."""
        allowed, order = self._mask(Filters(categories=(category,))), self.recommender.popular_order
        size = 4 * (k + len(taken))
        while True:
            free = order[:size]
            free = free if allowed is None else free[allowed[free]]
            free = free[~np.isin(free, taken)][:k]
            if len(free) == k or size >= len(order):
                break
            size *= 8
        reason = Reason("popular_in_category", f"Popular in {category}")
        return [RankedItem(self._id(product), float(self.recommender.popularity[product]), reason) for product in free]

    def _build_mask(self, filters: Filters) -> NDArray[np.bool_] | None:
        """Which products of the recommender pass the filters, bool ``[n]``; ``None``: all."""
        columns = self.columns
        mask = self._passes(filters, columns.category, columns.brand, columns.price)
        if filters.available_only and self._has_catalogue:
            mask &= columns.available
        mask.flags.writeable = False  # shared by every question with these filters
        return None if mask.all() else mask

    def _build_catalogue_mask(self, filters: Filters) -> NDArray[np.bool_]:
        """Which products of the catalogue pass the filters, bool over its rows."""
        catalogue = self.catalogue
        mask = self._passes(filters, catalogue.category, catalogue.brand, catalogue.price)
        return mask & catalogue.available if filters.available_only else mask

    def _passes(
        self, filters: Filters, category: IndexArray, brand: IndexArray, price: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        mask = np.ones(len(category), dtype=bool)
        for wanted, codes, known in (
            (filters.categories, category, self._category_codes),
            (filters.brands, brand, self._brand_codes),
        ):
            if wanted:
                mask &= np.isin(codes, [known[name] for name in wanted if name in known])
        # NaN, an unknown price, fails every comparison.
        if filters.min_price is not None:
            mask &= price >= filters.min_price
        if filters.max_price is not None:
            mask &= price <= filters.max_price
        return mask

    @cached_property
    def _category_codes(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.catalogue.category_names)}

    @cached_property
    def _brand_codes(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.catalogue.brand_names)}

    def _id(self, product: int) -> str:
        return self.recommender.products.external([product])[0]

    def _with_card(self, item: RankedItem) -> RankedItem:
        card: ProductCard | None = self.catalogue.card(item.product_id)
        return replace(item, product=card)


def _best(
    recommender: Recommender, history: Histories, size: int, exclude: Ragged, mask: NDArray[np.bool_] | None
) -> tuple[IndexArray, ScoreArray]:
    """At most ``size`` products of one shopper, best first, and their scores."""
    found = recommender.recommend(history, size, exclude=exclude, candidates=mask)
    usable = found.products[0] >= 0
    return found.products[0][usable], found.scores[0][usable]
